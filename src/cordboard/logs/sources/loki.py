"""Lines in Grafana Loki, over its HTTP interface.

    [[environments.prod]]
    type = "loki"
    url = "http://loki:3100"
    selector = '{namespace="voice"}'

Loki has no pages, and nothing in an answer says that it was cut at its limit. So a window is halved until each
part has fewer lines than the limit. What Loki does to a window that is too long or too old it does silently: its
limits are asked for first.
"""

import re
import shlex
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any, Final, NamedTuple

from cordboard.contract.errors import SettingsError
from cordboard.logs.coverage import Answer, Shortfall
from cordboard.logs.formats.codec import encode
from cordboard.logs.query import Query
from cordboard.logs.sources._clock import clock_fact
from cordboard.logs.sources._http import Store, StoreError, checked_url
from cordboard.logs.sources._polling import POLL_S, poll
from cordboard.logs.sources._session_terms import terms_of
from cordboard.logs.sources._slices import NANOSECONDS, Page, Slice, nanoseconds, read_slices
from cordboard.logs.timespec import HIGHEST, LOWEST, duration_s
from cordboard.logs.timestamps import own_key

OPTIONS: Final = ("url", "selector", "tenant", "user", "token_env", "lookback", "name")
_QUERY_RANGE: Final = "/loki/api/v1/query_range"
_LIMITS: Final = ("/config/tenant/v1/limits", "/loki/api/v1/drilldown-limits")
# Without it, structured metadata are mixed into the labels, and one stream comes as several.
_CATEGORIZE: Final = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
# The tenant of a Loki without authentication, which the limits are asked for under.
_NO_TENANT: Final = "fake"
_BUSY: Final = (429, 500, 502, 503, 504)
# Loki sends no Retry-After with 429.
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
# Lines came up to a minute late to Loki's own tail; a poll looks so far back.
_OVERLAP_S: Final = 90.0
_LINE: Final = re.compile(
    r"^\s*\"?(max_entries_limit_per_query|max_query_length|max_query_lookback|retention_period)\"?:\s*\"?([\w.]+)",
    re.MULTILINE,
)
_UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


class Limits(NamedTuple):
    """What a tenant may ask for.

    Attributes:
        entries: The most lines in an answer; a larger limit is refused.
        length_s: The longest window, in seconds; 0 without a bound.
        lookback_s: How far back a window may begin, in seconds; 0 without a bound. What lies before is left
            out silently.
    """

    entries: int = 5000  # the defaults of Loki 3
    length_s: int = 721 * 3600
    lookback_s: int = 0


