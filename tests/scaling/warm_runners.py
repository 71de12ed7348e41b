"""Warm runners as a Deployment of a real cluster, with live calls: what moves the pods, and what callers see.

The gateway and two operators run beside the cluster, by their own commands; the operators have a service account
that may patch pods. Each bot writes down when it is in its room, and `faults.history` judges it.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod

from cluster_support import Cluster, cluster_config, need_shared_machine
from faults.faults_support import Plane, plane_of
from faults.history import Violation
from plane_support import Part, Processes, ready
from tests_support import until

NAME = "runner"
LABELS: dict[str, Any] = {"app": NAME}
PATCH_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
COST = "controller.kubernetes.io/pod-deletion-cost"
LEASE_S = 6  # a machine that starts several runners at once is late
# Pods start one after another in a rollout: at a load of 35 on two cores, each took 80 s until it was ready.
SETTLED_S = 600.0
KUBECTL = os.environ.get("KUBECTL") or shutil.which("kubectl")
for _version in ("v1", "v1beta1"):
    create_namespaced_resource("policy", _version, "PodDisruptionBudget", "poddisruptionbudgets")


@dataclass
class WarmRunners:
    """A plane whose warm runners are pods.

    Attributes:
        plane: The gateway, the store, and what bots and callers have written down.
        cluster: The namespace.
        operators: The operators.
        bot: The bot file of the runners.
        env: Variables of the runners.
        calls: The sessions of the calls.
    """

    plane: Plane
    cluster: Cluster
    operators: list[Part]
    bot: str
    env: Mapping[str, str]
    calls: list[str] = field(default_factory=list)

    async def deploy(
        self, replicas: int | None, *, capacity: int, grace_s: float = 1.0, kill_s: int = 60
    ) -> None:
        """Create the Deployment, and wait until its runners are ready.

        Args:
            replicas: The number of pods; None for one, if an autoscaler sets it.
            capacity: The slots of each runner.
            grace_s: Seconds after which a runner that stops hands its sessions over.
            kill_s: Seconds after which its pod is killed.
        """
        pod = pod_template(self.env, "--capacity", str(capacity), "--grace", str(grace_s),
                           "--bot", self.bot)  # fmt: skip
        pod["spec"]["terminationGracePeriodSeconds"] = kill_s
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        spec: dict[str, Any] = {
            "selector": {"matchLabels": LABELS},
            "template": pod,
            "strategy": rolling,
        }
        if replicas is not None:
            spec["replicas"] = replicas
        self.cluster.make("Deployment", NAME, "apps/v1", spec=spec)
        await self.settled(replicas or 1)

    async def settled(self, replicas: int, timeout_s: float = SETTLED_S) -> None:
        """Wait until the Deployment has so many ready pods of its last template, and no others."""
        await until(lambda: self._is_settled(replicas), timeout_s)

    def _is_settled(self, replicas: int) -> bool:
        found = self.cluster.client.get(Deployment, NAME, namespace=self.cluster.namespace)
        status, meta = found.status, found.metadata
        assert status is not None
        assert meta is not None
        counts = (status.replicas, status.updatedReplicas, status.readyReplicas)
        is_seen = status.observedGeneration == meta.generation
        return is_seen and counts == (replicas,) * 3 and len(self.pods()) == replicas

    def pods(self) -> list[Pod]:
        """Return the pods of the runners, also those that end."""
        return list(self.cluster.client.list(Pod, namespace=self.cluster.namespace, labels=LABELS))

    def costs(self) -> list[str | None]:
        """Return what the pods would cost to delete, by the operators' marks."""
        return [
            ((pod.metadata and pod.metadata.annotations) or {}).get(COST) for pod in self.pods()
        ]

    def limit_disruption(self) -> None:
        """Create a PodDisruptionBudget that lets one pod go at a time."""
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}}
        try:
            self.cluster.make("PodDisruptionBudget", NAME, "policy/v1", spec=spec)
        except ApiError as error:
            if error.status.code != 404:
                raise
            self.cluster.make("PodDisruptionBudget", NAME, "policy/v1beta1", spec=spec)

    def patch(self, change: dict[str, Any]) -> None:
        """Change the Deployment."""
        self.cluster.client.patch(Deployment, NAME, change, namespace=self.cluster.namespace)

    def roll_out(self) -> None:
        """Change the pod template, as a new image would."""
        self.patch({"spec": {"template": {"metadata": {"annotations": {"rollout": "2"}}}}})

    async def call(self, *names: str) -> None:
        """Begin calls, and wait until each has a bot."""
        for name in names:
            room = f"https://rooms.example/{name}"
            await self.plane.join(
                {"sessionId": name, "room_url": room, "deadlineSeconds": 120,
                 "body": {"seconds": 3600}}
            )  # fmt: skip
        self.calls += names
        await self.have_bots(*names)

    async def have_bots(self, *names: str) -> None:
        """Wait until each of these calls has its first bot."""
        await until(lambda: all(self.plane.entered(name) for name in names), 150)

    async def hang_up(self, *names: str) -> None:
        """End calls by their callers."""
        for name in names:
            await self.plane.leave(name)
            await self.plane.end(name)

    async def moved(self) -> None:
        """Wait until each call has had a second bot, and has one."""
        try:
            await until(lambda: all(self.plane.entered(name) >= 2 for name in self.calls), 120)
            await until(self.all_run, 60)
        except AssertionError:
            raise AssertionError([await self.plane.store.session(n) for n in self.calls]) from None

    async def all_run(self) -> bool:
        """Return whether all calls that have not ended are running."""
        records = [await self.plane.store.session(name) for name in self.calls]
        return all(record.state == "running" for record in records if record.live)

    def verdict(self, *, handed_over: bool) -> list[Violation]:
        """Judge all calls.

        Args:
            handed_over: Whether runners were stopped: a hand-over is no attempt.
        """
        if handed_over:
            self.plane.events += [{"kind": "drain", "sid": name} for name in self.calls]
        return self.plane.verdict(*self.calls)

    def attempts(self) -> set[tuple[str, str, int]]:
        """Return how the calls have ended: state, reason, attempt."""
        ends = [event for event in self.plane.events if event["kind"] == "end"]
        return {(end["state"], end["reason"], end["attempt"]) for end in ends}

    def longest_silence_s(self) -> float:
        """Return the longest time in which a call had no bot, in seconds."""
        times: defaultdict[str, list[float]] = defaultdict(list)
        for event in self.plane.written():
            times[event["sid"]].append(event["at"])
        gaps = [
            later - earlier
            for at in times.values()
            for earlier, later in zip(sorted(at), sorted(at)[1:], strict=False)
        ]
        return max(gaps, default=0.0)

    def kubectl(self, *words: str) -> None:
        """Run kubectl as the user of the cluster."""
        subprocess.run(
            [str(KUBECTL), "--kubeconfig", str(cluster_config()), *words],
            check=True,
            timeout=240,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )


