"""Writes lines of other processes: records of a browser or a child, and raw output as records."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from cordboard.context import Context
from cordboard.contract.record import KEYS, LEVELS, LINE_MAX_BYTES, REQUIRED_KEYS
from cordboard.emit import render
from cordboard.emit.json_codec import escape_controls
from cordboard.emit.pipeline import pipeline
from cordboard.emit.render import without_brackets
from cordboard.emit.truncation import Truncation
from cordboard.emit.values import clean, clean_meta, clean_text

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_BOOT: Final = re.compile(r"[0-9a-f]{8}", re.ASCII)
_REQUIRED_TEXTS: Final = ("level", "message", "service", "tag", "sessionId")
_OPTIONAL_TEXTS: Final = ("userId", "userName", "room", "cell", "traceId", "spanId", "event")
# Readers keep a sequence number in 64 bits with a sign.
_SEQ_LIMIT: Final = 2**63
# An unknown key comes from another process and may be of any length.
_NAME_SHOWN_CHARS: Final = 40
# The keys of a refused record that are kept in ``meta.claimed``.
_CLAIMS: Final = ("service", "sessionId", "userId", "userName", "event", "boot", "seq")

Accept = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Returns a record to write instead of the given one, or None to refuse it; see ``forward_line``."""


def schema_error(record: object) -> str | None:
    """Return why `record` is not a record of the log format, or None if it is one."""
    if not isinstance(record, Mapping):
        return "not an object"
    for key in REQUIRED_KEYS:
        if key not in record:
            return f"{key} is missing"
    for key in record:
        if key not in KEYS:
            return f"unknown key {str(key)[:_NAME_SHOWN_CHARS]}"
    return _value_error(record)


def _value_error(record: Mapping[str, Any]) -> str | None:
    for key in (*_REQUIRED_TEXTS, *_OPTIONAL_TEXTS):
        value = record.get(key)
        if not isinstance(value, str) and (key in _REQUIRED_TEXTS or value is not None):
            return f"{key} is not a string"
    if record["level"] not in LEVELS:
        return "level is not one of debug, info, warn, error"
    if not _matches(_TIMESTAMP, record["timestamp"]):
        return "timestamp does not have the form 2026-11-23T10:11:12.123456Z"
    if not _matches(_BOOT, record["boot"]):
        return "boot is not 8 hexadecimal digits"
    seq = record["seq"]
    if type(seq) is not int or not 1 <= seq < _SEQ_LIMIT:
        return "seq is not a number from 1"
    return _optional_value_error(record)


def _optional_value_error(record: Mapping[str, Any]) -> str | None:
    for key in ("meta", "error"):
        if key in record and not isinstance(record[key], Mapping):
            return f"{key} is not an object"
    for key in ("raw", "truncated"):
        if key in record and record[key] is not True:
            return f"{key} is not true"
    if "epoch" in record and type(record["epoch"]) is not int:
        return "epoch is not an integer"
    return None


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def forward(record: Mapping[str, Any]) -> bool:
    """Write a record of another process, with its own timestamp, boot and sequence number.

    Secrets are redacted, limits are applied, and the keys get their documented order.

    Args:
        record: A decoded line.

    Returns:
        Whether it was written. False means that it is not a record of the log format;
        ``schema_error`` returns the reason.

    Example:
        ```python
        if not cordboard.emit.forward(json.loads(body)):
            log.warn("A record was refused")
        ```
    """
    if not pipeline.configured:
        pipeline.configure()
    if schema_error(record) is not None:
        return False
    truncation = Truncation()
    cleaned = {key: _cleaned(key, record[key], truncation) for key in record}
    if truncation.happened:
        cleaned["truncated"] = True
    ordered = {key: cleaned[key] for key in KEYS if key in cleaned}
    put = pipeline.put_now if record["level"] == "error" else pipeline.put
    put(render.encode_record(ordered))
    return True


def _cleaned(key: str, value: Any, truncation: Truncation) -> Any:
    if isinstance(value, Mapping):
        return clean_meta(value, truncation)
    if key == "tag":
        return without_brackets(value)
    return clean_text(value, truncation=truncation) if isinstance(value, str) else clean(value)


def forward_line(
    line: bytes,
    *,
    context: Context | None = None,
    service: str = "bot",
    accept: Accept | None = None,
) -> bool:
    """Write a line of a child process that uses this format; its bytes stay as they are.

    Only control characters beyond ASCII are escaped. A line that is not a record of the format, or
    is refused, becomes a raw line, as if it were output of ``print``.

    Args:
        line: One encoded record, with or without its newline.
        context: The session of the raw line, if it becomes one.
        service: The service of the raw line.
        accept: Called with the record. It returns the same record, a changed one, or None to refuse
            a record that this child must not write; the raw line then has what the record claimed
            in ``meta.claimed``.

    Returns:
        Whether the record was written; False if the line became a raw line.

    Example:
        ```python
        child = subprocess.Popen(["worker"], stdout=subprocess.PIPE)
        for line in child.stdout:
            cordboard.emit.forward_line(line, service="worker")
        ```
    """
    if not pipeline.configured:
        pipeline.configure()
    line = line.strip()
    record: Any
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        record = None
    escaped = escape_controls(line)
    meta: dict[str, Any] | None = None
    if schema_error(record) is None and b"\n" not in line and len(escaped) < LINE_MAX_BYTES:
        accepted: dict[str, Any] | None = record if accept is None else accept(record)
        if accepted is not None:
            if accepted is not record or (accept and not _is_unambiguous(line, record)):
                return forward(accepted)
            put = pipeline.put_now if accepted["level"] == "error" else pipeline.put
            put(escaped + b"\n")
            return True
        meta = {"claimed": {key: record[key] for key in _CLAIMS if record.get(key) is not None}}
    text = line.decode("utf-8", "replace")
    raw(text, service=service, context=context, tag="records", meta=meta)
    return False


def _is_unambiguous(line: bytes, record: dict[str, Any]) -> bool:
    """Return whether any reader decodes `line` to the `record` that was accepted.

    A key may be there twice, and a reader may use the value that ``accept`` has not seen.
    """
    return msgspec.json.encode(record) == line


def raw(
    text: str,
    *,
    service: str,
    context: Context | None = None,
    tag: str = "stdout",
    meta: dict[str, Any] | None = None,
) -> None:
    """Write a line of a process that does not use this format, as a record with ``"raw": true``.

    Args:
        text: One line of output, with or without its newline.
        service: The service that printed it.
        context: The session that it belongs to; by default the one that is bound here.
        tag: ``stdout`` or ``stderr``; a line of ``stderr`` has level ``warn``.
        meta: Members of ``meta``.

    Example:
        ```python
        cordboard.emit.raw("Listening on port 80", service="nginx", tag="stderr")
        ```
    """
    pipeline.write(
        "warn" if tag == "stderr" else "info",
        text.rstrip("\r\n"),
        render.tag_json(tag),
        meta=meta,
        context=context,
        service_json=f',"service":{render.name_json(service)}',
        rest=',"raw":true',
    )
