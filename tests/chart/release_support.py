"""A release of the chart on the cluster of the tests, whose containers are processes of this machine."""

import json
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chart.chart_support import CHART, PORTS, merged, run
from chart.network_support import Connection, Peer, connections
from cluster_support import Cluster
from plane_support import SECRET

NAME = "cordboard"


@dataclass
class Release:
    """A release, and the doors to it.

    Attributes:
        cluster: The namespace in which it is.
        values: Its values.
    """

    cluster: Cluster
    values: dict[str, Any]

    def helm(self, verb: str, *words: str, check: bool = True, **over: Any) -> Any:
        """Install or upgrade with changed values; return what helm did."""
        words = (verb, NAME, str(CHART), "-n", self.cluster.namespace, *words)
        return run("helm", *words, values=merged(self.values, over), check=check)

    def kubectl(self, *words: str) -> str:
        """Run kubectl in the namespace; return what it prints."""
        return run("kubectl", "-n", self.cluster.namespace, *words).stdout

    def pods(self, component: str) -> list[Any]:
        """Return the pods of a component that are ready."""
        found: list[Any] = [
            pod
            for pod in self.cluster.pods()
            if (pod.metadata.labels or {}).get("app.kubernetes.io/component") == component
        ]
        return [
            pod
            for pod in found
            for item in pod.status.conditions or []
            if item.type == "Ready" and item.status == "True" and not pod.metadata.deletionTimestamp
        ]

    def url(self, component: str) -> str:
        """Return the address of a pod of a component."""
        (pod, *_) = self.pods(component)
        return f"http://{pod.status.podIP}:{PORTS[component]}"

    def secret(self) -> dict[str, str]:
        """Return the data of the Secret."""
        found: dict[str, str] = json.loads(self.kubectl("get", "secret", NAME, "-o", "json"))[
            "data"
        ]
        return found

    def policies(self) -> list[dict[str, Any]]:
        """Return the NetworkPolicies as the cluster has them."""
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("get", "networkpolicies", "-o", "json")
        )["items"]
        return found

    def connections(self, foreign: Mapping[int, Peer]) -> list[Connection]:
        """Return the connections of all pods."""
        pods = {
            pod.metadata.name: Peer(
                pod.metadata.labels["app.kubernetes.io/component"],
                tuple(sorted(pod.metadata.labels.items())),
                pod.status.podIP,
            )
            for pod in self.cluster.pods()
            if pod.status.podIP
        }
        return [*connections(pods, foreign)]


def plane_values(redis_url: str, gateway_url: str, folder: Path) -> dict[str, Any]:
    """Return values with which the components run as processes of this machine.

    Nodes of the tests ignore images and volumes. The chart's files become variables, or files of this machine.
    """
    job = folder / "job.yaml"
    runner = {"name": "runner", "command": [sys.executable, "-m", "cordboard"]}
    # The files of this project may be their owner's alone, who may be root.
    pod = {"containers": [runner], "securityContext": {"runAsNonRoot": False}}
    job.write_text(json.dumps({"spec": {"template": {"spec": pod}}}))
    one = {"replicas": 1}
    return {
        "command": [sys.executable, "-m", "cordboard"],
        "listenAddress": "$(POD_IP)",
        "redis": {"url": redis_url},
        "secret": {"asFiles": False, "values": {"BOT_CONTROL_SHARED_SECRET": SECRET}},
        "settings": {
            "gateway_url": gateway_url,
            "interface_login": "name",
            "overload_lag_ms": 0,
            "runner_capacity": 2,
        },
        "gateway": one,
        "operator": {
            **one,
            "env": [{"name": "CORDBOARD_KUBERNETES_TEMPLATE", "value": str(job)}],
        },
        "runner": {**one, "terminationGracePeriodSeconds": 30},
        "interface": {**one, "enabled": True},
        "edge": {**one, "enabled": True, "terminationGracePeriodSeconds": 30},
        "coldRunners": {"enabled": True, "max": 5},
        "logReader": {"enabled": True},
        "networkPolicies": {"redisPorts": [int(redis_url.rpartition(":")[2].partition("/")[0])]},
    }


@dataclass
class ServicePort:
    """A port of loopback that leads to the ready pods of a component, as a Service does in a real cluster."""

    component: str
    release: Release | None = None
    listener: socket.socket = field(default_factory=socket.socket)

    def __post_init__(self) -> None:
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        """The port."""
        port: int = self.listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Accept no more connections."""
        self.listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError, ValueError):
            assert self.release is not None
            (pod, *_) = self.release.pods(self.component)
            with socket.create_connection((pod.status.podIP, PORTS[self.component])) as server:
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
