"""A record becomes one line of JSON: section 3 of the contract, byte for byte.

What does not change is encoded once: a context when it is bound, a message when it is first said, a
tag when its logger is made. A line is then the join of these with the time, ``meta`` and ``seq``.
"""

import re
import sys
from time import gmtime, strftime
from typing import Any, Final

import msgspec

from cordboard.context import Context
from cordboard.contract.record import LINE_MAX_BYTES, SERVER_PREFIX
from cordboard.emit.values import (
    TEXT_MAX_CHARS,
    clean_meta,
    clean_text,
    is_plain,
    safe_repr,
    safe_text,
)

_MESSAGES_MAX: Final = 2048
_MESSAGE_CACHED_MAX_CHARS: Final = 256
_NAME_MAX_CHARS: Final = 128
_STACK_MAX_CHARS: Final = 6000
_PLAIN_MAX: Final = TEXT_MAX_CHARS  # beyond it each text has to be looked at

_TRACEPARENT: Final = re.compile(
    r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*", re.DOTALL
)

_encode: Final = msgspec.json.Encoder().encode
clock: Final[list[tuple[int, str]]] = [(0, "")]
"""When the current second began, in nanoseconds, and its timestamp up to the dot."""
_TEXT_LEAST: Final = 128  # a session id's length
_NS: Final = 1_000_000_000
messages: Final[dict[str, str]] = {}
"""Messages that were said before, encoded."""


def json_text(text: str) -> str:
    """Return ``text`` as a JSON string, with its quotes."""
    return _encode(text).decode()


def new_second(now_ns: int) -> tuple[int, str]:
    """Return when the second of ``now_ns`` began, and its timestamp up to the dot; keep both."""
    second = now_ns // _NS
    pair = (second * _NS, strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second)))
    clock[0] = pair  # replaced whole: threads see the old pair or the new
    return pair


def message_json(message: str) -> str:
    """Return a message as a JSON string; constant sentences are encoded once."""
    encoded = json_text(clean_text(message))
    if len(message) <= _MESSAGE_CACHED_MAX_CHARS:
        if len(messages) >= _MESSAGES_MAX:
            messages.clear()
        messages[message] = encoded
    return encoded


def name_json(name: object) -> str:
    """Return a tag, a service or an event as a JSON string."""
    return json_text(clean_text(safe_text(name), _NAME_MAX_CHARS))


def context_json(context: Context, machine: str) -> tuple[str, str]:
    """Return a context as a line says it: its keys, and apart from them those of its trace."""
    known = context.session_id is not None
    session = str(context.session_id) if known else f"{SERVER_PREFIX}{machine}"
    parts = [
        f'"sessionId":{name_json(session)}',
        f'"userId":{_or_null(context.user_id)}',
        f'"userName":{_or_null(context.user_name)}',
    ]
    if context.room:
        parts.append(f'"room":{json_text(clean_text(safe_text(context.room), 2048))}')
    if context.epoch is not None:
        parts.append(f'"epoch":{int(context.epoch)}')
    return ",".join(parts), _trace_json(context.traceparent)


def _or_null(value: object) -> str:
    return "null" if value is None else json_text(clean_text(safe_text(value), 1024))


def _trace_json(traceparent: str | None) -> str:
    found = _TRACEPARENT.fullmatch(safe_text(traceparent)) if traceparent else None
    return f',"traceId":"{found[1]}","spanId":"{found[2]}"' if found else ""


def span_json() -> str | None:
    """Return the ids of the OpenTelemetry span that is active here; None without one."""
    try:
        span = sys.modules["opentelemetry.trace"].get_current_span().get_span_context()
    except (AttributeError, KeyError):  # half imported
        return None
    if not span.is_valid:
        return None
    return f',"traceId":"{span.trace_id:032x}","spanId":"{span.span_id:016x}"'


