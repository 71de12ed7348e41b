"""The operator's process: its loops, and a small HTTP server for health and metrics."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator

from fastapi import FastAPI

from cordboard import __version__
from cordboard.contract.errors import NotReadyError
from cordboard.launchers import Launcher
from cordboard.operator.loop import Loop
from cordboard.operator.metrics import Figures
from cordboard.operator.placement import ColdTurn, Placer
from cordboard.operator.recovery import Sweeper
from cordboard.operator.runner_client import SessionRunners
from cordboard.operator.transfer import cold_ending_of
from cordboard.settings import Settings
from cordboard.store import RedisStore
from cordboard.web import health, problems, protection, settings_check
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.runner_client import RunnerClient


def create_app(
    settings: Settings, store: RedisStore, launcher: Launcher | None, *, local: bool = True
) -> FastAPI:
    """Return the operator: its loops run as long as the application does."""
    working: list[asyncio.Task[None]] = []
    agreed = settings_check.shared_settings_of(store, "operator")

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with store, agreed, open_connections(settings.tls_ca) as connections:
            runners = SessionRunners(
                RunnerClient(HttpClient(connections), lambda: settings.control_secrets)
            )
            name, turn, figures = consumer_name(launcher), ColdTurn(), dict[str, Figures]()
            # Loops for each shard, rather than shards shared out among operators: a cluster lets
            # no command read two shards' streams, a shard that is away stops no other's loops, and
            # operators come and go without anything to hand over: the groups share out what waits.
            loops = [
                Loop(
                    name,
                    shard,
                    Placer(shard, runners, launcher, settings.placement, turn),
                    Sweeper(shard, runners, launcher, settings.crowd_percent, figures),
                )
                for shard in store.shards
            ]
            working.extend(asyncio.create_task(loop.run(), name="operator") for loop in loops)
            yield
            await asyncio.gather(*(loop.drain() for loop in loops))
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            if launcher is not None:
                await launcher.close()

    async def ready() -> None:
        if not working or any(task.done() for task in working):
            raise NotReadyError("The operator's loops do not run.")
        agreed.check()
        await store.check_writable()

    app = FastAPI(
        title="Cordboard operator",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would repeat whatever Host was sent
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    health.add_health_routes(app, ready)
    problems.add_problem_handlers(app)
    protection.add_protection(app, settings, local=local)
    return app


def consumer_name(launcher: Launcher | None = None) -> str:
    """Return a unique name of this operator, with its machine and what it can start."""
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    return name + cold_ending_of(launcher)
