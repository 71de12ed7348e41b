"""Placing one accepted join: on a warm runner, else by a cold start, else it waits."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from cordboard import faults
from cordboard.context import bound_context
from cordboard.context.launch import context_of
from cordboard.contract.errors import LaunchError
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.launchers import Launcher, has_bot
from cordboard.operator import metrics
from cordboard.operator.runner_client import SessionRunners, StartOutcome, StartResult
from cordboard.store import Assignment, QueueEntry, RedisStore

REFUSAL_PAUSE_S: Final = 2.0  # a runner that refused has another idea of its capacity than we
COLD_PAUSE_S: Final = 0.25  # before a launcher without room is asked again

log = get_logger("operator")

HandOver = Callable[[], Awaitable[bool]]
"""What is left to do for an entry that was claimed; False when it has to wait after all."""


async def _nothing_to_do() -> bool:
    return True


@dataclass(slots=True)
class ColdTurn:
    """Whose turn it is to start a cold runner: one at a time, so that no more start than may."""

    taken: bool = False
    again_at: float = 0.0


@dataclass(slots=True)
class Placer:
    """Hands sessions over; remembers only which runners refused a moment ago.

    Attributes:
        placement: ``spread`` or ``pack`` (see the setting).
        turn: The turn of cold starts, shared by all who use the launcher.
        cold: Cold starts of this operator that need looking at: session, epoch and name.
    """

    store: RedisStore
    runners: SessionRunners
    launcher: Launcher | None
    placement: str = "spread"
    turn: ColdTurn = field(default_factory=ColdTurn)
    cold: dict[str, tuple[int, str]] = field(default_factory=dict)
    _refused_until: dict[str, float] = field(default_factory=dict)

    async def claim(self, entry: QueueEntry) -> HandOver | None:
        """Decide where an entry goes; return what is left to do, or None when nothing is free.

        What is left (the runner's answer, a cold start) takes time, and others need not wait for it.

        Raises:
            StoreUnavailableError: Redis is away; the entry stays this consumer's.
        """
        launch = entry.launch
        if launch is None:
            await self._bury(entry)
            return _nothing_to_do
        with bound_context(context_of(launch)):
            given = await self.store.assign(
                launch.session_id,
                launch.epoch,
                placement=self.placement,
                not_to=self._not_to(),
            )
            if given.outcome == "gone" and not self._is_ours_to_repeat(given):
                await self.store.acknowledge(entry.entry_id)
                return _nothing_to_do
            if given.outcome == "assigned":
                metrics.stages.labels("queued").observe(given.queued_ms / 1000)
                return lambda: self._start(entry, launch, given)
            return self._cold(entry, launch)

    def _is_ours_to_repeat(self, given: Assignment) -> bool:
        """Say whether it may be a cold start whose operator died in the middle of it."""
        return given.state == "starting" and self.launcher is not None

    async def _start(self, entry: QueueEntry, launch: Launch, given: Assignment) -> bool:
        with bound_context(context_of(launch)):
            faults.point("operator.start.before")
            result = await self.runners.start(given.runner_url, launch)
            faults.point("operator.start.after")
            started = result.outcome is StartOutcome.STARTED
            if started or await self._runs_after_all(launch, result, given):
                await self.store.acknowledge(entry.entry_id)
                metrics.assignments.labels("warm").inc()
                log.info("Session handed over", event="launch.assigned", runner=given.runner_id)
        return True

    def _cold(self, entry: QueueEntry, launch: Launch) -> HandOver | None:
        """Return what starts a cold runner, when it is its turn."""
        launcher = self.launcher
        if launcher is None or not has_bot(launcher, launch.bot):
            return None
        if self.turn.taken or time.monotonic() < self.turn.again_at:
            return None
        self.turn.taken = True

        async def start() -> bool:
            try:
                with bound_context(context_of(launch)):
                    return await self._start_cold(launcher, entry, launch)
            finally:
                self.turn.taken = False

        return start

    async def _start_cold(self, launcher: Launcher, entry: QueueEntry, launch: Launch) -> bool:
        if not await launcher.room_for_more():
            self.turn.again_at = time.monotonic() + COLD_PAUSE_S
            return False
        name = launcher.name(launch)
        given = await self.store.assign(launch.session_id, launch.epoch, job_name=name)
        if given.outcome == "assigned":
            metrics.stages.labels("queued").observe(given.queued_ms / 1000)
            await self._launch(launcher, name, launch)
        await self.store.acknowledge(entry.entry_id)
        return True

    async def _launch(self, launcher: Launcher, name: str, launch: Launch) -> None:
        faults.point("operator.launch.before")
        try:
            await launcher.launch(name, launch)
        except LaunchError as error:
            log.warning("Cold start failed", event="launch.failed", job=name, why=str(error))
            metrics.assignments.labels("failed").inc()
            await self._again(launch)
            return
        faults.point("operator.launch.after")
        self.cold[launch.session_id] = (launch.epoch, name)
        metrics.assignments.labels("cold").inc()
        log.info("Cold runner started", event="launch.job_created", job=name)

    async def _runs_after_all(self, launch: Launch, result: StartResult, given: Assignment) -> bool:
        """Fence whoever was asked by raising the epoch; True when its bot is in the room already."""
        if result.outcome is not StartOutcome.GONE:
            pause_s = REFUSAL_PAUSE_S
            if (
                result.outcome is StartOutcome.UNREACHABLE
            ):  # dead, most likely: until the store knows it too
                pause_s = self.store.periods.lease_s
            self._refused_until[given.runner_id] = time.monotonic() + pause_s
        if await self._again(launch) == "held":
            return True
        log.warning(
            "Hand-over failed", event="launch.failed", runner=given.runner_id, why=result.reason
        )
        metrics.assignments.labels("failed").inc()
        return False

    async def _again(self, launch: Launch) -> str:
        recovery = await self.store.recover(launch.session_id, launch.epoch, "refused")
        if recovery.outcome == "failed":
            log.error(
                "Session ended", event="session.ended", state="failed", reason=recovery.reason
            )
        return recovery.outcome

    async def _bury(self, entry: QueueEntry) -> None:
        """Put what cannot be read aside; the session that it names, if any, will not start."""
        log.error("An entry of the queue cannot be read", entry=entry.entry_id, why=entry.problem)
        await self.store.dead_letter(entry)
        sid, epoch = entry.fields.get("session_id", ""), entry.fields.get("epoch", "")
        if (
            sid
            and epoch.isdigit()
            and await self.store.finish(sid, int(epoch), "launch_failed", entry.problem)
        ):
            log.error(
                "Session ended",
                event="session.ended",
                state="failed",
                reason="launch_failed",
                session=sid,
            )

    def _not_to(self) -> list[str]:
        now = time.monotonic()
        self._refused_until = {
            runner: until for runner, until in self._refused_until.items() if until > now
        }
        return list(self._refused_until)
