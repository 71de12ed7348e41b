"""Hand-overs: the part of placing a join that takes time, after Redis has decided where the join goes.

A hand-over runs in a task of its own, so that a slow runner or cluster delays no other join. If its operator
dies, the entry stays in the queue and another operator repeats the hand-over: ``/start`` and the start of a
cold runner are idempotent for one session and epoch.
"""

import time
from dataclasses import dataclass, field
from typing import Final, Protocol

from cordboard import faults
from cordboard.context import bound_context
from cordboard.context.launch import context_of
from cordboard.contract.errors import LaunchError
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.launchers import Launcher
from cordboard.operator import metrics
from cordboard.operator.runner_client import SessionRunners, StartOutcome, StartResult
from cordboard.store import Assignment, RedisStore

# A runner that refused is not chosen for this long; by then it has registered its real capacity.
REFUSAL_PAUSE_S: Final = 2.0

# A launcher without capacity is not asked for this long: each question may be one to a cluster.
COLD_PAUSE_S: Final = 0.25

log = get_logger("operator")


class HandOver(Protocol):
    """The part of placing one queue entry that takes time."""

    async def run(self) -> bool:
        """Run the hand-over; return whether the entry is done. Otherwise it has to wait after all."""


@dataclass(frozen=True, slots=True)
class NothingToDo:
    """The hand-over of an entry that needs none."""

    async def run(self) -> bool:
        """Return True: the entry is done."""
        return True


@dataclass(slots=True)
class RefusingRunners:
    """The runners that refused a session, or did not answer, a moment ago."""

    _until: dict[str, float] = field(default_factory=dict)

    def add(self, runner_id: str, pause_s: float) -> None:
        """Exclude runner ``runner_id`` for ``pause_s`` seconds."""
        self._until[runner_id] = time.monotonic() + pause_s

    def ids(self) -> list[str]:
        """Return the ids of the runners that are excluded now."""
        now = time.monotonic()
        self._until = {runner_id: until for runner_id, until in self._until.items() if until > now}
        return list(self._until)


@dataclass(slots=True)
class ColdStartGate:
    """Lets one cold start begin at a time: two that ask the launcher at once could exceed its limit.

    All who use the launcher share one gate.
    """

    _is_taken: bool = False
    _opens_at: float = 0.0

    def try_enter(self) -> bool:
        """Return whether a cold start may begin now; if so, ``leave`` has to follow."""
        if self._is_taken or time.monotonic() < self._opens_at:
            return False
        self._is_taken = True
        return True

    def pause(self, seconds: float) -> None:
        """Keep the gate closed for ``seconds``."""
        self._opens_at = time.monotonic() + seconds

    def leave(self) -> None:
        """Let the next cold start begin."""
        self._is_taken = False


@dataclass(frozen=True, slots=True)
class ColdStart:
    """A cold start that may still fail.

    Attributes:
        session_id: The session.
        epoch: Its epoch.
        job_name: The launcher's name of the start.
    """

    session_id: str
    epoch: int
    job_name: str


@dataclass(frozen=True, slots=True)
class WarmHandOver:
    """The hand-over of a session to a warm runner.

    Attributes:
        store: The session's shard.
        runners: Sends the request.
        refusing: Gets the runner if it refuses.
        entry_id: The queue entry.
        launch: The session.
        assignment: The runner that Redis has assigned.
    """

    store: RedisStore
    runners: SessionRunners
    refusing: RefusingRunners
    entry_id: str
    launch: Launch
    assignment: Assignment

    async def run(self) -> bool:
        """Send ``POST /start``; if the runner does not start the session, queue it again."""
        runner_id = self.assignment.runner_id
        with bound_context(context_of(self.launch)):
            # An operator that dies between these two points leaves a session that may or may not have
            # started. The next operator repeats the request, which a runner answers as before.
            faults.point("operator.start.before")
            result = await self.runners.start(self.assignment.runner_url, self.launch)
            faults.point("operator.start.after")
            if result.outcome is StartOutcome.STARTED or await self._runs_anyway(result):
                await self.store.queue.acknowledge(self.entry_id)
                metrics.assignments.labels("warm").inc()
                log.info("Session handed over", event="launch.assigned", runner=runner_id)
        return True

    async def _runs_anyway(self, result: StartResult) -> bool:
        """Queue the session again, unless its bot holds the room in spite of the failed request.

        The higher epoch fences the runner that was asked: it may have started the bot although its answer was lost.
        """
        runner_id = self.assignment.runner_id
        if result.outcome is not StartOutcome.GONE:
            pause_s = REFUSAL_PAUSE_S
            if result.outcome is StartOutcome.UNREACHABLE:  # it is dead; Redis knows in one lease
                pause_s = self.store.periods.lease_s
            self.refusing.add(runner_id, pause_s)
        if await queue_again(self.store, self.launch) == "held":
            return True
        log.warning("Hand-over failed", event="launch.failed", runner=runner_id, why=result.reason)
        metrics.assignments.labels("failed").inc()
        return False


@dataclass(frozen=True, slots=True)
class ColdHandOver:
    """The hand-over of a session to a cold runner that is started for it.

    Attributes:
        store: The session's shard.
        launcher: Starts the runner.
        gate: The gate that this hand-over has entered.
        starts: Gets the cold start, by session id, so that a start that fails is noticed.
        entry_id: The queue entry.
        launch: The session.
    """

    store: RedisStore
    launcher: Launcher
    gate: ColdStartGate
    starts: dict[str, ColdStart]
    entry_id: str
    launch: Launch

    async def run(self) -> bool:
        """Start a cold runner, unless the launcher has no capacity."""
        try:
            with bound_context(context_of(self.launch)):
                return await self._start()
        finally:
            self.gate.leave()

    async def _start(self) -> bool:
        if not await self.launcher.reserve():
            self.gate.pause(COLD_PAUSE_S)
            return False
        # Capacity is reserved before the session is assigned: an assigned session without capacity would
        # have to be queued again, with a new epoch.
        # Redis stores the name before the start, so that every operator can ask the launcher about it.
        name = self.launcher.job_name(self.launch)
        assignment = await self.store.placement.assign(
            self.launch.session_id, self.launch.epoch, job_name=name
        )
        if assignment.outcome == "assigned":
            metrics.stages.labels("queued").observe(assignment.queued_ms / 1000)
            await self._launch(name)
        await self.store.queue.acknowledge(self.entry_id)
        return True

    async def _launch(self, name: str) -> None:
        faults.point("operator.launch.before")
        try:
            await self.launcher.start(name, self.launch)
        except LaunchError as error:
            log.warning("Cold start failed", event="launch.failed", job=name, why=str(error))
            metrics.assignments.labels("failed").inc()
            # With a higher epoch: the launcher may have started the runner in spite of its error.
            await queue_again(self.store, self.launch)
            return
        faults.point("operator.launch.after")
        start = ColdStart(self.launch.session_id, self.launch.epoch, name)
        self.starts[start.session_id] = start
        metrics.assignments.labels("cold").inc()
        log.info("Cold runner started", event="launch.job_created", job=name)


async def queue_again(store: RedisStore, launch: Launch) -> str:
    """Queue a session again whose hand-over failed, and return the outcome that Redis decided.

    Args:
        store: The session's shard.
        launch: The session, with the epoch of the failed hand-over.
    """
    recovery = await store.placement.recover(launch.session_id, launch.epoch, "refused")
    if recovery.outcome == "failed":
        log.error("Session ended", event="session.ended", state="failed", reason=recovery.reason)
    return recovery.outcome
