"""The chart as users install it: helm and kubectl, what helm renders, and what the objects say.

scripts/chart_tools.sh installs the programs; `make test` names their folder in CHART_TOOLS.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from cluster_support import cluster_config

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "cordboard"
NO_TOOLS = "no helm: CHART_TOOLS names no folder (scripts/chart_tools.sh)"
OLDEST, NEWEST = "1.29.0", "1.37.0"
COMPONENTS = ("gateway", "operator", "runner", "interface", "edge")
PORTS = {"gateway": 4444, "operator": 4445, "runner": 7861, "interface": 3000, "edge": 7860}
REDIS = {"redis": {"url": "redis://redis.data:6379/0"}}
ZONES = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}  # fmt: skip
# Everything that the chart has.
ALL: dict[str, Any] = {
    **REDIS,
    "image": {"registry": "registry.example.com/voice", "pullSecrets": ["pull"]},
    "settings": {"interface_login": "header", "trusted_proxies": ["10.0.0.0/8"]},
    "config": "[phone]\n",
    "bots": {"default": "/app/bot.py", "sales": "/app/sales.py"},
    "secret": {"values": {"CORDBOARD_TURN_SECRET": "a secret of the TURN server"}},
    "coldRunners": {"enabled": True},
    "gateway": {"topologySpreadConstraints": [ZONES]},
    "runner": {"autoscaling": {"kind": "hpa"}},
    "interface": {
        "enabled": True,
        "host": "voice.example.org",
        "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "voice-tls"},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
    },
    "edge": {
        "enabled": True,
        "host": "phone.example.org",
        "ingress": {"enabled": True},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
    },
    "logReader": {"enabled": True},
    "networkPolicies": {
        "monitoring": [{"namespaceSelector": {}}],
        "proxies": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "proxies"}}}
        ],
    },
    "podMonitor": {"enabled": True},
    "alarms": {"enabled": True},
    "dashboard": {"enabled": True},
}


def tool(name: str) -> str:
    """Return the path of a program; skip the test where the programs are not installed."""
    folder = os.environ.get("CHART_TOOLS")
    if not folder:
        pytest.skip(NO_TOOLS)
    return str(Path(folder, "bin", name))


def merged(*values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of the chart, the later ones above the earlier ones, as helm merges them."""
    found: dict[str, Any] = {}
    for value in values:
        for key, item in value.items():
            is_map = isinstance(item, Mapping) and isinstance(found.get(key), Mapping)
            found[key] = merged(found[key], item) if is_map else item
    return found


def run(
    program: str, *words: str, values: Mapping[str, Any] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run helm or kubectl with the values on standard input, and nothing of the user's."""
    # Both keep a cache in the home directory.
    home = str(ROOT / ".make" / "chart-home")
    variables = {"PATH": os.environ["PATH"], "HOME": home, "HELM_CACHE_HOME": home}
    is_offline = words[0] in {"template", "lint"} or "--dry-run=client" in words
    if program == "kubectl" or not is_offline:
        variables["KUBECONFIG"] = str(cluster_config())
    done = subprocess.run(
        [tool(program), *words, *(("-f", "-") if values is not None else ())],
        input=json.dumps(values) if values is not None else "",
        env=variables,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def render(
    *values: Mapping[str, Any],
    version: str = OLDEST,
    name: str = "cordboard",
    namespace: str = "bots",
) -> list[dict[str, Any]]:
    """Return the objects that helm would install."""
    # The text, because a test may change the objects.
    return objects(_rendered(json.dumps(merged(*values)), version, name, namespace))


@cache
def _rendered(values: str, version: str, name: str, namespace: str) -> str:
    words = ("template", name, str(CHART), "-n", namespace, "--kube-version", version)
    return run("helm", *words, values=json.loads(values)).stdout


def notes(*values: Mapping[str, Any]) -> str:
    """Return what helm tells the user after an installation with these values."""
    words = ("install", "cordboard", str(CHART), "-n", "bots", "--dry-run=client")
    return run("helm", *words, values=merged(*values)).stdout.partition("\nNOTES:\n")[2]


def refusal(*values: Mapping[str, Any]) -> str:
    """Return why helm does not render the chart with these values."""
    done = run("helm", "template", "cordboard", str(CHART), values=merged(*values), check=False)
    assert done.returncode != 0, "helm accepts these values"
    return done.stderr


def objects(text: str) -> list[dict[str, Any]]:
    """Return the objects of a rendered chart."""
    return [item for item in yaml.safe_load_all(text) if item]


def of_kind(found: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """Return the objects of some kinds."""
    return [item for item in found if item["kind"] in kinds]


def named(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Return the object of a kind and a name."""
    (item,) = [item for item in of_kind(found, kind) if item["metadata"]["name"] == name]
    return item


def pod_of(found: list[dict[str, Any]], component: str) -> dict[str, Any]:
    """Return the spec of a component's pods."""
    deployment = named(found, "Deployment", f"cordboard-{component}")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def variables_of(found: list[dict[str, Any]], component: str) -> dict[str, Any]:
    """Return the variables of a component: values, or the references that take their place."""
    (container,) = pod_of(found, component)["containers"]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def walk(item: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of everything in an object."""
    yield path, item
    if isinstance(item, Mapping):
        for key, value in item.items():
            yield from walk(value, f"{path}.{key}")
    elif isinstance(item, list):
        for value in item:
            yield from walk(value, f"{path}[]")
