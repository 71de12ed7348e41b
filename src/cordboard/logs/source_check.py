"""Whether a source can be read, as whom, within which limits, and by which clock: ``cordboard doctor --env``."""

import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cordboard.contract.errors import CordboardError
from cordboard.logs.coverage import REASONS, Shortfall, count
from cordboard.logs.line import Line
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.sources import Source
from cordboard.logs.sources._slices import StoreError
from cordboard.logs.timespec import seconds

WINDOW_S: Final = 60
"""How far back the check reads: far enough to see lines of a plane in use, little of a large one."""
LINES_MAX: Final = 1000
# Reasons that a source that works may report for such a short window.
_HARMLESS: Final = frozenset(
    {"not_settled", "starts_after_window", "no_session_id", "gap", "rotated"}
)


class SourceCheck(NamedTuple):
    """The result of the check of a source.

    Attributes:
        name: What the source is called.
        ok: Whether it can be read.
        message: What was found, or what is wrong.
        hint: How to fix it; empty if unknown.
    """

    name: str
    ok: bool
    message: str
    hint: str = ""


def check_source(source: Source) -> SourceCheck:
    """Read the last minute of `source`, and close it; return the result, and the source's facts about itself."""
    now_s = time.time()
    since = datetime.fromtimestamp(now_s - WINDOW_S, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    reader = Reader(Query(since=since), [source])
    try:
        lines = [*itertools.islice(reader.lines(), LINES_MAX)]
        shortfalls = [why for answer in reader.coverage().answers for why in answer.shortfalls]
        serious = [why for why in shortfalls if why.reason not in _HARMLESS]
        if serious:
            return SourceCheck(source.name, ok=False, message=_words(serious[0]))
        facts = source.facts()
    except StoreError as error:
        return SourceCheck(source.name, ok=False, message=_words(error.shortfall))
    except CordboardError as error:
        return SourceCheck(source.name, ok=False, message=error.message, hint=error.hint)
    finally:
        reader.close()
    return SourceCheck(source.name, ok=True, message="; ".join([_newest(lines, now_s), *facts]))


def _newest(lines: Sequence[Line], now_s: float) -> str:
    stamps = [str(line.record.get("timestamp", "")) for line in lines]
    newest = max(filter(None, stamps), default=None)
    if newest is None:
        return f"answers; no lines in the last {WINDOW_S} s"
    number = (
        f"{LINES_MAX:,} lines or more" if len(lines) == LINES_MAX else count(len(lines), "line")
    )
    age_s = max(0.0, now_s - seconds(newest.encode()))
    return f"answers; {number} in the last {WINDOW_S} s, the newest {age_s:.0f} s ago"


def _words(why: Shortfall) -> str:
    return f"{REASONS[why.reason]}{f': {why.detail}' if why.detail else ''}"
