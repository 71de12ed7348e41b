"""The operator's process: its loops, and a small HTTP server for health and metrics."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp
from fastapi import FastAPI

from cordboard import __version__
from cordboard.contract.errors import NotReadyError, StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.launchers import ColdRunnerEnd, Launcher
from cordboard.operator.handover import ColdStartGate
from cordboard.operator.loop import Loop
from cordboard.operator.metrics import PlaneFigures
from cordboard.operator.placement import Placer
from cordboard.operator.plan import Thresholds
from cordboard.operator.pod_marks import PodMarks
from cordboard.operator.recovery import Sweeper
from cordboard.operator.runner_client import SessionRunners
from cordboard.operator.runner_watch import RunnerWatches
from cordboard.operator.transfer import launcher_suffix
from cordboard.settings import Settings
from cordboard.store import SessionStore
from cordboard.web import health, problems, protection, settings_check
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.runner_client import RunnerClient

if TYPE_CHECKING:  # its import takes long, and most operators need none
    from cordboard.kube import Kube

# How soon an operator watches the runners that another one, which is gone, has given sessions. Each refresh reads
# two small values for each runner.
WATCH_REFRESH_S: Final = 10.0

log = get_logger("operator")


@dataclass(slots=True)
class Operator:
    """One operator: a loop for each shard.

    Each operator serves all shards, instead of the shards being divided among operators: a cluster
    permits no command that reads two shards' streams, a shard that does not answer stops no other
    loop, and operators start and stop without handing anything over, because the consumer groups distribute
    the entries.

    Attributes:
        settings: The operator's settings.
        store: All shards.
        launcher: Starts cold runners; None if this operator starts none.
        kube: The cluster whose pods this operator marks as idle or busy; None to mark none.
    """

    settings: Settings
    store: SessionStore
    launcher: Launcher | None
    kube: "Kube | None" = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _loops: list[Loop] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self, connections: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Run the loops during the block, then drain them.

        Args:
            connections: The connections to runners.
        """
        # A watch connection for each busy runner: without a limit, as they are never free for others.
        async with open_connections(self.settings.tls_ca, limit=0) as watch_connections:
            watches = RunnerWatches(self._runner_client(watch_connections), self._check_runner)
            marks = PodMarks(self.kube, self.store.shards) if self.kube is not None else None
            self._loops.extend(self._make_loops(connections, watches, marks))
            self._start_tasks(watches, marks)
            yield
            await self._stop()
            await watches.close()

    def _start_tasks(self, watches: RunnerWatches, marks: PodMarks | None) -> None:
        work = [loop.run() for loop in self._loops]
        work.append(self._refresh_watches(watches))
        if marks is not None:
            work.append(marks.run())
        if self.launcher is not None:
            work.append(self._follow_cold_ends(self.launcher))
        self._tasks.extend(asyncio.create_task(item, name="operator") for item in work)

    async def _stop(self) -> None:
        loops = self._loops
        await asyncio.gather(*(loop.drain() for loop in loops))
        # Only now: the loops give signs of life for their entries until the last hand-over is finished.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.launcher is not None:
            await self.launcher.close()
        if self.kube is not None:
            await self.kube.close()

    def check_running(self) -> None:
        """Check that all loops run.

        Raises:
            NotReadyError: One of them does not.
        """
        if not self._tasks or any(task.done() for task in self._tasks):
            raise NotReadyError("The operator's loops do not run.")

    def _runner_client(self, connections: aiohttp.ClientSession) -> RunnerClient:
        return RunnerClient(HttpClient(connections), lambda: self.settings.control_secrets)

    async def _check_runner(self, runner_id: str) -> None:
        """Check the sessions of a runner, in all shards, one of which may not answer."""
        checks = (loop.death_check.check_runner(runner_id) for loop in self._loops)
        for outcome in await asyncio.gather(*checks, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _refresh_watches(self, watches: RunnerWatches) -> None:
        """Watch the runners that have sessions, also those that operators that are gone have assigned."""
        while True:
            busy: dict[str, str] = {}
            try:
                for loop in self._loops:
                    busy |= await loop.store.runners.busy(watches.runner_ids)
                watches.refresh(busy)
            except StoreUnavailableError as error:
                log.debug("The watched runners stay as they are", error=error)
            except Exception:
                log.exception("The watched runners could not be read")
            await asyncio.sleep(WATCH_REFRESH_S)

    async def _follow_cold_ends(self, launcher: Launcher) -> None:
        """Check the session of each cold runner that has ended; no more than the launcher may start."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._check_cold_end(await launcher.next_end()))

    async def _check_cold_end(self, end: ColdRunnerEnd) -> None:
        for loop in self._loops:  # its shard has the record; the others do nothing
            try:
                await loop.death_check.check_session(end.session_id, end.epoch)
            except StoreUnavailableError as error:
                log.debug("A cold runner's session cannot be checked", error=error)
            except Exception:
                log.exception("A cold runner's session could not be checked")

    def _make_loops(
        self, connections: aiohttp.ClientSession, watches: RunnerWatches, marks: PodMarks | None
    ) -> list[Loop]:
        settings, launcher = self.settings, self.launcher
        runners = SessionRunners(self._runner_client(connections))
        name = consumer_name(launcher)
        # One name and one gate for all shards: the launcher's limit is for all of them together.
        gate = ColdStartGate()
        figures = PlaneFigures(len(self.store.shards), settings.headroom_slots)
        thresholds = Thresholds(crowd_percent=settings.crowd_percent)

        def on_assigned(runner_id: str, url: str) -> None:
            watches.add(runner_id, url)
            if marks is not None:
                marks.add_session(runner_id)

        return [
            Loop(
                name,
                shard,
                Placer(shard, runners, launcher, settings.placement, gate, on_assigned=on_assigned),
                Sweeper(shard, runners, launcher, thresholds, figures),
            )
            for shard in self.store.shards
        ]


def create_app(
    settings: Settings,
    store: SessionStore,
    launcher: Launcher | None,
    *,
    kube: "Kube | None" = None,
    local: bool = True,
) -> FastAPI:
    """Return the operator's application; its loops run as long as the application does.

    Args:
        settings: The operator's settings.
        store: The session store, which the application opens and closes.
        launcher: Starts cold runners; None to start none.
        kube: The cluster whose pods the operator marks as idle or busy, which it closes; None to mark none.
        local: Whether the server listens on loopback only.
    """
    operator = Operator(settings, store, launcher, kube)
    agreement = settings_check.shared_settings_of(store, "operator")

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with (
            store,
            agreement,
            open_connections(settings.tls_ca) as connections,
            operator.running(connections),
        ):
            yield

    async def check_ready() -> None:
        operator.check_running()
        agreement.check()
        await store.check_writable()

    app = FastAPI(
        title="Cordboard operator",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would repeat the request's Host header
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    health.add_health_routes(app, check_ready)
    problems.add_problem_handlers(app)
    protection.add_protection(app, settings, local=local)
    return app


def consumer_name(launcher: Launcher | None) -> str:
    """Return a unique name for this operator, with its host and the abilities of ``launcher``."""
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    return name + launcher_suffix(launcher)
