"""Fixtures that several rooms need: a real Redis or Valkey, and a store of one's own in it.

And how tests are shared out where they run side by side.
"""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from cordboard.store import RedisStore
from cordboard.store.keys import Keys
from cordboard.up.embedded import EmbeddedServer
from tests_support import StandIn, served

if TYPE_CHECKING:
    from cluster_support import Cluster

_numbers = itertools.count()


@pytest.hookimpl(optionalhook=True)  # with pytest-xdist alone
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together what shares something."""
    from parallel_support import ByWhatIsShared

    return ByWhatIsShared(config, log)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real server, started for this run."""
    server = EmbeddedServer()
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    """A store whose keys no other test touches."""
    async with RedisStore(redis_url, Keys(f"t{os.getpid()}-{next(_numbers)}")) as opened:
        yield opened


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    """A stand-in for a runner."""
    runner = StandIn()
    routes = [Route("/{path:path}", runner.answer, methods=["GET", "POST", "PATCH"])]
    async with served(Starlette(routes=routes)) as url:
        runner.url = url
        yield runner


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator["Cluster"]:
    """A namespace of one's own in a real cluster."""
    from cluster_support import close_cluster, open_cluster

    opened = open_cluster(tmp_path)
    yield opened
    close_cluster(opened)
