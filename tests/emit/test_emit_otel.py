"""OpenTelemetry: the ids of the active span on each line, and the same records over OTLP."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cordboard import emit
from cordboard.context.log_environment import otlp_environment
from cordboard.emit import otel

Lines = Callable[[], list[dict[str, Any]]]
log = emit.get_logger("test")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """A collector: its address, what it has received, and the statuses of its first answers."""
    received: list[dict[str, Any]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = statuses.pop(0) if statuses else 200
            if status == 200:
                received.append({"path": self.path, "key": self.headers["x-key"], "body": body})
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/logs", received, statuses
    server.shutdown()
    server.server_close()


def test_line_has_the_ids_of_the_active_span(lines: Lines) -> None:
    """They take precedence over those of the caller's traceparent."""
    trace = pytest.importorskip("opentelemetry.trace")
    span = trace.NonRecordingSpan(trace.SpanContext(0xABC, 0xDEF, is_remote=False))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with emit.session_context(session_id="s", traceparent=parent):
        log.info("Outside")
        with trace.use_span(span):
            log.info("Inside")
    outside, inside = lines()
    assert outside["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert (inside["traceId"], inside["spanId"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")


def test_record_is_exported_over_otlp(lines: Lines, collector: tuple[str, Any, Any]) -> None:
    """It arrives with its time, level, body, session, error and meta; stdout has it as well."""
    endpoint, received, statuses = collector
    statuses += [503, 429]
    exporter = otel.install(endpoint, {"x-key": "k"})
    try:
        with emit.session_context(session_id="call-7", user_id="u-1"):
            log.error(
                "Failed", event="bot.crashed", error=ValueError("no"), n=1, deep={"a": [True]}
            )
        emit.raw("printed", service="bot")
    finally:
        otel.uninstall(exporter)
    assert [record["message"] for record in lines()] == ["Failed", "printed"]
    (request,) = received
    assert (request["path"], request["key"]) == ("/v1/logs", "k")
    bot, test = request["body"]["resourceLogs"]
    assert bot["resource"]["attributes"][0]["value"] == {"stringValue": "bot"}
    (record,) = test["scopeLogs"][0]["logRecords"]
    attributes = {item["key"]: item["value"] for item in record["attributes"]}
    assert record["severityNumber"] == 17
    assert record["body"] == {"stringValue": "Failed"}
    assert record["eventName"] == "bot.crashed"
    assert attributes["session.id"] == {"stringValue": "call-7"}
    assert attributes["user.id"] == {"stringValue": "u-1"}
    assert attributes["exception.type"] == {"stringValue": "ValueError"}
    assert attributes["meta.n"] == {"intValue": "1"}
    assert attributes["meta.deep"]["kvlistValue"]["values"][0]["value"] == {
        "arrayValue": {"values": [{"boolValue": True}]}
    }
    assert record["timeUnixNano"].endswith("000")
    assert exporter.lost == 0


def test_unreachable_collector_loses_only_the_export(lines: Lines) -> None:
    """Without a collector the lines are on stdout as always, and the loss is counted."""
    exporter = otel.install("http://127.0.0.1:1/v1/logs", {})
    log.info("One")
    otel.uninstall(exporter)
    assert len(lines()) == 1
    assert exporter.lost == 1


# From Python 3.12 on, `os.fork` warns of threads, such as the exporter's; a warning is a line as well.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_does_not_export(lines: Lines, collector: tuple[str, Any, Any]) -> None:
    """The process that forwards a child's lines exports them, once."""
    endpoint, received, _ = collector
    exporter = otel.install(endpoint, {})
    pid = os.fork()
    if pid == 0:
        log.error("Child")
        os._exit(0)
    os.waitpid(pid, 0)
    otel.uninstall(exporter)
    assert [record["message"] for record in lines()] == ["Child"]
    assert received == []


def test_export_is_configured_by_opentelemetrys_variables() -> None:
    """The variable for logs takes precedence over the general one."""
    base = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}
    assert otlp_environment({}).endpoint == "http://localhost:4318/v1/logs"
    assert otlp_environment(base).endpoint == "http://c:4318/v1/logs"
    own = {**base, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://l/x"}
    assert otlp_environment(own).endpoint == "http://l/x"
