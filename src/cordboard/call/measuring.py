"""What a call measures for its session's log: the media, and the latency of a turn as it is heard here."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.call.audio import Microphone, SoundDetector
from cordboard.call.connection import BotConnection
from cordboard.call.timeline import Timeline
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


def log_heard(timeline: Timeline) -> None:
    """Log the latency of the turn, if there was one: from the last sound of the speech to the first of the reply.

    Args:
        timeline: The stages of the call.
    """
    at_ms = {stage.name: stage.ms for stage in timeline.stages}
    spoken_ms, heard_ms = at_ms.get("spoken"), at_ms.get("heard_back")
    if spoken_ms is None or heard_ms is None:
        return
    log.info(
        "Reply heard",
        event="turn.heard",
        turn=1,
        heard_ms=round(heard_ms - spoken_ms, 1),
        user_ended_at=_iso(timeline.began_at + spoken_ms / 1000),
        bot_began_at=_iso(timeline.began_at + heard_ms / 1000),
    )


def _iso(monotonic: float) -> str:
    at_s = time.time() - (time.monotonic() - monotonic)
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _write(message: str, event: str, *, is_bad: bool = False, **meta: Any) -> None:
    members = {name: value for name, value in meta.items() if value is not None}
    (log.warning if is_bad else log.info)(message, event=event, **members)
