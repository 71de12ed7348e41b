"""Removes what container runtimes, agents and stores put around a line.

Two rules serve nearly all of them. A JSON object that is not in Cordboard's format and has a text under one
of a few names (`_TEXT_KEYS`) which is a line of Cordboard's format: the text is the line. An object under
one of a few paths (`_OBJECT_PATHS`) with ``boot`` and ``seq``: the object is the record. Both nest: an agent
reads what a container runtime wrote.

Formats: the Kubernetes CRI log format (KEP 2411), Docker's json-file driver, Fluent Bit's and Vector's JSON
encodings, the OpenTelemetry log data model, Google Cloud's LogEntry, RFC 3164 and RFC 5424.
"""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from cordboard.contract.record import BOOT, EPOCH, KEYS, MESSAGE, SEQ, TIMESTAMP
from cordboard.logs.formats.codec import decode, encode, escaped
from cordboard.logs.patterns import pattern
from cordboard.logs.timespec import KEY_BYTES, key_of_epoch
from cordboard.logs.timestamps import (
    OWN_START,
    key_of_text,
    matched_key,
    own_key,
    own_number,
    tail_at,
    value_at,
)

_CRI: Final = pattern(
    rb"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)"
    rb" (stdout|stderr) ([FP])(?::[A-Z:]+)? ?"
)
_KUBECTL: Final = pattern(
    rb"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?(?=\{|(?<=\d{7}Z )|$)"
)
# `docker compose logs` and `kubectl logs --prefix`, in front of a JSON object.
_NAMED: Final = pattern(rb"(?:[\w.-]{1,128} +\| |\[pod/[\w./-]{1,320}\] )(?=\{)")
_OBJECT: Final = pattern(rb'\{[ \t]*"')
# What `logcli` prints before a line: the labels of its stream.
_LABELS: Final = pattern(rb'\{(?:\w{1,128}="(?:[^"\\]|\\.){0,512}"(?:, |(?=\} )))+\} ')
# What stands around a line that a terminal shows in colour or that was indented.
_MARGIN: Final = pattern(rb"(?:[ \t]|\x1b\[[0-9;]{0,32}m)*")

_TEXT_KEYS: Final = (
    *("log", "message", "line", "body", "body.stringValue", "MESSAGE", "@message"),
    *("textPayload", "_msg", "_source.message"),  # Google Cloud, VictoriaLogs, Elasticsearch
    *("_source.log", "_source.event.original"),  # Fluent Bit and Logstash in Elasticsearch
    *("attributes.message", "_raw", "result._raw"),  # Datadog, Splunk
    *("LogMessage", "LogEntry", "Log_s"),  # Azure Monitor
)
_OBJECT_PATHS: Final = (
    *("jsonPayload", "log_processed", "message", "log", "body", "line", "@message"),
    *("attributes.attributes", "attributes", "_source", "LogMessage"),
)
_CARRIER_KEYS: Final = frozenset(
    {
        *("log", "message", "line", "body", "MESSAGE", "@message"),
        *("stream", "time", "date", "timestamp", "@timestamp", "_p", "logtag", "attrs", "tag"),
        *("kubernetes", "docker", "file", "host", "source_type", "labels", "resource", "ecs"),
        *("agent", "input", "@metadata"),
        *("container_id", "container_name", "source", "path", "partial_message"),
    }
)
"""What carriers say of a text: an object with any other key says something itself, and is the line."""

_TIME_KEYS: Final = ("time", "timestamp", "@timestamp", "date")
# Six carriers around one line have not been seen; the bound ends a line that is made to nest.
_LAYERS_MAX: Final = 6
# The longest prefix of syslog has a host name (255), an app name (48) and a process id (128).
_PREFIX_BYTES: Final = 512


class Inner(NamedTuple):
    """A line without what its carriers put around it.

    Attributes:
        key: The innermost carrier's timestamp; None without a carrier, or where none has one.
        text: What the process wrote.
        channel: ``stdout``, ``stderr`` or nothing.
        partial: The rest of what the process wrote is in a later line.
    """

    key: bytes | None
    text: bytes
    channel: bytes = b""
    partial: bool = False


