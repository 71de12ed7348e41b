"""Which metrics Cordboard's components export."""

import re

from prometheus_client import REGISTRY

from cordboard.edge import middleware as of_edge
from cordboard.edge.phone import calls as of_phone
from cordboard.edge.streams import metrics as of_streams
from cordboard.gateway import metrics as of_gateway
from cordboard.operator import metrics as of_operator
from cordboard.runner import metrics as of_runner
from cordboard.web import auth as of_web

OWN = re.compile(r"cordboard_[a-z_]+")
# What Prometheus appends to a name, by the type of the metric.
ENDINGS = re.compile(r"_(total|bucket|created|sum|count)$")


def exported() -> set[str]:
    """Every metric's name, as the modules that count make it."""
    assert None not in {of_edge, of_gateway, of_operator, of_phone, of_runner, of_streams, of_web}
    names = {family.name for family in (*REGISTRY.collect(), *of_operator.slots_wanted.describe())}
    return {name for name in names if name.startswith("cordboard_")}


def own_metrics(expression: str) -> set[str]:
    """Return the names of Cordboard's metrics in an expression of PromQL."""
    return {ENDINGS.sub("", name) for name in OWN.findall(expression)}
