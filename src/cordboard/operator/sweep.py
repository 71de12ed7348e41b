"""The sweep: what is overdue is looked at, and repaired or given up."""

import asyncio
from dataclasses import dataclass
from typing import Final

from cordboard.context import Context, bound_context
from cordboard.emit import get_logger
from cordboard.launchers import Launcher
from cordboard.operator import metrics
from cordboard.operator.plan import Action, Finding, Sign, decide
from cordboard.operator.runners import Runners
from cordboard.store import Expired, SessionRecord, Store, Suspect

BATCH: Final = 100

log = get_logger("sweep")


@dataclass(slots=True)
class Sweeper:
    """Looks at overdue sessions; keeps nothing between two looks."""

    store: Store
    runners: Runners
    launcher: Launcher | None

    async def sweep(self) -> None:
        """Do all that is due now.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        for expired in await self.store.expire_overdue(BATCH):
            await self._told_expired(expired)
        suspects = await self.store.suspects(BATCH)
        await asyncio.gather(*(self._look(suspect) for suspect in suspects))
        metrics.queue_depth.set(await self.store.depth())

    async def check_start(self, session_id: str, epoch: int, job: str) -> bool:
        """Look at a cold start; True when it needs no further looking."""
        record = await self.store.session(session_id)
        if record.epoch != epoch or record.state != "starting" or record.job_name != job:
            return True
        if self.launcher is None or await self.launcher.status(job) != "ended":
            return False
        with bound_context(_context(record)):
            log.warning(
                "A cold runner ended before its session ran", event="launch.failed", job=job
            )
            await self._recover(record)
        return True

    async def _told_expired(self, expired: Expired) -> None:
        metrics.expiries.inc()
        with bound_context(_context(expired.record)):
            log.warning("Session ended", event="session.ended", state="expired", reason="deadline")
        if expired.job_name and self.launcher is not None:
            await self.launcher.stop(expired.job_name)

    async def _look(self, suspect: Suspect) -> None:
        record = suspect.record
        with bound_context(_context(record)):
            finding = Finding(suspect.overdue_ms, await self._sign(record))
            if decide(finding) is Action.WAIT:
                log.warning(
                    "A lease has run out, but its holder's death is not confirmed",
                    overdue_ms=finding.overdue_ms,
                    sign=finding.sign.value,
                )
                return
            log.warning(
                "Lease expired",
                event="lease.expired",
                overdue_ms=finding.overdue_ms,
                sign=finding.sign.value,
                runner=record.runner_id,
            )
            await self._recover(record)

    async def _sign(self, record: SessionRecord) -> Sign:
        if record.job_name and self.launcher is not None:
            status = await self.launcher.status(record.job_name)
            if status == "ended":
                return Sign.ENDED
        if record.runner_url:
            return await self.runners.holds(record.runner_url, record.session_id, record.epoch)
        return Sign.SILENT

    async def _recover(self, record: SessionRecord) -> None:
        recovery = await self.store.recover(record.session_id, record.epoch)
        metrics.recoveries.labels(recovery.outcome).inc()
        if recovery.outcome == "queued":
            with bound_context(_context(record, recovery.epoch)):
                log.warning(
                    "Session queued again", event="session.recovered", attempt=recovery.attempt
                )
        elif recovery.outcome == "failed":
            ended = await self.store.session(record.session_id)
            log.error(
                "Session ended", event="session.ended", state=ended.state, reason=recovery.reason
            )


def _context(record: SessionRecord, epoch: int | None = None) -> Context:
    return Context(
        session_id=record.session_id,
        user_id=record.user_id,
        user_name=record.user_name,
        room=record.room_url,
        epoch=epoch or record.epoch,
    )
