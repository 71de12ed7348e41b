"""A namespace of one's own in a real cluster, for the tests that need one.

KUBE_TEST_CONFIG names its kubeconfig; KUBECONFIG does too where the server is on loopback, as that of a
test cluster is: never a cluster that people work with by accident. Without either these tests are
left out. Containers state their command, so that nodes that know no images will do.
KUBE_TEST_FAULTS may hold a command to which ``hang-api SECONDS``, ``kill NAMESPACE/POD`` or
``node-lost NODE`` is appended to make these happen; without it the tests of faults are left out.
"""

import os
import secrets
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lightkube
import msgspec
import pytest
from lightkube.codecs import from_dict
from lightkube.config.kubeconfig import KubeConfig
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Namespace, Node, Pod, ServiceAccountToken

from tests_support import until

IMAGE = os.environ.get("KUBE_TEST_IMAGE", "busybox:1")
NO_CLUSTER = "no cluster: neither KUBE_TEST_CONFIG nor a KUBECONFIG of a local one"
NO_FAULTS = "KUBE_TEST_FAULTS names no command that makes faults"


@dataclass
class Cluster:
    """What a test does with the cluster, beside what it tests."""

    client: lightkube.Client
    namespace: str
    folder: Path
    made: list[str] = field(default_factory=list)

    def make(self, kind: str, name: str, version: str = "v1", **body: Any) -> Any:
        """Create an object in the test's namespace."""
        meta = {"name": name, "namespace": self.namespace, **body.pop("metadata", {})}
        item = {"apiVersion": version, "kind": kind, "metadata": meta, **body}
        return self.client.create(from_dict(item))

    def pod(self, name: str, *containers: dict[str, Any], **spec: Any) -> None:
        """Create a pod; a container has name and script."""
        self.make("Pod", name, spec=pod_spec(*containers, **spec))

    def status(self, pod: str) -> Any:
        """Return a pod's status as the API has it."""
        return self.client.get(Pod, pod, namespace=self.namespace).status

    def pods(self) -> list[Any]:
        """Return the pods of the namespace."""
        return list(self.client.list(Pod, namespace=self.namespace))

    def job(self, name: str) -> Any:
        """Return a Job."""
        return self.client.get(Job, name, namespace=self.namespace)

    def jobs(self) -> list[Any]:
        """Return the Jobs of the namespace."""
        return list(self.client.list(Job, namespace=self.namespace))

    def account(self, name: str, *rules: dict[str, Any]) -> Path:
        """Return the kubeconfig of a new service account that may do what the rules say."""
        self.make("ServiceAccount", name)
        if rules:
            self.allow(name, *rules)
        return self.kubeconfig(name)

    def allow(self, name: str, *rules: dict[str, Any], account: str = "") -> None:
        """Grant a service account (by default of this name) what the rules say, in the namespace."""
        version = "rbac.authorization.k8s.io/v1"
        self.make("Role", name, version, rules=list(rules))
        self.make(
            "RoleBinding", name, version,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": account or name, "namespace": self.namespace}],
        )  # fmt: skip

    def kubeconfig(self, name: str) -> Path:
        """Write the kubeconfig of a service account."""
        asked = ServiceAccountToken(
            metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[], expirationSeconds=3600)
        )
        granted = self.client.create(asked, name, namespace=self.namespace).status
        assert granted is not None
        mine = KubeConfig.from_file(cluster_config()).get()
        assert mine is not None
        table = {
            "clusters": [{"name": "c", "cluster": msgspec.to_builtins(mine.cluster)}],
            "users": [{"name": "u", "user": {"token": granted.token}}],
            "contexts": [
                {
                    "name": name,
                    "context": {"cluster": "c", "user": "u", "namespace": self.namespace},
                }
            ],
            "current-context": name,
        }
        file = self.folder / f"{name}.kubeconfig"
        file.write_bytes(msgspec.json.encode(table))
        return file


def pod_spec(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return the spec of a pod that runs scripts and is not started again."""
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2,
        **{key: value for key, value in spec.items() if key != "init"},
        "containers": [_container(item) for item in containers],
        **(
            {"initContainers": [_container(item) for item in spec["init"]]}
            if "init" in spec
            else {}
        ),
    }


def _container(item: dict[str, Any]) -> dict[str, Any]:
    ready = {"image": IMAGE, "name": "main", **item}
    if "script" in ready:
        ready["command"] = ["sh", "-c", ready.pop("script")]
    return ready


def usable_kubeconfig() -> Path | None:
    """Return the kubeconfig of the cluster that tests may use, if there is one."""
    named = os.environ.get("KUBE_TEST_CONFIG")
    if named:
        return Path(named)
    found = os.environ.get("KUBECONFIG")
    if not found or not Path(found).is_file():
        return None
    config = KubeConfig.from_file(found).get()
    host = urlsplit(config.cluster.server).hostname if config else None
    return Path(found) if host in {"127.0.0.1", "::1", "localhost"} else None


def cluster_config() -> Path:
    """Return that kubeconfig where it is known to be there."""
    found = usable_kubeconfig()
    assert found is not None
    return found


def open_cluster(folder: Path) -> Cluster:
    """Make a namespace; the caller deletes it."""
    if usable_kubeconfig() is None:
        pytest.skip(NO_CLUSTER)
    client = lightkube.Client(KubeConfig.from_file(cluster_config()))
    namespace = f"cordboard-test-{secrets.token_hex(4)}"
    client.create(
        from_dict({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    )
    return Cluster(client, namespace, folder)


def close_cluster(cluster: Cluster) -> None:
    """Delete the namespace, and all in it."""
    cluster.client.delete(Namespace, cluster.namespace)


async def need_shared_machine(cluster: Cluster) -> str:
    """Leave the test out where containers do not see this project: they need it as their image.

    Returns:
        The address of the pod that has looked.
    """
    here = cluster.folder / "here"
    here.touch()
    cluster.pod("probe", {"script": f"test -e '{here}'"})
    phase = await until(
        lambda: {"Succeeded": 1, "Failed": 2}.get(cluster.status("probe").phase or "")
    )
    if phase == 2:
        pytest.skip("the nodes of this cluster do not see this project's files")
    return str(cluster.status("probe").podIP)


def lose_node_of(cluster: Cluster, pod: str) -> None:
    """Kill the node that a pod runs on, for good: only where another one is left for other tests."""
    ready = [
        node
        for node in cluster.client.list(Node)
        for item in (node.status and node.status.conditions) or []
        if item.type == "Ready" and item.status == "True"
    ]
    if len(ready) < 2:
        pytest.skip("no second node is left")
    spec = cluster.client.get(Pod, pod, namespace=cluster.namespace).spec
    fault("node-lost", (spec and spec.nodeName) or "")


def need_faults() -> list[str]:
    """Return the command that makes faults; skip the test where there is none."""
    command = os.environ.get("KUBE_TEST_FAULTS")
    if not command:
        pytest.skip(NO_FAULTS)
    return shlex.split(command)


def fault(*words: str) -> None:
    """Make a fault happen in the cluster."""
    subprocess.run([*need_faults(), *words], check=True, timeout=60, stdout=subprocess.DEVNULL)
