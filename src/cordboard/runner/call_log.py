"""Writes the records of a call: with the consent that they need, and never more than a reader can use."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.contract.call_events import CONTENT_META, LEFT_OUT, Content
from cordboard.contract.redaction import redact_keys
from cordboard.emit import get_logger

RATE_PER_S: Final = 20.0
"""Lines a second of one event: more than a conversation has, and little for the log of a bot that loops."""

BURST: Final = 100.0
"""Lines of one event at once, for example of a bot that calls many tools in one turn."""

REPORT_S: Final = 10.0
"""Seconds between two lines about records that were left out."""

_DEPTH_MAX: Final = 8  # of arguments and results; the emitter cuts deeper values itself
_LEVELS: Final = ("off", "words", "all")

log = get_logger("call")


class CallLog:
    """The log of one bot's records.

    Args:
        content: What may be logged of what was said.
        clock: The time in seconds, for the limit of the rate.
    """

    def __init__(self, content: Content, clock: Callable[[], float] = time.monotonic) -> None:
        self.content = content
        self._clock = clock
        self._tokens: dict[str, tuple[float, float]] = {}
        self._left_out: Counter[str] = Counter()
        self._reported_at = clock() - REPORT_S

    def may_log(self, needed: Content) -> bool:
        """Return whether people have agreed to the content `needed`."""
        return _LEVELS.index(self.content) >= _LEVELS.index(needed)

    def write(self, message: str, event: str, *, is_bad: bool = False, **meta: Any) -> None:
        """Write a record, or count it if there are too many.

        Args:
            message: A constant sentence.
            event: The event.
            is_bad: Whether something is wrong.
            **meta: The members. Those that are None, or that need more consent, are left out.
        """
        if not self._admits(event):
            self._left_out[event] += 1
            if self._clock() - self._reported_at >= REPORT_S:
                self.report_left_out()
            return
        members = {
            name: value if name not in CONTENT_META else _without_keys(value)
            for name, value in meta.items()
            if value is not None and (name not in CONTENT_META or self.may_log(CONTENT_META[name]))
        }
        (log.warning if is_bad else log.info)(message, event=event, **members)

    def report_left_out(self) -> None:
        """Log how many records were left out since the last such line, if any were."""
        if self._left_out:
            log.warning(LEFT_OUT, count=self._left_out.total(), events=dict(self._left_out))
            self._left_out.clear()
            self._reported_at = self._clock()

    def _admits(self, event: str) -> bool:
        """Take a token from the event's bucket; return whether there was one."""
        now = self._clock()
        tokens, then = self._tokens.get(event, (BURST, now))
        tokens = min(BURST, tokens + (now - then) * RATE_PER_S)
        self._tokens[event] = (max(tokens - 1, 0) if tokens >= 1 else tokens, now)
        return tokens >= 1


def iso(at_s: float) -> str:
    """Return a time in seconds since 1970 in the form of a line's timestamp."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _without_keys(value: Any, depth: int = 0) -> Any:
    """Return a value without API keys in its texts. The emitter redacts what has the name of a secret."""
    if isinstance(value, str):
        return redact_keys(value)
    if depth >= _DEPTH_MAX:
        return value
    if isinstance(value, dict):
        return {name: _without_keys(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_keys(inner, depth + 1) for inner in value]
    return value
