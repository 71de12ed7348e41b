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
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any, Final, NamedTuple

from cordboard.contract.errors import SettingsError
from cordboard.contract.job_name import job_prefix
from cordboard.contract.record import BOOT, SEQ
from cordboard.logs.coverage import Shortfall
from cordboard.logs.query import Query
from cordboard.logs.sources._bounds import CUT_MARGIN_NS, Cut
from cordboard.logs.sources._http import Store, clock_fact
from cordboard.logs.sources._options import checked, checked_header, checked_url
from cordboard.logs.sources._proof import Count
from cordboard.logs.sources._secrets import checked_variable
from cordboard.logs.sources._slices import (
    NANOSECONDS,
    Page,
    Slice,
    StoreError,
    Terms,
    length_words,
    line_of,
    quoted,
    read_slices,
    understood,
)
from cordboard.logs.sources._store import StoreSource, StoreStream
from cordboard.logs.timespec import duration_s

# A line arrives 1 to 3 s after it was written, so to ask more often gains nothing.
POLL_S: Final = 2.0
_QUERY: Final = "/loki/api/v1/query"
_QUERY_RANGE: Final = "/loki/api/v1/query_range"
_LIMITS: Final = ("/config/tenant/v1/limits", "/loki/api/v1/drilldown-limits")
# Without it, structured metadata are mixed into the labels, and one stream comes as several.
_CATEGORIZE: Final = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
# The tenant of a Loki without authentication, which the limits are asked for under.
_NO_TENANT: Final = "fake"
# Lines came up to a minute late to Loki's own tail; a poll looks so far back.
_OVERLAP_S: Final = 90.0
_LINE: Final = re.compile(
    r"^\s*\"?(max_entries_limit_per_query|max_query_length|max_query_lookback|retention_period)\"?:\s*\"?([\w.]+)",
    re.MULTILINE,
)
_LABEL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_COUNTS: Final = (
    "sum by (boot) (count_over_time({lines} {parts} [{length}s]))",
    "min by (boot) (min_over_time({lines} {parts} | unwrap seq [{length}s]))",
    "max by (boot) (max_over_time({lines} {parts} | unwrap seq [{length}s]))",
    "sum by (boot) (sum_over_time({lines} {parts} | unwrap seq [{length}s]))",
)
_PARTS: Final = f'| json {BOOT}="{BOOT}", {SEQ}="{SEQ}" | __error__=""'


class Limits(NamedTuple):
    """What a tenant may ask for.

    Attributes:
        entries: The most lines in an answer; a larger limit is refused.
        length_s: The longest window, in seconds; 0 without a bound.
        lookback_s: How far back a window may begin, in seconds; 0 without a bound. What lies before is left
            out silently.
        are_told: Whether the server told them; otherwise they are the defaults of Loki.
    """

    entries: int = 5000  # the defaults of Loki 3
    length_s: int = 721 * 3600
    lookback_s: int = 0
    are_told: bool = True

    @property
    def words(self) -> str:
        """The limits, for people."""
        if not self.are_told:
            return "limits unknown: if max_query_lookback is set, older lines are missing"
        back = f"the last {length_words(self.lookback_s)}" if self.lookback_s else "any time"
        length = f"windows of {self.length_s // 3600} h" if self.length_s else "any window"
        return f"limits: {self.entries:,} lines a request, {length}, {back}"


