"""What a call measures for its session's log: the media, and the latency of a turn as it is heard here."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.call.audio import Microphone, SoundDetector
from cordboard.call.connection import BotConnection
from cordboard.call.heard import HeardTurn
from cordboard.emit import get_logger
from cordboard.media_watch import MediaWatch

_FULL_SCALE: Final = 32768.0

log = get_logger("call")


async def watch_media(
    connection: BotConnection, microphone: Microphone, bot_sound: SoundDetector
) -> None:
    """Write the figures of the media of a call, until the task is cancelled. A failure costs them alone.

    Args:
        connection: The connection to the bot.
        microphone: What the bot hears.
        bot_sound: What the bot says.
    """

    def levels() -> Mapping[str, float]:
        return {
            "level_in": round(bot_sound.level / _FULL_SCALE, 4),
            "level_out": round(microphone.level / _FULL_SCALE, 4),
        }

    try:
        await MediaWatch(lambda: connection.peer.connection, "call", _write, levels).run()
    except Exception as error:  # noqa: BLE001 - the call goes on
        log.warning("The media of the call is no longer measured", error=error)


class HeardLog:
    """Writes each turn as the caller hears it.

    Attributes:
        connection: The connection to the bot; None before there is one.
    """

    def __init__(self) -> None:
        self.connection: BotConnection | None = None
        self._turns = 0
        self._writing: set[asyncio.Task[None]] = set()

    def add(self, turn: HeardTurn) -> None:
        """Write a turn, soon.

        Args:
            turn: The turn; its times are monotonic.
        """
        self._turns += 1
        task = asyncio.get_running_loop().create_task(self._write(self._turns, turn))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, number: int, turn: HeardTurn) -> None:
        log.info(
            "Reply heard",
            event="turn.heard",
            turn=number,
            heard_ms=round((turn.bot_began - turn.user_ended) * 1000, 1),
            user_ended_at=_iso(turn.user_ended),
            bot_began_at=_iso(turn.bot_began),
            **await self._delays(),
        )

    async def _delays(self) -> dict[str, float]:
        """Return the round trip to the bot, if it is known. aiortc does not tell what its jitter buffer delays."""
        if self.connection is None:
            return {}
        try:
            report = await self.connection.peer.connection.getStats()
        except Exception:  # noqa: BLE001 - a connection that is being closed; the turn was heard all the same
            return {}
        trips = (getattr(one, "roundTripTime", None) for one in report.values())
        known = [trip for trip in trips if trip]
        return {"network_ms": round(known[-1] * 1000, 1)} if known else {}


def _iso(monotonic: float) -> str:
    at_s = time.time() - (time.monotonic() - monotonic)
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _write(message: str, event: str, *, is_bad: bool = False, **meta: Any) -> None:
    members = {name: value for name, value in meta.items() if value is not None}
    (log.warning if is_bad else log.info)(message, event=event, **members)