def body_json(event: str | None, meta: dict[str, Any] | None, error: object) -> str:
    """Return ``event``, ``meta`` and ``error`` as the keys of a line, each after a comma."""
    said = "" if event is None else f',"event":{name_json(event)}'
    if meta:
        try:  # `suppress` would cost as much as the encoding
            encoded = _encode(meta).decode() if is_plain(meta) else "="
        except Exception:  # noqa: BLE001 - a lone surrogate, or another thread changes it meanwhile
            encoded = "="
        # What a secret in a text cannot do without; see `redact`.
        if (
            "=" in encoded or "@" in encoded or "earer " in encoded or "':" in encoded
            or '\\":' in encoded or len(encoded) > _PLAIN_MAX
        ):  # fmt: skip
            if error is None:
                error, meta = split_error(meta)
            encoded = _encode(clean_meta(meta)).decode() if meta else ""
        said = f'{said},"meta":{encoded}' if encoded else said
    return f'{said},"error":{error_json(error)}' if error is not None else said


def split_error(meta: dict[str, Any]) -> tuple[object, dict[str, Any]]:
    """Take the first exception out of ``meta``: it becomes the record's error."""
    for name, value in meta.items():
        if issubclass(type(value), BaseException):
            return value, {key: meta[key] for key in meta if key != name}
    return None, meta


def error_json(error: object) -> str:
    """Return an exception (or a text) as a JSON object."""
    return _encode(error_value(error)).decode()


def error_value(error: object) -> dict[str, str]:
    """Return an exception (or a text) as ``{"type","message","stack"}``."""
    if not issubclass(type(error), BaseException):
        text = safe_text(error) if issubclass(type(error), str) else safe_repr(error)
        return {"type": "Error", "message": clean_text(text), "stack": ""}
    return {
        "type": type(error).__name__,
        "message": clean_text(safe_text(error), 2000),
        "stack": _middle_cut(clean_text(_stack(error), 200_000), _STACK_MAX_CHARS),
    }


def _stack(error: Any) -> str:
    if not getattr(type(error), "traced", True):  # of ours: the words say all
        return ""
    import traceback  # noqa: PLC0415 - 3 ms that a program without errors need not pay

    try:
        return "".join(traceback.format_exception(error, limit=-40))
    except Exception:  # noqa: BLE001 - broken __str__, recursive causes
        return ""


def _middle_cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit // 3]}\n… ({len(text) - limit} characters)\n{text[-limit * 2 // 3 :]}"


def encode_record(record: dict[str, Any]) -> bytes:
    """Return a record as one line, cut to the contract's limit; keys keep their order."""
    line = _encode(record) + b"\n"
    return line if len(line) <= LINE_MAX_BYTES else shorten(line)


def shorten(line: bytes) -> bytes:
    """Cut ``message``, ``meta`` and ``error`` of a line that is too long, and say so."""
    record: dict[str, Any] = msgspec.json.decode(line)
    record |= {"truncated": True, "boot": record.pop("boot"), "seq": record.pop("seq")}
    for limit in (8000, 4000, 2000, 500, 100, 0):
        record |= {
            key: _shorter(record[key], limit) for key in ("message", "meta") if key in record
        }
        if "error" in record:
            record["error"] = {key: _shorter(text, limit) for key, text in record["error"].items()}
        line = _encode(record) + b"\n"
        if len(line) <= LINE_MAX_BYTES:
            return line
    # A name or a room of control characters, six bytes each.
    return _encode({key: _shorter(value, 0) for key, value in record.items()}) + b"\n"


def _shorter(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        keep = max(limit, _TEXT_LEAST)
        return value if len(value) <= keep else f"{value[:keep]}…"
    if isinstance(value, dict):
        width = max(1, limit // 20)
        return {_shorter(key, 0): _shorter(value[key], limit) for key in [*value][:width]}
    if isinstance(value, list):
        return [_shorter(item, limit) for item in value[: limit // 20]]
    return value
