"""The metrics of the plane, and the dashboard that shows them."""

import json
from pathlib import Path

from metrics_support import exported, own_metrics

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana-plane.json"


def test_dashboard_shows_what_there_is() -> None:
    """The dashboard asks for no metric that nobody exports, and leaves none out."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in own_metrics(target["expr"])
    }
    assert asked - exported() == set()
    assert {name for name in exported() if name not in asked} <= {"cordboard_runner_free_slots"}
