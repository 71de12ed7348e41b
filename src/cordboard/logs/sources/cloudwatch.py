"""Lines in Amazon CloudWatch Logs.

    [[environments.prod]]
    type = "cloudwatch"
    groups = ["/eks/voice"]
    region = "eu-central-1"             # optional, as for the AWS command line

Windows are read with FilterLogEvents, a group at a time and without a choice of log streams: the newest event
of a stream in DescribeLogStreams is up to an hour old. A page may be empty with more to come, and a token may come twice:
only an answer without a token ends the reading. Long windows of a session are read with a query of Logs Insights, whose
count of matching records proves that none is missing; another one counts the lines of its processes.
"""

import re
import shlex
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from heapq import merge
from typing import Any, Final, NamedTuple

from cordboard.contract.errors import SettingsError
from cordboard.logs.coverage import Shortfall
from cordboard.logs.query import Query
from cordboard.logs.sources._aws import AwsLogs, Pacer
from cordboard.logs.sources._http import clock_fact
from cordboard.logs.sources._options import checked, checked_url
from cordboard.logs.sources._proof import Count
from cordboard.logs.sources._slices import NANOSECONDS, Slice, Terms, line_of, understood
from cordboard.logs.sources._store import StoreSource, StoreStream
from cordboard.logs.timespec import duration_s

_MILLISECOND: Final = 1_000_000  # in nanoseconds
# A pattern has at most 1,024 characters.
PATTERN_MAX_CHARS: Final = 1000
# Regular expressions take these characters as they are, and escapes of others that our ids may contain.
_LITERAL: Final = re.compile(r"[A-Za-z0-9:_#=@/;,-]")
# Logs Insights is paid by what it scans, FilterLogEvents is not; but a day has tens of thousands of pages.
INSIGHTS_FROM_S: Final = 86_400
ROWS_MAX: Final = 10_000
"""The most rows of a query: above 10,000, Insights returns the first ones and reports no error."""
# A finished run's events were complete after 90 s (awslabs/amazon-dynamodb-tools#315).
SETTLING_S: Final = 120.0
POLL_S: Final = 5.0
# As Fluent Bit and Container Insights write it into an event.
_POD: Final = re.compile(rb'"pod_name\\*"\s*:\s*\\*"([a-z0-9.-]+)')
_ROWS: Final = f"| sort @timestamp asc | limit {ROWS_MAX}"
# What `parse` makes is text until a number is made of it.
_COUNTED: Final = (
    r"| parse @message /boot[^0-9a-f]+(?<boot>[0-9a-f]{8})[^0-9a-z]+seq[^0-9a-z]+(?<seq>[0-9]+)\}/"
    " | fields seq * 1 as number"
    " | stats count(*) as lines, min(number) as first, max(number) as last, sum(number) as total by boot"
)


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


