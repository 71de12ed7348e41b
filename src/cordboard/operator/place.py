"""Placing one accepted join: on a warm runner, else by a cold start, else it waits."""

import time
from dataclasses import dataclass, field
from typing import Final

from cordboard.context import bound_context
from cordboard.contract.errors import LaunchError
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.launchers import Launcher
from cordboard.launchers.process import context_of
from cordboard.operator import metrics
from cordboard.operator.runners import Answer, Runners
from cordboard.store import Entry, Store

REFUSAL_PAUSE_S: Final = 2.0  # a runner that refused has another idea of its capacity than we

log = get_logger("operator")


@dataclass(slots=True)
class Placer:
    """Hands sessions over; remembers only which runners refused a moment ago.

    Attributes:
        cold: Cold starts of this operator that need looking at: session, epoch and name.
    """

    store: Store
    runners: Runners
    launcher: Launcher | None
    cold: dict[str, tuple[int, str]] = field(default_factory=dict)
    _refused_until: dict[str, float] = field(default_factory=dict)

    async def place(self, entry: Entry) -> bool:
        """Place an entry; False when nothing is free for it now.

        Raises:
            StoreUnavailableError: Redis is away; the entry stays this consumer's.
        """
        launch = entry.launch
        if launch is None:
            log.error(
                "An entry of the queue cannot be read", entry=entry.entry_id, why=entry.problem
            )
            await self.store.bury(entry)
            return True
        with bound_context(context_of(launch)):
            return await self._warm(entry, launch) or await self._cold(entry, launch)

    async def _warm(self, entry: Entry, launch: Launch) -> bool:
        given = await self.store.assign(launch.session_id, launch.epoch, not_to=self._not_to())
        if given.outcome == "gone":
            await self.store.acknowledge(entry.entry_id)
            return True
        if given.outcome == "none":
            return False
        answer, why = await self.runners.start(given.runner_url, launch)
        if answer is Answer.STARTED:
            await self.store.acknowledge(entry.entry_id)
            metrics.assignments.labels("warm").inc()
            log.info("Session handed over", event="launch.assigned", runner=given.runner_id)
            return True
        if answer is not Answer.GONE:
            self._refused_until[given.runner_id] = time.monotonic() + REFUSAL_PAUSE_S
        await self._take_back(launch, why, given.runner_id)
        return True

    async def _cold(self, entry: Entry, launch: Launch) -> bool:
        if self.launcher is None or not await self.launcher.room_for_more():
            return False
        name = self.launcher.name(launch)
        given = await self.store.assign(launch.session_id, launch.epoch, job_name=name)
        if given.outcome == "assigned":
            await self._launch(self.launcher, name, launch)
        await self.store.acknowledge(entry.entry_id)
        return True

    async def _launch(self, launcher: Launcher, name: str, launch: Launch) -> None:
        try:
            await launcher.launch(name, launch)
        except LaunchError as error:
            await self._take_back(launch, str(error), name)
            return
        self.cold[launch.session_id] = (launch.epoch, name)
        metrics.assignments.labels("cold").inc()
        log.info("Cold runner started", event="launch.job_created", job=name)

    async def _take_back(self, launch: Launch, why: str, from_whom: str) -> None:
        """Fence whoever was asked by raising the epoch, then let the session be placed anew."""
        log.warning("Hand-over failed", event="launch.failed", runner=from_whom, why=why)
        metrics.assignments.labels("failed").inc()
        recovery = await self.store.recover(launch.session_id, launch.epoch, refused=True)
        if recovery.outcome == "failed":
            log.error(
                "Session ended", event="session.ended", state="failed", reason=recovery.reason
            )

    def _not_to(self) -> list[str]:
        now = time.monotonic()
        self._refused_until = {
            runner: until for runner, until in self._refused_until.items() if until > now
        }
        return list(self._refused_until)
