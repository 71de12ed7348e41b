"""The schema of the chart's values, and their table for docs/kubernetes.md, both from values.yaml and the settings.

In values.yaml, the comment ``# --`` above a key is its meaning, and makes the key a value: whatever is below belongs to
it. docs.py writes both, so that they cannot differ from values.yaml.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import yaml

from cordboard.contract.ice import IceServer
from cordboard.settings import Settings
from cordboard.settings.reference import setting_docs

CHART = Path(__file__).parents[1] / "deploy" / "helm" / "cordboard"
SCHEMA = CHART / "values.schema.json"
_MEANING = "# -- "
# What components set themselves, and what has no use in a cluster.
_NO_SETTINGS = ("redis_url", "kubernetes_", "tls_cert", "tls_key", "log_")

# Keys of the Secret that a component gets only if the values name them (templates/_helpers.tpl).
_OPTIONAL_KEYS = (
    "CORDBOARD_ICE_SERVERS",
    "CORDBOARD_INTERFACE_LOGIN_SECRET",
    "CORDBOARD_OIDC_CLIENT_SECRET",
    "CORDBOARD_SCRAPE_SECRET",
    "CORDBOARD_TURN_SECRET",
)

_STRINGS = {"type": "array", "items": {"type": "string", "minLength": 1}}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
# A rule of a policy without ports permits all of them.
_PORTS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1, "maximum": 65535},
    "minItems": 1,
}
_TEXTS_BY_NAME = {"type": "object", "additionalProperties": {"type": "string"}}
# The API refuses a rollout that may neither add nor remove a pod, and a budget of 0 % would hold every drain back.
_SHARE = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]*%$"}]
}
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = {"type": "string", "pattern": f"^({_LABEL})?$", "maxLength": 63}
# Names of Secrets, and of hosts without a scheme or a port.
_DNS_NAME = {"type": "string", "pattern": rf"^({_LABEL}(\.{_LABEL})*)?$", "maxLength": 253}
_QUANTITY = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|[MGT]|[KMGT]i)?$"}
_NETWORK = {"type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$"}
_FREE = {"type": "object"}
# By the path of a value, or by its last name.
_TYPES: dict[str, dict[str, Any]] = {
    "annotations": _TEXTS_BY_NAME,
    "affinity": _FREE,
    "apiPorts": _PORTS,
    "bots": {**_TEXTS_BY_NAME, "propertyNames": {"pattern": "^[A-Za-z0-9._-]{1,64}$"}},
    "bundled.memory": {"type": "string", "pattern": "^[1-9][0-9]*Mi$"},
    "coldRunners.cpu": _QUANTITY,
    "coldRunners.memory": _QUANTITY,
    "command": {**_STRINGS, "minItems": 1},
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "dnsPorts": _PORTS,
    "edge.host": _DNS_NAME,
    "fullnameOverride": _NAME,
    "interface.host": _DNS_NAME,
    "keys": {"type": "array", "items": {"enum": list(_OPTIONAL_KEYS)}, "uniqueItems": True},
    "kind": {"enum": ["", "hpa", "keda"]},
    "labels": _TEXTS_BY_NAME,
    "logLevel": {"enum": ["debug", "info", "warn", "error"]},
    "maxSurge": _SHARE,
    "maxUnavailable": _SHARE,
    "metricLabels": _TEXTS_BY_NAME,
    "nameOverride": _NAME,
    "nodeSelector": _TEXTS_BY_NAME,
    "podAnnotations": _TEXTS_BY_NAME,
    "podLabels": _TEXTS_BY_NAME,
    "podSecurity": _FREE,
    "privateNetworks": {"type": "array", "items": _NETWORK, "uniqueItems": True},
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "pullSecrets": _STRINGS,
    "redisPorts": _PORTS,
    "resources": _FREE,
    "secret.name": _DNS_NAME,
    "secret.values": _TEXTS_BY_NAME,
    "serviceAccount": _DNS_NAME,
    "template": _FREE,
    "timeouts": _TEXTS_BY_NAME,
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
}


@dataclass(frozen=True)
class Value:
    """A value of the chart.

    Attributes:
        path: Its name, with dots.
        default: Its default.
        meaning: What it means.
    """

    path: str
    default: Any
    meaning: str


def values() -> Iterator[Value]:
    """Yield the values in the order of values.yaml.

    Raises:
        LookupError: A value has no meaning.
    """
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    yield from _values(yaml.compose(text), "", text.splitlines())


def _values(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        meaning = _meaning(lines, key.start_mark.line)
        if meaning:
            default = yaml.safe_load(yaml.serialize(value))
            yield Value(path, default, meaning)
        elif isinstance(value, yaml.MappingNode):
            yield from _values(value, f"{path}.", lines)
        else:
            raise LookupError(f"values.yaml: {path} has no comment that begins with `{_MEANING}`")


def _meaning(lines: list[str], line: int) -> str:
    """Return the comment above a line; empty if it does not begin with the mark."""
    found: list[str] = []
    for text in reversed(lines[:line]):
        stripped = text.strip()
        if stripped.startswith(_MEANING):
            return " ".join([stripped.removeprefix(_MEANING), *reversed(found)])
        if not stripped.startswith("# "):
            break
        found.append(stripped.removeprefix("# "))
    return ""


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of each value, except of those that a component has like the gateway."""
    for value in values():
        if not value.meaning.startswith("As `gateway."):
            default = "" if value.default in ("", [], {}) else json.dumps(value.default)
            yield f"`{value.path}`", f"`{default}`" if default else "", value.meaning


# --- schema


def schema_text() -> str:
    """Return the text of values.schema.json."""
    schema: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Written by `make docs` from values.yaml and the settings of Cordboard.",
        **_object(),
    }
    schema["properties"]["global"] = {"type": "object"}  # helm passes it to each chart
    for value in values():
        *groups, name = value.path.split(".")
        place = schema
        for group in groups:
            place = place["properties"].setdefault(group, _object())
        place["properties"][name] = {"description": value.meaning, **_type(value)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _object() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _type(value: Value) -> dict[str, Any]:
    if value.path == "settings":
        return _settings()
    names = value.path.split(".")
    for key in (".".join(names[-2:]), names[-1]):
        if key in _TYPES:
            return _TYPES[key]
    kinds: dict[type, dict[str, Any]] = {
        bool: {"type": "boolean"},
        int: {"type": "integer", "minimum": 0},
        str: {"type": "string"},
        list: _OBJECTS,
    }
    return kinds[type(value.default)]


def _settings() -> dict[str, Any]:
    """Return the schema of the settings, by their types in Cordboard."""
    hints = get_type_hints(Settings, include_extras=True)
    found = _object()
    for doc in setting_docs():
        if not doc.name.startswith(_NO_SETTINGS):
            kind = _setting_type(hints[doc.name])
            found["properties"][doc.name] = {"description": doc.meaning, **kind}
    return found


def _setting_type(hint: Any) -> dict[str, Any]:
    if hint == tuple[IceServer, ...]:
        return {"type": "array", "items": {"type": ["string", "object"]}}
    schema = msgspec.json.schema(hint)
    # Kinds of patterns that Go does not know are left to Cordboard.
    if re.search(r"\(\?[=!<]|\\[AZ]", schema.get("pattern", "")):
        del schema["pattern"]
    return dict(schema)
