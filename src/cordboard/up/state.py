"""The state file of ``cordboard up``: its addresses, in a private file that it keeps locked."""

import fcntl
import json
import os
from typing import Any, Self

from cordboard.contract.errors import CordboardError
from cordboard.contract.urls import redacted_url
from cordboard.settings.running import running_up, up_state_file


class StateFile:
    """The state file, locked while this process lives, and removed when it is closed.

    The lock is the kernel's, so the file of a killed process does not count as that of a running
    one, although it is still there.

    Raises:
        CordboardError: Another `cordboard up` runs, or the state directory cannot be written.
    """

    def __init__(self) -> None:
        self.path = up_state_file()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CordboardError(
                f"Cannot write to the state directory {self.path.parent}: {error.strerror}.",
                hint="Set XDG_STATE_HOME to a directory that you own; the folder cordboard is "
                "created in it.",
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise _already_up() from None
        os.ftruncate(self._fd, 0)

    def write(self, state: dict[str, Any]) -> None:
        """Replace the contents of the file by `state`, as JSON."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(state).encode(), 0)

    def close(self) -> None:
        """Remove the file and release the lock."""
        self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _already_up() -> CordboardError:
    running = running_up()
    if running is None:
        # It holds the lock, and has not written its addresses yet.
        return CordboardError(
            "Another `cordboard up` is starting on this machine.",
            hint="Wait until it has started, or stop it.",
        )
    addresses = "\n".join(
        f"  {name:<10} {redacted_url(url)}" for name, url in running.addresses.items()
    )
    return CordboardError(
        f"`cordboard up` already runs (process {running.pid}):\n{addresses}",
        hint=f"Use it, or stop it first: kill {running.pid}",
    )
