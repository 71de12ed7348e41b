"""The metrics of the plane, and the dashboard that shows them."""

import json
import re
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


def test_dashboard_shows_one_plane() -> None:
    """Two planes in one Prometheus are not added up: namespace and cell choose one.

    Without a value, they choose the series that have no such label.
    """
    board = json.loads(DASHBOARD.read_text())
    chosen = {item["name"] for item in board["templating"]["list"] if item["type"] == "query"}
    assert chosen == {"namespace", "cell"}
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    series = [found for text in expressions for found in re.findall(r"cordboard_\w+[^)\[]*", text)]
    assert len(series) >= len(expressions)
    for text in series:
        assert 'namespace="$namespace",cell="$cell"' in text
