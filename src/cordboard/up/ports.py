"""The ports of the parts, chosen together before any part starts."""

import contextlib
import errno
import socket
from collections.abc import Mapping
from typing import Final

from cordboard.contract.errors import CordboardError, UsageError

HOST: Final = "127.0.0.1"


def free_ports(wanted: Mapping[str, int]) -> dict[str, int]:
    """Return a port for each name: the wanted one, or any free one for 0.

    Raises:
        CordboardError: A wanted port is taken, cannot be used, or is wanted twice.
    """
    named: dict[int, str] = {}
    for name, port in wanted.items():
        if port and port in named:
            raise UsageError(
                f"Port {port} cannot be both that of {named[port]} and of {name}.",
                hint=f"Choose another with --{name}-port (0: any free one).",
            )
        named[port] = name
    with contextlib.ExitStack() as held:
        return {name: _reserve(name, port, held) for name, port in wanted.items()}


def _reserve(name: str, port: int, held: contextlib.ExitStack) -> int:
    """Return a port that is free now; ``held`` keeps it until all are chosen."""
    probe = held.enter_context(socket.socket())
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise _no_port(name, port, error) from error
    chosen: int = probe.getsockname()[1]
    return chosen


def _no_port(name: str, port: int, error: Exception) -> CordboardError:
    another = f"choose another with --{name}-port (0: any free one)."
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        return CordboardError(
            f"Port {port} for the {name} is taken.", hint=f"Stop what listens there, or {another}"
        )
    why = getattr(error, "strerror", None) or "ports are 0 to 65535"
    return UsageError(
        f"Port {port} for the {name} cannot be used: {why}.", hint=another.capitalize()
    )
