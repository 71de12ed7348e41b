"""Lines in VictoriaLogs, over its HTTP interface (LogsQL).

    [[environments.prod]]
    type = "victorialogs"
    url = "http://victorialogs:9428"
    filter = '{namespace="voice"}'      # optional, LogsQL

A line that an agent stored whole, as the text ``_msg``, is returned byte for byte. One that an agent took apart
into fields is put together again; the store keeps all values as text, so that a text in ``meta`` that looks
like a number is read as one.
"""

import re
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from cordboard.contract.errors import SettingsError
from cordboard.contract.record import (
    BOOT,
    EPOCH,
    KEYS,
    MESSAGE,
    META,
    RAW,
    SEQ,
    TIMESTAMP,
    TRACE_ID,
    TRUNCATED,
    USER_ID,
    USER_NAME,
)
from cordboard.logs.coverage import Answer, Shortfall
from cordboard.logs.formats.codec import decode, encode
from cordboard.logs.formats.wrappers import unwrap
from cordboard.logs.json_form import escaped
from cordboard.logs.query import Query
from cordboard.logs.sources._clock import clock_fact
from cordboard.logs.sources._http import Store, StoreError, checked_url
from cordboard.logs.sources._polling import POLL_S, poll
from cordboard.logs.sources._session_terms import terms_of
from cordboard.logs.sources._slices import NANOSECONDS, Page, Slice, nanoseconds, read_slices
from cordboard.logs.timespec import HIGHEST, LOWEST, key_of_parts
from cordboard.logs.timestamps import own_key

KEYS_OF_OPTIONS: Final = ("url", "filter", "token_env", "account", "project", "name")
_QUERY: Final = "/select/logsql/query"
# The server sorts a slice in memory, of which it takes 60 % of the machine's by default; 100,000 lines
# of the longest kind that Cordboard writes (16 KiB) are 1.6 GB, of the usual kind 30 MB.
SLICE_LINES: Final = 100_000
# A new stream's rows are counted at once and returned 1 to 2 s later (VictoriaLogs 1.12).
TRIES_PAUSES_S: Final = (0.5, 1.0, 2.0)
# Lines arrive 1 to 3 s after they were written; what an agent held back longer is found by a later query.
_OVERLAP_S: Final = 30.0
_FIRST_NS: Final = 0
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_LABEL: Final = re.compile(r'(?:^\{|",)([^="]+)="')
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class VictoriaLogs:
    """A server of VictoriaLogs.

    Args:
        store: Its HTTP interface.
        filter_text: What is asked for beside the query's window and session, in LogsQL.
        name: What messages call it; its URL if empty.
        slice_lines: How many lines are sorted at once by the server.
        pauses_s: How long to wait before rows that were counted and not returned are asked for again.
        poll_s: The seconds between two requests while following.
    """

    def __init__(
        self,
        store: Store,
        filter_text: str = "*",
        *,
        name: str = "",
        slice_lines: int = SLICE_LINES,
        pauses_s: Sequence[float] = TRIES_PAUSES_S,
        poll_s: float = POLL_S,
    ) -> None:
        self.store = store
        self.name = name or store.shown
        self.slice_lines = slice_lines
        self.pauses_s = tuple(pauses_s)
        self.poll_s = poll_s
        self._filter = filter_text
        self._rows: _Rows | None = None

    def streams(self, query: Query) -> Iterable["_Rows"]:
        """Return all that the query may concern, as one stream, once.

        Args:
            query: Its window and its session narrow what is asked for.
        """
        if self._rows is not None:
            return []
        self._rows = _Rows(self, query)
        return [self._rows]

    def answers(self) -> Sequence[Answer]:
        """Return nothing: what is missing is said by the stream."""
        return []

    def explain(self, query: Query) -> Sequence[str]:
        """Return the request as ``curl`` makes it."""
        text = self.logsql(query)
        url = shlex.quote(f"{self.store.shown}{_QUERY}")
        return [f"curl -s {url} --data-urlencode {shlex.quote(f'query={text} | sort by (_time)')}"]

    def facts(self) -> Sequence[str]:
        """Return the identity and the clock, for ``cordboard doctor --env``."""
        return (self.store.identity, clock_fact(self.store.clock_skew_s))

    def close(self) -> None:
        """End what is being read."""
        if self._rows is not None:
            self._rows.close()

    def logsql(self, query: Query) -> str:
        """Return a query's window and session in LogsQL."""
        parts = [self._filter]
        if query.session is not None:
            parts.append(f"({_naming(query.session)})")
        if query.since or query.until:
            begin, end = (
                query.since or "1970-01-01T00:00:00Z",
                query.until or "2262-01-01T00:00:00Z",
            )
            parts.append(f"_time:[{begin}, {end})")
        return " ".join(parts)

    def within(self, part: Slice, condition: str) -> str:
        """Return a slice of a window in LogsQL, with a further condition."""
        return f"{self._filter} _time:[{_moment(part.begin)}, {_moment(part.end)}) {condition}"


