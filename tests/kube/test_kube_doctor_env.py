"""`cordboard doctor --env` on a cluster: each right, the Job on trial, its Secret, stuck pods, the clock."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from lightkube.resources.core_v1 import ResourceQuotaStatus

from cluster_support import IMAGE, Cluster
from cordboard.cli import main
from cordboard.cli._check import Check
from cordboard.kube import Kube
from cordboard.kube.clock import ClusterClock
from cordboard.launchers import cluster_check
from redis_support import wait_for

READER = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]},
]
OPERATOR = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
]
SECRET = {"REDIS_URL": "cmVkaXM6Ly94", "BOT_CONTROL_SHARED_SECRET": "dG9wLXNlY3JldA=="}

Doctor = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def doctor(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cluster: Cluster,
    capsys: pytest.CaptureFixture[str],
) -> Doctor:
    """Run the command as an account with some rules; return its status, and each check by its name."""
    for name in list(os.environ):
        if name.startswith("CORDBOARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(
        *rules: dict[str, Any], settings: str = "", env: str = "prod"
    ) -> tuple[int, dict[str, str]]:
        monkeypatch.setenv("KUBECONFIG", str(cluster.account("doctor", *rules)))
        (tmp_path / "cordboard.toml").write_text(
            f'kubernetes_namespace = "{cluster.namespace}"\n{settings}\n'
            f'[[environments.prod]]\ntype = "kubernetes"\nnamespaces = ["{cluster.namespace}"]\n'
        )
        capsys.readouterr()
        status = main(["doctor", "--env", env])
        lines = [line for line in capsys.readouterr().out.splitlines() if line[:4].strip()]
        return status, {line[6:20].strip(): line for line in lines}

    return run


COLD = f'kubernetes_image = "{IMAGE}"\nkubernetes_pod_marks = true'


def test_everything_that_is_needed_is_there(doctor: Doctor, cluster: Cluster) -> None:
    """All rights, and a cluster that accepts the Job; nothing is created."""
    cluster.make("Secret", "cordboard", data=SECRET)
    secret = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    status, checks = doctor(*READER, *OPERATOR, secret, settings=COLD)
    assert {line[:4] for line in checks.values()} == {"ok  "}, checks
    assert status == 0
    assert {"log rights", "operator", "cold start", "clock", "secret", "pods"} <= checks.keys()
    reads = "may get pods, list pods, watch pods, get pods/log, list jobs in namespace"
    assert reads in checks["log rights"]
    assert "may create jobs, get jobs, delete jobs, list pods, watch pods, " in checks["operator"]
    assert "has all keys" in checks["secret"]
    assert "dG9w" not in str(checks)
    assert cluster.pods() == []


def test_each_missing_right_is_named(doctor: Doctor, cluster: Cluster) -> None:
    """Without rights on Jobs and on logs; a Secret that may not be read is no failure."""
    see = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    status, checks = doctor(see, settings=COLD)
    assert status == 1
    where = f"in namespace {cluster.namespace}"
    assert f"may not get pods, watch pods, get pods/log, list jobs {where}" in checks["log rights"]
    assert (
        "may not create jobs, get jobs, delete jobs, watch pods, list events, patch pods"
        in checks["operator"]
    )
    assert checks["cold start"].startswith("FAIL")
    assert checks["secret"].startswith("ok")


def test_operator_that_marks_pods_needs_no_list(doctor: Doctor) -> None:
    """The chart's operator without cold runners may only patch pods; stuck pods are then not looked for."""
    marks = {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    _, checks = doctor(marks, settings="kubernetes_pod_marks = true")
    assert "may patch pods in namespace" in checks["operator"]
    assert checks["pods"].startswith("ok")
    assert "may not list pods" in checks["pods"]


def test_refused_job_and_incomplete_secret_are_named(doctor: Doctor, cluster: Cluster) -> None:
    """A quota that allows no Job, and a Secret without the control secret."""
    _leave_no_quota(cluster)
    cluster.make("Secret", "cordboard", data={"REDIS_URL": "eA=="})
    secret = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    status, checks = doctor(*READER, *OPERATOR, secret, settings=COLD)
    assert status == 1
    assert "quota" in checks["cold start"]
    assert "lacks BOT_CONTROL_SHARED_SECRET" in checks["secret"]


def _leave_no_quota(cluster: Cluster) -> None:
    """Allow no Job; the status that a controller would write is written here."""
    none = {"hard": {"count/jobs.batch": "0"}}
    cluster.make("ResourceQuota", "none", spec=none)
    status = {"status": {**none, "used": {"count/jobs.batch": "0"}}}
    cluster.client.patch(ResourceQuotaStatus, "none", status, namespace=cluster.namespace)


def test_pod_that_cannot_start_is_named(doctor: Doctor, cluster: Cluster) -> None:
    """An image that cannot be pulled, in a component of Cordboard."""
    labels = {"app.kubernetes.io/name": "cordboard"}
    container = {"name": "gateway", "image": "registry.invalid/cordboard:1", "command": ["true"]}
    cluster.make("Pod", "gateway-1", metadata={"labels": labels}, spec={"containers": [container]})

    def is_stuck() -> bool:
        containers = cluster.status("gateway-1").containerStatuses or []
        return any(
            item.state.waiting and "Pull" in item.state.waiting.reason for item in containers
        )

    wait_for(is_stuck)
    status, checks = doctor(*READER, *OPERATOR, settings="kubernetes_pod_marks = true")
    assert status == 1
    assert "pod gateway-1 cannot start" in checks["pods"]


MARKS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}


