"""The metrics of the plane, and the dashboard that shows them."""

import json
import re
from pathlib import Path

from prometheus_client import REGISTRY

from cordboard.edge import middleware as of_edge
from cordboard.edge.phone import calls as of_phone
from cordboard.edge.streams import metrics as of_streams
from cordboard.gateway import metrics as of_gateway
from cordboard.operator import metrics as of_operator
from cordboard.runner import metrics as of_runner
from cordboard.web import auth as of_web

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana-plane.json"
OWN = re.compile(r"cordboard_[a-z_]+")
ENDINGS = re.compile(r"_(total|bucket|created|sum|count)$")


def exported() -> set[str]:
    """Every metric's name, as the modules that count make it."""
    assert None not in {of_edge, of_gateway, of_operator, of_phone, of_runner, of_streams, of_web}
    names = {family.name for family in (*REGISTRY.collect(), *of_operator.slots_wanted.describe())}
    return {name for name in names if name.startswith("cordboard_")}


def test_dashboard_shows_what_there_is() -> None:
    """The dashboard asks for no metric that nobody exports, and leaves none out."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        ENDINGS.sub("", name)
        for panel in panels
        for target in panel["targets"]
        for name in OWN.findall(target["expr"])
    }
    assert asked - exported() == set()
    assert {name for name in exported() if name not in asked} <= {"cordboard_runner_free_slots"}