class Loki:
    """A server of Loki, and what of it belongs to an environment.

    Args:
        store: Its HTTP interface.
        selector: The streams that are read, in LogQL: ``{namespace="voice"}``.
        name: What messages call it; its URL if empty.
        lookback_s: How far back a query without ``--since`` reads.
        pauses_s: How long to wait before a request that was refused for load is sent again.
        poll_s: The seconds between two requests while following.
    """

    def __init__(
        self,
        store: Store,
        selector: str,
        *,
        name: str = "",
        lookback_s: int = 30 * 86_400,
        pauses_s: Sequence[float] = PAUSES_S,
        poll_s: float = POLL_S,
    ) -> None:
        self.store = store
        self.selector = selector
        self.name = name or store.shown
        self.lookback_s = lookback_s
        self.pauses_s = tuple(pauses_s)
        self.poll_s = poll_s
        self._entries: _Entries | None = None

    def streams(self, query: Query) -> Iterable["_Entries"]:
        """Return all that the query may concern, as one stream, once.

        Args:
            query: Its window and its session narrow what is asked for.
        """
        if self._entries is not None:
            return []
        self._entries = _Entries(self, query)
        return [self._entries]

    def answers(self) -> Sequence[Answer]:
        """Return nothing: what is missing is said by the stream."""
        return []

    def explain(self, query: Query) -> Sequence[str]:
        """Return the request as Loki's own command makes it."""
        words = [
            "logcli",
            "--addr",
            self.store.shown,
            "query",
            "--forward",
            "--limit=0",
            "-o",
            "raw",
        ]
        words += (
            [f"--from={query.since}"] if query.since else [f"--since={self.lookback_s // 3600}h"]
        )
        words += [f"--to={query.until}"] if query.until else []
        return [shlex.join([*words, self.logql(query.session)])]

    def facts(self) -> Sequence[str]:
        """Return the identity, the limits and the clock, for ``cordboard doctor --env``.

        Raises:
            StoreError: It does not answer.
        """
        limits = self.limits()
        lookback = f", {limits.lookback_s // 3600} h back" if limits.lookback_s else ""
        return (
            self.store.identity,
            f"limits: {limits.entries:,} lines a request, windows of {limits.length_s // 3600} h{lookback}",
            clock_fact(self.store.clock_skew_s),
        )

    def close(self) -> None:
        """End what is being read."""
        if self._entries is not None:
            self._entries.close()

    def logql(self, *terms: str | None) -> str:
        """Return the LogQL that finds lines with one of some texts, or all lines without a text.

        Args:
            terms: Texts that consist of the characters of session ids.
        """
        given = [term for term in terms if term]
        if not given:
            return self.selector
        if len(given) == 1:
            return f"{self.selector} |= {_quoted(given[0])}"
        return f"{self.selector} |~ {_quoted('|'.join(map(re.escape, given)))}"

    def limits(self) -> Limits:
        """Return the tenant's limits; the defaults of Loki where it does not tell them.

        Raises:
            StoreError: It does not answer.
        """
        for path in _LIMITS:
            try:
                text = b"".join(self.store.read(path, {})).decode("utf-8", "replace")
            except StoreError as error:
                if error.status in {400, 401, 403, 404}:
                    continue
                raise
            found = dict(_LINE.findall(text.replace(",", "\n").replace("{", "\n")))
            if found:
                return Limits(
                    int(found.get("max_entries_limit_per_query", "0")) or Limits().entries,
                    _go_duration_s(found.get("max_query_length", "0")),
                    _go_duration_s(found.get("max_query_lookback", "0")),
                )
        return Limits()


