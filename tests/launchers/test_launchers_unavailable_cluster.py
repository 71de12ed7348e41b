"""A cluster that does not answer: nothing follows from its silence, and it is reported once."""

from typing import Any

from cordboard import emit
from cordboard.contract.errors import ClusterUnavailableError
from cordboard.launchers.kubernetes_job import KubernetesLauncher
from cordboard.launchers.kubernetes_manifest import JobTemplate
from tests_support import until


class UnavailableCluster:
    """A cluster in which every request fails."""

    def __init__(self) -> None:
        self.lists = 0

    async def get(self, *_: Any, **__: Any) -> Any:
        raise ClusterUnavailableError("The cluster does not answer.")

    delete = get

    async def list(self, *_: Any, **__: Any) -> Any:
        self.lists += 1
        raise ClusterUnavailableError("The cluster does not answer.")

    async def close(self) -> None:
        """Do nothing."""


async def test_unavailable_cluster_is_unknown_and_starts_nothing() -> None:
    """No Job counts as ended, no capacity is reserved, and a failed stop is reported."""
    kube: Any = UnavailableCluster()
    launcher = KubernetesLauncher(kube, JobTemplate(image="x"), namespace="n", max_runners=1)
    with emit.capture() as records:
        assert await launcher.status("job-1") == "unknown"
        await launcher.stop("job-1")
        assert not await launcher.reserve()
        await until(lambda: kube.lists >= 2)
        await launcher.close()
    messages = [record["message"] for record in records]
    assert messages.count("The cluster does not list its pods; no cold starts until it does") == 1
    assert "A cold runner's Job could not be stopped" in messages
