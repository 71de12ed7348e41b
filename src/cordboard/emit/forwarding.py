"""Lines of other processes: records of a browser or a child as they are, raw output as a record."""

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
from cordboard.emit.truncation import Cuts
from cordboard.emit.values import clean, clean_meta, clean_text

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_BOOT: Final = re.compile(r"[0-9a-f]{8}", re.ASCII)
_TEXTS: Final = ("level", "message", "service", "tag", "sessionId")
_OPTIONAL_TEXTS: Final = ("userId", "userName", "room", "traceId", "spanId", "event")
_INT_MAX: Final = 2**63
_CLAIMS: Final = ("service", "sessionId", "userId", "userName", "event", "boot", "seq")

Accept = Callable[[dict[str, Any]], dict[str, Any] | None]


def schema_error(record: object) -> str | None:
    """Say why ``record`` is none of section 3 of the contract; None when it is one."""
    if not isinstance(record, Mapping):
        return "it is no object"
    for key in REQUIRED_KEYS:
        if key not in record:
            return f"{key} is missing"
    for key in record:
        if key not in KEYS:
            return f"{str(key)[:40]} is no key of a record"
    return _value_error(record)


def _value_error(record: Mapping[str, Any]) -> str | None:
    for key in (*_TEXTS, *_OPTIONAL_TEXTS):
        value = record.get(key)
        if not isinstance(value, str) and (key in _TEXTS or value is not None):
            return f"{key} is no text"
    if record["level"] not in LEVELS:
        return "level is none of debug, info, warn, error"
    if not _matches(_TIMESTAMP, record["timestamp"]):
        return "timestamp is not of the form 2026-11-23T10:11:12.123456Z"
    if not _matches(_BOOT, record["boot"]):
        return "boot is not 8 hex digits"
    seq = record["seq"]
    if type(seq) is not int or not 1 <= seq < _INT_MAX:
        return "seq is no counter from 1"
    return _optional_value_error(record)


def _optional_value_error(record: Mapping[str, Any]) -> str | None:
    for key in ("meta", "error"):
        if key in record and not isinstance(record[key], Mapping):
            return f"{key} is no object"
    for key in ("raw", "truncated"):
        if key in record and record[key] is not True:
            return f"{key} is not true"
    if "epoch" in record and type(record["epoch"]) is not int:
        return "epoch is no number"
    return None


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def forward(record: Mapping[str, Any]) -> bool:
    """Write a record of another process, with its own timestamp, boot and seq.

    Secrets are redacted and limits kept; keys come out in the contract's order.

    Returns:
        False when it is no record of the contract (``schema_error`` says why); nothing is written.
    """
    if not pipeline.configured:
        pipeline.configure()
    if schema_error(record) is not None:
        return False
    cuts = Cuts()
    cleaned = {key: _cleaned(key, record[key], cuts) for key in record}
    if cuts.made:
        cleaned["truncated"] = True
    ordered = {key: cleaned[key] for key in KEYS if key in cleaned}
    pipeline.put(render.encode_record(ordered), urgent=record["level"] == "error")
    return True


def _cleaned(key: str, value: Any, cuts: Cuts) -> Any:
    if isinstance(value, Mapping):
        return clean_meta(value, cuts)
    if key == "tag":
        return without_brackets(value)
    return clean_text(value, cuts=cuts) if isinstance(value, str) else clean(value)


def forward_line(
    line: bytes,
    *,
    context: Context | None = None,
    service: str = "bot",
    accept: Accept | None = None,
) -> bool:
    """Write a line of a child that speaks this format, byte for byte but for controls.

    Args:
        line: One encoded record, with or without its newline.
        context: Whose line it is, should it turn out to be none of the contract.
        service: Who said it, likewise.
        accept: Decides what is believed: it returns the record, one with other values, or None for
            a record that this child must not write. That one becomes a raw line, and what it said
            of itself goes to ``meta.claimed``.

    Returns:
        False when it was no record of the contract, or not accepted; it is then written as a raw
        line.
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
        if (
            accepted is not None
            and accepted is record
            and (accept is None or _is_plain(line, record))
        ):
            pipeline.put(escaped + b"\n", urgent=accepted["level"] == "error")
            return True
        if accepted is not None:
            return forward(accepted)
        meta = {"claimed": {key: record[key] for key in _CLAIMS if record.get(key) is not None}}
    text = line.decode("utf-8", "replace")
    raw(text, service=service, context=context, tag="records", meta=meta)
    return False


def _is_plain(line: bytes, record: dict[str, Any]) -> bool:
    """Return whether a line says what its record holds and nothing else: a key twice, for example.

    Of two values of one key a reader may take the one that was not looked at.
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
    """Write a line of a process that does not speak this format, as a record with ``"raw":true``.

    Args:
        text: One line of output, without its newline.
        service: The service that printed it.
        context: The session it belongs to; by default what is bound here.
        tag: ``stdout`` or ``stderr``.
        meta: What else is known of it.
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
