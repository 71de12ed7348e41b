"""The marks of runners' pods: written on a change between idle and busy, and without harm to anything else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import pytest

from cordboard.contract.errors import ClusterUnavailableError, NotFoundError
from cordboard.contract.launch import Launch
from cordboard.kube import Kube
from cordboard.operator.pod_marks import BUSY, IDLE, PodMarks
from cordboard.store import RedisStore, Registration
from tests_support import until


@dataclass
class PodCluster:
    """Stands for the Kubernetes API: keeps the annotations of pods, and each request."""

    annotations: dict[str, Mapping[str, str | None]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    is_away: bool = False

    async def annotate(
        self, kind: str, name: str, namespace: str, annotations: Mapping[str, str | None]
    ) -> None:
        assert kind == "Pod"
        pod = f"{namespace}/{name}"
        self.requests.append(pod)
        if self.is_away:
            raise ClusterUnavailableError("away")
        if pod in self.gone:
            raise NotFoundError("gone")
        self.annotations[pod] = annotations


@contextlib.asynccontextmanager
async def marking(store: RedisStore, cluster: PodCluster) -> AsyncIterator[PodMarks]:
    """Yield the marks of one operator, which go on inside the block."""
    marks = PodMarks(cast("Kube", cluster), store.shards, interval_s=0.05, retry_s=0.05)
    task = asyncio.create_task(marks.run())
    yield marks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def give(store: RedisStore, session_id: str) -> None:
    """Assign a new session to the warm runner."""
    launch = Launch(session_id, f"webrtc:{session_id}", epoch=1)
    epoch = (await store.accept(launch, queue_max=9)).epoch
    assert (await store.placement.assign(session_id, epoch)).outcome == "assigned"


@pytest.fixture
async def runner(store: RedisStore) -> Registration:
    made = Registration("r1", "http://127.0.0.1:1", 4, pod="bots/r1")
    await store.register(made)
    return made


async def test_marks_change_with_the_first_and_the_last_session(
    store: RedisStore, runner: Registration
) -> None:
    """Not with those between them, whichever of two operators looks."""
    cluster = PodCluster()
    async with marking(store, cluster), marking(store, cluster):
        await until(lambda: cluster.annotations == {"bots/r1": IDLE})
        await give(store, "a")
        await until(lambda: cluster.annotations == {"bots/r1": BUSY})
        await until(lambda: len(cluster.requests) == 4)
        await give(store, "b")
        await store.leave(session_id="a")
        await asyncio.sleep(1.5)  # some rounds
        assert len(cluster.requests) == 4
        await store.leave(session_id="b")
        await until(lambda: cluster.annotations == {"bots/r1": IDLE})


async def test_new_session_is_marked_at_once(store: RedisStore, runner: Registration) -> None:
    """Without waiting for the next regular round."""
    cluster = PodCluster()
    async with marking(store, cluster) as marks:
        marks.interval_s = 3600
        await until(lambda: cluster.annotations == {"bots/r1": IDLE})
        await give(store, "a")
        marks.add_session("r1")
        await until(lambda: cluster.annotations == {"bots/r1": BUSY})


async def test_cluster_that_is_away_is_asked_again(store: RedisStore, runner: Registration) -> None:
    """With growing pauses; the marks are right when it is back."""
    cluster = PodCluster(is_away=True)
    await give(store, "a")
    async with marking(store, cluster):
        await until(lambda: len(cluster.requests) == 4)
        assert cluster.annotations == {}
        cluster.is_away = False
        await until(lambda: cluster.annotations == {"bots/r1": BUSY})


async def test_pod_that_is_gone_is_not_asked_for_again(
    store: RedisStore, runner: Registration
) -> None:
    """Its registration lasts longer than the pod; other pods are marked."""
    await store.register(Registration("r2", "http://127.0.0.1:2", 4, pod="bots/r2"))
    await store.register(Registration("r3", "http://127.0.0.1:3", 4))  # in no pod
    cluster = PodCluster(gone={"bots/r1"})
    async with marking(store, cluster):
        await until(lambda: cluster.annotations == {"bots/r2": IDLE})
        await asyncio.sleep(1.2)
        assert sorted(cluster.requests) == ["bots/r1", "bots/r2"]
