"""The runner's HTTP application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI

from cordboard import __version__
from cordboard.contract.errors import NotReadyError
from cordboard.runner import metrics
from cordboard.runner.bot_access import BotAccess
from cordboard.runner.bot_watch import BotWatch
from cordboard.runner.forkserver_watch import ForkServerWatch
from cordboard.runner.overload import OverloadMonitor
from cordboard.runner.readiness_watch import ReadinessWatch
from cordboard.runner.registry import Registry
from cordboard.runner.routes import router
from cordboard.runner.runner_protocol import RunnerProtocol
from cordboard.runner.services import RunnerServices
from cordboard.settings import Settings
from cordboard.store import SharedSettings
from cordboard.web import auth, health, problems, protection, settings_check

# The size of a request body. A launch's ``body`` is the largest part; it also fits one message to the
# bot process.
BODY_MAX_BYTES: Final = 1024 * 1024


def create_app(
    settings: Settings,
    services: RunnerServices,
    *,
    local: bool = True,
    watches_files: bool = False,
) -> FastAPI:
    """Return the runner's application; its background tasks run as long as it does.

    Args:
        settings: The settings of this process.
        services: The parts of the runner.
        local: Whether the runner listens on loopback only.
        watches_files: Whether to load the bot files again whenever one changes.
    """
    registry = services.registry
    _observe(registry)
    agreement = settings_check.shared_settings_of(services.store, "runner")
    lifespan = _Lifespan(services, agreement, settings.overload_lag_ms, watches_files)
    app = FastAPI(
        title="Cordboard runner",
        version=__version__,
        lifespan=lifespan.run,
        redirect_slashes=False,  # a redirect would repeat the Host header of the request
        docs_url=None,  # FastAPI's pages load their scripts from another site
        redoc_url=None,
    )
    app.include_router(router)
    health.add_health_routes(app, lifespan.check_ready)
    problems.add_problem_handlers(app)
    url = registry.host.url
    protection.add_protection(
        app,
        settings,
        local=local,
        secrets=lambda: auth.runner_secrets(settings.control_secrets, url),
        hosts=[urlsplit(url).hostname or "localhost"],
        body_max_bytes=BODY_MAX_BYTES,
    )
    return app


def connection_class(
    settings: Settings, services: RunnerServices, *, local: bool = True
) -> type[RunnerProtocol]:
    """Return the class of the runner's connections, which passes some of them to the bot processes.

    Args:
        settings: The settings of this process.
        services: The parts of the runner.
        local: Whether the runner listens on loopback only.
    """
    registry = services.registry
    names = (*settings.local_hosts, urlsplit(registry.host.url).hostname or "localhost")
    access = BotAccess(
        registry,
        lambda: settings.control_secrets,
        required=bool(settings.control_secrets) or not local,
        local_hosts=frozenset(name.lower() for name in names) if local else None,
    )
    return RunnerProtocol.with_access(access)


@dataclass(frozen=True, slots=True)
class _Lifespan:
    """The background tasks of a runner, and its readiness.

    Attributes:
        services: The parts of the runner.
        agreement: The settings that all components share.
        overload_lag_ms: The lag from which the runner is overloaded.
        watches_files: Whether to load the bot files again whenever one changes.
    """

    services: RunnerServices
    agreement: SharedSettings
    overload_lag_ms: float
    watches_files: bool

    @contextlib.asynccontextmanager
    async def run(self, app: FastAPI) -> AsyncIterator[None]:
        services = self.services
        app.state.services = services
        async with services.store, self.agreement:
            tasks = [asyncio.create_task(work, name=name) for name, work in self._tasks()]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):  # Redis may stop before the runner does
                await services.store.unregister(services.registry.host.runner_id)

    async def check_ready(self) -> None:
        """Check that this runner is registered and does not drain; without sessions also that its bots are ready.

        Free slots do not matter: Kubernetes deletes pods that are not ready first, which would be the busiest.

        Raises:
            NotReadyError: It drains, has not reached Redis yet, or has no sessions and no bot that is ready.
        """
        registry = self.services.registry
        if registry.is_draining or not registry.live:
            registry.check_accepting()
        if not self.services.heartbeat.is_registered.is_set():
            raise NotReadyError("This runner has not reached Redis yet.")
        self.agreement.check()

    def _tasks(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        registry, heartbeat = self.services.registry, self.services.heartbeat
        overload = OverloadMonitor(registry, heartbeat, self.overload_lag_ms)
        tasks = [("heartbeat", heartbeat.run()), ("overload", overload.run())]
        if registry.host.type == "warm":  # a cold runner ends with its session
            tasks.append(("fork server", ForkServerWatch(registry, heartbeat).run()))
            readiness = ReadinessWatch(registry, heartbeat)
            readiness.begin()
            tasks.append(("readiness", readiness.run()))
            if self.watches_files:
                tasks.append(("bot files", BotWatch(registry.host.fork_server).run()))
        return tasks


def _observe(registry: Registry) -> None:
    """Let the gauges read the registry at each scrape."""
    metrics.sessions_live.set_function(lambda: len(registry.live))
    metrics.free_slots.set_function(lambda: registry.free)
    metrics.bot_lag.set_function(
        lambda: max((session.loop_lag_ms for session in registry.live), default=0.0) / 1000
    )
