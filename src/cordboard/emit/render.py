"""Renders a record as one line of JSON in the documented format, byte for byte.

Whatever does not change is encoded once: a context when it is bound, a message when it is first
logged, a tag when its logger is made. A line is then the concatenation of these with the time,
``meta`` and ``seq``.
"""

import re
import sys
from time import gmtime, strftime
from typing import Any, Final

from cordboard.context import Context
from cordboard.contract.record import LINE_MAX_BYTES, SERVER_PREFIX
from cordboard.emit.json_codec import encode, encode_line, json_string
from cordboard.emit.stdlib_keywords import extract_stdlib_keywords
from cordboard.emit.truncation import Truncation, truncate_line, truncate_middle
from cordboard.emit.values import (
    TEXT_MAX_CHARS,
    clean_meta,
    clean_text,
    is_plain,
    safe_repr,
    safe_text,
)

# Encoded messages that are kept, more than a program has constant sentences. A program that formats
# values into its messages empties the cache whenever it is full, and gains nothing from it.
_MESSAGES_MAX: Final = 2048
_MESSAGE_CACHED_MAX_CHARS: Final = 256
_BRACKETS: Final = str.maketrans("[]", "()")
_ERROR_MESSAGE_MAX_CHARS: Final = 2000
_ROOM_MAX_CHARS: Final = 2048
_USER_MAX_CHARS: Final = 1024
_NAME_MAX_CHARS: Final = 128
# Together with the error's message, half of a line at most: the other half is for ``meta``.
_STACK_MAX_CHARS: Final = 6000
# What is searched for secrets before the stack is truncated; it bounds the time that takes.
_STACK_TEXT_MAX_CHARS: Final = 200_000
_STACK_MAX_FRAMES: Final = 40
# A longer ``meta`` has to be truncated, value by value.
_PLAIN_MAX_CHARS: Final = TEXT_MAX_CHARS

_TRACEPARENT: Final = re.compile(
    r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*", re.DOTALL
)

clock: Final[list[tuple[int, str]]] = [(0, "")]
"""When the current second began, in nanoseconds, and its timestamp up to the dot."""
NS: Final = 1_000_000_000
"""Nanoseconds of a second."""
# Events that are kept, more than are documented (some hundred); as with messages, made-up ones gain nothing.
_EVENTS_MAX: Final = 512
_events: Final[dict[str, str]] = {}

messages: Final[dict[str, str]] = {}
"""Messages that were logged before, as JSON strings."""


def start_second(now_ns: int) -> tuple[int, str]:
    """Set ``clock`` to the second of `now_ns`.

    Args:
        now_ns: The time in nanoseconds since 1970.

    Returns:
        The nanoseconds since that second began, and its timestamp up to the dot.
    """
    second = now_ns // NS
    timestamp = strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second))
    clock[0] = (second * NS, timestamp)  # one assignment: other threads see the old pair or this
    return now_ns - second * NS, timestamp


def message_json(message: str) -> str:
    """Return `message` as a JSON string; keep it if it is short, to encode it once only."""
    text = json_string(clean_text(message))
    if len(message) <= _MESSAGE_CACHED_MAX_CHARS:
        if len(messages) >= _MESSAGES_MAX:
            messages.clear()
        messages[message] = text
    return text


def name_json(name: object, truncation: Truncation | None = None) -> str:
    """Return the name of a service or an event as a JSON string.

    Args:
        name: The name; an object that is no text is converted.
        truncation: Set if the name was truncated.
    """
    return json_string(clean_text(safe_text(name), _NAME_MAX_CHARS, truncation))


def tag_json(tag: object) -> str:
    """Return `tag` as the key of a line, after a comma."""
    return f',"tag":{name_json(without_brackets(safe_text(tag)))}'


def package_of(module: str) -> str:
    """Return the package of `module`, as the tag of its lines.

    A main module that ``multiprocessing`` or a runner has imported is one all the same.
    """
    package = module.partition(".")[0]
    return "__main__" if package == "__mp_main__" else package


def without_brackets(tag: str) -> str:
    """Return `tag` with parentheses for brackets: readers show a tag within brackets."""
    return tag.translate(_BRACKETS)


def context_json(context: Context, machine: str, cell: str | None = None) -> tuple[str, str]:
    """Return the keys of `context` in a line, and separately those of its trace.

    The trace is separate because an active OpenTelemetry span replaces it.

    Args:
        context: The context of a record.
        machine: The name of this machine, which stands for the session where none is bound.
        cell: The cell of this process, if there are cells.
    """
    is_bound = context.session_id is not None
    session = str(context.session_id) if is_bound else f"{SERVER_PREFIX}{machine}"
    keys = [
        f'"sessionId":{name_json(session)}',
        f'"userId":{_string_or_null(context.user_id)}',
        f'"userName":{_string_or_null(context.user_name)}',
    ]
    if context.room:
        keys.append(f'"room":{json_string(clean_text(safe_text(context.room), _ROOM_MAX_CHARS))}')
    if context.epoch is not None:
        keys.append(f'"epoch":{int(context.epoch)}')
    if cell is not None:
        keys.append(f'"cell":{name_json(cell)}')
    return ",".join(keys), _trace_json(context.traceparent)


