"""The real operator, a real cluster, and Jobs that run this project with its built-in bot."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from cluster_support import Cluster, cluster_config, lose_node_of, need_shared_machine
from cordboard.contract.job_name import job_name
from cordboard.contract.launch import Launch
from cordboard.kube import open_kube
from cordboard.store import RedisStore, SessionRecord
from cordboard.store.keys import Keys
from tests_support import until
from up_support import environment

LEASE_S = 3


@dataclass
class Plane:
    """An operator that starts Jobs, and the store that it looks at."""

    cluster: Cluster
    store: RedisStore
    lines: list[str]

    async def state(self, session_id: str, *wanted: str, epoch: int = 1) -> SessionRecord:
        async def there() -> SessionRecord | None:
            record = await self.store.session(session_id)
            return record if record.state in wanted and record.epoch >= epoch else None

        found: SessionRecord = await until(there, timeout_s=40)
        return found

    def jobs(self) -> list[str]:
        return sorted(job.metadata.name for job in self.cluster.jobs())

    def pod_of(self, job: str | None) -> Any:
        (found,) = [
            pod for pod in self.cluster.pods() if (pod.metadata.labels or {}).get("job-name") == job
        ]
        return found

    def said(self, words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines if words in line]


@pytest.fixture
async def plane(cluster: Cluster, redis_url: str, tmp_path: Path) -> AsyncIterator[Plane]:
    await need_shared_machine(cluster)
    secret = {"REDIS_URL": redis_url, "BOT_CONTROL_SHARED_SECRET": "s" * 16}
    cluster.make("Secret", "cordboard", stringData=secret)
    template = {
        "name": "runner",
        "command": [sys.executable, "-m", "cordboard"],
        "env": [{"name": "XDG_STATE_HOME", "value": str(tmp_path / "state")}],
    }
    file = tmp_path / "job.yaml"
    # The files of this project may be their owner's alone, who may be root.
    pod = {"containers": [template], "securityContext": {"runAsNonRoot": False}}
    file.write_text(json.dumps({"spec": {"template": {"spec": pod}}}))
    env = environment(
        tmp_path / "state",
        KUBECONFIG=str(cluster_config()),
        REDIS_URL=redis_url,
        BOT_CONTROL_SHARED_SECRET="s" * 16,
        CORDBOARD_LEASE_S=str(LEASE_S),
        CORDBOARD_KUBERNETES_NAMESPACE=cluster.namespace,
        CORDBOARD_KUBERNETES_IMAGE="cordboard:test",
        CORDBOARD_KUBERNETES_TEMPLATE=str(file),
    )
    operator = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cordboard", "operator", "--launcher", "kubernetes", "--port", "0",
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    lines: list[str] = []
    reading = asyncio.create_task(read(operator, lines))
    async with RedisStore(redis_url, Keys(lease_s=LEASE_S)) as store:
        yield Plane(cluster, store, lines)
    operator.terminate()
    await operator.wait()
    await reading


async def read(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        lines.append(line.decode())


async def test_call_on_a_cold_runner_of_a_cluster(plane: Plane) -> None:
    """A join without a warm runner runs in a Job; one that is killed is replaced; a leave ends it."""
    session_id = f"Call:{os.getpid()}~1"
    launch = Launch(session_id, f"webrtc:k{os.getpid()}", epoch=1, user_name="$(REDIS_URL)")
    epoch = (await plane.store.accept(launch, queue_max=10)).epoch
    first = await plane.state(session_id, "running")
    assert first.job_name == job_name(session_id, epoch)
    assert plane.jobs() == [first.job_name]
    (pod,) = [pod for pod in plane.cluster.pods() if pod.metadata.name != "probe"]
    assert f"//{pod.status.podIP}:" in (first.runner_url or "")

    plane.cluster.client.delete(
        Pod, pod.metadata.name, namespace=plane.cluster.namespace, grace_period=0
    )
    second = await plane.state(session_id, "running", epoch=epoch + 1)
    assert (second.attempt, second.job_name) == (2, job_name(session_id, second.epoch))

    await plane.store.leave(session_id=session_id)
    ended = await plane.state(session_id, "ended")
    assert ended.reason == "left"

    def completed() -> bool:
        status = plane.cluster.job(second.job_name or "").status
        return any(item.type == "Complete" for item in status.conditions or [])

    await until(completed)
    assert len(plane.said('"launch.job_created"')) == 2
    await check_lines(plane, second.job_name, session_id)


async def test_session_of_a_lost_node_is_recovered(plane: Plane) -> None:
    """A session whose node is lost runs on another one, under the same id and a higher epoch."""
    session_id = f"n{os.getpid()}"
    launch = Launch(session_id, f"webrtc:{session_id}", epoch=1)
    epoch = (await plane.store.accept(launch, queue_max=10)).epoch
    first = await plane.state(session_id, "running")
    pod = plane.pod_of(first.job_name)
    lose_node_of(plane.cluster, pod.metadata.name)
    second = await plane.state(session_id, "running", epoch=epoch + 1)
    assert plane.pod_of(second.job_name).spec.nodeName != pod.spec.nodeName
    await plane.store.leave(session_id=session_id)
    assert (await plane.state(session_id, "ended")).reason == "left"


async def check_lines(plane: Plane, job: str | None, session_id: str) -> None:
    """Every line of a Job's pod has its session's values, exactly as they were given."""
    pod = plane.pod_of(job).metadata.name
    kube = open_kube([cluster_config()])
    async with kube.log(plane.cluster.namespace, pod, "runner") as chunks:
        text = b"".join([chunk async for chunk in chunks])
    await kube.close()
    records = [json.loads(line) for line in text.splitlines()]
    mine = [record for record in records if record["sessionId"] == session_id]
    assert {"start.received", "bot.started", "session.ended"} <= {r.get("event") for r in mine}
    assert {record["userName"] for record in mine} == {"$(REDIS_URL)"}
    assert {r["sessionId"] for r in records} <= {session_id, f"server:{pod}"}
