"""Reading a secret from the environment, or from the file that the environment names."""

import os

from cordboard import secret_files


def read_secret(name: str) -> str | None:
    """Return a secret; None if it is unset.

    The variable ``NAME_FILE`` may name a file instead. It is read again at each call, so that a new
    secret needs no restart (``secret_files.py``).

    Args:
        name: The environment variable.

    Raises:
        SettingsError: The file has no secret when it is read for the first time.
    """
    value = os.environ.get(name)
    if value:
        return value
    file = os.environ.get(f"{name}_FILE")
    return secret_files.read(name, file) if file else None
