"""The messages between the supervisor and a bot process, and what they share.

The control channel is a socket pair. Each message is one line with one JSON object:

- to the bot process: ``{"go": true, "context": {...}}`` (``context`` if there is a kept one),
  ``{"stop": REASON}``, ``{"ask": N, "method": "POST", "body": {...}}``;
- to the supervisor: ``{"loaded": true}``, ``{"lag_ms": 1.5}``, ``{"absent": true}``,
  ``{"answer": N, "status": 200, "body": {...}}``, ``{"context": {...}}``,
  ``{"ended": REASON, "detail": TEXT, "early": true, "out_of_memory": true}`` (``early`` if ``bot()`` was never
  called, ``out_of_memory`` if the process had no memory left).

Standard output, standard error and log records of the bot travel on pipes of their own, so that a
half-written print never damages a record.
"""

import asyncio
import os
import signal
import socket
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import msgspec

from cordboard.contract.launch import Launch
from cordboard.contract.lease import LEASE_S
from cordboard.runner.record_options import RecordOptions

# The signal that the kernel sends to the fork server's parent when the runner ends.
# Not SIGUSR1, which bot files handle.
RUNNER_ENDED: Final = getattr(signal, "SIGRTMIN", signal.SIGUSR1)

# The size of one message. An offer takes some kilobytes; the HTTP body that carries it is limited to the
# same size. A longer message ends the channel, and with it the session.
LINE_MAX_BYTES: Final = 1024 * 1024

# How long a bot process may take from the end of ``bot()`` to its exit; exporters flush in that time. It
# equals the time that a bot has to handle its cancellation; Sentry's own limit is 2 s.
EXIT_GRACE_S: Final = 5.0

# How often a bot process reports how late its event loop is. The supervisor takes silence as lag.
LAG_PERIOD_S: Final = 1.0

# A longer time of an event loop is none.
TIME_MAX_MS: Final = 1e12

DRAINING: Final = "draining"
"""The reason with which a bot is stopped so that another runner continues its session."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class BotOptions:
    """The settings of a runner that concern its bots.

    Attributes:
        daily_domains: Hosts besides ``*.daily.co`` whose rooms are Daily's.
        offer_timeout_s: How long a bot waits for the first offer, or for its stream, in seconds.
        user_absent_s: How long such a room may have no user before its session ends; 0 for ever.
        memory_mb: The most memory of one bot process.
        file_mb: The largest file that a bot may write.
        processes: The most processes that a bot may have started at once.
        local: Whether the runner listens on loopback, so that callers may be on this machine.
        records: What the records of a call may contain.
    """

    daily_domains: tuple[str, ...] = ()
    offer_timeout_s: float = 60.0
    user_absent_s: float = 60.0
    memory_mb: int = 4096
    file_mb: int = 4096
    processes: int = 64
    local: bool = True
    records: RecordOptions = field(default_factory=RecordOptions)


@dataclass(frozen=True, slots=True)
class BotStart:
    """The task of one bot process.

    Attributes:
        launch: The session.
        options: The runner's settings.
        lease_s: Seconds that a lease lasts.
        boot: The boot under which the process writes its lines.
        ice_config: The ICE servers of a ``webrtc:`` room, with the session's credentials; None without servers.
        keep_context: Whether the process sends what was said to the supervisor.
    """

    launch: Launch
    options: BotOptions
    lease_s: float = LEASE_S
    boot: str = field(default_factory=lambda: os.urandom(4).hex())
    ice_config: dict[str, Any] | None = field(default=None, repr=False)  # it contains passwords
    keep_context: bool = False


class BotPipes(NamedTuple):
    """The bot process's ends of its pipes, the file of its lease page, and where it gets connections."""

    stdout: Connection
    stderr: Connection
    records: Connection
    lease_page: Connection
    connections: socket.socket


@dataclass(frozen=True, slots=True)
class PreloadReport:
    """The result of loading one bot file.

    Attributes:
        failure: Message and hint if the file cannot be loaded.
        opened: What the file opens at import that processes must not share; each bot process then imports the
            file itself.
        policy: The event loop policy that the file installs; empty for none.
        import_s: How long that import took, in seconds.
        has_readyz: Whether the file defines ``readyz()``; also if each process imports it.
        server_pid: The process that forks the bot processes.
        importer_pid: Its parent.
        build: Hashes of the file and its package, and the version of Pipecat.
        memory_mb: The memory that a bot process has from the start.
    """

    failure: tuple[str, str] | None
    opened: tuple[str, ...]
    policy: str
    import_s: float
    has_readyz: bool
    server_pid: int
    importer_pid: int
    build: dict[str, str] = field(default_factory=dict)
    memory_mb: int = 0


def encode(message: dict[str, Any]) -> bytes:
    """Return `message` as one line of JSON, with its newline."""
    return _encode(message) + b"\n"


async def send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Send `message` on `writer`. Do nothing if the other side has closed the channel."""
    try:
        writer.write(encode(message))
        await writer.drain()
    except (OSError, RuntimeError):
        return


async def receive(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Return the next message from `reader`, or None if the channel is closed or the line is invalid."""
    try:
        line = await reader.readline()
        if not line:
            return None
        message: dict[str, Any] = _decode(line)
    except (OSError, ValueError, RecursionError):
        return None
    return message


def is_valid(message: Any) -> bool:
    """Return whether `message`, received from a bot process, has values of the right types.

    The bot shares its process with our end of the channel and may write anything to it.
    """
    if not isinstance(message, dict):
        return False
    status = message.get("status")
    return (
        _is_time(message.get("lag_ms", 0.0))
        and isinstance(message.get("ended", ""), str)
        and isinstance(message.get("detail", ""), str | None)
        and isinstance(message.get("context", {}), dict)
        and (
            "answer" not in message
            or (
                isinstance(message["answer"], int) and isinstance(status, int) and "body" in message
            )
        )
    )


def _is_time(value: Any) -> bool:
    """Return whether `value` is a number of milliseconds. JSON allows integers that no float can hold."""
    return isinstance(value, float | int) and 0 <= value < TIME_MAX_MS
