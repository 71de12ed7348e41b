"""The ports of the components, chosen together before any component starts."""

import contextlib
import errno
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cordboard.contract.errors import CordboardError, UsageError

HOST: Final = "127.0.0.1"

# The ports that the kernel gives to connections (ip-sysctl: `ip_local_port_range`).
_CONNECTIONS_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FREE_FROM: Final = 16_384  # most services have lower ports
_TRIES: Final = 100


def free_ports(requested: Mapping[str, int]) -> dict[str, int]:
    """Return a port for each component.

    Args:
        requested: The port of each component by its name; 0 means any free one.

    Raises:
        UsageError: A port cannot be used, or is requested twice.
        CordboardError: A port is in use.
    """
    names: dict[int, str] = {}
    for name, port in requested.items():
        if port and port in names:
            raise UsageError(
                f"--{names[port]}-port and --{name}-port cannot both be {port}.",
                hint=f"Choose another with --{name}-port (0: any free one).",
            )
        names[port] = name
    # All of them are bound until the last is chosen: two components must not get the same one.
    with contextlib.ExitStack() as reserved:
        return {name: _reserve(name, port, reserved) for name, port in requested.items()}


def _reserve(name: str, port: int, reserved: contextlib.ExitStack) -> int:
    """Return a port that is free now; `reserved` keeps it bound."""
    listener = reserved.enter_context(socket.socket())
    if port == 0:
        return _bind_any(listener)
    # As the component does: a port in TIME_WAIT can be used.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise _port_error(name, port, error) from error
    chosen: int = listener.getsockname()[1]
    return chosen


def free_port() -> int:
    """Return a port that nobody listens on now, and that no connection takes."""
    return free_ports({"any": 0})["any"]


def first_connection_port() -> int:
    """Return the lowest port that the kernel gives to connections; 0 if that is not known."""
    try:
        return int(_CONNECTIONS_PORTS.read_text().split()[0])
    except (OSError, ValueError):
        return 0


def _bind_any(listener: socket.socket) -> int:
    """Bind to a free port that the kernel gives to no connection, and return it.

    Any other one could be taken by a connection until the component listens there.
    """
    candidates = range(_FREE_FROM, first_connection_port())
    for port in random.sample(candidates, min(_TRIES, len(candidates))):
        with contextlib.suppress(OSError):
            listener.bind((HOST, port))
            return port
    listener.bind((HOST, 0))
    chosen: int = listener.getsockname()[1]
    return chosen


def _port_error(name: str, port: int, error: Exception) -> CordboardError:
    remedy = f"choose another with --{name}-port (0: any free one)."
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        return CordboardError(
            f"Port {port} (--{name}-port) is in use.",
            hint=f"Stop the process that listens there, or {remedy}",
        )
    reason = getattr(error, "strerror", None) or "ports are 0 to 65535"
    return UsageError(
        f"Port {port} (--{name}-port) cannot be used: {reason}.", hint=remedy.capitalize()
    )
