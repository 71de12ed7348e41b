"""What a session passed, by its events: the stages from click to first audio, turns, attempts, take-overs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from cordboard.logs.report.entry import Entry, as_text, length
from cordboard.logs.report.records import FREQUENT, network, speech, tools, usage
from cordboard.logs.report.turns import heard_ms, turns
from cordboard.logs.takeovers import RECOVERED, TakeOver, take_overs
from cordboard.logs.values import number

PATH: Final[dict[str, str]] = {
    "page.opened": "Page opened",
    "join.clicked": "Join clicked",
    "join.requested": "Join requested",
    "join.received": "Join received",
    "join.accepted": "Join accepted",
    "launch.claimed": "Launch claimed",
    "launch.job_created": "Cold runner started",
    "start.received": "Start received",
    "bot.forked": "Bot forked",
    "bot.started": "Bot started",
    "launch.assigned": "Session handed over",
    "bot.connected": "Bot connected",
    "user.connected": "User connected",
    "user.first_audio": "User's first audio",
    "bot.first_audio": "Bot's first audio",
}
"""The stages in the order in which a join passes them, with their names for people."""

SETBACKS: Final[dict[str, str]] = {
    "join.reused": "Join answered with a live session",
    "join.refused": "Join refused",
    "launch.failed": "Launch failed",
    "lease.lost": "Lease lost",
    "lease.expired": "Lease expired",
    "session.recovered": "Session queued again",
    "bot.crashed": "Bot crashed",
    "bot.finished": "Bot finished",
    "session.ended": "Session ended",
}
"""What else may happen on the way."""

NAMES: Final = {**PATH, **SETBACKS}

ZERO: Final = ("join.clicked", "join.requested", "join.received", "join.accepted")
"""Time is counted from the first of these that is there."""

OPTIONAL: Final = frozenset({"page.opened", "user.first_audio"})
"""Left out where there is no line: a call needs neither for the bot's first audio."""

_FIRST_AUDIO: Final = "bot.first_audio"
_FACTS: Final = {"runner": "runner", "job": "runner", "pid": "pid", "operator": "operator"}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        line: Its first line; None where no line tells of it.
        ms: After the click (or what comes nearest to it).
        step_ms: After the stage before.
        times: How often it was told.
    """

    event: str
    line: Entry | None = None
    ms: float | None = None
    step_ms: float | None = None
    times: int = 0


class Startup:
    """The way from click to first audio, each stage once for each attempt.

    Args:
        events: The events of one stay, in time order.

    Attributes:
        origin: The event from which time is counted; None without any.
        total_ms: From the click, or what comes nearest, to the bot's first audio; None where no line tells of either.
    """

    def __init__(self, events: Sequence[Entry]) -> None:
        firsts: dict[tuple[str, int | None], Entry] = {}
        times: Counter[tuple[str, int | None]] = Counter()
        for item in events:
            if item.us is None or item.event not in NAMES:
                continue
            firsts.setdefault((item.event, item.epoch), item)
            times[item.event, item.epoch] += 1
            if item.event == _FIRST_AUDIO:
                break
        reached = list(firsts.values())
        zero = next((item for name in ZERO for item in reached if item.event == name), None)
        self.origin = zero or next(iter(reached), None)
        timed = [
            Stage(key[0], item, between(self.origin, item), between(before, item), times[key])
            for (key, item), before in zip(firsts.items(), [None, *reached], strict=False)
        ]
        self.stages = _with_missing(timed) if timed else []
        audio = next((item for item in timed if item.event == _FIRST_AUDIO), None)
        self.total_ms = audio.ms if audio and zero else None

    @property
    def end_ms(self) -> float:
        """When the last stage was reached; at least 1, so that it can be divided by."""
        return max([1.0, *(item.ms for item in self.stages if item.ms is not None)])


class Latency:
    """How the latencies of all turns lie."""

    def __init__(self, latencies_ms: Sequence[float]) -> None:
        self.measured = len(latencies_ms)
        self.median_ms = median(latencies_ms)
        self.worst_ms = max(latencies_ms)


@dataclass(slots=True)
class Attempt:
    """One grant of the room.

    Attributes:
        epoch: The number of the grant.
        runner: Who was asked to host it, as its lines name it.
        outcome: How it ended, in words; empty where no line tells.
        failed: Whether it came to no good end.
    """

    epoch: int
    began_us: int | None = None
    ended_us: int | None = None
    runner: str = ""
    pid: str = ""
    operator: str = ""
    started: bool = False
    outcome: str = ""
    failed: bool = False
    number: str = ""


class Stay:
    """The events of one stay under a session id, and what they add up to.

    Args:
        events: The events, in time order.

    Attributes:
        first: The first event of each name.
        last: The last event of each name.
        ended: The end; None where no line tells of it.
        recoveries: How often the session was queued again.
        heard: The latencies as the caller heard them.
        tools: The calls of tools.
        usage: What each service consumed.
        speech: Who spoke when.
        network: What each end of the media connection reported.
    """

    def __init__(self, events: Sequence[Entry]) -> None:
        self.events = events
        self.first = {item.event or "": item for item in reversed(events)}
        self.last = {item.event or "": item for item in events}
        self.ended = self.last.get("session.ended")
        self.recoveries = sum(item.event == RECOVERED for item in events)
        self.startup = Startup(events)
        self.turns = turns(events)
        latencies = [turn.latency_ms for turn in self.turns if turn.latency_ms is not None]
        self.latency = Latency(latencies) if latencies else None
        heard = [ms for item in events if (ms := heard_ms(item)) is not None]
        self.heard = Latency(heard) if heard else None
        self.tools = tools(events)
        self.usage = usage(events)
        self.speech = speech(events)
        self.network = network(events)
        self.take_overs = take_overs(events)
        self.attempts = attempts(events, self.take_overs)

    @property
    def timeline(self) -> list[Entry]:
        """The events without those that come every few seconds, which are shown as lanes and sums."""
        return [item for item in self.events if item.event not in FREQUENT]

    def has(self, *names: str) -> bool:
        """Return whether there is an event of one of these `names`."""
        return not self.first.keys().isdisjoint(names)

    @property
    def span_ms(self) -> float | None:
        """From the bot's start, or else from the first event, to the end; None where clocks differ."""
        began = self.first.get("bot.started") or (self.events[0] if self.events else None)
        span = between(began, self.ended)
        return span if span is not None and span >= 0 else None

    @property
    def notable_attempts(self) -> tuple[Attempt, ...]:
        """The attempts; none where one attempt went well."""
        several = len(self.attempts) > 1 or any(item.failed for item in self.attempts)
        return self.attempts if several else ()


