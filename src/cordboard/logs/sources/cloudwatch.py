"""Lines in Amazon CloudWatch Logs.

    [[environments.prod]]
    type = "cloudwatch"
    groups = ["/eks/voice"]
    region = "eu-central-1"             # optional, as for the AWS command line

Windows are read with FilterLogEvents, a group at a time and without a choice of log streams: the newest event
of a stream in DescribeLogStreams is up to an hour old. A page may be empty with more to come, and a token may come twice:
only an answer without a token ends the reading. Long windows of a session are read with a query of Logs Insights, whose
count of matching records proves that none is missing.
"""

import re
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any, Final, NamedTuple

from cordboard.contract.errors import SettingsError
from cordboard.logs.coverage import Shortfall
from cordboard.logs.query import Query
from cordboard.logs.sources._aws import AwsLogs, Pacer
from cordboard.logs.sources._clock import clock_fact
from cordboard.logs.sources._http import StoreError
from cordboard.logs.sources._insights import QUERY_POLL_S, Insights
from cordboard.logs.sources._session_terms import terms_of
from cordboard.logs.sources._slices import NANOSECONDS, Slice, nanoseconds
from cordboard.logs.sources.loki import line_of
from cordboard.logs.timespec import HIGHEST, LOWEST, duration_s

TEXTS: Final = ("region", "profile", "endpoint", "lookback", "name")
OPTIONS: Final = ("groups", *TEXTS, "insights", "requests_per_second")
_MILLISECOND: Final = 1_000_000  # in nanoseconds
# A pattern has at most 1,024 characters.
PATTERN_MAX_CHARS: Final = 1000
# Regular expressions take these characters as they are, and escapes of others that our ids may contain.
_LITERAL: Final = re.compile(r"[A-Za-z0-9:_#=@/;,-]")
# Logs Insights is paid by what it scans, FilterLogEvents is not; but a day has tens of thousands of pages.
INSIGHTS_FROM_S: Final = 86_400
# A finished run's events were complete after 90 s (awslabs/amazon-dynamodb-tools#315).
SETTLING_S: Final = 120.0
POLL_S: Final = 5.0
_FIRST_NS: Final = 1_388_534_400 * NANOSECONDS  # 2014: CloudWatch Logs is not older


class Event(NamedTuple):
    """An event as FilterLogEvents returns it.

    Attributes:
        timestamp_ms: When it occurred.
        text: Its message.
        event_id: Its id, by which the same event is known again.
        delay_s: How long after that it was ingested.
    """

    timestamp_ms: int
    text: str
    event_id: str
    delay_s: float

    @property
    def line(self) -> bytes:
        """The event as a line."""
        return line_of(self.timestamp_ms * _MILLISECOND, self.text) + b"\n"


