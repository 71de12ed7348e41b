"""docs/contract/ describes what the code does: nothing is missing there, nothing is invented."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from typing import Any

import pytest

from cordboard.context import Context
from cordboard.context.carrier import (
    inject_baggage,
    inject_environment,
    inject_headers,
    inject_message,
)
from cordboard.contract import errors
from cordboard.contract.ids import canonical_room, is_session_id
from cordboard.contract.record import EVENTS, KEYS, LEVELS, SERVICES
from cordboard.contract.state import REASONS, TRANSITIONS
from cordboard.environment import ICE_SERVERS, SECRET_VARIABLES
from cordboard.settings.reference import setting_docs
from docs_support import (
    CONTRACT,
    ROOT,
    SOURCE,
    codes,
    docs,
    docs_contract,
    first_codes,
    page,
    rows,
    section,
    source_trees,
    words_of_source,
)
from parts_support import make

FULL = Context(
    session_id="call-7",
    user_id="u-1",
    user_name="Ada",
    room="webrtc:standup",
    epoch=3,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
_VARIABLE = re.compile(r"(?:[A-Z][A-Z0-9]*_[A-Z0-9_]+|TRACEPARENT|PAGER|KUBECONFIG)")
BROWSER = ROOT / "clients" / "js" / "src" / "browser"  # the interface serves it below static/client
_HEADER = re.compile(r"X-[A-Z][A-Za-z-]+")


@cache
def literals() -> frozenset[str]:
    """Every string of the package's Python source."""
    return frozenset(
        node.value
        for tree in source_trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


# --- generated parts


def test_generated_parts_are_current() -> None:
    """Each generated table is what `make docs` would write."""
    outdated = [
        str(path) for path, text in docs.pages().items() if path.read_text(encoding="utf-8") != text
    ]
    assert outdated == []


@pytest.mark.parametrize("part", docs_contract.PARTS)
def test_every_route_is_in_the_page(part: str) -> None:
    """The tables of http.md list each route of each application, and no other."""
    table = section(page("http.md"), f"## {part.capitalize()}")
    listed = first_codes(table, "call")
    app = make(part)
    described = {
        f"{method.upper()} {path.replace('{session_id}', '{id}')}"
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    assert described <= listed
    assert listed == {f"{method} {path}" for method, path, _ in docs_contract.routes(part)}


def test_every_error_code_is_in_the_page() -> None:
    """The table of http.md has each error class of the package, with its status and exit status."""
    import cordboard.edge.app
    import cordboard.gateway.app
    import cordboard.interface.app
    import cordboard.runner.app

    assert cordboard.edge.app
    assert cordboard.gateway.app
    assert cordboard.interface.app
    assert cordboard.runner.app
    listed = {codes(cells[0])[0]: cells[1:3] for cells in rows(page("http.md"), "code")}
    for kind in subclasses(errors.CordboardError):
        assert listed[kind.code][0] == str(kind.status), kind
        if kind.__module__.startswith("cordboard.contract"):
            assert listed[kind.code][1] == str(kind.exit_code), kind


def subclasses(kind: type[errors.CordboardError]) -> Iterator[type[errors.CordboardError]]:
    """Yield a class and all that derive from it."""
    yield kind
    for derived in kind.__subclasses__():
        if derived.__module__.startswith("cordboard."):
            yield from subclasses(derived)


def test_error_codes_without_a_class_are_in_the_page() -> None:
    """A code that is written beside its status, as in WebRTC signalling, is described, too."""
    listed = first_codes(page("http.md"), "code")
    written = {*codes_beside_a_status()}
    assert written
    assert written <= listed
    further = listed - docs_contract.errors().keys()
    assert further <= literals()


def codes_beside_a_status() -> Iterator[str]:
    """Yield each second argument that is a name, of calls whose first one is an HTTP status."""
    for tree in source_trees().values():
        for node in ast.walk(tree):
            match node:
                case ast.Call(args=[status, ast.Constant(value=str(name)), *_]):
                    if is_error_status(status) and re.fullmatch(r"[a-z_]+", name):
                        yield name


def is_error_status(node: ast.expr) -> bool:
    """Return whether an expression is the status of an error, as a number or by its name."""
    match node:
        case ast.Constant(value=int(number)):
            return 400 <= number < 600
        case ast.Attribute(value=ast.Name(id="HTTPStatus"), attr=name):
            return HTTPStatus[name] >= HTTPStatus.BAD_REQUEST
    return False


def test_every_event_is_in_the_page() -> None:
    """The table has each event; each service that it names writes the event."""
    listed = {
        codes(cells[0])[0]: cells[1]
        for cells in rows(page("events.md"), "event")
        if len(cells) == 3
    }
    assert listed.keys() == EVENTS.keys()
    rooms = {"browser": "interface", "bot": "runner"}
    for event, services in listed.items():
        for service in services.split(", "):
            folder = SOURCE / ("web" if service == "all" else rooms.get(service, service))
            sources = [*folder.rglob("*.py"), *folder.rglob("*.js")]
            if service in {"bot", "call"}:
                sources.append(SOURCE / "media_watch.py")
            if service == "browser":
                sources += BROWSER.glob("*.js")
            assert any(f'"{event}"' in path.read_text(encoding="utf-8") for path in sources), event


def test_members_of_meta_belong_to_events() -> None:
    """The second table of events.md names events and words that the code has."""
    listed = {
        codes(cells[0])[0]: cells[1]
        for cells in rows(page("events.md"), "event")
        if len(cells) == 2
    }
    assert listed.keys() <= EVENTS.keys()
    words = words_of_source()
    for meta in listed.values():
        assert set(codes(meta)) <= words


def test_every_state_and_reason_is_in_the_page() -> None:
    """The tables of states.md are those of the code."""
    text = page("states.md")
    assert {codes(cells[0])[0]: set(codes(cells[2])) for cells in rows(text, "state")} == {
        state: set(after) for state, after in TRANSITIONS.items()
    }
    assert {codes(cells[0])[0]: codes(cells[1])[0] for cells in rows(text, "reason")} == REASONS


def test_every_key_of_a_line_is_in_the_page() -> None:
    """log-line.md lists each key; its example has no other, in the order of the code."""
    text = page("log-line.md")
    assert first_codes(text, "key") == set(KEYS)
    example = json.loads(text.partition("```json\n")[2].partition("```")[0])
    assert [*example] == [key for key in KEYS if key in example]
    assert {*LEVELS, *SERVICES} <= set(codes(text))


def test_every_exit_status_is_in_the_page() -> None:
    """commands.md lists the exit statuses of errors and of commands, and no other."""
    listed = {int(cells[0]) for cells in rows(page("commands.md"), "status")}
    of_errors = {values["exit_code"] for values in docs_contract.errors().values()}
    of_commands = {
        node.value.value
        for path, tree in source_trees().items()
        if path.parent.name == "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id.startswith("EXIT_")
        and isinstance(node.value, ast.Constant)
    }
    assert listed == of_errors | of_commands


def test_every_field_of_a_page_is_in_the_source() -> None:
    """No page describes a field that the code has no word for."""
    words = words_of_source()
    for name in ("http.md", "redis.md"):
        for column in ("field", "field of the response", "field of a session"):
            assert first_codes(page(name), column) <= words


def test_every_name_of_a_page_is_in_the_source() -> None:
    """No page of the contract uses a name that neither the source nor another standard has."""
    foreign = {"api_key", "generated", "method_not_allowed", *docs_contract.metrics()}
    known = words_of_source() | foreign
    unknown = {
        f"{path.name}: {name}"
        for path in CONTRACT.glob("*.md")
        if path.name != "settings.md"  # it is generated, and its variables are made from names
        for name in codes(path.read_text(encoding="utf-8"))
        if re.fullmatch(r"[A-Za-z]\w+", name) and name not in known
    }
    assert unknown == set()


def test_every_metric_of_the_dashboard_is_in_the_page() -> None:
    """The dashboard shows metrics that the components have; labels are those of the page."""
    listed = first_codes(page("metrics.md"), "metric")
    dashboard = (ROOT / "deploy" / "grafana-plane.json").read_text(encoding="utf-8")
    shown = set(re.findall(r"cordboard_[a-z_]+", dashboard))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} <= listed
    labels = {label for _, _, names, _ in docs_contract.metrics().values() for label in names}
    assert first_codes(page("metrics.md"), "label") == labels


# --- ids


def test_examples_of_session_ids() -> None:
    """Each id of the table is valid, or not, as the page says."""
    listed = {codes(cells[0])[0]: cells[1] for cells in rows(page("ids.md"), "id")}
    assert listed
    assert listed == {name: "yes" if is_session_id(name) else "no" for name in listed}


def test_examples_of_rooms() -> None:
    """Each URL of the table has the canonical form that stands beside it."""
    listed = {codes(cells[0])[0]: codes(cells[1])[0] for cells in rows(page("ids.md"), "given")}
    assert listed
    assert listed == {given: canonical_room(given) for given in listed}


# --- carriers, variables, headers


def test_carriers_are_those_of_the_page() -> None:
    """Each carrier writes the names of its column, and no other."""
    message: dict[str, Any] = {}
    headers: dict[str, str] = {}
    environment: dict[str, str] = {}
    baggage: dict[str, str] = {}
    inject_message(FULL, message)
    inject_headers(FULL, headers)
    inject_environment(FULL, environment)
    inject_baggage(FULL, baggage)
    columns: list[set[str]] = [set(), set(), set(), set()]
    for cells in rows(page("environment.md"), "value"):
        for column, cell in zip(columns, cells[1:], strict=True):
            column.update(codes(cell))
    members = {member.partition("=")[0] for member in baggage["baggage"].split(",")}
    assert columns == [set(message), set(headers), set(environment), members]


def test_every_variable_is_in_a_page() -> None:
    """Each environment variable of the source is described; none is described that it lacks."""
    described = first_codes(page("environment.md"), "variable") | first_codes(
        page("settings.md"), "variable"
    )
    described |= {codes(cells[1])[0] for cells in rows(page("settings.md"), "in `cordboard.toml`")}
    described |= {
        name for cells in rows(page("environment.md"), "value") for name in codes(cells[3])
    }
    in_source = {text for text in literals() if _VARIABLE.fullmatch(text)}
    # Of the kernel, of Pipecat, of Python's bytecode, of `typing`.
    constants = {"CLOCK_BOOTTIME", "IN_PROGRESS", "MSG_CMSG_CLOEXEC", "O_PATH"}
    constants |= {"LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "TYPE_CHECKING"}
    in_source = {name for name in in_source if name not in constants and "__" not in name}
    in_source |= {doc.variable for doc in setting_docs()}  # these names follow from the settings'
    assert in_source - {"POD_IP"} <= described | {"$(POD_IP)"}
    assert described <= {*in_source, *_mentioned(described)}


def _mentioned(names: set[str]) -> set[str]:
    source = "\n".join(literals())
    return {name for name in names if name in source}


def test_every_secret_is_in_the_page() -> None:
    """settings.md lists the secrets, environment.md the variables that no bot gets."""
    named = {name for name in SECRET_VARIABLES if not name.endswith("_FILE")}
    # These may contain a password, and have rows among the settings.
    assert first_codes(page("settings.md"), "variable") == named - {"REDIS_URL", *ICE_SERVERS}
    sentence = page("environment.md").partition("No bot process gets")[2].partition("\n\n")[0]
    assert named <= set(codes(sentence))


def test_every_header_is_in_the_page() -> None:
    """Each X- header of the source is described; none is described that it lacks."""
    text = page("environment.md")
    described = first_codes(text, "header")
    described |= {name for cells in rows(text, "value") for name in codes(cells[2])}
    in_source = {
        node.value
        for path, tree in source_trees().items()
        if "sources" not in path.parts  # a log store has headers of its own
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _HEADER.fullmatch(node.value)
    }
    assert in_source <= described
    source = "\n".join(literals())
    assert {name for name in described if name.lower() not in source.lower()} == set()
