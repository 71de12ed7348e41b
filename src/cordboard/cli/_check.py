"""The result of one check of ``cordboard doctor``, and the run of several checks."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cordboard.contract.errors import CordboardError


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: The name of the check.
        ok: Whether it passed.
        message: What was checked, or what is wrong.
        hint: How to fix it; empty if unknown.
    """

    name: str
    ok: bool
    message: str
    hint: str = ""


Step = Callable[[argparse.Namespace], str | list[Check]]


def guarded(
    steps: Sequence[tuple[str, Step]],
    args: argparse.Namespace,
    *,
    without_extra: "Callable[[str, CordboardError], Check]",
) -> Iterator[Check]:
    """Yield the results of the steps; an error of a step is a check that failed.

    Args:
        steps: The names of the checks, and what runs them.
        args: The parsed arguments.
        without_extra: Makes the result of a check whose packages are not installed.
    """
    from cordboard.contract import extras
    from cordboard.contract.errors import CordboardError

    messages: set[str] = set()
    for name, step in steps:
        try:
            yield from _results(name, step(args))
        except ModuleNotFoundError as error:
            missing = extras.missing_extra(error, "local", "This check")
            if missing is None:
                raise
            yield without_extra(name, missing)
        except extras.NotInstalledError as error:
            yield without_extra(name, error)
        except CordboardError as error:
            # If the settings are invalid, most checks fail with the same error: report it once.
            if error.message not in messages:
                yield Check(name, ok=False, message=error.message, hint=error.hint)
            messages.add(error.message)


def not_installed(name: str, error: "CordboardError") -> Check:
    """Return a check that failed because its packages are not installed.

    Args:
        name: The name of the check.
        error: The error that names the extra.
    """
    return Check(name, ok=False, message=error.message, hint=error.hint)


def _results(name: str, result: str | list[Check]) -> Iterator[Check]:
    """Yield the checks of a step that returned one message, or one check for each of several things."""
    if isinstance(result, str):
        yield Check(name, ok=True, message=result)
    else:
        yield from result