class Loki(StoreSource):
    """A server of Loki, and what of it belongs to an environment.

    Args:
        store: Its HTTP interface.
        selector: The streams that are read, in LogQL: ``{namespace="voice"}``.
        name: What messages call it; its URL if empty.
        lookback_s: How far back a query without ``--since`` reads.
        pod_label: The label with the name of a pod.
    """

    def __init__(
        self,
        store: Store,
        selector: str,
        *,
        name: str = "",
        pod_label: str = "pod",
        lookback_s: int = 30 * 86_400,
    ) -> None:
        super().__init__(
            name or store.shown, lookback_s=lookback_s, overlap_s=_OVERLAP_S, poll_s=POLL_S
        )
        self.store = store
        self.selector = selector
        self.pod_label = pod_label
        self._limits: Limits | None = None

    def explain(self, query: Query) -> Sequence[str]:
        """Return the requests for `query` as Loki's own command makes them."""
        base = ["logcli", "--addr", self.store.shown]
        window = (
            [f"--from={query.since}"] if query.since else [f"--since={self.lookback_s // 3600}h"]
        )
        window += [f"--to={query.until}"] if query.until else []
        terms = [query.session] if query.session else []
        words = [*base, "query", "--forward", "--limit=0", "-o", "raw", *window]
        commands = [shlex.join([*words, self.logql(terms)])]
        if terms:
            jobs = self.job_selector(job_prefix(terms[0]))
            commands.append(shlex.join([*words, jobs]))
            commands += [
                shlex.join([*base, "instant-query", text])
                for text in self._count_queries(["BOOT"], "SECONDS")
            ]
        return commands

    def facts(self) -> Sequence[str]:
        """Return the identity, the limits and the clock, for ``cordboard doctor --env``.

        Raises:
            StoreError: It does not answer.
        """
        limits = self.limits()
        return (self.store.identity, limits.words, clock_fact(self.store.clock_skew_s))

    def logql(self, terms: Iterable[str]) -> str:
        """Return the LogQL that finds lines with one of some texts, or all lines without a text.

        Args:
            terms: Texts that consist of the characters of session ids.
        """
        given = list(terms)
        if not given:
            return self.selector
        if len(given) == 1:
            return f"{self.selector} |= {quoted(given[0])}"
        return f"{self.selector} |~ {quoted('|'.join(map(re.escape, given)))}"

    def job_selector(self, prefix: str) -> str:
        """Return the LogQL that selects the pods whose names begin with `prefix`."""
        names = quoted(prefix.replace(".", r"\.") + ".*")
        return f"{self.selector[:-1]}, {self.pod_label}=~{names}}}"

    def limits(self) -> Limits:
        """Return the tenant's limits, which are asked for once; the defaults of Loki where it does not tell them.

        Raises:
            StoreError: It does not answer.
        """
        if self._limits is None:
            self._limits = self._told_limits()
        return self._limits

    @understood()
    def _told_limits(self) -> Limits:
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
        return Limits(are_told=False)

    def limits_note(self) -> str:
        """Return the tenant's limits as a sentence.

        Raises:
            StoreError: It does not answer.
        """
        return f"{self.limits().words[0].upper()}{self.limits().words[1:]}."

    def cut(self, window: Slice) -> Cut | None:
        """Return that Loki leaves out what of `window` is older than the tenant may see."""
        lookback_s = self.limits().lookback_s
        oldest = time.time_ns() - lookback_s * NANOSECONDS
        if not lookback_s or window.begin >= oldest - CUT_MARGIN_NS:
            return None
        detail = f"Loki's max_query_lookback is {lookback_s} s; older lines are not returned"
        return Cut(oldest, Shortfall("starts_after_window", detail))

    def lines(self, window: Slice, terms: Terms, stream: StoreStream) -> Iterator[bytes]:
        """Yield the lines of `window` with one of `terms`, in pieces no longer than Loki allows; `stream` asks."""
        yield from self._found(window, self.logql(terms), stream)

    def job_lines(self, window: Slice, prefix: str, stream: StoreStream) -> Iterator[bytes]:
        """Yield the lines in `window` of pods that begin with `prefix`, by the label with the name; `stream` asks."""
        yield from self._found(window, self.job_selector(prefix), stream)

    @understood()
    def counts(
        self,
        window: Slice,
        boots: Sequence[str],
        stream: StoreStream,  # noqa: ARG002 - counts are whole or refused
    ) -> Mapping[str, Count]:
        """Return the counts of the processes `boots` in `window`; `stream` asks.

        A line within another one's JSON is not counted.
        """
        length_s = (window.end - window.begin) // NANOSECONDS
        told = []
        for text in self._count_queries(boots, str(length_s)):
            # A range at t covers (t - length, t], so the end is the last nanosecond of the slice.
            answer = self.store.json(_QUERY, {"query": text, "time": str(window.end - 1)})
            series = answer["data"]["result"]
            told.append(
                {one["metric"].get(BOOT, ""): int(float(one["value"][1])) for one in series}
            )
        known = set(boots).intersection(*told)
        return {boot: Count(*(values[boot] for values in told)) for boot in sorted(known)}

    def interrupt(self) -> None:
        """End all requests."""
        self.store.close()

    def _count_queries(self, boots: Sequence[str], length: str) -> Iterator[str]:
        for text in _COUNTS:
            yield text.format(lines=self.logql(boots), parts=_PARTS, length=length)

    def _found(self, window: Slice, logql: str, stream: StoreStream) -> Iterator[bytes]:
        length_s = self.limits().length_s
        # A second less than the limit: Loki compares with the length to the millisecond.
        longest = max(1, length_s - 1) * NANOSECONDS
        begin = window.begin
        while begin < window.end:
            end = min(window.end, begin + longest) if length_s else window.end
            part = Slice(begin, end)
            for line in read_slices(
                part, lambda part: self._page(part, logql, stream), stream.missing
            ):
                yield line + b"\n"
            begin = end

    @understood()
    def _page(self, part: Slice, logql: str, stream: StoreStream) -> Page:
        limit = self.limits().entries
        values = {
            "query": logql,
            "start": str(part.begin),
            "end": str(part.end),  # exclusive, as ours
            "limit": str(limit),
            "direction": "forward",
        }
        answer = self.store.json(_QUERY_RANGE, values)["data"]["result"]
        for one in answer:
            for value in one["values"]:
                stream.note_pod(one["stream"].get(self.pod_label, ""), value[1].encode())
        found = merge(*(one["values"] for one in answer), key=lambda value: int(value[0]))
        lines = [line_of(int(value[0]), value[1]) for value in found]
        return Page(lines, whole=len(lines) < limit)


