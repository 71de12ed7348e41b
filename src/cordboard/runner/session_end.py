"""The end of a session: why it ended, and how the end reaches the store."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from cordboard.contract.launch import Launch
from cordboard.contract.state import REASONS
from cordboard.emit import get_logger
from cordboard.processes import describe_exit_status
from cordboard.runner import metrics
from cordboard.runner.control_channel import EndReport
from cordboard.store import SessionStore, new_token

# Most failovers of Redis take seconds; the session holds its room until the end is written.
RETRY_S: Final = 1.0

# As long as the store keeps the record of an ended session; after that there is no record to end.
GIVE_UP_S: Final = 86_400.0

FORK_SERVER_ENDED: Final = "the fork server of its runner ended"

log = get_logger("session")


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """Why a bot process ended.

    Attributes:
        reason: The reason of the session's end.
        detail: The reason as text, if the reason alone does not explain it.
        is_lost: The process died with the fork server. No end is written: operators start the session on
            another runner.
        is_crash_unreported: The bot crashed, and its process has not logged ``bot.crashed``.
    """

    reason: str
    detail: str | None = None
    is_lost: bool = False
    is_crash_unreported: bool = False


def session_end(
    *,
    stop_reason: str | None,
    is_self_killed: bool,
    report: EndReport | None,
    exit_status: int | None,
) -> SessionEnd:
    """Return why a session ended. The first of these that applies decides.

    Args:
        stop_reason: The reason for which the supervisor stopped the bot, if it did.
        is_self_killed: Whether the bot process killed itself because its lease was not renewed.
        report: What the process reported.
        exit_status: Its exit status, negative for a signal; None if the fork server ended as well.
    """
    is_unreported = report is None or report.is_early
    if stop_reason is not None:
        crashed = stop_reason == "bot_crashed"
        return SessionEnd(stop_reason, is_crash_unreported=crashed and is_unreported)
    if is_self_killed:
        return SessionEnd("lease_lost")
    if report is not None:
        crashed = report.reason == "bot_crashed"
        return SessionEnd(
            report.reason, report.detail, is_crash_unreported=crashed and is_unreported
        )
    if exit_status is None:
        return SessionEnd("runner_lost", FORK_SERVER_ENDED, is_lost=True, is_crash_unreported=True)
    if exit_status == 0:
        return SessionEnd("bot_finished")
    return SessionEnd("bot_crashed", describe_exit_status(exit_status), is_crash_unreported=True)


@dataclass(frozen=True, slots=True)
class EndWriter:
    """Writes the end of one session to the store.

    Attributes:
        store: The store.
        launch: The session.
        reason: Why it ended; a reason that the contract does not have counts as ``bot_crashed``.
        detail: The reason as text.
        began_at: The ``time.monotonic`` time at which the session began here.
        retry_s: Seconds between two attempts.
    """

    store: SessionStore
    launch: Launch
    reason: str | None
    detail: str | None
    began_at: float
    retry_s: float = RETRY_S

    async def run(self) -> None:
        """Write the end, and log it if no other component wrote it before; retry for a day.

        Until the end is written the registry keeps the session, so that an operator can read its end.
        An end that is never written looks like the runner's death, and the call would run again.
        """
        reason = self.reason if self.reason in REASONS else "bot_crashed"
        # The same token in each attempt: the store then recognizes a write whose answer was lost.
        attempt_token, has_warned = new_token(), False
        give_up_at = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up_at:
            try:
                is_ours = await self.store.finish(
                    self.launch.session_id,
                    self.launch.epoch,
                    reason,
                    self.detail,
                    token=attempt_token,
                    room=self.launch.room_url,
                )
            except Exception as error:
                if not has_warned:
                    log.warning("The session's end cannot be written yet; retrying", error=error)
                has_warned = True
                await asyncio.sleep(self.retry_s)
            else:
                if is_ours:
                    self._log_end(reason, time.monotonic() - self.began_at)
                return

    def _log_end(self, reason: str, duration_s: float) -> None:
        metrics.ends.labels(reason).inc()
        metrics.stages.labels("running").observe(duration_s)
        state = REASONS[reason]
        write = log.error if state == "failed" else log.info
        write(
            "Session ended",
            event="session.ended",
            state=state,
            reason=reason,
            detail=self.detail,
            seconds=round(duration_s, 1),
        )
