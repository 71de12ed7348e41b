"""The operator's process: its loops, and a small HTTP server for health and metrics."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from fastapi import FastAPI

from cordboard import __version__
from cordboard.contract.errors import NotReadyError
from cordboard.launchers import Launcher
from cordboard.operator.handover import ColdStartGate
from cordboard.operator.loop import Loop
from cordboard.operator.metrics import ShardFigures
from cordboard.operator.placement import Placer
from cordboard.operator.plan import Thresholds
from cordboard.operator.recovery import Sweeper
from cordboard.operator.runner_client import SessionRunners
from cordboard.operator.transfer import launcher_suffix
from cordboard.settings import Settings
from cordboard.store import SessionStore
from cordboard.web import health, problems, protection, settings_check
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.runner_client import RunnerClient


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
    """

    settings: Settings
    store: SessionStore
    launcher: Launcher | None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self, connections: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Run the loops during the block, then drain them.

        Args:
            connections: The connections to runners.
        """
        loops = self._loops(connections)
        self._tasks.extend(asyncio.create_task(loop.run(), name="operator") for loop in loops)
        yield
        await asyncio.gather(*(loop.drain() for loop in loops))
        # Only now: the loops give signs of life for their entries until the last hand-over is finished.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.launcher is not None:
            await self.launcher.close()

    def check_running(self) -> None:
        """Check that all loops run.

        Raises:
            NotReadyError: One of them does not.
        """
        if not self._tasks or any(task.done() for task in self._tasks):
            raise NotReadyError("The operator's loops do not run.")

    def _loops(self, connections: aiohttp.ClientSession) -> list[Loop]:
        settings, launcher = self.settings, self.launcher
        client = RunnerClient(HttpClient(connections), lambda: settings.control_secrets)
        runners = SessionRunners(client)
        name = consumer_name(launcher)
        # One name and one gate for all shards: the launcher's limit is for all of them together.
        gate = ColdStartGate()
        figures: dict[str, ShardFigures] = {}
        thresholds = Thresholds(crowd_percent=settings.crowd_percent)
        return [
            Loop(
                name,
                shard,
                Placer(shard, runners, launcher, settings.placement, gate),
                Sweeper(shard, runners, launcher, thresholds, figures),
            )
            for shard in self.store.shards
        ]


def create_app(
    settings: Settings, store: SessionStore, launcher: Launcher | None, *, local: bool = True
) -> FastAPI:
    """Return the operator's application; its loops run as long as the application does.

    Args:
        settings: The operator's settings.
        store: The session store, which the application opens and closes.
        launcher: Starts cold runners; None to start none.
        local: Whether the server listens on loopback only.
    """
    operator = Operator(settings, store, launcher)
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
