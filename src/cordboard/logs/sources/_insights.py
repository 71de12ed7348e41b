"""Reads a long window of a session with queries of CloudWatch Logs Insights.

A query scans a window at once, where FilterLogEvents returns page after page. Its statistics count the records that
matched: if fewer came, the window is halved.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.logs.coverage import Shortfall
from cordboard.logs.sources._aws import AwsLogs
from cordboard.logs.sources._http import StoreError
from cordboard.logs.sources._slices import NANOSECONDS, Slice
from cordboard.logs.sources.loki import line_of

ROWS_MAX: Final = 10_000
"""The most rows of a query: above 10,000, Insights returns the first ones and reports no error."""
QUERY_POLL_S: Final = 1.0
"""A query takes seconds, and each look at it is a request."""
_ENDED: Final = ("Complete", "Failed", "Cancelled", "Timeout")


class Insights:
    """Queries of one log group.

    Args:
        logs: Sends the requests.
        group: The group's name or ARN.
        closed: Ends the reading.
        poll_s: The seconds between two looks at a query.
    """

    def __init__(
        self, logs: AwsLogs, group: str, closed: threading.Event, poll_s: float = QUERY_POLL_S
    ) -> None:
        self._logs = logs
        self._group = group
        self._closed = closed
        self._poll_s = poll_s

    def lines(
        self, window: Slice, terms: Sequence[str], shortfalls: list[Shortfall]
    ) -> Iterator[bytes]:
        """Yield the lines of a window with one of some texts, in the order of time.

        Args:
            window: The window; Insights has whole seconds, so up to a second more is returned at each end.
            terms: Texts that consist of the characters of session ids.
            shortfalls: Receives what could not be read whole.

        Raises:
            StoreError: A query was refused or failed.
        """
        stack = [(window.begin // NANOSECONDS, (window.end - 1) // NANOSECONDS)]
        while stack and not self._closed.is_set():
            first_s, last_s = stack.pop()
            rows, matched = self._query(first_s, last_s, terms)
            if len(rows) < matched and first_s < last_s:
                middle_s = (first_s + last_s) // 2
                stack += [(middle_s + 1, last_s), (first_s, middle_s)]
                continue
            if len(rows) < matched:
                detail = f"{matched - len(rows)} of {matched} records of one second at {first_s} s"
                shortfalls.append(Shortfall("truncated", detail))
            yield from (_line(row) for row in rows)

    def _query(
        self, first_s: int, last_s: int, terms: Sequence[str]
    ) -> tuple[list[dict[str, str]], int]:
        """Run a query; return its rows and the number of records that matched."""
        values = {
            "logGroupIdentifiers": [self._group],
            "startTime": first_s,
            "endTime": last_s,  # both inclusive
            "queryString": query_text(terms),
        }
        query = {"queryId": self._logs.ask("start_query", values, self._closed)["queryId"]}
        while True:
            answer = self._logs.ask("get_query_results", query, self._closed)
            if answer["status"] in _ENDED:
                break
            if self._closed.wait(self._poll_s):
                self._logs.ask("stop_query", query, self._closed)
                return [], 0
        if answer["status"] != "Complete":
            raise StoreError("truncated", f"the query of Logs Insights ended as {answer['status']}")
        matched = round(answer.get("statistics", {}).get("recordsMatched", 0))
        return [_row(fields) for fields in answer["results"]], matched


def query_text(terms: Sequence[str]) -> str:
    """Return the query that finds events with one of some texts, oldest first.

    Args:
        terms: Texts that consist of the characters of session ids.
    """
    expression = "|".join(re.escape(term).replace("/", r"\/") for term in terms)
    return (
        f"fields @timestamp, @message | filter @message like /{expression}/"
        f" | sort @timestamp asc | limit {ROWS_MAX}"
    )


def _row(fields: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {str(field["field"]): str(field["value"]) for field in fields}


def _line(row: dict[str, str]) -> bytes:
    # Insights writes `2026-11-30 04:17:00.123`, in UTC.
    moment = datetime.fromisoformat(row["@timestamp"]).replace(tzinfo=UTC)
    milliseconds = round(moment.timestamp() * 1000)
    return line_of(milliseconds * (NANOSECONDS // 1000), row["@message"]) + b"\n"
