"""Lines become entries: a carrier's pieces are put together, tracebacks joined to their record."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from cordboard.logs.formats import Formats
from cordboard.logs.formats.codec import decode
from cordboard.logs.formats.wrappers import Inner, unwrap
from cordboard.logs.patterns import pattern
from cordboard.logs.timestamps import OWN_ERROR, OWN_START, holds_another, own_key, said_key

_TRACE_STARTS: Final = (
    b"Traceback (most recent call last):",
    b"During handling of the above exception",
    b"The above exception was the direct cause",
    b"Caused by: ",
)
_LOGURU_FRAME: Final = b"> File "  # the frame that caught the exception
_TRACE_END: Final = pattern(rb"[A-Za-z_][\w.]*(?:: .*)?$", re.DOTALL)
_AT_ERROR: Final = pattern(
    rb'"(?:level|severity|levelname)" ?: ?(?:"(?i:error|critical|fatal|exception)"|[56]0\b)'
)
_BEGINS_TEXT: Final = pattern(
    rb"(?:\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d)"
    rb"|[IWEF]\d{4} \d\d:\d\d:\d\d|\[\d\d-[A-Z][a-z]{2}-\d{4} |\[[A-Z][a-z]{2} [A-Z][a-z]{2} "
    rb"|(?:<\d{1,3}>)?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d "
    rb"|(?:TRACE|DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|SUCCESS)\b"
)
_HOLE: Final = pattern(rb"\0{2,}")  # what a crash, or a truncated file, leaves between two lines
_PIECES_MAX: Final = 4096  # of one line; containerd cuts lines at 16 KiB


class Entry(NamedTuple):
    """One entry: a record, or a text with what belongs to it.

    Attributes:
        key: When it was said.
        raw: Its bytes; the lines of a traceback stand behind newlines.
        offset: Where it begins.
        timed: Whether it says itself when; else it has the time of the entry before it.
    """

    key: bytes
    raw: bytes
    offset: int
    timed: bool


class _Open:
    """An entry that may go on."""

    __slots__ = ("ended", "in_trace", "json", "key", "offset", "parts", "takes_trace", "timed")

    def __init__(self, key: bytes, offset: int, text: bytes, *, timed: bool) -> None:
        self.key = key
        self.timed = timed
        self.offset = offset
        self.parts = [text]
        self.json = text.startswith(b"{")
        self.takes_trace = not self.json or _AT_ERROR.search(text) is not None
        self.in_trace = text.startswith(_TRACE_STARTS)
        self.ended = False

    def done(self) -> Entry:
        return Entry(self.key, b"\n".join(self.parts).rstrip(), self.offset, self.timed)


class Assembler:
    """Puts the lines of one stream together, in their order.

    Args:
        formats: How foreign lines are read.

    Attributes:
        last: The time of the newest entry that said one; what untimed lines get.
    """

    __slots__ = ("_formats", "_open", "_pieces", "last")

    def __init__(self, formats: Formats) -> None:
        self.last: bytes | None = None
        self._formats = formats
        self._open: _Open | None = None
        self._pieces: dict[bytes, tuple[int, bytes | None, list[bytes]]] = {}

    @property
    def waits(self) -> bool:
        """Whether a line has begun whose other pieces are still to come."""
        return bool(self._pieces)

    def entries(
        self, lines: Iterable[tuple[int, bytes]], first: Callable[[], bytes]
    ) -> Iterator[Entry]:
        """Yield the entries of whole lines; pieces without an end are held back until `rest`.

        Args:
            lines: Offset and bytes of each.
            first: Asked for the time of what stands before the first timed entry.
        """
        for offset, line in lines:
            # Most lines are these. Nothing continues them: only an error has a traceback behind it.
            if (
                line.startswith(OWN_START)
                and (key := own_key(line)) is not None
                and line.endswith(b"}")
                and line.find(OWN_START, 1) < 0
                and OWN_ERROR not in line
                and not self._pieces
            ):
                if self._open is not None:
                    yield self._open.done()
                    self._open = None
                self.last = key
                yield Entry(key, line, offset, timed=True)
                continue
            bare = line.strip(b"\r\n\0")
            for part in _HOLE.split(bare) if b"\0\0" in bare else (bare,):
                whole = self._whole(offset, part)
                if whole is None:
                    continue
                begin, inner = whole
                for text in parted(inner.text):
                    yield from self._taken(begin, inner._replace(text=text), first)
        if self._open is not None:
            yield self._open.done()
            self._open = None

    def _taken(self, begin: int, inner: Inner, first: Callable[[], bytes]) -> Iterator[Entry]:
        """Take one line; yield the entry that it ends."""
        if self._open is not None:
            if _continues(self._open, inner.text):
                return
            yield self._open.done()
            self._open = None
        if inner.text.strip():
            self._open = self._begun(begin, inner, first)

    def rest(self) -> Iterator[Entry]:
        """Yield pieces whose end never came."""
        for offset, key, parts in self._pieces.values():
            at = key or self.last
            if at is not None:
                yield Entry(at, b"".join(parts), offset, key is not None)
        self._pieces.clear()

    def _whole(self, offset: int, line: bytes) -> tuple[int, Inner] | None:
        inner = unwrap(line)
        if not inner.partial and inner.channel not in self._pieces:
            return offset, inner
        begin, key, parts = self._pieces.pop(inner.channel, (offset, inner.key, []))
        parts.append(inner.text)
        if inner.partial and len(parts) < _PIECES_MAX:
            self._pieces[inner.channel] = (begin, key, parts)
            return None
        return begin, Inner(key, b"".join(parts), inner.channel)

    def _begun(self, offset: int, inner: Inner, first: Callable[[], bytes]) -> _Open:
        said = said_key(inner.text, self._formats, inner.key)
        if said is not None:
            self.last = said
        key = said or self.last or first()
        return _Open(key, offset, inner.text, timed=said is not None)


def _continues(entry: _Open, text: bytes) -> bool:
    """Add a line to an entry that it continues; say whether it does."""
    if text.startswith(b"{") or not entry.takes_trace:
        return False
    if text[:1] in {b" ", b"\t"}:
        if entry.json and not entry.in_trace:
            return False
        entry.in_trace = True
    elif text.startswith(_TRACE_STARTS):
        entry.in_trace, entry.ended = True, False
    elif entry.in_trace and text.startswith(_LOGURU_FRAME):
        pass
    elif not text:
        if not entry.in_trace:
            return False
    elif entry.in_trace and not entry.ended and _ends_trace(entry.parts[-1], text):
        entry.ended = True
    else:
        return False
    entry.parts.append(text)
    return True


def _ends_trace(before: bytes, text: bytes) -> bool:
    """Return whether a line names the exception of a traceback: behind a frame, or loguru's empty line."""
    if before and before[:1] not in {b" ", b"\t"}:
        return False
    return _TRACE_END.match(text) is not None and _BEGINS_TEXT.match(text) is None


def begins(line: bytes) -> bool:
    """Return whether `line` surely begins an entry, whatever stood before it."""
    if own_key(line) is not None:
        return True
    inner = unwrap(line)
    if inner.channel and inner.partial:
        return False
    return inner.text.startswith(b"{") or _BEGINS_TEXT.match(inner.text) is not None


def parted(text: bytes) -> list[bytes]:
    """Return `text`, one line, as the lines of ours that it was made of.

    The last line of a process that was killed while it wrote may lack its end and its newline; the first line of
    the next process then stands directly behind it.
    """
    if not holds_another(text) or _is_json(text):
        return [text]
    parts, begin = [], 0
    while (at := text.find(OWN_START, begin + 1)) >= 0:
        if own_key(text[at:]) is None:
            break
        parts.append(text[begin:at])
        begin = at
    return [*parts, text[begin:]]


def _is_json(text: bytes) -> bool:
    try:
        decode(text)
    except (ValueError, RecursionError):
        return False
    return True
