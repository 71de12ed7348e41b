"""Everything that the chart renders, against the schemas of Kubernetes and of other projects' kinds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from chart.chart_support import ALL, NEWEST, OLDEST, merged, of_kind, render, tool

FOREIGN = ("HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject")
BUNDLED = merged(ALL, {"redis": {"url": "", "bundled": {"enabled": True}}})
MODELS = Path(__file__).with_name("models.mjs")


@pytest.mark.parametrize("minor", range(29, 38))
def test_objects_are_those_of_kubernetes(minor: int, tmp_path: Path) -> None:
    """Each supported version knows each field: a misspelt one is an error."""
    folder = Path(tool("helm")).parents[1]
    version = f"1.{minor}.0"
    found = [item for item in render(BUNDLED, version=version) if item["kind"] not in FOREIGN]
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(found))
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(file)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed") == len(found)
    assert "WARN" not in done.stdout + done.stderr


def test_objects_are_those_of_other_projects() -> None:
    """Kinds of the Gateway API, the Prometheus operator and KEDA have the fields and types that these require."""
    models = Path(tool("helm")).parents[1] / "models"
    if not models.exists():
        pytest.skip(f"no {models} (scripts/chart_tools.sh)")
    scaling = {"kind": "keda", "keda": {"prometheus": "http://prometheus:9090"}}
    found = of_kind(render(ALL, {"runner": {"autoscaling": scaling}}), *FOREIGN)
    assert {item["kind"] for item in found} == set(FOREIGN)
    done = subprocess.run(
        ["node", str(MODELS), str(models)],
        input=json.dumps(found),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(found)


def test_range_of_versions_is_that_of_the_chart() -> None:
    """The first test goes from the oldest to the newest version."""
    assert (OLDEST, NEWEST) == ("1.29.0", "1.37.0")
