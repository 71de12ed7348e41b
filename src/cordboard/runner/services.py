"""The objects that the runner's routes and background tasks share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from cordboard.runner.drain import Drain
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.registry import Registry
from cordboard.runner.session_starter import SessionStarter
from cordboard.runner.watch import Watch
from cordboard.store import UNLIMITED, JoinLimits, SessionStore


@dataclass(frozen=True, slots=True)
class RunnerServices:
    """The parts of one runner.

    Attributes:
        store: The session store.
        registry: The sessions of this runner.
        heartbeat: Renews the leases and registers the runner.
        starter: Starts sessions.
        drain: Ends the runner's work.
        watch: The content of the watch connections.
    """

    store: SessionStore
    registry: Registry
    heartbeat: Heartbeat
    starter: SessionStarter
    drain: Drain
    watch: Watch


def make_services(
    registry: Registry, bots: tuple[str, ...], grace_s: float, limits: JoinLimits = UNLIMITED
) -> RunnerServices:
    """Return the services of a runner.

    Args:
        registry: The sessions of the runner.
        bots: The names of the runner's bots; empty for a cold runner.
        grace_s: How long running sessions may go on while the runner drains, in seconds.
        limits: The limits for sessions that no gateway has accepted.
    """
    store = registry.host.store
    heartbeat, watch = Heartbeat(store, registry, bots), Watch()
    return RunnerServices(
        store=store,
        registry=registry,
        heartbeat=heartbeat,
        starter=SessionStarter(store, registry, limits),
        drain=Drain(registry, heartbeat, grace_s, watch.is_over),
        watch=watch,
    )


async def runner_services(request: Request) -> RunnerServices:
    """Return the services of the application that received `request`."""
    # FastAPI would run a plain function in a thread, which costs more than the call itself.
    services: RunnerServices = request.app.state.services
    return services


# The type of a route's parameter that receives the services.
Services = Annotated[RunnerServices, Depends(runner_services)]
