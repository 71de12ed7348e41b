"""The end of a message about an unknown name: the nearest known one."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known name that is nearest to ``name``, or with all of them.

    Args:
        name: The unknown name.
        known: The known names.
    """
    from difflib import get_close_matches  # used in errors only

    names = sorted(known)
    matches = get_close_matches(name, names, n=1)
    if matches:
        return f" Did you mean {matches[0]}?"
    return f" Expected one of {', '.join(names)}."
