"""A record becomes one line of JSON: section 3 of the contract, byte for byte.

What does not change is encoded once: a context when it is bound, a message when it is first said, a
tag when its logger is made. A line is then the join of these with the time, ``meta`` and ``seq``.
"""

import re
import sys
from time import gmtime, strftime
from typing import Any, Final

from cordboard.context import Context
from cordboard.contract.record import LINE_MAX_BYTES, SERVER_PREFIX
from cordboard.emit.json_codec import encode, encoded, json_text
from cordboard.emit.stdlib_keywords import extract_stdlib_keywords
from cordboard.emit.truncation import Cuts, middle_cut, shorten
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
_BRACKETS: Final = str.maketrans("[]", "()")
_ERROR_MESSAGE_MAX_CHARS: Final = 2000
_NAME_MAX_CHARS: Final = 128
_STACK_MAX_CHARS: Final = 6000
_STACK_TEXT_MAX_CHARS: Final = 200_000
_STACK_FRAMES_MAX: Final = 40
_PLAIN_MAX: Final = TEXT_MAX_CHARS  # beyond it each text has to be looked at

_TRACEPARENT: Final = re.compile(
    r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*", re.DOTALL
)

clock: Final[list[tuple[int, str]]] = [(0, "")]
"""When the current second began, in nanoseconds, and its timestamp up to the dot."""
_NS: Final = 1_000_000_000
messages: Final[dict[str, str]] = {}
"""Messages that were said before, encoded."""


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


def name_json(name: object, cuts: Cuts | None = None) -> str:
    """Return a service or an event as a JSON string."""
    return json_text(clean_text(safe_text(name), _NAME_MAX_CHARS, cuts))


def tag_json(tag: object) -> str:
    """Return a tag as the key of a line, after a comma."""
    return f',"tag":{name_json(without_brackets(safe_text(tag)))}'


def without_brackets(tag: str) -> str:
    """Return a tag with parentheses in the place of brackets, into which readers put tags."""
    return tag.translate(_BRACKETS)


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


def body_json(event: str | None, meta: dict[str, Any] | None, error: object, rest: str = "") -> str:
    """Return ``event``, ``meta``, ``error`` and ``rest`` as keys of a line, each after a comma."""
    cuts = None
    said = ""
    if event is not None:
        cuts = Cuts()
        said = f',"event":{name_json(event, cuts)}'
    if meta:
        try:  # `suppress` would cost as much as the encoding
            text = encode(meta).decode() if is_plain(meta) else "="
        except Exception:  # noqa: BLE001 - a lone surrogate, or another thread changes it meanwhile
            text = "="
        # What a secret in a text cannot do without; see `redact`.
        if (
            "=" in text or "@" in text or "earer " in text or "':" in text
            or '\\":' in text or len(text) > _PLAIN_MAX
        ):  # fmt: skip
            cuts = cuts or Cuts()
            text, error = _rebuilt(meta, error, cuts)
        said = f'{said},"meta":{text}' if text else said
    if error is not None:
        cuts = cuts or Cuts()
        said = f'{said},"error":{encode(error_value(error, cuts)).decode()}'
    return f'{said}{rest},"truncated":true' if cuts and cuts.made else said + rest


def _rebuilt(meta: dict[str, Any], error: object, cuts: Cuts) -> tuple[str, object]:
    """Return ``meta`` as JSON, without secrets and exceptions, and the error of the record."""
    meta, error = extract_stdlib_keywords(meta, error)
    if error is None:
        error, meta = split_error(meta)
    return encode(clean_meta(meta, cuts)).decode() if meta else "", error


def split_error(meta: dict[str, Any]) -> tuple[object, dict[str, Any]]:
    """Take the first exception out of ``meta``: it becomes the record's error."""
    for name, value in meta.items():
        if issubclass(type(value), BaseException):
            return value, {key: meta[key] for key in meta if key != name}
    return None, meta


def error_value(error: object, cuts: Cuts | None = None) -> dict[str, str]:
    """Return an exception (or a text) as ``{"type","message","stack"}``.

    Args:
        error: An exception, or anything.
        cuts: Learns whether something was cut.
    """
    cuts = cuts or Cuts()
    if not issubclass(type(error), BaseException):
        text = safe_text(error) if issubclass(type(error), str) else safe_repr(error)
        return {"type": "Error", "message": clean_text(text, cuts=cuts), "stack": ""}
    stack = clean_text(_stack(error, cuts), _STACK_TEXT_MAX_CHARS, cuts)
    cuts.made |= len(stack) > _STACK_MAX_CHARS
    return {
        "type": type(error).__name__,
        "message": clean_text(safe_text(error), _ERROR_MESSAGE_MAX_CHARS, cuts),
        "stack": middle_cut(stack, _STACK_MAX_CHARS),
    }


def _stack(error: Any, cuts: Cuts) -> str:
    if not getattr(type(error), "traced", True):  # of ours: the words say all
        return ""
    import traceback

    try:
        frames = sum(1 for _ in traceback.walk_tb(error.__traceback__))
        cuts.made |= frames > _STACK_FRAMES_MAX
        return "".join(traceback.format_exception(error, limit=-_STACK_FRAMES_MAX))
    except Exception:  # noqa: BLE001 - broken __str__, recursive causes
        return ""


def encode_record(record: dict[str, Any]) -> bytes:
    """Return a record as one line, cut to the contract's limit; keys keep their order."""
    line = encoded(record)
    return line if len(line) <= LINE_MAX_BYTES else shorten(line)
