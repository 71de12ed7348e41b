"""The generated tables of docs/contract/: routes, Redis keys, errors, states, reasons, settings.

Each function returns a Markdown table. docs.py puts it between the markers of its page, so that a
change of the code changes the page, and `docs.py --check` fails until it does.
"""

import ast
import inspect
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fastapi import FastAPI
from fastapi.routing import APIRoute

from cordboard.cli import COMMANDS
from cordboard.contract.lease import Periods
from cordboard.contract.record import EVENTS
from cordboard.contract.state import LIVE, REASONS, TRANSITIONS
from cordboard.environment import SESSION_SECRET
from cordboard.settings.reference import setting_docs
from cordboard.store.keys import Keys

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cordboard"
TAG = "TAG"
# What an operator, a gateway and so on are asked: the order of the sections of http.md.
PARTS = ("gateway", "runner", "operator", "interface", "edge")
_SUFFIXES = {
    "session_id": "SESSION_ID",
    "room": "ROOM",
    "user_id": "USER_ID",
    "runner_id": "RUNNER_ID",
    "claim": "CLAIM",
    "name": "NAME",
}
_WORD_BOUNDARY = re.compile(r"\s+")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    names = [*head]
    lines = [f"| {' | '.join(cell(text) for text in line)} |" for line in (names, *rows)]
    return "\n".join([lines[0], "|---" * len(names) + "|", *lines[1:]])


def cell(text: str) -> str:
    """Return text as one cell of a table."""
    return _WORD_BOUNDARY.sub(" ", text.strip()).replace("|", "\\|").replace("``", "`")


@cache
def source_trees() -> dict[Path, ast.Module]:
    """Return the syntax trees of the package's Python files."""
    return {
        path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))
    }


def code(text: object) -> str:
    """Return text as code; nothing for an empty text."""
    return f"`{text}`" if str(text) else ""


# --- HTTP


def make_app(part: str) -> FastAPI:
    """Return the application of a part, as the tests make it."""
    tests = str(ROOT / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    from parts_support import make

    with patch.dict(os.environ, {SESSION_SECRET: "of no server"}):  # else it warns
        return make(part)


def routes(part: str) -> Iterator[tuple[str, str, APIRoute]]:
    """Yield method, path and route of each call of a part, in the order in which they are declared."""
    for route in _flat(make_app(part).routes):
        for method in sorted(route.methods, reverse=True):  # POST before PATCH
            path = route.path.replace("{session_id}", "{id}").replace(":path}", "}")
            yield method, path, route


def _flat(found: Iterable[Any]) -> Iterator[APIRoute]:
    """Yield the routes, those of included routers too (FastAPI nests them since 0.160)."""
    for route in found:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from _flat(route.original_router.routes)


def routes_table(part: str) -> str:
    """Return the table of a part's calls."""
    schema = make_app(part).openapi()["paths"]
    found = [*routes(part)]
    operations = {  # by endpoint: an alias is not in the schema
        route.endpoint.__qualname__: schema[route.path][method.lower()]
        for method, _, route in found
        if route.path in schema
    }
    rows = []
    for method, path, route in found:
        operation = operations.get(route.endpoint.__qualname__, {})
        rows.append([code(f"{method} {path}"), _parameters(operation), _meaning(route)])
    return table(["call", "query and headers", "meaning"], rows)


def _meaning(route: APIRoute) -> str:
    return inspect.cleandoc(route.endpoint.__doc__ or "").partition("\n\n")[0]


def _parameters(operation: Mapping[str, Any]) -> str:
    named = [item["name"] for item in operation.get("parameters", []) if item["in"] != "path"]
    return ", ".join(code(name) for name in named)


# --- errors


@dataclass
class ErrorClass:
    """An error class of the source, as it is written there."""

    bases: list[str]
    values: dict[str, Any]
    doc: str


_OVERRIDES = {
    "internal_error": "Cordboard failed internally; the log of the component gives the cause."
}


def error_classes() -> dict[str, ErrorClass]:
    """Return all classes of the package that have a base, by name.

    The source is read, not imported: errors of packages that need an extra are found without it.
    """
    found: dict[str, ErrorClass] = {}
    for tree in source_trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.bases:
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                found[node.name] = ErrorClass(
                    bases, dict(_values(node)), ast.get_docstring(node) or ""
                )
    return found


def _values(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value)):
                yield name, value


