"""A cluster that does not answer: nothing is concluded from it, and it is told of once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cordboard import emit
from cordboard.contract.errors import ClusterUnavailableError
from cordboard.kube import Trouble
from cordboard.launchers import kubernetes_job
from cordboard.launchers.kubernetes_job import JobTemplate, KubernetesLauncher
from tests_support import until


class Away:
    """A cluster of which every question fails."""

    async def ask(self, *_: Any, **__: Any) -> Any:
        raise ClusterUnavailableError("The cluster does not answer.")

    get = list = delete = ask

    async def close(self) -> None:
        """Do nothing."""


async def troubles(*_: Any, **__: Any) -> AsyncIterator[Trouble]:
    for _again in range(2):
        yield Trouble(ClusterUnavailableError("The cluster does not answer."), 0.0)


async def test_what_cannot_be_asked_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Job is taken for ended, no room is seen for another, and a stop that failed is said."""
    monkeypatch.setattr(kubernetes_job, "follow", troubles)
    kube: Any = Away()
    launcher = KubernetesLauncher(kube, JobTemplate(image="x"), namespace="n", most=1)
    with emit.capture() as records:
        assert await launcher.status("job-1") == "unknown"
        await launcher.stop("job-1")
        assert not await launcher.room_for_more()
        told = "The cluster cannot be asked for its pods; no cold starts until it can"
        await until(lambda: told in [record["message"] for record in records])
        await launcher.close()
    messages = [record["message"] for record in records]
    assert messages.count(told) == 1
    assert "A cold runner's Job could not be stopped" in messages