class CloudWatch(StoreSource):
    """Log groups of one account and region.

    Args:
        logs: Sends the requests.
        groups: The names or ARNs of the groups.
        name: What messages call it.
        lookback_s: How far back a query without ``--since`` reads.
        may_query: Whether Logs Insights may be used, which is paid by what it scans.
        settling_s: How long events may take to arrive, in seconds.
        poll_s: The seconds between two requests while following.
    """

    # Totals of a run that was over grew for 90 s, and there is no time after which none arrives.
    counts_delay = True

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
    ) -> None:
        super().__init__(
            name or "cloudwatch", groups, lookback_s=lookback_s, overlap_s=settling_s, poll_s=poll_s
        )
        self.logs = logs
        self.may_query = may_query

    def explain(self, query: Query) -> Sequence[str]:
        """Return the requests for `query` as the AWS command line makes them."""
        commands = []
        for group in self.parts:
            window = self.window(query)
            words = ["aws", "logs", "filter-log-events", "--log-group-name", group]
            words += ["--start-time", str(window.begin // _MILLISECOND)]
            words += ["--end-time", str((window.end - 1) // _MILLISECOND)]
            if query.session:
                words += ["--filter-pattern", *patterns([query.session])]
            commands.append(shlex.join(words))
            if query.session and self.may_query:
                words = ["aws", "logs", "start-query", "--log-group-name", group]
                words += ["--start-time", str(window.begin // NANOSECONDS)]
                words += ["--end-time", str((window.end - 1) // NANOSECONDS)]
                words += ["--query-string", _query_text(["BOOT"], _COUNTED)]
                commands.append(shlex.join(words))
        return commands

    def facts(self) -> Sequence[str]:
        """Return the identity, the limits and the clock, for ``cordboard doctor --env``."""
        return (
            self.logs.identity,
            f"limits: {self.logs.pacer.limit_per_s:g} requests a second",
            clock_fact(self.logs.clock_skew_s),
        )

    def lines(self, window: Slice, terms: Terms, stream: StoreStream) -> Iterator[bytes]:
        """Yield the lines of `window` with one of `terms`, of a long one by queries of Logs Insights.

        Args:
            window: The slice.
            terms: The texts, each with its key; none for all lines.
            stream: The one of the group.
        """
        is_long = window.end - window.begin > INSIGHTS_FROM_S * NANOSECONDS
        if terms and is_long and self.may_query:
            lines = self._queried(window, list(terms), stream)
        else:
            lines = (event.line for event in self._events(window, terms, stream))
        for line in lines:
            found = _POD.search(line)
            stream.note_pod(found[1].decode() if found else "", line)
            yield line

    def job_lines(self, window: Slice, prefix: str, stream: StoreStream) -> Iterator[bytes]:
        """Yield the lines in `window` that name a pod beginning with `prefix`, as agents do; `stream` asks."""
        yield from self.lines(window, {prefix: ""}, stream)

    def arrivals(
        self, window: Slice, terms: Terms, stream: StoreStream
    ) -> Iterator[tuple[Hashable, bytes]]:
        """Yield the lines of `window` with one of `terms`, and the ids of their events; `stream` asks.

        Two events may be equal otherwise.
        """
        for event in self._events(window, terms, stream):
            yield event.event_id, event.line

    def counts(
        self, window: Slice, boots: Sequence[str], stream: StoreStream
    ) -> Mapping[str, Count]:
        """Return the counts of the processes `boots` in `window`, by a query of Logs Insights on the group of `stream`.

        None are returned where no query may be started.
        """
        # The seconds within the window: what is counted beyond it would seem to be missing.
        seconds = -(-window.begin // NANOSECONDS), window.end // NANOSECONDS - 1
        if not self.may_query or seconds[0] > seconds[1]:
            return {}
        rows, _ = self.logs.query(stream.name, seconds, _query_text(boots, _COUNTED), stream.closed)
        return {
            row["boot"]: Count(*(int(float(row[name])) for name in Count._fields))
            for row in rows
            if row.get("boot") in boots and all(name in row for name in Count._fields)
        }

    def _queried(self, window: Slice, terms: Sequence[str], stream: StoreStream) -> Iterator[bytes]:
        """Yield the lines of a window by queries of Logs Insights.

        Insights has whole seconds, so up to a second more is returned at each end. A window with more records than
        rows is halved.
        """
        stack = [(window.begin // NANOSECONDS, (window.end - 1) // NANOSECONDS)]
        text = _query_text(terms, _ROWS)
        while stack and not stream.closed.is_set():
            first_s, last_s = stack.pop()
            rows, matched = self.logs.query(stream.name, (first_s, last_s), text, stream.closed)
            if len(rows) < matched and first_s < last_s:
                middle_s = (first_s + last_s) // 2
                stack += [(middle_s + 1, last_s), (first_s, middle_s)]
                continue
            if len(rows) < matched:
                detail = f"{matched - len(rows)} of {matched} records of one second at {first_s} s"
                stream.missing.append(Shortfall("truncated", detail))
            yield from (_line(row) for row in rows)

    def _events(self, window: Slice, terms: Iterable[str], stream: StoreStream) -> Iterator[Event]:
        if window.end <= window.begin:
            return
        readings = [self._filtered(window, pattern, stream) for pattern in patterns(terms) or [""]]
        if len(readings) == 1:
            yield from readings[0]
            return
        seen: set[str] = set()
        for event in merge(*readings, key=lambda event: event.timestamp_ms):
            if event.event_id not in seen:
                seen.add(event.event_id)
                yield event

    def _filtered(self, window: Slice, pattern: str, stream: StoreStream) -> Iterator[Event]:
        """Yield the events of a window that match a pattern, page by page until there is no token."""
        values: dict[str, Any] = {
            "logGroupIdentifier" if stream.name.startswith("arn:") else "logGroupName": stream.name,
            "startTime": window.begin // _MILLISECOND,
            "endTime": (window.end - 1) // _MILLISECOND,  # inclusive
            **({"filterPattern": pattern} if pattern else {}),
        }
        while not stream.closed.is_set():
            page = self.logs.ask("filter_log_events", values, stream.closed)
            with (
                understood()
            ):  # without events, even an empty list of them, it is a proxy's response
                events = [_event(item) for item in page["events"]]
            for event in events:
                stream.overlap_s = max(stream.overlap_s, event.delay_s)
                yield event
            if not page.get("nextToken"):
                return
            values["nextToken"] = page["nextToken"]


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
    names = ("region", "profile", "endpoint", "lookback", "name")
    values = checked(
        "cloudwatch",
        {"insights": True, "requests_per_second": 2, **options},
        groups=list,
        **dict.fromkeys(names, str),
        insights=bool,
        requests_per_second=object,
    )
    rate = values["requests_per_second"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        raise SettingsError(
            f"cloudwatch: requests_per_second: expected a number above 0, got {rate!r}."
        )
    if not values["groups"]:
        raise SettingsError(
            "cloudwatch: groups: expected a list of log groups.",
            hint='Write: groups = ["/eks/voice"].',
        )
    logs = AwsLogs(
        region=values["region"],
        profile=values["profile"],
        endpoint=values["endpoint"] and checked_url("cloudwatch", values["endpoint"], "endpoint"),
        pacer=Pacer(float(rate)),
    )
    return CloudWatch(
        logs,
        values["groups"],
        name=values["name"],
        lookback_s=duration_s(values["lookback"] or "14d"),
        may_query=values["insights"],
    )


def patterns(terms: Iterable[str]) -> list[str]:
    """Return filter patterns that together find events with one of some texts; none without a text.

    A regular expression finds a text also within a word, which a bare term does not.

    Args:
        terms: Texts that consist of the characters of session ids.
    """
    found: list[str] = []
    for part in ("".join(map(_escaped, term)) for term in terms):
        if found and len(found[-1]) + len(part) < PATTERN_MAX_CHARS:
            found[-1] += f"|{part}"
        else:
            found.append(part)
    return [f"%{expression}%" for expression in found]


def _query_text(terms: Iterable[str], then: str) -> str:
    """Return the query of Logs Insights that finds events with one of some texts.

    Args:
        terms: Texts that consist of the characters of session ids.
        then: What is done with them.
    """
    expression = "|".join(re.escape(term).replace("/", r"\/") for term in terms)
    return f"fields @timestamp, @message | filter @message like /{expression}/ {then}"


def _escaped(character: str) -> str:
    if _LITERAL.fullmatch(character):
        return character
    # `~` is not among the characters that may occur, not even escaped; the reader narrows what this finds.
    return r"\." if character == "." else "."


def _event(item: Mapping[str, Any]) -> Event:
    timestamp_ms = int(item["timestamp"])
    delay_s = (int(item.get("ingestionTime", timestamp_ms)) - timestamp_ms) / 1000
    return Event(timestamp_ms, str(item["message"]), str(item["eventId"]), delay_s)


def _line(row: Mapping[str, str]) -> bytes:
    # Insights writes `2026-11-30 04:17:00.123`, in UTC.
    at = datetime.fromisoformat(row["@timestamp"]).replace(tzinfo=UTC)
    return line_of(round(at.timestamp() * 1000) * _MILLISECOND, row["@message"]) + b"\n"