class CloudWatch:
    """Log groups of one account and region.

    Args:
        logs: Sends the requests.
        groups: The names or ARNs of the groups.
        name: What messages call it.
        lookback_s: How far back a query without ``--since`` reads.
        may_query: Whether Logs Insights may be used, which is paid by what it scans.
        settling_s: How long events may take to arrive, in seconds.
        poll_s: The seconds between two requests while following.
        query_poll_s: The seconds between two looks at a query of Logs Insights.
    """

    def __init__(
        self,
        logs: AwsLogs,
        groups: Sequence[str],
        *,
        name: str = "",
        lookback_s: int = 14 * 86_400,
        may_query: bool = True,
        settling_s: float = SETTLING_S,
        poll_s: float = POLL_S,
        query_poll_s: float = QUERY_POLL_S,
    ) -> None:
        self.logs = logs
        self.groups = tuple(groups)
        self.name = name or "cloudwatch"
        self.lookback_s = lookback_s
        self.may_query = may_query
        self.settling_s = settling_s
        self.poll_s = poll_s
        self.query_poll_s = query_poll_s
        self._streams: list[Group] = []

    def streams(self, query: Query) -> "Iterable[Group]":
        """Return each group as one stream, once.

        Args:
            query: Its window and its session narrow the requests.
        """
        if self._streams:
            return []
        self._streams = [Group(self, group, query) for group in self.groups]
        return self._streams

    def answers(self) -> Sequence[Any]:
        """Return nothing: the streams report what is missing."""
        return []

    def explain(self, query: Query) -> Sequence[str]:
        """Return the requests as the AWS command line makes them."""
        commands = []
        for group in self.groups:
            window = Group(self, group, query).window()
            words = ["aws", "logs", "filter-log-events", "--log-group-name", group]
            words += ["--start-time", str(window.begin // _MILLISECOND)]
            words += ["--end-time", str((window.end - 1) // _MILLISECOND)]
            if query.session:
                words += ["--filter-pattern", *patterns([query.session])]
            commands.append(shlex.join(words))
        return commands

    def facts(self) -> Sequence[str]:
        """Return the identity, the limits and the clock, for ``cordboard doctor --env``."""
        return (
            self.logs.identity,
            f"limits: {self.logs.pacer.limit_per_s:g} requests a second",
            clock_fact(self.logs.clock_skew_s),
        )

    def close(self) -> None:
        """End what is being read."""
        for stream in self._streams:
            stream.close()


class Group:
    """What a log group has of a query, as a stream of lines in the order of time.

    Args:
        source: The account and region.
        group: The group's name or ARN.
        query: The question.
    """

    kind: Final = "stream"

    def __init__(self, source: CloudWatch, group: str, query: Query) -> None:
        self.name = group
        self._source = source
        self._query = query
        self._shortfalls: list[Shortfall] = []
        self._closed = threading.Event()
        self._largest_delay_s = source.settling_s

    def read(self, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the lines of the window; following, go on with what arrives."""
        try:
            if follow:
                yield from self._followed()
            else:
                window = self.window()
                yield from self._lines_of(window)
                self._note_unsettled(window)
        except StoreError as error:
            if not self._closed.is_set():
                self._shortfalls.append(error.shortfall)

    def shortfalls(self) -> Sequence[Shortfall]:
        """Return why lines are missing."""
        return self._shortfalls

    def close(self) -> None:
        """End a `read`, from another thread."""
        self._closed.set()

    def window(self) -> Slice:
        """Return the query's window, in nanoseconds."""
        now = time.time_ns()
        end = now + NANOSECONDS if self._query.end == HIGHEST else nanoseconds(self._query.end)
        if self._query.first > LOWEST:
            begin = max(_FIRST_NS, nanoseconds(self._query.first))
        else:
            begin = now - self._source.lookback_s * NANOSECONDS
        return Slice(begin, max(begin + 1, end))

    def _lines_of(self, window: Slice) -> Iterator[bytes]:
        session = self._query.session
        if session is None:
            yield from self._matching(window, [])
            return
        found = terms_of(self._matching(window, [session]), session)
        if found is None:
            yield from self._matching(window, [session])
            return
        # The second pass meets what the first could not read once more.
        self._shortfalls.clear()
        begin = max(window.begin, nanoseconds(found.first))
        near = Slice(begin, max(begin, min(window.end, nanoseconds(found.end))))
        yield from self._matching(Slice(window.begin, near.begin), [session])
        yield from self._matching(near, [session, *found.boots, *found.traces])
        yield from self._matching(Slice(near.end, window.end), [session])

    def _matching(self, window: Slice, terms: Sequence[str]) -> Iterator[bytes]:
        """Yield the lines of a window with one of some texts; all lines without a text."""
        if window.end <= window.begin:
            return
        is_long = window.end - window.begin > INSIGHTS_FROM_S * NANOSECONDS
        if terms and is_long and self._source.may_query:
            insights = Insights(
                self._source.logs, self.name, self._closed, self._source.query_poll_s
            )
            yield from insights.lines(window, terms, self._shortfalls)
            return
        for event in self._events(window, terms):
            yield event.line

    def _events(self, window: Slice, terms: Sequence[str]) -> Iterator[Event]:
        readings = [self._filtered(window, pattern) for pattern in patterns(terms) or [""]]
        if len(readings) == 1:
            yield from readings[0]
            return
        seen: set[str] = set()
        for event in merge(*readings, key=lambda event: event.timestamp_ms):
            if event.event_id not in seen:
                seen.add(event.event_id)
                yield event

    def _filtered(self, window: Slice, pattern: str) -> Iterator[Event]:
        """Yield the events of a window that match a pattern, page by page until there is no token."""
        values: dict[str, Any] = {
            **_group_argument(self.name),
            "startTime": window.begin // _MILLISECOND,
            "endTime": (window.end - 1) // _MILLISECOND,  # inclusive
            **({"filterPattern": pattern} if pattern else {}),
        }
        while not self._closed.is_set():
            page = self._source.logs.ask("filter_log_events", values, self._closed)
            for item in page.get("events", ()):
                event = _event(item)
                self._largest_delay_s = max(self._largest_delay_s, event.delay_s)
                yield event
            if not page.get("nextToken"):
                return
            values["nextToken"] = page["nextToken"]

    def _note_unsettled(self, window: Slice) -> None:
        """Report that events may arrive later, if the window ends in the present."""
        age_s = (time.time_ns() - window.end) / NANOSECONDS
        if age_s < self._largest_delay_s:
            detail = (
                f"events arrive up to {self._largest_delay_s:.0f} s late; read again after that"
            )
            self._shortfalls.append(Shortfall("not_settled", detail))

    def _followed(self) -> Iterator[bytes]:
        """Yield what arrives. Each request reads the time again in which events may still arrive.

        Live Tail is not used: it loses lines, and returns none of the time before it was opened.
        """
        terms = [self._query.session] if self._query.session else []
        began = time.time_ns()
        seen: dict[str, int] = {}
        while not self._closed.wait(self._source.poll_s):
            now = time.time_ns()
            overlap = int(self._largest_delay_s * NANOSECONDS)
            begin = max(began, now - overlap)
            for event in self._events(Slice(begin, now + NANOSECONDS), terms):
                if event.event_id not in seen:
                    yield event.line
                seen[event.event_id] = now
            # An event is forgotten when no later window can return it.
            seen = {key: at for key, at in seen.items() if at >= begin - overlap}


def open_source(options: Mapping[str, Any]) -> CloudWatch:
    """Return the source of one entry of ``[environments]``; no request is sent yet.

    Args:
        options: ``groups``, the names or ARNs of log groups; ``region`` and ``profile``, by default those of
            the AWS command line; ``endpoint``, the URL of a VPC endpoint; ``lookback``, how far back a query
            without ``--since`` reads (default ``14d``); ``insights``, false to never start a query of Logs
            Insights, which is paid by what it scans; ``requests_per_second`` (default 2); ``name``.

    Raises:
        SettingsError: An option is missing, unknown or of another type.
        ModuleNotFoundError: boto3 is not installed.
    """
    for name in options:
        if name not in OPTIONS:
            raise SettingsError(
                f"cloudwatch: unknown option {name!r}.",
                hint=f"The options are {', '.join(OPTIONS)}.",
            )
    texts = {name: _checked(options, name, str, "a string", "") for name in TEXTS}
    groups = options.get("groups")
    if not isinstance(groups, list) or not groups or not all(isinstance(g, str) for g in groups):
        raise SettingsError(
            "cloudwatch: groups: expected a list of log groups.",
            hint='Write: groups = ["/eks/voice"].',
        )
    rate = options.get("requests_per_second", 2)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        raise SettingsError(
            f"cloudwatch: requests_per_second: expected a number above 0, got {rate!r}."
        )
    may_query = _checked(options, "insights", bool, "true or false", default=True)
    logs = AwsLogs(
        region=texts["region"],
        profile=texts["profile"],
        endpoint=texts["endpoint"],
        pacer=Pacer(float(rate)),
    )
    return CloudWatch(
        logs,
        groups,
        name=texts["name"],
        lookback_s=duration_s(texts["lookback"] or "14d"),
        may_query=may_query,
    )


def patterns(terms: Iterable[str]) -> list[str]:
    """Return filter patterns that together find events with one of some texts; none without a text.

    A regular expression finds a text also within a word, which a bare term does not.

    Args:
        terms: Texts that consist of the characters of session ids.
    """
    parts = ["".join(map(_escaped, term)) for term in terms]
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + len(part) < PATTERN_MAX_CHARS:
            found[-1] += f"|{part}"
        else:
            found.append(part)
    return [f"%{expression}%" for expression in found]


def _escaped(character: str) -> str:
    if _LITERAL.fullmatch(character):
        return character
    # `~` is not among the characters that may occur, not even escaped; the reader narrows what this finds.
    return r"\." if character == "." else "."


def _event(item: Mapping[str, Any]) -> Event:
    timestamp_ms = int(item["timestamp"])
    delay_s = (int(item.get("ingestionTime", timestamp_ms)) - timestamp_ms) / 1000
    return Event(timestamp_ms, str(item["message"]), str(item["eventId"]), delay_s)


def _group_argument(group: str) -> dict[str, str]:
    return {"logGroupIdentifier" if group.startswith("arn:") else "logGroupName": group}


def _checked(
    options: Mapping[str, Any],
    name: str,
    kind: Callable[..., Any],
    expected: str,
    default: Any,
) -> Any:
    value = options.get(name, default)
    if type(value) is not kind:
        raise SettingsError(f"cloudwatch: {name}: expected {expected}, got {value!r}.")
    return value
