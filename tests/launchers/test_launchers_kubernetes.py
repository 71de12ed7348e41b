"""Jobs in a real cluster: created once, ended when that is sure, and stuck ones told of."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ResourceQuotaStatus
from lightkube.types import CascadeType

from cluster_support import IMAGE, Cluster, cluster_config, fault, lose_node_of, need_faults
from cordboard import emit
from cordboard.contract.errors import LaunchError
from cordboard.contract.launch import Launch
from cordboard.kube import KubeTimes, open_kube
from cordboard.launchers.kubernetes_job import REFUSED_PAUSE_S, KubernetesLauncher
from cordboard.launchers.kubernetes_manifest import JobTemplate, job_manifest
from cordboard.launchers.pod_watch import WatchTimes
from tests_support import until

Make = Callable[..., KubernetesLauncher]

ALL_OF_JOBS = {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "delete"]}
SEE_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}


def template(script: str = "sleep 60", **pod: Any) -> JobTemplate:
    """Return a template whose runner is a script: what it runs is not this file's matter."""
    container = {
        "name": "runner", "image": pod.pop("image", IMAGE), "command": ["sh", "-c", script],
        "startupProbe": None, "livenessProbe": None,
    }  # fmt: skip
    spec = {
        "terminationGracePeriodSeconds": 16, "containers": [container],
        "securityContext": {"runAsUser": 65534}, **pod,
    }  # fmt: skip
    return JobTemplate(base={"spec": {"template": {"spec": spec}}}, cpu="10m", memory="32Mi")


def launch(session_id: str = "call:7", epoch: int = 1) -> Launch:
    return Launch(session_id, "webrtc:a", epoch)


@pytest.fixture
async def make(cluster: Cluster) -> AsyncIterator[Make]:
    """Makes launchers, and closes them."""
    secret = {"REDIS_URL": "redis://127.0.0.1:1", "BOT_CONTROL_SHARED_SECRET": "s"}
    cluster.make("Secret", "cordboard", stringData=secret)
    async with AsyncExitStack() as stack:

        def make(
            script: str = "sleep 60",
            *,
            max_runners: int = 9,
            config: Path | None = None,
            secret: str = "cordboard",
            namespace: str = "",
            times: WatchTimes | None = None,
            refused_pause_s: float = REFUSED_PAUSE_S,
            kube_times: KubeTimes | None = None,
            **pod: Any,
        ) -> KubernetesLauncher:
            made = KubernetesLauncher(
                open_kube([config or cluster_config()], times=kube_times or KubeTimes()),
                replace(template(script, **pod), secret=secret),
                namespace=namespace or cluster.namespace,
                max_runners=max_runners,
                times=times or WatchTimes(),
                refused_pause_s=refused_pause_s,
            )
            stack.push_async_callback(made.close)
            return made

        yield make


async def start(launcher: KubernetesLauncher, asked: Launch | None = None) -> str:
    asked = asked or launch()
    name = launcher.job_name(asked)
    await launcher.start(name, asked)
    return name


def is_status(
    launcher: KubernetesLauncher, name: str, wanted: str
) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return await launcher.status(name) == wanted

    return reached


def phases(cluster: Cluster) -> list[str]:
    return [pod.status.phase for pod in cluster.pods()]


def use_up(cluster: Cluster, what: str) -> None:
    """Leave no quota of something; the status that a controller would write is written here."""
    none = {"hard": {what: "0"}}
    cluster.make("ResourceQuota", "q", spec=none)
    status = {"status": {**none, "used": {what: "0"}}}
    cluster.client.patch(ResourceQuotaStatus, "q", status, namespace=cluster.namespace)


async def test_repeated_start_creates_one_job(cluster: Cluster, make: Make) -> None:
    """However often, and by whomever, a launch is asked for, there is one Job and one pod."""
    one, other = make(), make()
    await asyncio.gather(*(start(launcher) for launcher in (one, other, one)))
    await until(lambda: phases(cluster) == ["Running"])
    assert len(cluster.jobs()) == 1
    assert await one.status(one.job_name(launch())) == "alive"


async def test_job_of_another_session_is_refused(cluster: Cluster, make: Make) -> None:
    """A Job of that name which is another's is never taken for this session's."""
    launcher = make()
    manifest = job_manifest(launch(), template())
    manifest["metadata"]["annotations"]["cordboard/session-id"] = "another"
    body = {key: manifest[key] for key in ("metadata", "spec")}
    cluster.make("Job", launcher.job_name(launch()), "batch/v1", **body)
    with pytest.raises(LaunchError, match="not this session's"):
        await start(launcher)


