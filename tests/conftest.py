"""Fixtures of several packages: a real Redis or Valkey, and a store of one's own in it.

And how tests are shared out where they run side by side.
"""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from cordboard.store import RedisStore
from cordboard.store.keys import Keys
from cordboard.up import embedded
from fast_support import is_fast, may_be_fast
from plane_support import ManyDatabases
from tests_support import StandIn, served

if TYPE_CHECKING:
    from cluster_support import Cluster

_numbers = itertools.count()

# How fast inputs are made depends on the machine and on coverage, and says nothing about the code.
hypothesis.settings.register_profile(
    "cordboard", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "cordboard-fast", hypothesis.settings.get_profile("cordboard"), max_examples=20
)


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer inputs with `-m fast`; run another release of Redis or Valkey where REDIS_TEST_SERVER names one."""
    if program := os.environ.get("REDIS_TEST_SERVER"):
        embedded.find_server = lambda: program
    is_fast_lane = config.option.markexpr == "fast"
    hypothesis.settings.load_profile("cordboard-fast" if is_fast_lane else "cordboard")


@pytest.hookimpl(optionalhook=True)  # with pytest-xdist alone
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together what shares something."""
    from parallel_support import ByWhatIsShared

    return ByWhatIsShared(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the fast tests; with `-m fast` this comes before the others are left out."""
    for item in items:
        if is_fast(item.path, set(getattr(item, "fixturenames", ()))):
            item.add_marker("fast")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m fast`, do not import modules without fast tests: that takes longer than the tests."""
    if config.option.markexpr != "fast" or collection_path.suffix != ".py":
        return None
    return None if may_be_fast(collection_path) else True


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's settings is seen."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CORDBOARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real server, started for this run; `own_database` gives a part of it."""
    server = ManyDatabases()
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
