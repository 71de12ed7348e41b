"""docs/logging.md agrees with the code, and its examples run."""

import importlib.util
import json
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cordboard import emit
from cordboard.contract.record import KEYS
from cordboard.emit import otel
from cordboard.emit.pipeline import pipeline
from cordboard.emit.reference import MEANINGS

Lines = Callable[[], list[dict[str, Any]]]
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "logging.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def block(heading: str, language: str = "python") -> str:
    """Return the first block of code below a heading."""
    page = PAGE.read_text(encoding="utf-8")
    below = page[page.index(f"\n# {heading}" if heading == "Logging" else f"\n## {heading}") :]
    return next(match[2] for match in BLOCK.finditer(below) if match[1] == language)


def added_lines(code: str) -> int:
    """Return how many lines of code a program gets; empty and unchanged ones do not count."""
    return sum(bool(line) and not line.startswith("async def") for line in code.splitlines())


@pytest.fixture
def unconfigured(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Let ``configure`` of the page set the name of the service, and nothing else."""
    monkeypatch.setattr(emit, "configure", lambda service: pipeline.set_identity(service, "m"))
    yield lines
    pipeline.set_identity("test", "m")


def scripts_docs() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_docs", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_tables_are_current() -> None:
    """The tables of keys and events are those that `make docs` generates."""
    page = PAGE.read_text(encoding="utf-8")
    assert scripts_docs().logging_page(PAGE) == page
    assert "| `truncated` |" in page
    assert "| `turn.ended` |" in page


def test_every_key_has_a_meaning() -> None:
    """The table of meanings has exactly the keys of a line."""
    assert set(MEANINGS) == set(KEYS)


def test_first_example_writes_the_line_shown(unconfigured: Lines) -> None:
    """The first example writes the line that is shown below it."""
    page = "\n" + PAGE.read_text(encoding="utf-8")
    (_, code), (_, shown) = BLOCK.findall(page)[:2]
    exec(code, {})
    (record,) = unconfigured()
    changing = {"timestamp", "boot", "seq"}
    expected = json.loads(shown)
    assert {k: v for k, v in record.items() if k not in changing} == {
        k: v for k, v in expected.items() if k not in changing
    }
    assert list(record) == list(expected)


def test_three_lines_add_sessions_to_fastapi(unconfigured: Lines) -> None:
    """Three lines of code give every line of a request its session, and write an access line."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    code = block("In an existing FastAPI application")
    assert added_lines(code) == 3
    exec(code, {"app": app})

    @app.get("/")
    def home() -> None:
        emit.get_logger("home").info("Asked")

    with TestClient(app) as client:
        client.get("/", headers={"X-Session-Id": "call-7"})
    own = [r for r in unconfigured() if r["sessionId"] == "call-7"]
    assert [(r["message"], r["service"]) for r in own] == [
        ("Asked", "shop"),
        ("Request served", "shop"),
    ]


async def test_three_lines_add_the_session_to_a_pipecat_cloud_bot(unconfigured: Lines) -> None:
    """Three lines of code give every line of a bot its session, including those of Pipecat."""
    from loguru import logger

    code = block("In an existing Pipecat Cloud bot")
    assert added_lines(code) == 3
    names: dict[str, Any] = {}
    exec(code, names)
    await names["bot"](types.SimpleNamespace(session_id="call-7"))
    logger.info("Pipeline started")
    record = unconfigured()[-1]
    assert (record["message"], record["tag"]) == ("Pipeline started", "test_emit_docs")
    assert (record["sessionId"], record["service"]) == ("call-7", "bot")


def test_interleaved_sessions_of_the_page(
    cordboard_interleaved_sessions: Callable[..., None], unconfigured: Lines
) -> None:
    """The example passes for a service that binds the session, and fails for one that does not."""
    log = emit.get_logger("svc")

    def good(message: dict[str, str]) -> None:
        with emit.session_context(session_id=message["sessionId"]):
            log.info("Handled", text=message["text"])

    names: dict[str, Any] = {"handle": good}
    exec(block("Conformance: `pytest --cordboard-log`"), names)
    names["test_sessions_are_separate"](cordboard_interleaved_sessions)
    names["handle"] = lambda message: log.info("Handled", message=message)
    with pytest.raises(pytest.fail.Exception, match="expected interleaved-"):
        names["test_sessions_are_separate"](cordboard_interleaved_sessions)


def test_otlp_example_installs_the_export(
    unconfigured: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example installs the export with one call."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    before = list(pipeline.observers)
    exec(block("OpenTelemetry"), {})
    (take,) = [item for item in pipeline.observers if item not in before]
    otel.uninstall(take.__self__)  # type: ignore[attr-defined]
