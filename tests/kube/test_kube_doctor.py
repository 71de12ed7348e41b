"""`cordboard doctor` on the cluster: it says whether it can be used, and what is in the way."""

import os
from argparse import Namespace
from pathlib import Path

import msgspec
import pytest

from cluster_support import Cluster
from cordboard.cli import doctor
from cordboard.contract.errors import ClusterForbiddenError, ClusterUnavailableError

ARGS = Namespace(config=None)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CORDBOARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_doctor_without_a_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a kubeconfig, or a current context in it, nothing is wrong."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert "no kubeconfig here" in doctor.check_kubernetes(ARGS)
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("clusters: []")
    assert doctor.check_kubernetes(ARGS) == "no current context"


def test_doctor_names_a_cluster_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cluster that cannot be reached is wrong, and is said to be."""
    table = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_bytes(msgspec.json.encode(table))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(ClusterUnavailableError, match="cannot be reached"):
        doctor.check_kubernetes(ARGS)


def test_doctor_checks_the_permissions_of_cold_starts(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    """A cluster that answers is fine; the rights of cold starts are asked for where they are set."""
    see = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    monkeypatch.setenv("KUBECONFIG", str(cluster.account("reader", see)))
    assert doctor.check_kubernetes(ARGS) == (
        f"context reader answers, and lists the pods of namespace {cluster.namespace}"
    )
    monkeypatch.setenv("CORDBOARD_KUBERNETES_IMAGE", "x")
    with pytest.raises(ClusterForbiddenError, match="jobs"):
        doctor.check_kubernetes(ARGS)
