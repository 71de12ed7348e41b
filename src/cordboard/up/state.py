"""What a second `cordboard up`, and `cordboard call`, learn of the first: a locked private file."""

import fcntl
import json
import os
from typing import Any, Self

from cordboard.contract.errors import CordboardError
from cordboard.contract.urls import redacted_url
from cordboard.settings.running import running_up, up_state_file


class StateFile:
    """The state file, locked as long as this process lives, removed when it closes.

    Raises:
        CordboardError: Another `cordboard up` holds it; says what runs where. Or the state
            directory cannot be written.
    """

    def __init__(self) -> None:
        self.path = up_state_file()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CordboardError(
                f"Cannot write into the state directory {self.path.parent}: {error.strerror}.",
                hint="Name one of yours: XDG_STATE_HOME=DIR; it gets a folder cordboard there.",
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise _already_up() from None
        os.ftruncate(self._fd, 0)

    def write(self, state: dict[str, Any]) -> None:
        """Replace what the file says."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(state).encode(), 0)

    def close(self) -> None:
        """Remove the file and let go of the lock."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _already_up() -> CordboardError:
    running = running_up()
    if running is None:
        return CordboardError("Another `cordboard up` is just starting on this machine.")
    where = "\n".join(
        f"  {name:<10} {redacted_url(url)}" for name, url in running.addresses.items()
    )
    return CordboardError(
        f"`cordboard up` runs already (process {running.pid}):\n{where}",
        hint=f"Use it, or stop it first: kill {running.pid}",
    )
