"""Writes a session's end into the store, however long that takes."""

import asyncio
import time
from typing import Final

from cordboard.contract.launch import Launch
from cordboard.contract.state import REASONS
from cordboard.emit import get_logger
from cordboard.runner import metrics
from cordboard.store import SessionStore, new_token

RETRY_S: Final = 1.0
KEPT_S: Final = 86_400.0  # as long as the store keeps the record of an ended session

log = get_logger("session")


async def write_end(
    store: SessionStore, launch: Launch, reason: str | None, detail: str | None, began_at: float
) -> None:
    """Write an end, and log it if this runner wrote it; retry for as long as a record is kept.

    Until then the registry keeps the session, and an operator that asks is told its end: one that
    was not written would be taken for the runner's death, and the call would run again.

    Args:
        store: Where the end is written.
        launch: The session.
        reason: Why it ended.
        detail: The same as text.
        began_at: When it began, by ``time.monotonic``.
    """
    known = reason if reason in REASONS else "bot_crashed"
    token, told, give_up_at = new_token(), False, time.monotonic() + KEPT_S
    while time.monotonic() < give_up_at:
        try:
            ours = await store.finish(
                launch.session_id, launch.epoch, known, detail, token=token, room=launch.room_url
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
            if not told:
                log.warning("The end cannot be written yet; trying again", error=error)
            told = True
            await asyncio.sleep(RETRY_S)
        else:
            if ours:
                _say(known, detail, time.monotonic() - began_at)
            return


def _say(reason: str, detail: str | None, seconds: float) -> None:
    metrics.ends.labels(reason).inc()
    metrics.stages.labels("running").observe(seconds)
    state = REASONS[reason]
    level = log.error if state == "failed" else log.info
    level(
        "Session ended",
        event="session.ended",
        state=state,
        reason=reason,
        detail=detail,
        seconds=round(seconds, 1),
    )
