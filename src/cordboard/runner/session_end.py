"""The end of a session on a runner: why it ended, and how the end, or the hand-over, reaches the store."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cordboard import faults
from cordboard.context import bound_context
from cordboard.context.launch import context_of
from cordboard.contract.launch import Launch
from cordboard.contract.state import REASONS
from cordboard.emit import get_logger
from cordboard.processes import describe_exit_status
from cordboard.runner import metrics
from cordboard.runner.control_channel import EndReport
from cordboard.runner.pipes import DRAINING
from cordboard.runner.session_context import SessionContext
from cordboard.store import HandOverCause, RecoveringHolder, SessionStore, new_token

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
        hand_over: Why the session goes on in another process; None if it ends.
        is_unknown: The process died with the fork server before its bot ran. An operator decides: it gets
            the error of the start.
        is_crash_unreported: The bot crashed, and its process has not logged ``bot.crashed``.
        is_out_of_memory: The process reported that it had no memory left.
    """

    reason: str
    detail: str | None = None
    hand_over: HandOverCause | None = None
    is_unknown: bool = False
    is_crash_unreported: bool = False
    is_out_of_memory: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """What the lines of a crash and of the session's end tell besides."""
        return {"out_of_memory": True} if self.is_out_of_memory else {}


def session_end(
    *,
    stop_reason: str | None,
    is_self_killed: bool,
    report: EndReport | None,
    exit_status: int | None,
    has_run: bool = True,
    may_restart: bool = True,
) -> SessionEnd:
    """Return why a session ended. The first of these that applies decides.

    Args:
        stop_reason: The reason for which the supervisor stopped the bot, if it did. With the reason ``draining``
            the session goes on elsewhere, unless the process reported that its bot had ended before.
        is_self_killed: Whether the bot process killed itself because its lease was not renewed.
        report: What the process reported.
        exit_status: Its exit status, negative for a signal; None if the fork server ended as well.
        has_run: Whether the bot has run.
        may_restart: Whether the session of a bot that was killed goes on.
    """
    is_unreported = report is None or report.is_early
    # SIGTERM during the import of a bot may look like an error of its file.
    if stop_reason == DRAINING and (report is None or report.is_early or report.reason == DRAINING):
        return SessionEnd("runner_lost", hand_over="draining")
    if stop_reason is not None and stop_reason != DRAINING:
        crashed = stop_reason == "bot_crashed"
        return SessionEnd(stop_reason, is_crash_unreported=crashed and is_unreported)
    if is_self_killed:
        return SessionEnd("lease_lost")
    if report is not None:
        crashed = report.reason == "bot_crashed"
        return SessionEnd(
            report.reason,
            report.detail,
            is_crash_unreported=crashed and is_unreported,
            is_out_of_memory=report.is_out_of_memory,
        )
    return _unreported_end(exit_status, has_run=has_run, may_restart=may_restart)


def _unreported_end(exit_status: int | None, *, has_run: bool, may_restart: bool) -> SessionEnd:
    if exit_status is None:
        return SessionEnd(
            "runner_lost",
            FORK_SERVER_ENDED,
            hand_over="bot_died" if has_run else None,
            is_unknown=not has_run,
            is_crash_unreported=True,
        )
    if exit_status == 0:
        return SessionEnd("bot_finished")
    # A positive status comes from the program itself, for example from os._exit; a signal does not.
    is_restarted = exit_status < 0 and has_run and may_restart
    return SessionEnd(
        "bot_crashed",
        describe_exit_status(exit_status),
        hand_over="bot_died" if is_restarted else None,
        is_crash_unreported=True,
    )


@dataclass(frozen=True, slots=True)
class EndWriter:
    """Writes the end of one session, or its hand-over, to the store.

    Attributes:
        store: The store.
        launch: The session.
        end: Its end, or why it is handed over instead; a reason that the contract does not have counts as
            ``bot_crashed``.
        began_at: The ``time.monotonic`` time at which the session began here.
        runner_id: This runner.
        context: What was said, which the next process gets.
        figures: What the session amounts to, for the log.
        retry_s: Seconds between two attempts.
    """

    store: SessionStore
    launch: Launch
    end: SessionEnd
    began_at: float
    runner_id: str
    context: SessionContext
    figures: Mapping[str, Any] = field(default_factory=dict)
    retry_s: float = RETRY_S

    async def run(self) -> None:
        """Write the end, and log it if no other component wrote it before; retry for a day.

        Until the end is written the registry keeps the session, so that an operator can read its end.
        An end that is never written looks like the runner's death, and the call would run again.
        """
        # The same token in each attempt: the store then recognizes a write whose answer was lost.
        attempt_token, has_warned = new_token(), False
        give_up_at = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up_at:
            try:
                await (self._write_end if self.end.hand_over is None else self._hand_over)(
                    attempt_token
                )
            except Exception as error:
                if not has_warned:
                    log.warning("The session's end cannot be written yet; retrying", error=error)
                has_warned = True
                await asyncio.sleep(self.retry_s)
            else:
                return

    async def _write_end(self, token: str) -> None:
        reason = self.end.reason if self.end.reason in REASONS else "bot_crashed"
        is_ours = await self.store.finish(
            self.launch.session_id,
            self.launch.epoch,
            reason,
            self.end.detail,
            token=token,
            room=self.launch.room_url,
        )
        if is_ours:
            self._log_end(reason, time.monotonic() - self.began_at)

    async def _hand_over(self, token: str) -> None:
        """Queue the session again; the store ends it instead if it has had its last attempt."""
        cause = self.end.hand_over
        if cause is None:
            return
        # Before the next process reads it. If Redis takes only what frees memory, the session goes on without.
        await self.context.flush()
        faults.point("runner.hand_over.before")
        launch, holder = (
            self.launch,
            RecoveringHolder(self.runner_id, self.end.reason, self.end.detail, token),
        )
        outcome = await self.store.hand_over(
            launch.session_id, launch.epoch, cause, holder, room=launch.room_url
        )
        faults.point("runner.hand_over.after")
        if outcome.outcome == "queued":
            with bound_context(replace(context_of(launch), epoch=outcome.epoch)):
                log.warning(
                    "Session queued again",
                    event="session.recovered",
                    attempt=outcome.attempt,
                    why=cause,
                    sign=self.end.detail,
                    runner=self.runner_id,
                )
        elif outcome.outcome == "failed":
            self._log_end(outcome.reason, time.monotonic() - self.began_at)

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
            **({"detail": self.end.detail} if self.end.detail else {}),
            seconds=round(duration_s, 1),
            recoveries=self.launch.attempt - 1,
            **self.figures,
        )
