"""Placing an accepted join: on a warm runner, else on a cold one, else it waits."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cordboard.context import bound_context
from cordboard.context.launch import context_of
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.launchers import Launcher, has_bot
from cordboard.operator import metrics
from cordboard.operator.handover import (
    ColdHandOver,
    ColdStart,
    ColdStartGate,
    HandOver,
    NothingToDo,
    RefusingRunners,
    WarmHandOver,
)
from cordboard.operator.runner_client import SessionRunners
from cordboard.store import Assignment, QueueEntry, RedisStore

log = get_logger("operator")


@dataclass(slots=True)
class Placer:
    """Decides where joins go.

    Attributes:
        store: The shard of the joins.
        runners: Sends requests to warm runners.
        launcher: Starts cold runners; None if this operator starts none.
        placement: ``spread`` or ``pack``, as in the setting.
        gate: The gate of cold starts, shared by all who use the launcher.
        cold_starts: The cold starts of this operator that may still fail, by session id.
        on_assigned: Called with the id and the URL of a warm runner that gets a session.
    """

    store: RedisStore
    runners: SessionRunners
    launcher: Launcher | None
    placement: str = "spread"
    gate: ColdStartGate = field(default_factory=ColdStartGate)
    cold_starts: dict[str, ColdStart] = field(default_factory=dict)
    on_assigned: Callable[[str, str], None] = lambda _runner_id, _url: None
    _refusing: RefusingRunners = field(default_factory=RefusingRunners)

    async def place(self, entry: QueueEntry) -> HandOver | None:
        """Decide where an entry of the queue goes.

        Args:
            entry: The entry, which this operator has read.

        Returns:
            The hand-over, which the caller has to run; None if no runner is free.

        Raises:
            StoreUnavailableError: Redis does not answer. The entry stays this operator's.
        """
        launch = entry.launch
        if launch is None:
            await self._set_aside(entry)
            return NothingToDo()
        with bound_context(context_of(launch)):
            assignment = await self.store.placement.assign(
                launch.session_id,
                launch.epoch,
                placement=self.placement,
                excluded=self._refusing.ids(),
            )
            # ``gone``: the session has ended or runs, or its epoch is stale. Nothing is left to place.
            if assignment.outcome == "gone" and not self._may_be_unfinished(assignment):
                await self.store.queue.acknowledge(entry.entry_id)
                return NothingToDo()
            if assignment.outcome == "assigned":
                metrics.stages.labels("queued").observe(assignment.queued_ms / 1000)
                self.on_assigned(assignment.runner_id, assignment.runner_url)
                return WarmHandOver(
                    self.store, self.runners, self._refusing, entry.entry_id, launch, assignment
                )
            return self._cold_hand_over(entry, launch)

    def _may_be_unfinished(self, assignment: Assignment) -> bool:
        """Return whether the session may be a cold start whose operator died before it finished."""
        return assignment.state == "starting" and self.launcher is not None

    def _cold_hand_over(self, entry: QueueEntry, launch: Launch) -> HandOver | None:
        launcher = self.launcher
        if launcher is None or not has_bot(launcher, launch.bot) or not self.gate.try_enter():
            return None
        return ColdHandOver(
            self.store, launcher, self.gate, self.cold_starts, entry.entry_id, launch
        )

    async def _set_aside(self, entry: QueueEntry) -> None:
        """Move an unreadable entry to the dead letters, and end the session that it names, if any."""
        # A newer release may have written it. It is kept with the reason, instead of blocking the queue.
        log.error("An entry of the queue is unreadable", entry=entry.entry_id, why=entry.problem)
        await self.store.queue.dead_letter(entry)
        session_id, epoch = entry.fields.get("session_id", ""), entry.fields.get("epoch", "")
        if not session_id or not epoch.isdigit():
            return
        if await self.store.finish(session_id, int(epoch), "launch_failed", entry.problem):
            log.error(
                "Session ended",
                event="session.ended",
                state="failed",
                reason="launch_failed",
                session=session_id,
            )
