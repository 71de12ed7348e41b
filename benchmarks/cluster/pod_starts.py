"""From a join to a running pod, beside a Job that is created without the plane."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from _table import median, quantile, show

from cluster_support import Cluster, cluster_config
from cordboard.contract.launch import Launch
from cordboard.kube import Kube, ObjectChange, ObjectList, follow, open_kube
from cordboard.launchers.kubernetes_manifest import JobTemplate, job_manifest
from plane_support import HEADERS, SECRET, Part, Processes, ask, ready
from tests_support import until

# A pod that runs, and no more: the start of a runner is another measurement.
BASE = {"spec": {"template": {"spec": {
    "terminationGracePeriodSeconds": 16,
    "securityContext": {"runAsNonRoot": False},
    "containers": [{"name": "runner", "command": ["sh", "-c", "exec sleep 600"]}],
}}}}  # fmt: skip


@dataclass
class Starts:
    """When pods were first seen running, by the names of their sessions."""

    kube: Kube
    namespace: str
    seen: dict[str, float] = field(default_factory=dict)

    async def watch(self) -> None:
        async for event in follow(self.kube, "Pod", namespace=self.namespace):
            pods = event.objects if isinstance(event, ObjectList) else []
            pods = [event.object] if isinstance(event, ObjectChange) else pods
            for pod in pods:
                name = (pod["metadata"].get("annotations") or {}).get("cordboard/session-id", "")
                if pod["status"].get("phase") == "Running":
                    self.seen.setdefault(name, time.monotonic())

    async def since(self, name: str, began: float) -> float:
        """Return the milliseconds from a moment until a session's pod runs."""
        await until(lambda: name in self.seen, 60)
        return (self.seen[name] - began) * 1000


async def measure(cluster: Cluster, redis_url: str, *, rounds: int) -> None:
    """Start pods in turns, with and without the plane, and print how long they take."""
    secret = {"REDIS_URL": redis_url, "BOT_CONTROL_SHARED_SECRET": SECRET}
    cluster.make("Secret", "cordboard", stringData=secret)
    (cluster.folder / "job.yaml").write_text(json.dumps(BASE))
    kube = open_kube([cluster_config()], namespace=cluster.namespace)
    starts = Starts(kube, cluster.namespace)
    watching = asyncio.create_task(starts.watch())
    joined: list[float] = []
    bare: list[float] = []
    async with (
        _plane(cluster, redis_url) as gateway,
        aiohttp.ClientSession(headers=HEADERS) as http,
    ):
        for number in range(rounds + 2):  # the first ones open connections
            name, began = f"bare-{number}", time.monotonic()
            launch = Launch(name, f"webrtc:{name}", epoch=1)
            job = job_manifest(launch, JobTemplate(image="cordboard:test", base=BASE))
            await kube.create("Job", job, cluster.namespace)
            bare.append(await starts.since(name, began))
            await kube.delete("Job", job["metadata"]["name"], cluster.namespace)
            name, began = f"joined-{number}", time.monotonic()
            body = {"sessionId": name, "room_url": f"webrtc:{name}"}
            await ask(http, "POST", f"{gateway.url}/join", body)
            joined.append(await starts.since(name, began))
            await ask(http, "POST", f"{gateway.url}/leave", {"sessionId": name})
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await kube.close()
    joined, bare = joined[2:], bare[2:]
    rows = [[name, median(values), quantile(values, 0.9)]
            for name, values in (("join", joined), ("Job without the plane", bare))]  # fmt: skip
    added = median(joined) - median(bare)
    show("From a join to a running pod", ["", "p50, ms", "p90, ms"], [*rows, ["added", added, ""]])


@contextlib.asynccontextmanager
async def _plane(cluster: Cluster, redis_url: str) -> AsyncIterator[Part]:
    processes = Processes(cluster.folder, redis_url)
    processes.over |= {
        "KUBECONFIG": str(cluster_config()),
        "CORDBOARD_KUBERNETES_NAMESPACE": cluster.namespace,
        "CORDBOARD_KUBERNETES_IMAGE": "cordboard:test",
        "CORDBOARD_KUBERNETES_TEMPLATE": str(cluster.folder / "job.yaml"),
    }
    try:
        operator = processes.spawn("operator", "--launcher", "kubernetes", "--max-cold", "50")
        gateway = processes.spawn("gateway")
        await ready(operator, gateway)
        yield gateway
    finally:
        processes.stop()