@pytest.mark.parametrize("script", ["exit 0", "exit 3"])
async def test_ended(make: Make, script: str) -> None:
    """A Job that is over has ended, however, and so has one that never was."""
    launcher = make(script)
    with emit.capture() as records:
        name = await start(launcher)
        await until(is_status(launcher, name, "ended"))
    told = [r["meta"]["why"] for r in records if r["message"] == "A cold runner's Job has ended"]
    assert ("exit 3" in told[-1]) is (script == "exit 3")
    assert await launcher.status("bot-none") == "ended"


async def test_stopped_job_is_alive_until_its_pod_ends(cluster: Cluster, make: Make) -> None:
    """A stop gives the pod its grace; while that lasts it is alive, and then it has ended."""
    launcher = make("trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done")
    name = await start(launcher)
    await until(lambda: phases(cluster) == ["Running"])
    await launcher.stop(name)
    assert await launcher.status(name) == "alive"
    await launcher.stop(name)
    await until(is_status(launcher, name, "ended"))
    assert cluster.pods() == []
    await launcher.stop(name)


async def test_job_deleted_by_hand_is_alive_while_its_pod_runs(
    cluster: Cluster, make: Make
) -> None:
    """A Job deleted under its pod has not ended as long as the pod may run."""
    launcher = make("trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done")
    name = await start(launcher)
    await until(lambda: phases(cluster) == ["Running"])
    cluster.client.delete(Job, name, namespace=cluster.namespace, cascade=CascadeType.BACKGROUND)
    seen: list[str] = []
    while not seen or seen[-1] != "ended":
        seen.append(await launcher.status(name))
        # Looked at afterwards: a pod that has ended in between has not run on.
        assert seen[-1] == "alive" or "Running" not in phases(cluster)
    assert seen[0] == "alive"


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        ({"image": "registry.invalid/none:1"}, "ImagePullBackOff"),
        ({"secret": "missing"}, "CreateContainerConfigError"),
    ],
)
async def test_pod_that_cannot_start_is_reported_and_deleted(
    cluster: Cluster, make: Make, pod: dict[str, Any], reason: str
) -> None:
    """A pod that cannot start is told of with its session, then given up: its Job has ended."""
    launcher = make(times=WatchTimes(stuck_s=0.5, check_s=0.1), **pod)
    with emit.capture() as records:
        name = await start(launcher)
        await until(is_status(launcher, name, "ended"))
    told = [r for r in records if (r.get("meta") or {}).get("reason") == reason]
    assert [r["message"] for r in told] == [
        "A cold runner's pod does not start",
        "A cold runner could not start; its Job was deleted",
    ]
    assert {(r["sessionId"], r["epoch"]) for r in told} == {("call:7", 1)}
    assert all(r["meta"]["why"] for r in told)
    assert cluster.jobs() == []


async def test_unschedulable_pod_is_reported_and_kept(make: Make) -> None:
    """A pod that no node takes is told of and left: a cluster may be getting another node."""
    times = WatchTimes(stuck_s=0.1, check_s=0.05)
    launcher = make(times=times, nodeSelector={"none": "such"})
    with emit.capture() as records:
        name = await start(launcher)
        await until(
            lambda: [r for r in records if (r.get("meta") or {}).get("reason") == "Unschedulable"]
        )
        await asyncio.sleep(0.5)
    assert await launcher.status(name) == "alive"


async def test_job_without_pod_is_reported(cluster: Cluster, make: Make) -> None:
    """A Job whose pod is not even made is told of, with what the cluster says about it."""
    use_up(cluster, "pods")
    launcher = make(times=WatchTimes(no_pod_s=0.3, check_s=0.1))
    with emit.capture() as records:
        await start(launcher)
        await until(lambda: [r for r in records if r["message"].endswith("has no pod yet")])
        await asyncio.sleep(0.5)
    (told,) = [r for r in records if r["message"].endswith("has no pod yet")]
    assert "exceeded quota" in told["meta"]["why"]


async def test_used_up_quota_refuses_and_pauses(cluster: Cluster, make: Make) -> None:
    """A quota that is used up refuses a launch in clear words, and holds back the next."""
    use_up(cluster, "count/jobs.batch")
    launcher = make()
    assert await launcher.reserve()

    async def refused() -> str:
        try:
            await start(launcher)
        except LaunchError as error:
            return str(error)
        await launcher.stop(launcher.job_name(launch()))
        return ""

    assert "The quota of namespace" in await until(refused)
    assert not await launcher.reserve()


