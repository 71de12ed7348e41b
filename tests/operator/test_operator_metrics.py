"""The gauge by which a cluster scales the runners."""

import contextlib

from prometheus_client import REGISTRY

from cordboard.contract.launch import Launch
from cordboard.operator import metrics
from cordboard.operator.metrics import PlaneFigures, ShardFigures
from cordboard.operator.recovery import Sweeper
from cordboard.operator.runner_client import SessionRunners
from cordboard.store import RedisStore
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.runner_client import RunnerClient


def slots_wanted() -> float | None:
    """What a scrape of this process finds."""
    return REGISTRY.get_sample_value("cordboard_slots_wanted")


def forget() -> None:
    """Remove what another test of this process has left."""
    with contextlib.suppress(KeyError):
        REGISTRY.unregister(metrics.slots_wanted)


def test_slots_wanted_is_absent_until_all_shards_are_known() -> None:
    """An autoscaler that saw a part of the sessions would remove runners that others need."""
    forget()
    figures = PlaneFigures(shards=2, headroom_slots=3)
    figures.update("one", ShardFigures(live=5))
    assert slots_wanted() is None
    figures.update("two", ShardFigures(live=2))
    assert slots_wanted() == 10
    figures.update("one", ShardFigures(live=1))
    assert slots_wanted() == 6


async def test_slots_wanted_has_queued_and_live_sessions_once(store: RedisStore) -> None:
    """Two sessions, of which one is queued, and one slot of headroom."""
    forget()
    for name in ("a", "b", "over"):
        await store.accept(Launch(name, f"webrtc:{name}", epoch=1), queue_max=9)
    record = await store.session("a")
    assert (await store.placement.assign("a", record.epoch, job_name="job")).outcome == "assigned"
    await store.leave(session_id="over")
    async with open_connections(None) as connections:
        runners = SessionRunners(RunnerClient(HttpClient(connections), lambda: ("s",)))
        await Sweeper(store, runners, None, figures=PlaneFigures(headroom_slots=1)).sweep()
    assert slots_wanted() == 3