def between(first: Entry | None, last: Entry | None) -> float | None:
    """Return the milliseconds from the entry `first` to the entry `last`; None where they are not known."""
    if first is None or last is None or first.us is None or last.us is None:
        return None
    return (last.us - first.us) / 1000


def _with_missing(timed: Sequence[Stage]) -> list[Stage]:
    """Put each stage of which no line tells before the first that comes after it."""
    there = {item.event for item in timed}
    # A warm start needs no cold runner, and the other way round.
    needless = {*there, *OPTIONAL, "launch.job_created"}
    if "launch.job_created" in there:
        needless.add("launch.assigned")
    order = list(PATH)
    missing = [event for event in order if event not in needless]
    rows: list[Stage] = []
    for item in timed:
        while missing and item.event in PATH and order.index(missing[0]) < order.index(item.event):
            rows.append(Stage(missing.pop(0)))
        rows.append(item)
    return rows + [Stage(event) for event in missing]


# --- attempts


def attempts(events: Sequence[Entry], take_overs: Sequence[TakeOver] = ()) -> tuple[Attempt, ...]:
    """Return the attempts by epoch.

    Args:
        events: The events of a stay, in time order.
        take_overs: Its take-overs: they tell how an attempt ended whose own lines do not.
    """
    found: dict[int, Attempt] = {}
    for item in events:
        if item.epoch is not None:
            _note(found.setdefault(item.epoch, Attempt(item.epoch, item.us)), item)
    for taken in take_overs:
        before = max((epoch for epoch in found if epoch < taken.epoch), default=None)
        if before is not None and taken.died != "edge":
            _note_end(found[before], taken.died_words, taken.us, failed=True)
    return tuple(found[epoch] for epoch in sorted(found))


def _note(attempt: Attempt, item: Entry) -> None:
    meta = item.meta
    for key, name in _FACTS.items():
        # A recovery is logged under the new epoch, and names the runner that had the old one.
        if meta.get(key) and item.event != RECOVERED:
            setattr(attempt, name, as_text(meta[key]))
    if number(meta.get("attempt")) is not None:
        attempt.number = as_text(meta["attempt"])
    attempt.started |= item.event == "bot.started"
    words, failed = _outcome(item)
    _note_end(attempt, words, item.us, failed=failed)


def _note_end(attempt: Attempt, words: str, us: int | None, *, failed: bool) -> None:
    """Note how an attempt ended: what is told first counts."""
    if words and not attempt.outcome:
        attempt.outcome, attempt.failed, attempt.ended_us = words, failed, us


def _outcome(item: Entry) -> tuple[str, bool]:
    meta = item.meta
    match item.event:
        case "launch.failed":
            return f"launch failed: {as_text(meta.get('why', item.message))}", True
        case "lease.expired":
            overdue = number(meta.get("overdue_ms"))
            late = f", {length(overdue)} overdue" if overdue is not None else ""
            sign = f" (evidence: {as_text(meta['sign'])})" if meta.get("sign") else ""
            return f"lease expired{late}{sign}", True
        case "lease.lost":
            return "lease lost", True
        case "bot.crashed":
            return f"crashed: {item.error or as_text(meta.get('status', item.message))}", True
        case "session.ended":
            reason = as_text(meta.get("reason") or item.message)
            return f"ended: {reason}", as_text(meta.get("state")) in {"failed", "expired"}
    return "", False
