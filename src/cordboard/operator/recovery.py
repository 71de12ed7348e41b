"""The sweep: finds sessions that are overdue, and recovers or ends them."""

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
from cordboard.operator.end_facts import end_facts
from cordboard.operator.handover import ColdStart
from cordboard.operator.plan import (
    BOTS_END_S,
    CONFIRMED_DEATHS,
    DEFAULT_THRESHOLDS,
    Action,
    Finding,
    Sign,
    Thresholds,
    decide,
    is_crowd,
)
from cordboard.operator.runner_client import HolderStatus, SessionRunners
from cordboard.store import ExpiredSession, RecoveryCause, RedisStore, SessionRecord, Suspect

# Sessions that one command reads. It bounds the time for which one command keeps Redis busy.
BATCH: Final = 500

log = get_logger("sweep")


@dataclass(slots=True)
class _Observation:
    """What this operator remembers about a suspect. Losing it costs a few seconds of patience.

    Attributes:
        since: When this operator first saw it overdue, by the monotonic clock.
        reported: The last sign that was logged.
    """

    since: float
    reported: Sign | None = None


@dataclass(slots=True)
class Sweeper:
    """Recovers and ends the overdue sessions of one shard.

    Attributes:
        store: The shard.
        runners: Asks holders about their sessions.
        launcher: Knows whether cold runners live; None if this operator starts none.
        thresholds: How much evidence a recovery needs.
        figures: What each shard held at its last sweep; shared by this operator's sweepers.
        bots_end_s: Seconds after a holder's death after which its bots must be gone.
    """

    store: RedisStore
    runners: SessionRunners
    launcher: Launcher | None
    thresholds: Thresholds = DEFAULT_THRESHOLDS
    figures: metrics.PlaneFigures = field(default_factory=metrics.PlaneFigures)
    bots_end_s: float = BOTS_END_S
    _observations: dict[tuple[str, int], _Observation] = field(default_factory=dict)
    _crowd_since: float | None = None

    async def sweep(self) -> None:
        """Do everything that is due now.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        # Expiry first, so that a session past its deadline is not recovered and started again.
        for expired in await self.store.placement.expire_overdue(BATCH):
            await self._end_expired(expired)
        await self.store.placement.remove_old_records()
        suspect_count = await self.store.placement.suspect_count()
        await self._check_suspects(suspect_count)
        figures = metrics.ShardFigures(
            await self.store.queue.depth(),
            await self.store.oldest_wait_s(),
            await self.store.placement.live_count(),
            await self.store.runners.free_slots(),
            suspect_count,
        )
        self.figures.update(self.store.keys.tag, figures)

    async def is_settled(self, start: ColdStart) -> bool:
        """Return whether cold start ``start`` needs no further check; one whose runner ended is recovered.

        Raises:
            NotFoundError: The session's record is gone.
        """
        record = await self.store.session(start.session_id)
        # A higher epoch means that the session was queued again: that start has its own check.
        is_current = record.epoch == start.epoch and record.job_name == start.job_name
        if not is_current or record.state != "starting":
            return True
        with bound_context(context_of(record)):
            if self.launcher is None or await self.launcher.status(start.job_name) != "ended":
                return False
            log.warning(
                "A cold runner ended before its session ran",
                event="launch.failed",
                job=start.job_name,
            )
            return await self.recover(record, "died") != "held"

    async def _check_suspects(self, suspect_count: int) -> None:
        leased = await self.store.placement.leased_count()
        if self._is_waiting_for_crowd(suspect_count, leased):
            return
        suspects = await self._suspects() if suspect_count else []
        # Patience is measured by this process's clock: Redis's clock may jump in a failover.
        now = time.monotonic()
        keys = [(suspect.record.session_id, suspect.record.epoch) for suspect in suspects]
        self._observations = {key: self._observations.get(key) or _Observation(now) for key in keys}
        statuses = await self.statuses([suspect.record for suspect in suspects])
        if any(status.sign in CONFIRMED_DEATHS for status in statuses.values()):
            await asyncio.sleep(self.bots_end_s)  # their holders may have died a moment ago
        for suspect in suspects:
            await self._act(suspect, statuses[suspect.record.session_id])

    def _is_waiting_for_crowd(self, suspects: int, leased: int) -> bool:
        """Return whether so many sessions look dead that none is touched yet; log it once."""
        if not is_crowd(suspects, leased, self.thresholds):
            self._crowd_since = None
            return False
        now = time.monotonic()
        if self._crowd_since is None:
            self._crowd_since = now
            log.warning(
                "Many sessions look dead at once; waiting, as Redis or the network may be the cause",
                suspects=suspects,
                leased=leased,
            )
        wait_s = self.thresholds.crowd_wait_s * self.store.periods.lease_s / LEASE_S
        return now - self._crowd_since < wait_s

    async def _suspects(self) -> list[Suspect]:
        suspects: list[Suspect] = []
        while page := await self.store.placement.suspects(BATCH, len(suspects)):
            suspects += page
            if len(page) < BATCH:
                break
        return suspects

    async def _end_expired(self, expired: ExpiredSession) -> None:
        """Log the end of a session that missed its deadline, and stop its cold start."""
        metrics.expiries.inc()
        ended = expired.record  # `failed` if its runner had handed it over, and no other took it
        with bound_context(context_of(ended)):
            write = log.error if ended.state == "failed" else log.warning
            write(
                "Session ended",
                event="session.ended",
                state=ended.state,
                reason=ended.reason,
                detail=ended.detail,
                **end_facts(ended),
            )
        # Otherwise the runner would start, find no session, and use capacity until then.
        if expired.job_name and self.launcher is not None:
            await self.launcher.stop(expired.job_name)

    async def _act(self, suspect: Suspect, status: HolderStatus) -> None:
        record = suspect.record
        observation = self._observations[record.session_id, record.epoch]
        finding = Finding(
            suspect.overdue_ms,
            status.sign,
            time.monotonic() - observation.since,
            "starting" if record.state == "starting" else "running",
        )
        action = decide(finding, self.store.periods, self.thresholds)
        with bound_context(context_of(record)):
            if action is Action.WAIT:
                _report_waiting(finding, observation)
            elif action is Action.WRITE_END:
                await self.write_end(record, status)
            else:
                faults.point("operator.recover")
                cause: RecoveryCause = "died" if action is Action.RECOVER else "unstarted"
                await self.recover(record, cause, finding)

    async def write_end(self, record: SessionRecord, status: HolderStatus) -> None:
        """Write the end that the runner of ``record`` could not write, with the reason in ``status``.

        A session that has ended stays as it is.
        """
        is_written = await self.store.finish(
            record.session_id, record.epoch, status.reason, status.detail, room=record.room_url
        )
        if is_written:
            write = log.error if REASONS[status.reason] == "failed" else log.info
            write(
                "Session ended",
                event="session.ended",
                state=REASONS[status.reason],
                reason=status.reason,
                detail=status.detail,
                **end_facts(record),
            )

    async def statuses(self, records: Sequence[SessionRecord]) -> dict[str, HolderStatus]:
        """Ask the holders of all ``records``; return their answers by session id."""
        # One request after the other to each holder, so that a runner with hundreds of suspects is not
        # flooded; all holders at once, so that one that does not answer delays no other.
        by_holder: defaultdict[str, list[SessionRecord]] = defaultdict(list)
        for record in records:
            by_holder[record.runner_url or f"job {record.job_name}"].append(record)
        statuses: dict[str, HolderStatus] = {}
        await asyncio.gather(*(self._ask_holder(held, statuses) for held in by_holder.values()))
        return statuses

    async def _ask_holder(
        self, records: Sequence[SessionRecord], statuses: dict[str, HolderStatus]
    ) -> None:
        """Ask one holder about each of its sessions; one that does not answer is not asked again."""
        status = None
        for record in records:
            if status is None or status.sign not in {Sign.SILENT, Sign.REFUSED}:
                status = await self._status(record)
            statuses[record.session_id] = status

    async def _status(self, record: SessionRecord) -> HolderStatus:
        job_status = "unknown"
        if record.job_name and self.launcher is not None:
            # The launcher is asked first: it can confirm a death, which a silent runner cannot.
            with bound_context(context_of(record)):
                job_status = await self.launcher.status(record.job_name)
            if job_status == "ended":
                return HolderStatus(Sign.ENDED)
        if record.runner_url:
            status = await self.runners.status(record.runner_url, record.session_id, record.epoch)
            # The port may be that of a proxy beside the runner: what the launcher knows counts.
            is_contradicted = status.sign is Sign.REFUSED and job_status == "alive"
            return HolderStatus(Sign.SILENT) if is_contradicted else status
        return HolderStatus(Sign.HOLDS if job_status == "alive" else Sign.SILENT)

    async def recover(
        self,
        record: SessionRecord,
        cause: RecoveryCause,
        finding: Finding | None = None,
        sign: Sign | None = None,
        seen_ms: int | None = None,
    ) -> str:
        """Queue a session again; return the outcome that Redis decided.

        Args:
            record: The session.
            cause: Why.
            finding: What is known about a session whose lease has run out.
            sign: What is known about the holder of any other session.
            seen_ms: Milliseconds since the first sign of the death of any other session's holder.
        """
        if finding is not None:
            sign, seen_ms = finding.sign, finding.overdue_ms
        words = None if sign is None else sign.value
        recovery = await self.store.placement.recover(
            record.session_id, record.epoch, cause, sign=words, seen_ms=seen_ms
        )
        metrics.recoveries.labels(recovery.outcome).inc()
        if finding is not None and recovery.outcome in {"queued", "failed"}:
            _report_expired(record, finding)
        if recovery.outcome == "queued":
            with bound_context(replace(context_of(record), epoch=recovery.epoch)):
                log.warning(
                    "Session queued again",
                    event="session.recovered",
                    attempt=recovery.attempt,
                    why=cause,
                    sign=words,
                    seen_ms=seen_ms,
                    runner=record.runner_id,
                )
        elif recovery.outcome == "failed":
            ended = await self.store.session(record.session_id)
            log.error(
                "Session ended",
                event="session.ended",
                state=ended.state,
                reason=recovery.reason,
                **end_facts(ended),
            )
        return recovery.outcome


def _report_expired(record: SessionRecord, finding: Finding) -> None:
    """Log that a lease has run out, after Redis has decided what follows.

    Each sweep tries again while Redis accepts no writes, and so does each operator, but one of them gets the outcome.
    """
    log.warning(
        "Lease expired",
        event="lease.expired",
        overdue_ms=finding.overdue_ms,
        sign=finding.sign.value,
        runner=record.runner_id,
    )


def _report_waiting(finding: Finding, observation: _Observation) -> None:
    """Log once for each sign that a running session's death is not confirmed."""
    if finding.state == "running" and observation.reported is not finding.sign:
        observation.reported = finding.sign
        log.warning(
            "A lease has run out, but its holder's death is not confirmed",
            overdue_ms=finding.overdue_ms,
            sign=finding.sign.value,
        )