async def test_missing_right_to_create_jobs_is_named(cluster: Cluster, make: Make) -> None:
    """Without the right to create Jobs the error says so, and what to grant; then it works."""
    launcher = make(config=cluster.account("operator", SEE_PODS), refused_pause_s=0.2)
    assert await launcher.reserve()
    with pytest.raises(LaunchError, match=r"may not create Jobs in namespace .*kubernetes\.md"):
        await start(launcher)
    assert not await launcher.reserve()
    assert await launcher.status(launcher.job_name(launch())) == "unknown"
    cluster.allow("operator-too", ALL_OF_JOBS, account="operator")
    await until(launcher.reserve)

    async def started() -> bool:
        try:
            return bool(await start(launcher))
        except LaunchError:
            return False

    await until(started)
    assert await launcher.status(launcher.job_name(launch())) == "alive"


async def test_missing_right_to_list_pods_starts_nothing(cluster: Cluster, make: Make) -> None:
    """Who may not see the pods starts nothing, says so once, and goes on when the right comes."""
    launcher = make(config=cluster.account("operator", ALL_OF_JOBS))
    with emit.capture() as records:
        for _ in range(3):
            assert not await launcher.reserve()
        cluster.allow("operator-too", SEE_PODS, account="operator")
        await until(launcher.reserve)
    told = [r["message"] for r in records if r["tag"] == "launcher"]
    assert told == [
        "The cluster does not list its pods; no cold starts until it does",
        "The cluster answers again",
    ]


async def test_role_of_the_docs_suffices(cluster: Cluster, make: Make) -> None:
    """The Role of the docs is enough for all that a launcher does."""
    text = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
    from cordboard.kube import load_yaml

    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    documents = [load_yaml(document) for block in blocks for document in block.split("---\n")]
    role = next(found for found in documents if found.get("kind") == "Role")
    account = cluster.account("operator", *role["rules"])
    launcher = make(config=account)
    assert await launcher.reserve()
    name = await start(launcher)
    await until(lambda: phases(cluster) == ["Running"])
    await launcher.stop(name)
    await until(is_status(launcher, name, "ended"))
    kube = open_kube([account])
    await kube.list("Event", namespace=cluster.namespace)
    await kube.close()


async def test_missing_namespace_is_named(make: Make) -> None:
    """A namespace that is not there is named."""
    launcher = make(namespace="none-such")
    with pytest.raises(LaunchError, match="There is no namespace none-such"):
        await start(launcher)


async def test_refused_manifest_is_reported_with_the_clusters_reason(make: Make) -> None:
    """What the cluster refuses is told in its words."""
    launcher = make(dnsPolicy="Nonsense")
    with pytest.raises(LaunchError, match=r"The cluster refuses the Job:.*dnsPolicy"):
        await start(launcher)


async def test_reservations_stay_below_the_limit(cluster: Cluster, make: Make) -> None:
    """Many who ask at once stay below the bound, and what another operator started counts too."""
    one = make(max_runners=2)
    assert sum(await asyncio.gather(*(one.reserve() for _ in range(9)))) == 2
    for session in ("a", "b"):
        await start(one, launch(session))
    assert not await one.reserve()
    await until(lambda: phases(cluster) == ["Running", "Running"])
    other = make(max_runners=3)
    assert sum(await asyncio.gather(*(other.reserve() for _ in range(9)))) == 1
    await one.stop(one.job_name(launch("a")))
    await until(one.reserve)


async def test_hanging_api_is_unknown_and_starts_nothing(cluster: Cluster, make: Make) -> None:
    """While the API hangs nothing is known and nothing started; afterwards all goes on."""
    quick = KubeTimes(request=2, watch=1, watch_grace=1)
    launcher = make(max_runners=1_000_000, kube_times=quick)
    name = await start(launcher)
    await until(lambda: phases(cluster) == ["Running"])
    need_faults()  # skips here: in a thread it would be lost
    hanging = asyncio.create_task(asyncio.to_thread(fault, "hang-api", "8"))
    with emit.capture() as records:
        await until(is_status(launcher, name, "unknown"))

        async def no_room() -> bool:
            return not await launcher.reserve()

        await until(no_room)
        await hanging
        await until(is_status(launcher, name, "alive"))
        await until(launcher.reserve)
        await until(lambda: [r for r in records if r["message"] == "The cluster answers again"])


async def test_pod_of_a_lost_node_is_alive(cluster: Cluster, make: Make) -> None:
    """A node that is gone confirms nothing: its pod may run on, so the Job has not ended."""
    launcher = make()
    name = await start(launcher)
    await until(lambda: phases(cluster) == ["Running"])
    lose_node_of(cluster, cluster.pods()[0].metadata.name)
    assert await launcher.status(name) == "alive"
    await launcher.stop(name)
    await asyncio.sleep(2)
    assert await launcher.status(name) == "alive"