def open_source(options: Mapping[str, Any]) -> Loki:
    """Return the source of one entry of ``[environments]``; nothing is asked of it yet.

    Args:
        options: ``url``; ``selector``, a stream selector of LogQL; ``tenant``, sent as ``X-Scope-OrgID``;
            ``token_env``, the environment variable with a bearer token, or with the password of ``user``;
            ``lookback``, how far back a query without ``--since`` reads (default ``30d``); ``pod_label``, the
            label with the name of a pod (default ``pod``); ``name``.

    Raises:
        SettingsError: An option is missing, unknown or of another type.
    """
    names = ("url", "selector", "tenant", "user", "token_env", "lookback", "pod_label", "name")
    texts = checked("loki", options, **dict.fromkeys(names, str))
    selector = texts["selector"].strip()
    if not (selector.startswith("{") and selector.endswith("}") and len(selector) > len("{}")):
        raise SettingsError(
            "loki: selector: expected a stream selector of LogQL.",
            hint="Write: selector = '{namespace=\"voice\"}'.",
        )
    if texts["user"] and not texts["token_env"]:
        raise SettingsError(
            "loki: user: a password is required.",
            hint='Name the environment variable that holds it: token_env = "LOKI_PASSWORD".',
        )
    tenant = checked_header("loki", "tenant", texts["tenant"])
    store = Store(
        checked_url("loki", texts["url"]),
        headers={**_CATEGORIZE, "X-Scope-OrgID": tenant or _NO_TENANT},
        token_env=checked_variable("loki", "token_env", texts["token_env"]),
        user=texts["user"],
    )
    lookback_s = duration_s(texts["lookback"] or "30d")
    if not _LABEL.fullmatch(pod_label := texts["pod_label"] or "pod"):
        raise SettingsError(f"loki: pod_label: expected the name of a label, got {pod_label!r}.")
    return Loki(store, selector, name=texts["name"], lookback_s=lookback_s, pod_label=pod_label)


def _go_duration_s(text: str) -> int:
    """Return a duration of Go or of Prometheus, such as ``721h``, ``30d1h`` or ``1m0s``, in whole seconds."""
    parts = re.findall(r"(\d+)(ms|[wdhms])", text)
    return sum(int(number) * _UNITS.get(unit, 0) for number, unit in parts)
