"""Everything that the chart renders, against the schemas of Kubernetes and of other projects' kinds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from chart.chart_support import ALL, NEWEST, OLDEST, merged, named, of_kind, render, tool

FOREIGN = ("HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject")
BUNDLED = merged(ALL, {"redis": {"url": "", "bundled": {"enabled": True}}})
KEDA = {
    "runner": {"autoscaling": {"kind": "keda", "keda": {"prometheus": "http://prometheus:9090"}}}
}
MODELS = Path(__file__).with_name("models.mjs")


# Whatever the user names may look like a number, or like another type of YAML.
NUMBERS = merged(
    {**ALL, **BUNDLED, "secret": {}},
    {
        "fullnameOverride": "123",
        "listenAddress": "::",
        "image": {"pullSecrets": ["1e3"]},
        "logReader": {"enabled": True},
        "gateway": {"priorityClassName": "7", "podLabels": {"true": "false"}},
        "runner": {"serviceAccount": "8"},
        "coldRunners": {"cpu": 1, "serviceAccount": "8"},
        "interface": {"serviceAccount": "8", "ingress": {"className": "9", "tlsSecret": "10"}},
    },
)


@pytest.mark.parametrize("minor", range(29, 38))
def test_objects_are_those_of_kubernetes(minor: int, tmp_path: Path) -> None:
    """Each supported version knows each field: a misspelt one is an error."""
    version = f"1.{minor}.0"
    check_own(render(BUNDLED, version=version), version, tmp_path)


def test_objects_are_those_of_other_projects() -> None:
    """Kinds of the Gateway API, the Prometheus operator and KEDA have the fields and types that these require."""
    check_foreign(render(ALL, KEDA))


def test_names_may_look_like_numbers(tmp_path: Path) -> None:
    """A release, a namespace and everything else that the user names stay texts."""
    found = render(NUMBERS, version=NEWEST, name="456", namespace="789")
    check_own(found, NEWEST, tmp_path)
    check_foreign(render(NUMBERS, KEDA, name="456", namespace="789"))
    (container,) = named(found, "Deployment", "123-gateway")["spec"]["template"]["spec"]["containers"]  # fmt: skip
    assert "--host=::" in container["args"]
    existing = {"redis": {"bundled": {"enabled": False}}, "secret": {"name": "1e3"}}
    check_own(render(NUMBERS, existing, version=NEWEST), NEWEST, tmp_path)


def check_own(found: list[dict[str, Any]], version: str, folder: Path) -> None:
    """Check the objects of Kubernetes by the schemas of a version."""
    own = [item for item in found if item["kind"] not in FOREIGN]
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(own))
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(file)],
        env={**os.environ, "PYTHONPATH": str(Path(tool("helm")).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed") == len(own)
    assert "WARN" not in done.stdout + done.stderr


def check_foreign(found: list[dict[str, Any]]) -> None:
    """Check the objects of other projects by their models."""
    models = Path(tool("helm")).parents[1] / "models"
    if not models.exists():
        pytest.skip(f"no {models} (scripts/chart_tools.sh)")
    foreign = of_kind(found, *FOREIGN)
    assert {item["kind"] for item in foreign} == set(FOREIGN)
    done = subprocess.run(
        ["node", str(MODELS), str(models)],
        input=json.dumps(foreign),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(foreign)


def test_range_of_versions_is_that_of_the_chart() -> None:
    """The first test goes from the oldest to the newest version."""
    assert (OLDEST, NEWEST) == ("1.29.0", "1.37.0")