class _Rows:
    """The rows that a query may concern, as a stream of lines in the order of time."""

    kind: Final = "stream"

    def __init__(self, source: VictoriaLogs, query: Query) -> None:
        self.name = source.name
        self._source = source
        self._query = query
        self._shortfalls: list[Shortfall] = []
        self._closed = threading.Event()

    def read(self, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the lines of the window; following, go on with what arrives."""
        try:
            if follow:
                yield from self._followed()
            elif (window := self._window(self._query.first, self._query.end)) is not None:
                yield from self._lines(window, self._condition())
        except StoreError as error:
            if not self._closed.is_set():
                self._shortfalls.append(error.shortfall)

    def shortfalls(self) -> Sequence[Shortfall]:
        """Return why lines are missing."""
        return self._shortfalls

    def close(self) -> None:
        """End a `read`, from another thread."""
        self._closed.set()
        self._source.store.close()

    def _lines(self, window: Slice, condition: str) -> Iterator[bytes]:
        fetch = self._fetcher(condition)
        for line in read_slices(window, fetch, self._shortfalls):
            yield line + b"\n"

    def _fetcher(self, condition: str) -> Callable[[Slice], Page]:
        def fetch(part: Slice) -> Page:
            return self._page(part, condition)

        return fetch

    def _page(self, part: Slice, condition: str) -> Page:
        """Return the rows of a slice; not whole where they are too many to be sorted at once."""
        text = self._source.within(part, condition)
        expected = self._count(text)
        if expected == 0:
            return Page([], whole=True)
        if expected > self._source.slice_lines and part.end - part.begin > 1:
            return Page([], whole=False)
        lines = self._sorted(text)
        for pause_s in self._source.pauses_s:
            if len(lines) >= expected or self._closed.wait(pause_s):
                break
            lines = self._sorted(text)
        if len(lines) < expected:
            detail = f"{expected - len(lines)} of {expected} counted lines were not returned"
            self._shortfalls.append(Shortfall("not_settled", detail))
        return Page(lines, whole=True)

    def _count(self, text: str) -> int:
        rows = self._source.store.lines(_QUERY, {"query": f"{text} | count() as n"}, post=True)
        return sum(int(decode(row)["n"]) for row in rows if row)

    def _sorted(self, text: str) -> list[bytes]:
        rows = self._source.store.lines(_QUERY, {"query": f"{text} | sort by (_time)"}, post=True)
        return [line_of(decode(row)) for row in rows if row]

    # --- which rows

    def _window(self, first: bytes, end: bytes) -> Slice | None:
        """Return the window in nanoseconds, narrowed to what the store holds; None where it holds nothing."""
        begin_ns = _FIRST_NS if first == LOWEST else nanoseconds(first)
        end_ns = None if end == HIGHEST else nanoseconds(end)
        if first > LOWEST and end_ns is not None:
            return Slice(begin_ns, end_ns)
        condition = f"({_naming(self._query.session)})" if self._query.session else ""
        whole = Slice(begin_ns, end_ns if end_ns is not None else 1 << 62)
        text = (
            f"{self._source.within(whole, condition)} | stats min(_time) as low, max(_time) as high"
        )
        for row in self._source.store.lines(_QUERY, {"query": text}, post=True):
            found = decode(row) if row else {}
            low, high = (_key_of(str(found.get(name, ""))) for name in ("low", "high"))
            if low is not None and high is not None:
                return Slice(
                    max(begin_ns, nanoseconds(low)),
                    min(whole.end, nanoseconds(high) + NANOSECONDS),
                )
        return None

    def _condition(self) -> str:
        """Return what narrows the rows to a session: its id, or its processes and traces in its time.

        The lines of its processes that name another session, or none, are needed too: by their numbers a
        loss shows.
        """
        session = self._query.session
        if session is None:
            return ""
        naming = _naming(session)
        window = self._window(self._query.first, self._query.end)
        if window is None:
            return f"({naming})"
        found = terms_of(self._lines(window, f"({naming})"), session)
        self._shortfalls.clear()  # the second pass meets them again
        if found is None:
            return f"({naming})"
        others = [f"{BOOT}:={_quoted(boot)} or {_quoted(boot)}" for boot in found.boots]
        others += [f"{TRACE_ID}:={_quoted(trace)} or {_quoted(trace)}" for trace in found.traces]
        near = f"_time:[{found.first.decode()}, {found.end.decode()})"
        return f"({naming} or ({near} ({' or '.join(others)})))"

    def _followed(self) -> Iterator[bytes]:
        """Yield what arrives, asked for again and again; the server's own tail loses late lines."""
        condition = f"({_naming(self._query.session)})" if self._query.session else ""
        yield from poll(
            lambda window: self._lines(window, condition),
            self._closed,
            _OVERLAP_S,
            self._source.poll_s,
        )


def open_source(options: Mapping[str, Any]) -> VictoriaLogs:
    """Return the source of one entry of ``[environments]``; nothing is asked of it yet.

    Args:
        options: ``url``; ``filter``, a filter of LogsQL; ``token_env``, the environment variable with a
            bearer token; ``account`` and ``project``, the numbers of a tenant; ``name``.

    Raises:
        SettingsError: An option is missing, unknown or of another type.
    """
    for name in options:
        if name not in KEYS_OF_OPTIONS:
            raise SettingsError(
                f"victorialogs: unknown option {name!r}.",
                hint=f"The options are {', '.join(KEYS_OF_OPTIONS)}.",
            )
    texts = {name: options.get(name, "") for name in ("filter", "token_env", "name")}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise SettingsError(f"victorialogs: {name}: expected a string, got {value!r}.")
    headers = {}
    for name, header in (("account", "AccountID"), ("project", "ProjectID")):
        if (value := options.get(name)) is None:
            continue
        if type(value) is not int or value < 0:
            raise SettingsError(f"victorialogs: {name}: expected a whole number, got {value!r}.")
        headers[header] = str(value)
    url = checked_url("victorialogs", options.get("url"))
    store = Store(url, headers=headers, token_env=texts["token_env"])
    return VictoriaLogs(
        store, f"({texts['filter']})" if texts["filter"] else "*", name=texts["name"]
    )


# --- rows as lines


def line_of(row: Mapping[str, str]) -> bytes:
    """Return a row as a line: the text that was stored, or the record that was taken apart.

    Args:
        row: The fields of a row, all of them texts.
    """
    text = row.get("_msg", "")
    if BOOT in row and SEQ in row and _WHOLE.fullmatch(row[SEQ]):
        return escaped(encode(_record(row)))
    carried = {"log": f"{text}\n", "stream": "stdout", "time": row.get("_time", "")}
    labels = set(_LABEL.findall(row.get("_stream", "")))
    if text.startswith("{") or row.keys() <= {"_msg", "_time", "_stream", "_stream_id", *labels}:
        return own if own_key(own := unwrap(text.encode()).text) else encode(carried)
    fields = {key: value for key, value in row.items() if not key.startswith("_stream")}
    named = {"_time": "time", "_msg": MESSAGE}
    return encode({named.get(key, key): value for key, value in fields.items()})


def _record(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a record of Cordboard's format from its fields."""
    time_key = _key_of(row.get(TIMESTAMP) or row.get("_time", ""))
    flat: dict[str, Any] = {
        **{key: row[key] for key in KEYS if key in row},
        TIMESTAMP: time_key.decode() if time_key else "",
        MESSAGE: row.get(MESSAGE, row.get("_msg", "")),
        USER_ID: row.get(USER_ID),
        USER_NAME: row.get(USER_NAME),
        SEQ: int(row[SEQ]),
    }
    if EPOCH in flat and _WHOLE.fullmatch(flat[EPOCH]):
        flat[EPOCH] = int(flat[EPOCH])
    flat |= {key: row[key] == "true" for key in (RAW, TRUNCATED) if key in row}
    if META in row:
        flat[META] = _value(row[META])
    for key, value in row.items():
        top, dot, rest = key.partition(".")
        if dot and top in {META, "error"}:
            into = flat.setdefault(top, {})
            if isinstance(into, dict):
                _put(into, rest.split("."), value if top == "error" else _value(value))
    return {key: flat[key] for key in KEYS if key in flat}


def _put(into: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        inner = into.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        into = inner
    into[path[-1]] = value


def _value(text: str) -> Any:
    """Return the value that a text looks like: the store keeps no types."""
    if text in {"true", "false"}:
        return text == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if text[:1] in {"[", "{"}:
        try:
            return decode(text)
        except (ValueError, RecursionError):
            return text
    return text


# --- LogsQL


def _naming(session: str) -> str:
    """Return what finds a session's lines: by its field, or as a phrase in the text of a line."""
    return f"sessionId:={_quoted(session)} or session_id:={_quoted(session)} or {_quoted(session)}"


def _quoted(text: str) -> str:
    return encode(text).decode()


def _moment(nanoseconds: int) -> str:
    """Return a moment as LogsQL writes it, to the nanosecond."""
    whole, rest = divmod(nanoseconds, NANOSECONDS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{rest:09d}Z"


def _key_of(text: str) -> bytes | None:
    found = _TIME.fullmatch(text)
    return key_of_parts(found[1], found[2], found[3], found[4], utc=True) if found else None
