"""The applications of all parts, in this process, for what must hold at each of them."""

from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import FastAPI

from cordboard.edge.app import create_app as edge
from cordboard.gateway.app import create_app as gateway
from cordboard.interface.app import create_app as interface
from cordboard.operator.app import create_app as operator
from cordboard.runner.app import create_app as runner
from cordboard.runner.registry import Registry
from cordboard.runner.runner_host import RunnerHost
from cordboard.runner.services import RunnerServices, make_services
from cordboard.settings import Settings
from cordboard.store import SessionStore, open_store

PARTS = ("gateway", "operator", "runner", "interface", "edge")
RUNNER_URL = "http://runner.test:7861"


def make(
    part: str, store: SessionStore | None = None, *, local: bool = True, **over: Any
) -> FastAPI:
    """Return a part's application; without a store it has one that never answers."""
    store = store or open_store("redis://127.0.0.1:1/0")
    settings = Settings(**over)
    if part == "gateway":
        return gateway(settings, store, local=local)
    if part == "operator":
        return operator(settings, store, None, local=local)
    if part == "interface":
        return interface(settings, local=local)
    if part == "edge":
        return edge(settings, local=local)
    bare = bare_runner(store)
    app = runner(settings, bare, local=local)
    app.state.services = bare  # as the lifespan does, which most tests do without
    return app


def bare_runner(store: SessionStore, url: str = RUNNER_URL) -> RunnerServices:
    """Return the services of a runner without a fork server: it answers requests and starts nothing."""
    fork_server: Any = SimpleNamespace(bots={"default": "bot.py"}, bots_with_readyz=[])
    host = RunnerHost(store, fork_server, "runner-1", url)
    return make_services(Registry(host, capacity=0), ("default",), grace_s=1.0)


def client(app: FastAPI, base: str = "http://localhost", **more: Any) -> httpx.AsyncClient:
    """Return a client of an application in this process; what it raises is raised here."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base, **more)
