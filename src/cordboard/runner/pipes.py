"""What the supervisor and a bot's process say to each other: one JSON object a line."""

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from cordboard.contract.launch import Launch
from cordboard.contract.lease import LEASE_S

RUNNER_ENDED: Final = signal.SIGUSR1  # what the kernel sends the fork server when the runner ends
LINE_MAX_BYTES: Final = 1024 * 1024  # an offer is some kilobytes
EXIT_GRACE_S: Final = 5.0
"""How long a bot's process may take from the end of ``bot()`` to its exit: exporters flush in it. As
long as a bot may take to heed its cancellation; Sentry's own bound is 2 s."""
LAG_PERIOD_S: Final = 1.0  # how often a bot's event loop tells how late it is

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class BotStart:
    """What a bot's process is told at its birth."""

    launch: Launch
    bot: str
    daily_domains: tuple[str, ...]
    offer_timeout_s: float = 60.0
    memory_mb: int = 4096
    file_mb: int = 4096
    lease_s: float = LEASE_S
    user_absent_s: float = 60.0
    local: bool = True
    boot: str = field(default_factory=lambda: os.urandom(4).hex())


@dataclass(frozen=True, slots=True)
class Report:
    """What the fork server found when it loaded the bots.

    Attributes:
        failures: By bot, why its file cannot be loaded, and the way out.
        threaded: Whether the bot files start threads, so that each child imports its own.
        server: The process that forks the bots' processes.
    """

    failures: dict[str, tuple[str, str]]
    threaded: bool
    server: int


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as it is sent."""
    return _encode(message) + b"\n"


async def send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Say something; harmless when nobody listens any more."""
    try:
        writer.write(encode(message))
        await writer.drain()
    except (OSError, RuntimeError):
        return


def is_sound(message: Any) -> bool:
    """Return whether a message of a bot's process is of the right types.

    The bot has that end of the line, too, and may write to it what it likes.
    """
    if not isinstance(message, dict):
        return False
    status = message.get("status")
    return (
        isinstance(message.get("lag_ms", 0.0), float | int)
        and isinstance(message.get("ended", ""), str)
        and isinstance(message.get("detail", ""), str | None)
        and (
            "answer" not in message
            or (
                isinstance(message["answer"], int) and isinstance(status, int) and "body" in message
            )
        )
    )


async def receive(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Return what was said next; None when the other side has gone."""
    try:
        line = await reader.readline()
        if not line:
            return None
        message: dict[str, Any] = _decode(line)
    except (OSError, ValueError):
        return None
    return message