def _string_or_null(value: object) -> str:
    return "null" if value is None else json_string(clean_text(safe_text(value), _USER_MAX_CHARS))


def _trace_json(traceparent: str | None) -> str:
    match = _TRACEPARENT.fullmatch(safe_text(traceparent)) if traceparent else None
    return f',"traceId":"{match[1]}","spanId":"{match[2]}"' if match else ""


def active_span_json() -> str | None:
    """Return the keys of the OpenTelemetry span that is active here, or None without one.

    Call it only if ``opentelemetry.trace`` is imported: this module never imports it.
    """
    try:
        span = sys.modules["opentelemetry.trace"].get_current_span().get_span_context()
    except (AttributeError, KeyError):  # another thread is still importing it
        return None
    if not span.is_valid:
        return None
    return f',"traceId":"{span.trace_id:032x}","spanId":"{span.span_id:016x}"'


def body_json(event: str | None, meta: dict[str, Any] | None, error: object, rest: str = "") -> str:
    """Return the keys ``event``, ``meta`` and ``error`` of a line, each after a comma.

    Args:
        event: The event, or None.
        meta: The keywords of the call, and what its logger is bound to.
        error: An exception, a text, or None.
        rest: Further keys as JSON, each after a comma.
    """
    truncation = None
    body = ""
    if event is not None:
        body = _events.get(event, "") if type(event) is str else ""
        if not body:
            truncation = Truncation()
            body = _event_json(event, truncation)
    if meta:
        try:  # `suppress` would cost as much as the encoding
            text = encode(meta).decode() if is_plain(meta) else "="
        except Exception:  # a lone surrogate, or another thread changes the mapping meanwhile
            text = "="
        # Every secret in a text has one of these before or within it; see ``redact``. A test for
        # all of them costs less than one pattern.
        if (
            "=" in text or "@" in text or "earer " in text or "':" in text
            or '\\":' in text or len(text) > _PLAIN_MAX_CHARS
        ):  # fmt: skip
            truncation = truncation or Truncation()
            text, error = _rebuilt_json(meta, error, truncation)
        body = f'{body},"meta":{text}' if text else body
    if error is not None:
        truncation = truncation or Truncation()
        body = f'{body},"error":{encode(error_value(error, truncation)).decode()}'
    is_truncated = truncation is not None and truncation.happened
    return f'{body}{rest},"truncated":true' if is_truncated else body + rest


def _event_json(event: object, truncation: Truncation) -> str:
    """Return the key ``event`` after a comma; keep it unless it was truncated, to encode it once only."""
    body = f',"event":{name_json(event, truncation)}'
    if type(event) is str and not truncation.happened:
        if len(_events) >= _EVENTS_MAX:
            _events.clear()
        _events[event] = body
    return body


def _rebuilt_json(
    meta: dict[str, Any], error: object, truncation: Truncation
) -> tuple[str, object]:
    """Return `meta` as JSON, without secrets and exceptions, and the error of the record."""
    meta, error = extract_stdlib_keywords(meta, error)
    if error is None:
        error, meta = split_error(meta)
    return encode(clean_meta(meta, truncation)).decode() if meta else "", error


def split_error(meta: dict[str, Any]) -> tuple[object, dict[str, Any]]:
    """Return the first exception in `meta`, or None, and `meta` without it."""
    for name, value in meta.items():
        if issubclass(type(value), BaseException):
            return value, {key: meta[key] for key in meta if key != name}
    return None, meta


def error_value(error: object, truncation: Truncation | None = None) -> dict[str, str]:
    """Return `error` as the members ``type``, ``message`` and ``stack`` of a line.

    Args:
        error: An exception, or anything else, which becomes the message.
        truncation: Set if something was truncated.
    """
    truncation = truncation or Truncation()
    if not issubclass(type(error), BaseException):
        text = safe_text(error) if issubclass(type(error), str) else safe_repr(error)
        return {
            "type": "Error",
            "message": clean_text(text, truncation=truncation),
            "stack": "",
        }
    stack = clean_text(_stack(error, truncation), _STACK_TEXT_MAX_CHARS, truncation)
    truncation.happened |= len(stack) > _STACK_MAX_CHARS
    return {
        "type": type(error).__name__,
        "message": clean_text(safe_text(error), _ERROR_MESSAGE_MAX_CHARS, truncation),
        "stack": truncate_middle(stack, _STACK_MAX_CHARS),
    }


def _stack(error: Any, truncation: Truncation) -> str:
    # Cordboard's own errors are messages to a user: where they were raised explains nothing.
    if not getattr(type(error), "traced", True):
        return ""
    import traceback

    try:
        frames = sum(1 for _ in traceback.walk_tb(error.__traceback__))
        truncation.happened |= frames > _STACK_MAX_FRAMES
        return "".join(traceback.format_exception(error, limit=-_STACK_MAX_FRAMES))
    except Exception:  # a __str__ that raises, or causes that form a circle
        return ""


def encode_record(record: dict[str, Any]) -> bytes:
    """Return `record` as one line, truncated if it is too long; its keys keep their order."""
    line = encode_line(record)
    return line if len(line) <= LINE_MAX_BYTES else truncate_line(line)
