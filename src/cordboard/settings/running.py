"""The ``cordboard up`` that runs on this machine: its addresses, and its secrets."""

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cordboard.contract.errors import SettingsError
from cordboard.environment import state_dir

UP_SOCKET_NAME: Final = "up.sock"
_TIMEOUT_S: Final = 5.0  # the socket is local: an answer takes 1 ms unless `up` is frozen


@dataclass(frozen=True, slots=True)
class RunningUp:
    """A ``cordboard up`` that runs on this machine.

    Attributes:
        pid: Its process id.
        addresses: Its components' base URLs by their names.
    """

    pid: int
    addresses: Mapping[str, str]

    @property
    def gateway_url(self) -> str:
        """The base URL of its gateway."""
        return self.addresses["gateway"]

    def secrets(self) -> Mapping[str, str]:
        """Return its secrets: ``control_secret`` and ``redis_url``.

        It sends them over a socket, and only to processes of its own user that no bot started.

        Raises:
            SettingsError: It did not send them.
        """
        return request_secrets(state_dir() / UP_SOCKET_NAME)


def up_state_file() -> Path:
    """Return the path of the private file in which ``cordboard up`` keeps its addresses."""
    return state_dir() / "up.json"


def running_up() -> RunningUp | None:
    """Return the ``cordboard up`` that runs on this machine; None if there is none.

    A running one holds a lock on its state file (flock), so the file of a killed one does not count.
    """
    try:
        with up_state_file().open(encoding="utf-8") as file:
            # `up` holds the lock until it ends; the kernel releases it even after SIGKILL.
            if not _is_locked(file.fileno()):
                return None
            state = json.load(file)
        return RunningUp(state["pid"], state["addresses"])
    except (OSError, ValueError, KeyError):
        return None


def request_secrets(path: Path) -> Mapping[str, str]:
    """Return the secrets that a ``cordboard up`` sends over its socket.

    Args:
        path: The socket.

    Raises:
        SettingsError: It sends this process nothing, or does not run.
    """
    data = b""
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            # Via the descriptor: a socket's name is limited to 107 bytes, a directory's is not.
            connection.connect(f"/proc/self/fd/{directory}/{path.name}")
            while chunk := connection.recv(4096):
                data += chunk
        secrets: Mapping[str, str] = json.loads(data)
    except (OSError, ValueError) as error:
        raise SettingsError(
            "The running `cordboard up` did not give its secret to this process.",
            hint=(
                "While it runs, it gives the secret to processes of its user, except bots and the "
                "processes that they start."
            ),
        ) from error
    finally:
        os.close(directory)
    return secrets


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
