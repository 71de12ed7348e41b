"""List-then-watch against a real API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from cluster_support import Cluster, cluster_config, fault, need_faults, pod_spec
from cordboard.contract.errors import (
    ClusterExpiredError,
    ClusterForbiddenError,
    NotFoundError,
)
from cordboard.kube import (
    Kube,
    KubeTimes,
    Listing,
    ObjectChange,
    ObjectList,
    WatchFailure,
    follow,
    open_kube,
)


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[Kube]:
    times = KubeTimes(request=2, watch=1, watch_grace=1)
    opened = open_kube([cluster_config()], namespace=cluster.namespace, times=times)
    yield opened
    await opened.close()


async def test_objects_are_listed_and_followed(cluster: Cluster, kube: Kube) -> None:
    """What is there is listed, and each change follows, to the end of a pod."""
    cluster.pod("one", {"script": "exit 0"})
    phases: list[str] = []
    async with aclosing(follow(kube, "Pod", namespace=cluster.namespace)) as events:
        async for event in events:
            if isinstance(event, ObjectList):
                assert [item["metadata"]["name"] for item in event.objects] == ["one"]
            elif isinstance(event, ObjectChange):
                phases.append(event.object["status"]["phase"])
                if phases[-1] == "Succeeded":
                    break
    assert phases[-1] == "Succeeded"


async def test_watch_continues_after_the_server_closed_it(cluster: Cluster, kube: Kube) -> None:
    """A watch goes on when the server has closed its stream, and misses nothing in between."""
    seen: list[str] = []
    async with aclosing(follow(kube, "Pod", namespace=cluster.namespace)) as events:
        listed = await anext(events)
        assert listed == ObjectList([])
        await asyncio.sleep(2.5)
        cluster.pod("late", {"script": "sleep 0.1"})
        async for event in events:
            assert isinstance(event, ObjectChange)
            seen.append(event.object["status"]["phase"])
            if seen[-1] == "Succeeded":
                break
    assert seen[0] == "Pending"


async def test_expired_version_of_a_real_api_leads_to_a_new_list(
    cluster: Cluster, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that the real API has forgotten (410) leads to a new list, and on from there."""
    try:
        # Events are watched in etcd itself, which forgets what is older than a few minutes.
        async with asyncio.timeout(1), aclosing(kube.watch("Event", "1")) as changes:
            await anext(changes)
    except ClusterExpiredError:
        pass
    else:
        pytest.skip("this cluster is too young to have forgotten its first version")
    real, first = kube.list, True

    async def from_the_first(*args: Any, **how: Any) -> Listing:
        nonlocal first
        found = await real(*args, **how)
        stale, first = first, False
        return Listing(found.objects, "1") if stale else found

    monkeypatch.setattr(kube, "list", from_the_first)
    async with aclosing(follow(kube, "Event", namespace=cluster.namespace)) as events:
        assert [type(await anext(events)) for _ in range(2)] == [ObjectList, ObjectList]
        cluster.make(
            "Event", "e", involvedObject={"kind": "Pod", "namespace": cluster.namespace}, reason="R"
        )
        event = await anext(events)
        assert isinstance(event, ObjectChange)
        assert event.object["reason"] == "R"


async def test_hanging_api_is_reported_and_followed_again(cluster: Cluster, kube: Kube) -> None:
    """An API that hangs is told of, and when it is back all that happened meanwhile is seen."""
    cluster.pod("one", {"script": "sleep 3"})
    told: list[Any] = []
    async with aclosing(follow(kube, "Pod", namespace=cluster.namespace)) as events:
        told.append(await anext(events))
        need_faults()  # skips here: in a thread it would be lost
        hanging = asyncio.create_task(asyncio.to_thread(fault, "hang-api", "6"))
        async for event in events:
            told.append(event)
            troubled = any(isinstance(item, WatchFailure) for item in told)
            if troubled and isinstance(event, ObjectList | ObjectChange):
                break
        await hanging
    assert isinstance(told[0], ObjectList)
    assert isinstance(told[-1], ObjectList)


async def test_annotations_of_a_pod_are_changed_with_the_right_to_patch_pods_alone(
    cluster: Cluster,
) -> None:
    """Others stay; None removes one. Without the right the API refuses."""
    given = {"name": "one", "annotations": {"own": "kept", "old": "value"}}
    cluster.make("Pod", "one", metadata=given, spec=pod_spec({"script": "sleep 60"}))
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    marker = open_kube([cluster.account("marker", rule)])
    stranger = open_kube([cluster.account("stranger")])
    try:
        changes = {"cordboard/a": "1", "old": None}
        await marker.annotate("Pod", "one", cluster.namespace, changes)
        with pytest.raises(NotFoundError):
            await marker.annotate("Pod", "none", cluster.namespace, changes)
        with pytest.raises(ClusterForbiddenError):
            await stranger.annotate("Pod", "one", cluster.namespace, changes)
    finally:
        await marker.close()
        await stranger.close()
    pod = cluster.client.get(Pod, "one", namespace=cluster.namespace)
    assert pod.metadata is not None
    assert pod.metadata.annotations == {"own": "kept", "cordboard/a": "1"}
