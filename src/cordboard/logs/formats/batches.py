"""Files that hold many log entries in one JSON value: each entry becomes a line.

- an array, as Google Cloud's and other consoles export it: ``[{...}, {...}]``;
- the answer of ``aws logs filter-log-events``: ``{"events": [{...}, ...], ...}``;
- requests of the OpenTelemetry protocol, as the file exporter of its collector writes them, one a line:
  ``{"resourceLogs": [{"resource": ..., "scopeLogs": [{"logRecords": [...]}]}]}``;
- results of queries, as stores return them (`results.py`).

Such a file is read from its start, as a compressed one is, in memory for one entry (or one request, or one result).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.codec import decode, encode
from cordboard.logs.patterns import pattern
from cordboard.logs.timespec import nano_timestamp
from cordboard.logs.timestamps import OWN_START

if TYPE_CHECKING:
    from cordboard.logs.formats.results import Result

_MARK: Final = rb"(?:\xef\xbb\xbf)?\s*"  # of UTF-8
# An object's first key; less of it where what is looked at ends.
_BEGUN: Final = rb'\{\s*(?:\Z|\}|"(?:[^"\\\n]|\\.)*(?:\\?\Z|"\s*(?:\Z|:)))'
_ARRAY: Final = pattern(_MARK + rb"\[\s*" + _BEGUN)
_EVENTS: Final = pattern(_MARK + rb'\{\s*"events"\s*:\s*\[\s*' + _BEGUN)
_OTLP: Final = pattern(_MARK + rb'\{\s*"resourceLogs"\s*:\s*\[')
_TOKEN: Final = pattern(rb'["\\{}\[\]]')
# A text, or an object that its line ends.
_NO_BATCH: Final = pattern(rb"\s*(?:[^\s{\[\xef]|\{[^\n]*\}\s*\n)")
HEAD_BYTES: Final = 128
"""How many of the first bytes tell the form of a file: results begin with up to three members, with any white space."""
# An entry that is longer is no entry of a log: the file is damaged, or another kind of JSON.
ENTRY_MAX_BYTES: Final = 64 << 20


def is_batch(head: bytes) -> bool:
    """Return whether a file holds many entries in one JSON value.

    Args:
        head: Its first bytes; `HEAD_BYTES` suffice.
    """
    if head.startswith(OWN_START):
        return False
    known = any(form.match(head) for form in (_ARRAY, _EVENTS, _OTLP))
    return known or _result_of(head) is not None


def _result_of(head: bytes) -> "Result | None":
    from cordboard.logs.formats import results  # which most queries do without

    return results.result_of(head)


class Batches:
    """Turns such a file into lines, piece by piece; the interface is that of the decompressors of `packed.py`.

    Args:
        head: The first bytes of the file.

    Attributes:
        cut: What says that a result of a query is not the whole one; empty where nothing does.
        eof: Whether the value has ended.
        unused_data: What follows the value.
        needs_input: Whether further bytes are needed.
    """

    def __init__(self, head: bytes) -> None:
        # The depth of the brackets at which an entry begins: in the array, in the member's array, or outside of any.
        self._depth_of_entries = 0
        self._lines: Callable[[bytes], Iterable[bytes]] = _entry_lines
        if (kind := _result_of(head)) is not None:
            self._lines = partial(self._result_lines, kind)
        elif _OTLP.match(head):
            self._lines = _otlp_lines
        else:
            self._depth_of_entries = 2 if _EVENTS.match(head) else 1
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._begin = -1
        self._is_in_text = False
        self.cut = ""
        self.eof = False
        self.unused_data = b""
        self.needs_input = True

    def decompress(self, data: bytes, _most: int) -> bytes:
        """Return the lines of the entries that end in `data`.

        Raises:
            ValueError: An entry is not valid JSON, or is too long.
        """
        self._buffer += data
        lines = [line for entry in self._entries() for line in self._lines(entry)]
        return b"".join(line + b"\n" for line in lines)

    @property
    def is_between_entries(self) -> bool:
        """Whether a file that ends here is whole."""
        return self._depth == 0

    def _result_lines(self, kind: "Result", text: bytes) -> list[bytes]:
        from cordboard.logs.formats.results import lines_of

        result = decode(text)
        try:
            self.cut = self.cut or kind.rest(result)
            return lines_of(kind, result)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"an entry has an unknown form: {error!r}") from error

    def _entries(self) -> Iterator[bytes]:
        position = self._scanned
        while (token := _TOKEN.search(self._buffer, position)) is not None:
            position = token.end()
            match token[0]:
                case b"\\" if self._is_in_text:
                    if position == len(self._buffer):  # the escaped byte is still to come
                        position -= 1
                        break
                    position += 1
                case b'"':
                    self._is_in_text = not self._is_in_text
                case b"{" | b"[" if not self._is_in_text:
                    if self._depth == self._depth_of_entries and token[0] == b"{":
                        self._begin = token.start()
                    self._depth += 1
                case b"}" | b"]" if not self._is_in_text:
                    self._depth -= 1
                    if self._depth == self._depth_of_entries and self._begin >= 0:
                        yield bytes(self._buffer[self._begin : position])
                        self._begin = -1
        self._keep_from(position if token is not None else len(self._buffer))

    def _keep_from(self, position: int) -> None:
        """Forget what has been scanned, except for the entry that has begun."""
        kept = position if self._begin < 0 else self._begin
        if len(self._buffer) - kept > ENTRY_MAX_BYTES:
            raise ValueError(f"an entry is longer than {ENTRY_MAX_BYTES} bytes")
        del self._buffer[:kept]
        self._scanned = position - kept
        self._begin = -1 if self._begin < 0 else 0


def unbatched(chunks: Iterable[bytes], tell: Callable[[Shortfall], None]) -> Iterator[bytes]:
    """Yield what a program prints: as it is, or where it is such a value, the lines of its entries.

    Args:
        chunks: What it prints, in pieces.
        tell: Called with why lines are missing.
    """
    rest = iter(chunks)
    head = b""
    for chunk in rest:
        head += chunk
        # A line that is complete is passed on at once, so that it can be followed.
        if len(head) >= HEAD_BYTES or _NO_BATCH.match(head):
            break
    if not is_batch(head[:HEAD_BYTES]):
        if head:
            yield head
        yield from rest
        return
    batches = Batches(head[:HEAD_BYTES])
    try:
        for chunk in chain((head,), rest):
            if lines := batches.decompress(chunk, len(chunk)):
                yield lines
    except (ValueError, RecursionError) as error:
        tell(Shortfall("unreadable", f"the JSON is corrupt: {error}"))
        return
    if not batches.is_between_entries:
        tell(Shortfall("unreadable", "the JSON is corrupt: unexpected end of the output"))
    elif batches.cut:
        tell(Shortfall("truncated", batches.cut))


def _entry_lines(entry: bytes) -> Iterator[bytes]:
    """Yield an entry as one line: outside of texts JSON has no newline that means anything."""
    if b"\n" in entry or b"\r" in entry:
        entry = entry.replace(b"\r", b"").replace(b"\n", b" ")
    yield entry


def _otlp_lines(request: bytes) -> Iterator[bytes]:
    """Yield the records of a request, each with its time and resource, as carriers write a text or an object.

    The mapping is that of the OpenTelemetry protocol to JSON (opentelemetry-proto, ``logs.proto``).
    """
    for resource_logs in _items(decode(request), "resourceLogs"):
        resource = resource_logs.get("resource")
        attributes = _attributes(resource if isinstance(resource, dict) else {})
        for scope in _items(resource_logs, "scopeLogs"):
            for record in _items(scope, "logRecords"):
                yield encode(_carried(record, attributes))


def _carried(record: Mapping[str, Any], resource: Mapping[str, Any]) -> dict[str, Any]:
    body = _value(record.get("body") or {})
    own = _attributes(record)
    moment = record.get("timeUnixNano") or record.get("observedTimeUnixNano") or 0
    values: dict[str, Any] = {
        "time": nano_timestamp(int(moment)),
        "stream": own.get("log.iostream", "stdout"),
    }
    if isinstance(body, dict):
        return {**values, "body": body}
    text = body if isinstance(body, str) else encode(body).decode()
    level = record.get("severityText")
    if isinstance(level, str) and level and not text.startswith("{"):
        # A plain text, without a carrier's parts: it has the record's level and service.
        service = resource.get("service.name")
        named = {"service": service} if isinstance(service, str) else {}
        return {"timestamp": values["time"], "level": level, "message": text, **named, **own}
    return {**values, "log": f"{text}\n"}


def _items(value: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    items = value.get(key)
    yield from (
        item for item in (items if isinstance(items, list) else []) if isinstance(item, dict)
    )


def _attributes(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(item.get("key")): _value(item.get("value") or {})
        for item in _items(value, "attributes")
    }


def _value(value: Any) -> Any:
    """Return an ``AnyValue`` of the protocol as a plain value."""
    if not isinstance(value, dict):
        return value
    match value:
        case {"kvlistValue": dict() as inner}:
            return {
                str(item.get("key")): _value(item.get("value")) for item in _items(inner, "values")
            }
        case {"arrayValue": dict() as inner}:
            return [_value(item) for item in _items(inner, "values")]
        case {"intValue": number}:  # JSON has 64-bit integers as texts
            return int(number)
    return next(iter(value.values()), None)