@cache
def errors() -> dict[str, dict[str, Any]]:
    """Return each error code with its status, exit status, retry and meaning."""
    classes = error_classes()
    found: dict[str, dict[str, Any]] = {}
    for item in classes.values():
        chain = [item, *_ancestors(item, classes)]
        if "Exception" not in chain[-1].bases or "exit_code" not in chain[-1].values:
            continue
        if "code" not in item.values:
            continue
        merged = {name: value for one in reversed(chain) for name, value in one.values.items()}
        name = item.values["code"]
        found[name] = {**merged, "doc": _OVERRIDES.get(name, item.doc.partition("\n\n")[0])}
    return found


def _ancestors(item: ErrorClass, classes: Mapping[str, ErrorClass]) -> Iterator[ErrorClass]:
    for name in item.bases:
        if name in classes:
            yield classes[name]
            yield from _ancestors(classes[name], classes)


def errors_table() -> str:
    """Return the table of error codes."""
    by_status = sorted(errors().items(), key=lambda item: (item[1]["status"], item[0]))
    rows = [
        [code(name), str(v["status"]), str(v["exit_code"]), _yes(on=v["retryable"]), v["doc"]]
        for name, v in by_status
    ]
    return table(["code", "HTTP", "exit status", "retry helps", "meaning"], rows)


def _yes(*, on: bool) -> str:
    return "yes" if on else ""


# --- Redis


def redis_keys() -> dict[str, str]:
    """Return the name of each kind of key (and of the channel), with the docstring of its method."""
    keys = Keys(TAG)
    found = {}
    for name, member in vars(Keys).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            value, doc = getattr(keys, name), member.__doc__
        elif inspect.isfunction(member) and (suffix := _suffix(member)):
            value, doc = _named(keys, name, suffix), member.__doc__
        else:
            continue
        if isinstance(value, str) and f"{{{TAG}}}" in value:
            found[value] = inspect.cleandoc(doc or "").partition("\n\n")[0]
    return found


def _suffix(member: Any) -> str:
    """Return what stands for the parameter of a method of one parameter; empty for another method."""
    parameters = [*inspect.signature(member).parameters][1:]
    if len(parameters) != 1:
        return ""
    return _SUFFIXES.get(parameters[0], parameters[0].upper())


def _named(keys: Keys, name: str, suffix: str) -> str:
    value = str(getattr(keys, name)(suffix))
    return value if value.endswith(suffix) else re.sub(r"[0-9a-f]{40}$", f"SHA1({suffix})", value)


def keys_table() -> str:
    """Return the table of keys."""
    return table(["key", "meaning"], ([code(name), doc] for name, doc in redis_keys().items()))


def periods_table() -> str:
    """Return the periods of a lease, all of which follow from its length."""
    rows = [["lease", f"{Periods().lease_s:g} s", "How long a lease lasts without a renewal."]]
    for name, member in vars(Periods).items():
        if isinstance(member, property):
            seconds = getattr(Periods(), name)
            rows.append([name.removesuffix("_s"), f"{seconds:g} s", member.__doc__ or ""])
    return table(["period", "default", "meaning"], rows)


# --- states, events


def states_table() -> str:
    """Return the table of states and transitions."""
    rows = [
        [
            code(state),
            "live" if state in LIVE else "final",
            ", ".join(code(to) for to in _ordered(after)),
        ]
        for state, after in TRANSITIONS.items()
    ]
    return table(["state", "kind", "may be followed by"], rows)


def _ordered(states: Iterable[str]) -> list[str]:
    return sorted(states, key=[*TRANSITIONS].index)


def reasons_table(meanings: Mapping[str, str]) -> str:
    """Return the table of reasons."""
    rows = [[code(name), code(state), meanings[name]] for name, state in REASONS.items()]
    return table(["reason", "final state", "meaning"], rows)


REASON_MEANINGS = {
    "bot_finished": "`bot()` returned.",
    "left": "A caller ended the session, or `cordboard up` was stopped.",
    "user_absent": "In a `webrtc:` room, nobody connected in time, or nobody was connected for too long.",
    "max_duration": "The session reached `maxDurationSeconds`.",
    "bot_crashed": "`bot()` raised an exception or could not be called, or its process died.",
    "runner_lost": "The runner died or was stopped, and no attempt was left, or no runner took the session in time.",
    "lease_lost": "The lease was not renewed for too long, or the room was granted again.",
    "launch_failed": "No runner could be started, and the bot never ran.",
    "deadline": "The session did not run within `deadlineSeconds`.",
    "cancelled": "A caller ended the session before it ran.",
}