def unwrap(line: bytes, layers: int = _LAYERS_MAX) -> Inner:
    """Return what a process wrote, and when its carriers saw it.

    Args:
        line: One line of a file or a stream, without its newline.
        layers: How many carriers are removed at most.
    """
    if line.startswith(OWN_START) and own_key(line) is not None:
        return Inner(None, line)
    line = line.removeprefix(BOM_UTF8)  # of a file, or of files one behind the other
    inner = _layer(line, layers - 1)
    if inner is None:
        return Inner(None, line)
    while layers > 1 and not inner.text.startswith(OWN_START):
        layers -= 1
        layer = _layer(inner.text, layers)
        if layer is None or layer.text == inner.text:
            break
        inner = _joined(inner, layer)
    return inner


def _joined(outer: Inner, inner: Inner) -> Inner:
    """Return an inner line with what its outer carrier adds."""
    return Inner(
        inner.key or outer.key,
        inner.text,
        inner.channel or outer.channel,
        inner.partial or outer.partial,
    )


def number_of(line: bytes) -> tuple[bytes, int] | None:
    """Return boot and sequence number of `line`, in whatever carriers; None where it has none."""
    return own_number(unwrap(line.rstrip()).text.rstrip())


def _layer(line: bytes, layers: int) -> Inner | None:
    """Return a line without its outermost carrier; None where it has none."""
    if line.startswith(b"{"):
        return _from_json(line, layers) or _behind_labels(line, layers)
    if line[:1].isdigit():
        if found := _CRI.match(line):
            return Inner(matched_key(found), line[found.end() :], found[5], found[6] == b"P")
        if found := _KUBECTL.match(line):
            return Inner(matched_key(found), line[found.end() :])
    return _within_margins(line, layers) or _behind_prefix(line, layers)


def _within_margins(line: bytes, layers: int) -> Inner | None:
    """Return a line of Cordboard's format between white space and a terminal's colours."""
    if line[:1] not in {b" ", b"\t", b"\x1b"}:
        return None
    begin = _MARGIN.match(line).end()  # type: ignore[union-attr]  # it may be empty
    if not line.startswith(b"{", begin) or not (end := _end_of_object(line)):
        return None
    return _own_line(line[begin:end], layers)


def _end_of_object(line: bytes) -> int:
    """Return where an object ends that only a margin follows; 0 where none ends so."""
    end = line.rfind(b"}") + 1
    return end if _MARGIN.fullmatch(line, end) else 0


def _behind_prefix(line: bytes, layers: int) -> Inner | None:
    """Return a line of Cordboard's format that follows a prefix: syslog's, a pod's name, a stream's name."""
    if found := _NAMED.match(line):
        return Inner(None, line[found.end() :])
    line = line[: _end_of_object(line)]
    # The prefix may hold braces itself: labels of Loki, structured data of syslog.
    begin = _OBJECT.search(line, 1, _PREFIX_BYTES)
    if begin is None:
        return None
    at = begin.start()
    if line.startswith(OWN_START, at):
        return Inner(None, line[at:]) if tail_at(line) >= 0 and own_key(line[at:]) else None
    return _own_line(line[at:], layers) if _may_carry(line) else None


def _behind_labels(line: bytes, layers: int) -> Inner | None:
    """Return a line of Cordboard's format that follows the labels of its stream."""
    found = _LABELS.match(line)
    return _own_line(line[found.end() :], layers) if found else None


def _own_line(text: bytes, layers: int) -> Inner | None:
    """Return the line of Cordboard's format that a text is or carries; None where it is another text."""
    inner = unwrap(text, layers)
    return inner if own_key(inner.text) is not None else None


