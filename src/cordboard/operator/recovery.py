"""The sweep: what is overdue is looked at, and repaired or given up."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cordboard import faults
from cordboard.context import bound_context
from cordboard.context.launch import context_of
from cordboard.contract.lease import LEASE_S
from cordboard.contract.state import REASONS
from cordboard.emit import get_logger
from cordboard.launchers import Launcher
from cordboard.operator import metrics
from cordboard.operator.plan import CROWD_WAIT_S, Action, Finding, Sign, decide, is_crowd
from cordboard.operator.runner_client import HolderStatus, SessionRunners
from cordboard.store import ExpiredSession, RedisStore, SessionRecord, Suspect
from cordboard.store.queue import RecoveryCause

BATCH: Final = 500
CROWD_PERCENT: Final = 50

log = get_logger("sweep")


@dataclass(slots=True)
class _Seen:
    """What this operator remembers of a suspect; losing it costs some seconds of patience."""

    since: float
    told: Sign | None = None


@dataclass(slots=True)
class Sweeper:
    """Looks at overdue sessions.

    Attributes:
        crowd_percent: When more of the leased sessions than this look dead at once, Redis or the
            network is suspected first.
        figures: What each shard was seen to hold, shared by this operator's sweepers.
    """

    store: RedisStore
    runners: SessionRunners
    launcher: Launcher | None
    crowd_percent: int = CROWD_PERCENT
    figures: dict[str, metrics.Figures] = field(default_factory=dict)
    _seen: dict[tuple[str, int], _Seen] = field(default_factory=dict)
    _crowd_since: float | None = None

    async def sweep(self) -> None:
        """Do all that is due now.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        for expired in await self.store.expire_overdue(BATCH):
            await self._told_expired(expired)
        await self.store.tidy()
        suspects = await self.store.suspect_count()
        await self._look_at_suspects(suspects)
        self.figures[self.store.keys.tag] = metrics.Figures(
            await self.store.queue_depth(),
            await self.store.oldest_wait_s(),
            await self.store.live_count(),
            await self.store.free_slots(),
            suspects,
        )
        metrics.show(self.figures.values())

    async def _look_at_suspects(self, suspects: int) -> None:
        leased = await self.store.leased_count()
        if self._must_wait(suspects, leased):
            return
        found = await self._suspects() if suspects else []
        now = time.monotonic()
        self._seen = {
            key: self._seen.get(key) or _Seen(now)
            for key in ((item.record.session_id, item.record.epoch) for item in found)
        }
        signs = await self._signs([item.record for item in found])
        for suspect in found:
            await self._act(suspect, signs[suspect.record.session_id])

    def _must_wait(self, suspects: int, leased: int) -> bool:
        """Say whether so many look dead that nobody is to be touched yet; tell of it once."""
        if not is_crowd(suspects, leased, self.crowd_percent):
            self._crowd_since = None
            return False
        now = time.monotonic()
        if self._crowd_since is None:
            self._crowd_since = now
            log.warning(
                "Many sessions look dead at once; suspecting Redis or the network first, waiting",
                suspects=suspects,
                leased=leased,
            )
        return now - self._crowd_since < CROWD_WAIT_S * self.store.periods.lease_s / LEASE_S

    async def _suspects(self) -> list[Suspect]:
        found: list[Suspect] = []
        while page := await self.store.suspects(BATCH, len(found)):
            found += page
            if len(page) < BATCH:
                break
        return found

    async def check_start(self, session_id: str, epoch: int, job: str) -> bool:
        """Look at a cold start; True when it needs no further looking."""
        record = await self.store.session(session_id)
        if record.epoch != epoch or record.state != "starting" or record.job_name != job:
            return True
        if self.launcher is None or await self.launcher.status(job) != "ended":
            return False
        with bound_context(context_of(record)):
            log.warning(
                "A cold runner ended before its session ran", event="launch.failed", job=job
            )
            return await self._recover(record, "died") != "held"

    async def _told_expired(self, expired: ExpiredSession) -> None:
        metrics.expiries.inc()
        with bound_context(context_of(expired.record)):
            log.warning(
                "Session ended",
                event="session.ended",
                state="expired",
                reason="deadline",
                detail=expired.record.detail,
            )
        if expired.job_name and self.launcher is not None:
            await self.launcher.stop(expired.job_name)

    async def _act(self, suspect: Suspect, told: HolderStatus) -> None:
        record, sign = suspect.record, told.sign
        seen = self._seen[record.session_id, record.epoch]
        finding = Finding(
            suspect.overdue_ms,
            sign,
            time.monotonic() - seen.since,
            "starting" if record.state == "starting" else "running",
        )
        action = decide(finding, self.store.periods)
        with bound_context(context_of(record)):
            if action is Action.WAIT:
                self._tell_waiting(finding, seen)
                return
            if action is Action.WRITE_END:
                await self._write_end(record, told)
                return
            faults.point("operator.recover")
            why: RecoveryCause = "died" if action is Action.RECOVER else "unstarted"
            await self._recover(record, why, finding)

    async def _write_end(self, record: SessionRecord, told: HolderStatus) -> None:
        """Write the end that the runner could not write; a session that has ended stays so."""
        ended = await self.store.finish(
            record.session_id, record.epoch, told.reason, told.detail, room=record.room_url
        )
        if ended:
            level = log.error if REASONS[told.reason] == "failed" else log.info
            level(
                "Session ended",
                event="session.ended",
                state=REASONS[told.reason],
                reason=told.reason,
                detail=told.detail,
            )

    def _tell_waiting(self, finding: Finding, seen: _Seen) -> None:
        if finding.state == "running" and seen.told is not finding.sign:
            seen.told = finding.sign
            log.warning(
                "A lease has run out, but its holder's death is not confirmed",
                overdue_ms=finding.overdue_ms,
                sign=finding.sign.value,
            )

    async def _signs(self, records: Sequence[SessionRecord]) -> dict[str, HolderStatus]:
        """Ask all holders; a runner that does not answer for one session is not asked for the next."""
        by_runner: defaultdict[str, list[SessionRecord]] = defaultdict(list)
        for record in records:
            by_runner[record.runner_url or f"job {record.job_name}"].append(record)
        signs: dict[str, HolderStatus] = {}
        await asyncio.gather(*(self._ask(held, signs) for held in by_runner.values()))
        return signs

    async def _ask(self, records: Sequence[SessionRecord], signs: dict[str, HolderStatus]) -> None:
        told = None
        for record in records:
            if told is None or told.sign not in {Sign.SILENT, Sign.REFUSED}:
                told = await self._sign(record)
            signs[record.session_id] = told

    async def _sign(self, record: SessionRecord) -> HolderStatus:
        status = "unknown"
        if record.job_name and self.launcher is not None:
            status = await self.launcher.status(record.job_name)
            if status == "ended":
                return HolderStatus(Sign.ENDED)
        if record.runner_url:
            return await self.runners.status(record.runner_url, record.session_id, record.epoch)
        return HolderStatus(Sign.HOLDS if status == "alive" else Sign.SILENT)

    async def _recover(
        self, record: SessionRecord, why: RecoveryCause, finding: Finding | None = None
    ) -> str:
        recovery = await self.store.recover(record.session_id, record.epoch, why)
        metrics.recoveries.labels(recovery.outcome).inc()
        # Once: not at each pass while Redis accepts no writes, nor by each operator.
        if finding is not None and recovery.outcome in {"queued", "failed"}:
            log.warning(
                "Lease expired",
                event="lease.expired",
                overdue_ms=finding.overdue_ms,
                sign=finding.sign.value,
                runner=record.runner_id,
            )
        if recovery.outcome == "queued":
            with bound_context(replace(context_of(record), epoch=recovery.epoch)):
                log.warning(
                    "Session queued again",
                    event="session.recovered",
                    attempt=recovery.attempt,
                    why=why,
                )
        elif recovery.outcome == "failed":
            ended = await self.store.session(record.session_id)
            log.error(
                "Session ended", event="session.ended", state=ended.state, reason=recovery.reason
            )
        return recovery.outcome