def pod_template(env: Mapping[str, str], *words: str) -> dict[str, Any]:
    """Return the template of a runner's pod, which runs this project."""
    fields = {"POD_IP": "status.podIP", "POD_NAME": "metadata.name",
              "POD_NAMESPACE": "metadata.namespace"}  # fmt: skip
    container = {
        "name": NAME,
        "image": "cordboard:test",
        "command": [sys.executable, "-m", "cordboard", "runner"],
        "args": ["--host", "$(POD_IP)", "--port", "7861", *words],
        "env": [
            *({"name": name, "value": value} for name, value in env.items()),
            *(
                {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for name, path in fields.items()
            ),
        ],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": 7861},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
        },
    }
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}


@contextlib.asynccontextmanager
async def warm_runners(
    cluster: Cluster, directory: Path, redis_url: str, *, bot: str = "", placement: str = "pack"
) -> AsyncIterator[WarmRunners]:
    """Start a gateway and two operators; the caller creates the Deployment of runners."""
    if await need_shared_machine(cluster) == "127.0.0.1":
        pytest.skip("the pods of this cluster have no addresses of their own")
    processes = Processes(directory, redis_url)
    processes.over["CORDBOARD_LEASE_S"] = str(LEASE_S)
    processes.over["SURVIVAL_HISTORY"] = str(directory / "history.jsonl")
    env = {key: value for key, value in processes.environment().items() if key in _SHARED}
    processes.over |= {
        "CORDBOARD_PLACEMENT": placement,
        "CORDBOARD_HEADROOM_SLOTS": "1",
        "CORDBOARD_KUBERNETES_POD_MARKS": "true",
        "KUBECONFIG": str(cluster.account("operator", PATCH_PODS)),
    }
    try:
        async with plane_of(processes, lease_s=LEASE_S) as plane:
            await plane.have("gateway")
            operators = [plane.spawn("operator") for _ in range(2)]
            await ready(*operators)
            file = bot or str(directory / "writing.py")
            yield WarmRunners(plane, cluster, operators, file, env)
    finally:
        await asyncio.to_thread(processes.stop)


_SHARED = {
    "HOME",
    "XDG_STATE_HOME",
    "REDIS_URL",
    "BOT_CONTROL_SHARED_SECRET",
    "LOG_FORMAT",
    "CORDBOARD_OVERLOAD_LAG_MS",
    "CORDBOARD_LEASE_S",
    "SURVIVAL_HISTORY",
}