@pytest.mark.parametrize(
    ("rules", "settings"),
    [(READER, ""), ([MARKS], "kubernetes_pod_marks = true"), ([], "")],
    ids=["reader", "marks", "no rights"],
)
def test_clock_is_compared_whatever_else_is_checked(
    doctor: Doctor, rules: list[dict[str, Any]], settings: str
) -> None:
    """Any answer of the API tells the time: one for a reader of logs, and also a refusal."""
    _, checks = doctor(*rules, settings=settings)
    assert checks["clock"].startswith("ok")
    assert checks["clock"].endswith(" agree")


def test_operator_in_its_pod_passes_without_log_sources(doctor: Doctor, cluster: Cluster) -> None:
    """With `--env local` no right on logs is needed: the operator's own rights, and all that it needs, are checked."""
    cluster.make("Secret", "cordboard", data=SECRET)
    status, checks = doctor(*OPERATOR, settings=COLD, env="local")
    assert status == 0, checks
    assert {"operator", "cold start", "clock", "secret", "pods"} <= checks.keys()
    assert "log rights" not in checks


@pytest.mark.parametrize(
    ("skew_s", "ok", "words"),
    [(0.4, True, "agree"), (90, False, "90 s ahead"), (-90, False, "90 s behind")],
)
def test_clock_that_differs_is_named(skew_s: float, ok: bool, words: str) -> None:
    """The answers tell whole seconds; a difference of a minute makes `-t 1m` useless."""
    clock = ClusterClock()
    clock.compare("Mon, 30 Nov 2026 12:00:00 GMT", NOON + skew_s, 1.0)
    found = cluster_check.check_clock(cast("Kube", Double(clock.offset_s)))
    assert (found.ok, words in found.message) == (ok, True)
    assert Check(*found).ok is ok


def test_quickest_answer_tells_the_time() -> None:
    """One that takes long, one without a time, and one with a malformed time change nothing."""
    clock = ClusterClock()
    clock.compare("Mon, 30 Nov 2026 12:00:00 GMT", NOON, 1.0)
    for date in ("Mon, 30 Nov 2026 11:00:00 GMT", None, "noon"):
        clock.compare(date, NOON, 9.0 if date and date != "noon" else 0.1)
    assert clock.offset_s == 0


def test_cluster_that_tells_no_time_is_not_at_fault() -> None:
    """A proxy may remove the header."""
    found = cluster_check.check_clock(cast("Kube", Double(None)))
    assert found.ok
    assert "not checked" in found.message


# The header of an answer that took a second says 12:00:00: 12:00:00.5 in the middle of it, on average.
NOON = 1_796_040_000.0


@dataclass
class Double:
    """A cluster, as far as its clock goes."""

    clock_offset_s: float | None
    name: str = "there"