def _from_json(line: bytes, layers: int) -> Inner | None:
    if not _may_carry(line):
        return None
    try:
        record = decode(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    if _is_numbered(record) and isinstance(record.get(MESSAGE), str):
        return Inner(None, _as_written(_completed(record, _time_of(record), record)))
    return _text_of(record, layers) or _object_of(record)


def _may_carry(line: bytes) -> bool:
    """Return whether a line holds an escaped object, a record's key or a stream's name: others are not decoded."""
    return (
        b'"stream"' in line
        or b'{\\"' in line
        or b'"boot"' in line
        or b" stdout " in line
        or b" stderr " in line
    )


def _text_of(record: Mapping[str, Any], layers: int) -> Inner | None:
    """Return the text that an object carries: a container's, or one that is a line itself."""
    if isinstance(record.get("log"), str) and _channel(record):
        return _from_container(record)
    for name in _TEXT_KEYS:
        text = value_at(record, name)
        if not isinstance(text, str):
            continue
        outer = Inner(_time_of(record), _encoded(text))
        if (inner := _own_line(outer.text, layers)) is not None:
            return _joined(outer, inner)
        if _is_carried(outer.text, record):
            return outer
    return None


def _from_container(record: Mapping[str, Any]) -> Inner:
    """Return what a container wrote: Docker's json-file, or an agent's form of it.

    Docker marks a piece of a line by the newline that it lacks; agents mark it by ``_p`` or ``logtag``, or
    have put the pieces together.
    """
    text: str = record["log"]
    piece = not text.endswith("\n") and record.keys() <= {"log", "stream", "time", "attrs"}
    piece = piece or record.get("_p") == "P" or record.get("logtag") == "P"
    return Inner(_time_of(record), _encoded(text), _channel(record), piece)


def _channel(record: Mapping[str, Any]) -> bytes:
    """Return the stream of a process that an object names; empty where it names none."""
    stream = record.get("stream")
    return stream.encode() if isinstance(stream, str) and stream in {"stdout", "stderr"} else b""


def _encoded(text: str) -> bytes:
    return text.rstrip("\r\n").encode("utf-8", "replace")


def _is_carried(text: bytes, record: Mapping[str, Any]) -> bool:
    """Return whether a text of other loggers is a line, and its object says nothing but what carriers say."""
    if not record.keys() <= _CARRIER_KEYS:
        return False
    if not text.startswith(b"{"):
        return _CRI.match(text) is not None
    try:
        return isinstance(decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _object_of(record: Mapping[str, Any]) -> Inner | None:
    """Return the record that an agent has decoded, as the line that it was."""
    for path in _OBJECT_PATHS:
        value = value_at(record, path)
        if isinstance(value, dict) and _is_numbered(value):
            beside = _beside(record, path)
            key = _time_of(beside) or _time_of(record)
            return Inner(key, _as_written(_completed(value, _time_of(value) or key, beside)))
    return None


def _is_numbered(record: Mapping[str, Any]) -> bool:
    """Return whether an object is a record of Cordboard's format, in any order of its keys."""
    return isinstance(record.get(BOOT), str) and _as_whole(record.get(SEQ)) is not None


def _beside(record: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the object that holds the one at a path."""
    holder = value_at(record, path.rpartition(".")[0]) if "." in path else record
    return holder if isinstance(holder, dict) else record


def _completed(
    value: Mapping[str, Any], key: bytes | None, carrier: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return a record with the time and the message that its carrier has moved into its own fields."""
    moved: dict[str, Any] = {}
    if TIMESTAMP not in value and key is not None:
        moved[TIMESTAMP] = key.decode()
    if MESSAGE not in value and isinstance(carrier.get(MESSAGE), str):
        moved[MESSAGE] = carrier[MESSAGE]
    return {**value, **moved} if moved else value


def _as_written(record: Mapping[str, Any]) -> bytes:
    """Return a record as the line that a process wrote, whatever an agent has made of it.

    Agents change white space and the order of keys, and put fields of their own beside ours.
    """
    return escaped(encode(dict(_in_order(record))))


def _in_order(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the items of a record in the order of the contract: ``boot`` and ``seq`` are the last."""
    last = (BOOT, SEQ)
    yield from (
        (key, _value(key, record[key])) for key in KEYS if key in record and key not in last
    )
    yield from (
        item for item in record.items() if item[0] not in KEYS and item[0] not in _CARRIER_KEYS
    )
    yield from ((key, _value(key, record[key])) for key in last)


def _value(key: str, value: Any) -> Any:
    """Return a value as it was written: some stores make every number a float, some agents cut times."""
    if key == TIMESTAMP:
        return _timestamp(value)
    if key in {SEQ, EPOCH} and (whole := _as_whole(value)) is not None:
        return whole
    if key == "error" and isinstance(value, dict):
        return {name: value[name] for name in ("type", "message", "stack") if name in value} | value
    return value


def _timestamp(value: Any) -> Any:
    if isinstance(value, str) and len(value) == KEY_BYTES:
        return value
    key = _time_of({TIMESTAMP: value})
    return value if key is None else key.decode()


def _as_whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return None
    return int(value)


def _time_of(record: Mapping[str, Any]) -> bytes | None:
    for name in _TIME_KEYS:
        value = record.get(name)
        if isinstance(value, str) and (key := key_of_text(value.encode(), utc=True)):
            return key
        if isinstance(value, int | float) and not isinstance(value, bool):
            return key_of_epoch(value)
    return None