class _Entries:
    """What Loki has of a query, as a stream of lines in the order of time."""

    kind: Final = "stream"

    def __init__(self, source: Loki, query: Query) -> None:
        self.name = source.name
        self._source = source
        self._query = query
        self._limits = Limits()
        self._shortfalls: list[Shortfall] = []
        self._closed = threading.Event()

    def read(self, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the lines of the window; following, go on with what arrives."""
        try:
            self._limits = self._source.limits()
            if follow:
                yield from self._followed()
            else:
                yield from self._window_lines()
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

    # --- windows

    def _window_lines(self) -> Iterator[bytes]:
        window, session = self._window(), self._query.session
        if session is None:
            yield from self._lines(window, self._source.logql())
            return
        naming = self._source.logql(session)
        found = terms_of(self._lines(window, naming), session)
        if found is None:
            yield from self._lines(window, naming)
            return
        self._shortfalls = self._shortfalls[:1] if self._is_cut_short(window) else []
        near = Slice(
            max(window.begin, nanoseconds(found.first)), min(window.end, nanoseconds(found.end))
        )
        yield from self._lines(Slice(window.begin, near.begin), naming)
        both = self._source.logql(session, *found.boots, *found.traces)
        yield from self._lines(near, both)
        yield from self._lines(Slice(near.end, window.end), naming)

    def _window(self) -> Slice:
        """Return the window, within what Loki answers for; what it would leave out silently is named."""
        now = time.time_ns()
        end = now + NANOSECONDS if self._query.end == HIGHEST else nanoseconds(self._query.end)
        if self._query.first > LOWEST:
            begin = nanoseconds(self._query.first)
        else:
            begin = now - self._source.lookback_s * NANOSECONDS
        if self._is_cut_short(Slice(begin, end)):
            detail = f"Loki's max_query_lookback is {self._limits.lookback_s} s; older lines are not returned"
            self._shortfalls.append(Shortfall("starts_after_window", detail))
        return Slice(begin, max(begin, end))

    def _is_cut_short(self, window: Slice) -> bool:
        lookback = self._limits.lookback_s
        asked = self._query.first > LOWEST
        return bool(lookback and asked and window.begin < time.time_ns() - lookback * NANOSECONDS)

    def _lines(self, window: Slice, logql: str) -> Iterator[bytes]:
        """Yield the lines of a window, asked for in pieces no longer than Loki allows."""

        def fetch(part: Slice) -> Page:
            return self._page(part, logql)

        # A second less than the limit: Loki compares with the length to the millisecond.
        longest = max(1, self._limits.length_s - 1) * NANOSECONDS
        begin = window.begin
        while begin < window.end:
            end = min(window.end, begin + longest) if self._limits.length_s else window.end
            for line in read_slices(Slice(begin, end), fetch, self._shortfalls):
                yield line + b"\n"
            begin = end

    def _page(self, part: Slice, logql: str) -> Page:
        values = {
            "query": logql,
            "start": str(part.begin),
            "end": str(part.end),  # exclusive, as ours
            "limit": str(self._limits.entries),
            "direction": "forward",
        }
        answer = self._asked(values)
        streams = answer["data"]["result"]
        found = merge(*(stream["values"] for stream in streams), key=lambda value: int(value[0]))
        lines = [line_of(int(value[0]), value[1]) for value in found]
        return Page(lines, whole=len(lines) < self._limits.entries)

    def _asked(self, values: Mapping[str, str]) -> Any:
        for pause_s in (*self._source.pauses_s, None):
            try:
                return self._source.store.json(_QUERY_RANGE, values)
            except StoreError as error:
                if pause_s is None or error.status not in _BUSY or self._closed.wait(pause_s):
                    raise
        return None

    def _followed(self) -> Iterator[bytes]:
        """Yield what arrives, asked for again and again: Loki does not guarantee that its tail returns all."""
        logql = self._source.logql(self._query.session)
        yield from poll(
            lambda window: self._lines(window, logql), self._closed, _OVERLAP_S, self._source.poll_s
        )


def open_source(options: Mapping[str, Any]) -> Loki:
    """Return the source of one entry of ``[environments]``; nothing is asked of it yet.

    Args:
        options: ``url``; ``selector``, a stream selector of LogQL; ``tenant``, sent as ``X-Scope-OrgID``;
            ``token_env``, the environment variable with a bearer token, or with the password of ``user``;
            ``lookback``, how far back a query without ``--since`` reads (default ``30d``); ``name``.

    Raises:
        SettingsError: An option is missing, unknown or of another type.
    """
    for name, value in options.items():
        if name not in OPTIONS:
            raise SettingsError(
                f"loki: unknown option {name!r}.", hint=f"The options are {', '.join(OPTIONS)}."
            )
        if not isinstance(value, str):
            raise SettingsError(f"loki: {name}: expected a string, got {value!r}.")
    selector = options.get("selector", "").strip()
    if not (selector.startswith("{") and selector.endswith("}") and len(selector) > len("{}")):
        raise SettingsError(
            "loki: selector: expected a stream selector of LogQL.",
            hint="Write: selector = '{namespace=\"voice\"}'.",
        )
    headers = {**_CATEGORIZE, "X-Scope-OrgID": options.get("tenant") or _NO_TENANT}
    if options.get("user") and not options.get("token_env"):
        raise SettingsError(
            "loki: user: a password is required.",
            hint='Name the environment variable that holds it: token_env = "LOKI_PASSWORD".',
        )
    store = Store(
        checked_url("loki", options.get("url")),
        headers=headers,
        token_env=options.get("token_env", ""),
        user=options.get("user", ""),
    )
    lookback_s = duration_s(options.get("lookback", "30d"))
    return Loki(store, selector, name=options.get("name", ""), lookback_s=lookback_s)


def line_of(nanosecond: int, text: str) -> bytes:
    """Return an entry as a line: its text where that is a line of Cordboard's format, else with its time.

    Args:
        nanosecond: Its time, in nanoseconds since 1970.
        text: What was stored.
    """
    raw = text.encode("utf-8", "replace")
    if own_key(raw) is not None and b"\n" not in raw:
        return raw
    whole, rest = divmod(nanosecond, NANOSECONDS)
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{rest:09d}Z"
    return encode({"log": f"{text}\n", "stream": "stdout", "time": moment})


def _go_duration_s(text: str) -> int:
    """Return a duration of Go or of Prometheus, such as ``721h``, ``30d1h`` or ``1m0s``, in whole seconds."""
    parts = re.findall(r"(\d+)(ms|[wdhms])", text)
    return sum(int(number) * _UNITS.get(unit, 0) for number, unit in parts)


def _quoted(text: str) -> str:
    return encode(text).decode()