EVENT_SERVICES = {
    "page.opened": "browser",
    "join.clicked": "browser",
    "join.requested": "interface, edge",
    "call.received": "edge",
    "call.answered": "edge",
    "call.status": "edge",
    "call.interrupted": "browser, call",
    "call.resumed": "browser, call",
    "join.received": "gateway",
    "join.accepted": "gateway",
    "join.reused": "gateway",
    "join.refused": "gateway",
    "launch.claimed": "operator",
    "launch.assigned": "operator",
    "launch.job_created": "operator",
    "launch.failed": "operator",
    "start.received": "runner",
    "bot.forked": "runner",
    "bot.started": "runner",
    "stream.opened": "edge",
    "stream.first_media": "edge",
    "stream.lost": "edge",
    "stream.resumed": "edge",
    "stream.closed": "edge",
    "bot.connected": "bot",
    "user.connected": "bot",
    "user.first_audio": "bot",
    "bot.first_audio": "bot",
    "turn.started": "bot",
    "turn.ended": "bot",
    "turn.user_text": "bot",
    "turn.bot_text": "bot",
    "turn.heard": "browser, call",
    "pipeline.started": "bot",
    "speech.started": "bot",
    "speech.ended": "bot",
    "service.usage": "bot",
    "service.error": "bot",
    "tool.started": "bot",
    "tool.ended": "bot",
    "media.stats": "browser, call, bot",
    "media.warning": "browser, call, bot",
    "device.changed": "browser",
    "bot.finished": "bot",
    "bot.crashed": "bot, runner",
    "lease.lost": "runner, bot",
    "lease.expired": "operator",
    "session.recovered": "operator, runner",
    "session.ended": "gateway, operator, runner",
    "auth.refused": "all",
    "up.ready": "up",
}


def events_table() -> str:
    """Return the table of events with the services that write them."""
    rows = [[code(name), EVENT_SERVICES[name], meaning] for name, meaning in EVENTS.items()]
    return table(["event", "service", "meaning"], rows)


# --- metrics


@cache
def metrics() -> dict[str, tuple[str, str, list[str], str]]:
    """Return type, component, labels and meaning of each metric, by name. The source is read."""
    found = {}
    for path, tree in source_trees().items():
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name(id="Counter" | "Gauge" | "Histogram" as kind),
                    args=[ast.Constant(value=str(name)), ast.Constant(value=str(doc)), *further],
                ):
                    labels = [*ast.literal_eval(further[0])] if further else []
                    component = path.relative_to(SOURCE).parts[0].replace("web", "all")
                    name += "_total" if kind == "Counter" else ""
                    found[name] = (kind.lower(), component, labels, doc)
    return found


def metrics_table() -> str:
    """Return the table of metrics."""
    rows = [
        [code(name), component, kind, ", ".join(map(code, labels)), doc]
        for name, (kind, component, labels, doc) in metrics().items()
    ]
    return table(["metric", "component", "type", "labels", "meaning"], rows)


# --- commands, settings


def commands_table() -> str:
    """Return the table of commands."""
    rows = [
        [f"[`cordboard {name}`](../cli.md#cordboard-{name})", f"{text[0].upper()}{text[1:]}."]
        for name, text in COMMANDS.items()
    ]
    return table(["command", "what it does"], rows)


def settings_table() -> str:
    """Return the table of all settings, from their declarations."""
    rows = (
        [code(doc.name), code(doc.variable), _default(doc.default), doc.meaning]
        for doc in setting_docs()
    )
    return table(["in `cordboard.toml`", "in the environment", "default", "meaning"], rows)


def _default(value: object) -> str:
    return "" if value is None or value == () else code(value)


def layers_table() -> str:
    """Return the rows of the import contract of pyproject.toml, the highest first."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    layers = next(item["layers"] for item in contracts if item["type"] == "layers")
    return "\n".join(["```text", *layers, "```"])


def tables() -> dict[str, dict[str, str]]:
    """Return each page of docs/contract/ with its generated tables, by the names of their markers."""
    return {
        "http.md": {
            **{f"routes of the {part}": routes_table(part) for part in PARTS},
            "errors": errors_table(),
        },
        "redis.md": {"keys": keys_table(), "periods": periods_table()},
        "states.md": {"states": states_table(), "reasons": reasons_table(REASON_MEANINGS)},
        "events.md": {"events": events_table()},
        "metrics.md": {"metrics": metrics_table()},
        "commands.md": {"commands": commands_table()},
        "settings.md": {"settings": settings_table()},
    }
