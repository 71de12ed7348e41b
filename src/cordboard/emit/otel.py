"""Exports the same records over OTLP to an OpenTelemetry collector, besides the lines on stdout.

OTLP/HTTP in its JSON encoding (opentelemetry.io/docs/specs/otlp) needs only an HTTP client, and the
logs part of the Python SDK has no stable interface yet, so this module implements the protocol
itself. Lines are queued as they are and converted in a thread: the caller pays for one ``append``.
A forked child does not export. Its lines are exported by the process that forwards them, or it
calls ``install`` itself.
"""

import atexit
import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import groupby
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from cordboard.context.log_environment import otlp_environment
from cordboard.emit.pipeline import pipeline

# Lines that wait for the collector, about 5 MB; beyond it the oldest are lost and counted.
QUEUE_LINES_MAX: Final = 16_384
# Lines of one request, the default of OpenTelemetry's own batch processors.
BATCH_LINES: Final = 512
# How long a line waits for others, as in OpenTelemetry's batch processor for logs.
INTERVAL_S: Final = 1.0
# Seconds for one request, and for the export at the end of a process; OTLP's default.
TIMEOUT_S: Final = 10.0
ATTEMPTS: Final = 3
# Pause after the first failed attempt; it doubles with each further one.
_RETRY_S: Final = 0.1
_RETRYABLE: Final = frozenset({429, 502, 503, 504})  # OTLP, section "Failures"
_OK: Final = 200
_SEVERITY: Final = {"debug": 5, "info": 9, "warn": 13, "error": 17}
_ATTRIBUTES: Final = {
    "sessionId": "session.id",
    "userId": "user.id",
    "userName": "user.name",
    "room": "cordboard.room",
    "epoch": "cordboard.epoch",
    "tag": "cordboard.tag",
    "event": "event.name",
    "raw": "cordboard.raw",
    "truncated": "cordboard.truncated",
    "boot": "cordboard.boot",
    "seq": "cordboard.seq",
}
_ERROR: Final = {"type": "type", "message": "message", "stack": "stacktrace"}
_INT64: Final = 2**63


class Exporter:
    """Queues lines and posts them in batches.

    Args:
        endpoint: The URL for logs, such as ``http://collector:4318/v1/logs``.
        headers: Headers of each request, such as an API key.

    Attributes:
        lost: How many lines were dropped, or refused by the collector.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        self.endpoint = urlsplit(endpoint)
        self.headers = {"Content-Type": "application/json", **headers}
        self.lost = 0
        self._lines: deque[bytes] = deque(maxlen=QUEUE_LINES_MAX)
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: HTTPConnection | None = None

    def take(self, line: bytes) -> None:
        """Queue `line`; if there is no room, the oldest line is lost."""
        if len(self._lines) == QUEUE_LINES_MAX:
            self.lost += 1
        self._lines.append(line)
        if self._thread is None:
            self._start()
        if len(self._lines) >= BATCH_LINES:
            self._wake.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
                with suppress(RuntimeError):  # the interpreter is ending: uninstall() sends
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait(INTERVAL_S)
            self._wake.clear()
            self.flush()

    def flush(self) -> None:
        """Send all lines that are queued."""
        with self._lock:
            while self._lines:
                batch: list[bytes] = []
                with suppress(IndexError):
                    while len(batch) < BATCH_LINES:
                        batch.append(self._lines.popleft())
                if not self._send(msgspec.json.encode(payload(batch))):
                    self.lost += len(batch)

    @property
    def has_unsent(self) -> bool:
        """Whether lines are queued."""
        return bool(self._lines)

    def _send(self, body: bytes) -> bool:
        for attempt in range(ATTEMPTS):
            try:
                status = self._post(body)
            except (OSError, HTTPException):
                self._connection = None
            else:
                if status not in _RETRYABLE:
                    return status == _OK
            sleep(_RETRY_S * 2**attempt)
        return False

    def _post(self, body: bytes) -> int:
        if self._connection is None:
            kind = HTTPSConnection if self.endpoint.scheme == "https" else HTTPConnection
            self._connection = kind(self.endpoint.netloc, timeout=TIMEOUT_S)
        path = self.endpoint.path or "/"
        self._connection.request("POST", path, body, self.headers)
        response = self._connection.getresponse()
        response.read()  # http.client reuses the connection only after that
        return response.status


def payload(lines: Iterable[bytes]) -> dict[str, Any]:
    """Return `lines` as an ``ExportLogsServiceRequest`` in OTLP's JSON encoding."""
    records = sorted((msgspec.json.decode(line) for line in lines), key=_service)
    resources = [
        {
            "resource": {"attributes": [_attribute("service.name", service)]},
            "scopeLogs": [{"scope": {"name": "cordboard"}, "logRecords": [*map(_record, group)]}],
        }
        for service, group in groupby(records, key=_service)
    ]
    return {"resourceLogs": resources}


def _service(record: Mapping[str, Any]) -> str:
    return str(record["service"])


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    attributes = [
        _attribute(name, record[key])
        for key, name in _ATTRIBUTES.items()
        if record.get(key) is not None
    ]
    attributes += [
        _attribute(f"meta.{key}", value) for key, value in record.get("meta", {}).items()
    ]
    error = record.get("error", {})
    attributes += [_attribute(f"exception.{_ERROR[k]}", error[k]) for k in _ERROR if k in error]
    log_record = {
        "timeUnixNano": _nanoseconds(record["timestamp"]),
        "severityNumber": _SEVERITY[record["level"]],
        "severityText": record["level"],
        "body": {"stringValue": record["message"]},
        "attributes": attributes,
    }
    for key in ("traceId", "spanId"):
        if key in record:
            log_record[key] = record[key]
    if "event" in record:
        log_record["eventName"] = record["event"]
    return log_record


def _nanoseconds(timestamp: str) -> str:
    moment = datetime.fromisoformat(timestamp)
    return str(int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000)


def _attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": _any_value(value)}


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [_attribute(key, value[key]) for key in value]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {} if value is None else {"stringValue": str(value)}


def install(endpoint: str | None = None, headers: Mapping[str, str] | None = None) -> Exporter:
    """Export all records of this process from now on.

    Args:
        endpoint: The URL for logs; by default ``OTEL_EXPORTER_OTLP_LOGS_ENDPOINT``, else
            ``/v1/logs`` at ``OTEL_EXPORTER_OTLP_ENDPOINT``, else at ``http://localhost:4318``.
        headers: Headers of each request; by default ``OTEL_EXPORTER_OTLP_HEADERS``.

    Returns:
        The exporter, for ``uninstall``. It need not be kept: the end of the process sends what is
        queued.

    Example:
        ```python
        from cordboard.emit import otel

        otel.install("http://collector:4318/v1/logs")
        ```
    """
    environment = otlp_environment()
    pairs = (pair.partition("=") for pair in environment.headers.split(","))
    from_environment = {name.strip(): unquote(value.strip()) for name, eq, value in pairs if eq}
    exporter = Exporter(
        endpoint or environment.endpoint, from_environment if headers is None else headers
    )
    pipeline.add_observer(exporter.take)
    atexit.register(uninstall, exporter)
    os.register_at_fork(after_in_child=lambda: uninstall(exporter, send=False))
    return exporter


def uninstall(exporter: Exporter, *, send: bool = True) -> None:
    """Stop exporting.

    Args:
        exporter: What ``install`` has returned.
        send: Whether to send the lines that are queued first.
    """
    pipeline.remove_observer(exporter.take)
    if send:
        deadline = monotonic() + TIMEOUT_S
        while exporter.has_unsent and monotonic() < deadline:
            exporter.flush()
