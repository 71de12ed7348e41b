"""Where two calls first differ: their stages, turns, events, errors and latencies side by side."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from cordboard.logs.coverage import Coverage, count
from cordboard.logs.report.columns import COLUMNS, padded, title, wrapped
from cordboard.logs.report.entry import Entry, length, one_line
from cordboard.logs.report.model import Model, Session
from cordboard.logs.report.stages import NAMES, Stage, between
from cordboard.logs.report.turns import Turn

SLOWER_MS: Final = 100.0
"""A step, or a latency, that takes so much longer than the other differs..."""
SLOWER_TIMES: Final = 1.5
"""...if it also takes so many times as long."""
ROWS_MAX: Final = 200
_WORDS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two calls has at a place.

    Attributes:
        words: In words; empty where it has nothing there.
        ms: When that was, after the click or what comes nearest to it.
        place: Process and number of the line.
    """

    words: str = ""
    ms: float | None = None
    place: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any] | None:
        """Return it as plain values; None where there is nothing."""
        if not self.words:
            return None
        ms = {} if self.ms is None else {"ms": round(self.ms, 1)}
        return {"words": self.words, **ms, **(self.place or {})}


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two calls differ.

    Attributes:
        kind: ``stage``, ``turn``, ``event``, ``error`` or ``latency``.
        what: What differs.
    """

    kind: str
    what: str
    one: Side
    other: Side

    @property
    def at_ms(self) -> float:
        """When it was, in the call where it was first; what has no time is the last."""
        return min(ms for ms in (self.one.ms, self.other.ms, float("inf")) if ms is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        sides = {"session": self.one.as_dict(), "against": self.other.as_dict()}
        return {"kind": self.kind, "what": self.what, **sides}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two calls, and where they differ.

    Attributes:
        differences: By kind, in the order of time within each.
        first: The first in time; None where nothing differs.
    """

    one: Model
    other: Model
    differences: Sequence[Difference]
    first: Difference | None

    @property
    def coverage(self) -> Coverage:
        """The coverage of both."""
        ones, others = self.one.coverage, self.other.coverage
        return Coverage(
            (*ones.answers, *others.answers),
            Counter(ones.counts) + Counter(others.counts),
            Counter(ones.attribution) + Counter(others.attribution),
            (*ones.notes, *others.notes),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "session": _summary(self.one),
            "against": _summary(self.other),
            "first": self.first.as_dict() if self.first else None,
            "differences": [item.as_dict() for item in self.differences[:ROWS_MAX]],
            "leftOut": max(0, len(self.differences) - ROWS_MAX),
        }


def compare(one: Model, other: Model) -> Comparison:
    """Return where the call of the model `one` differs from that of `other`."""
    ones, others = one.session, other.session
    if ones is None or others is None:
        return Comparison(one, other, (), None)
    groups = (
        list(_stages(ones, others)),
        list(_turns(ones, others)),
        list(_events(ones, others)),
        list(_errors(one, other)),
        list(_latencies(ones, others)),
    )
    found = [item for group in groups for item in sorted(group, key=lambda item: item.at_ms)]
    return Comparison(one, other, found, min(found, key=lambda item: item.at_ms, default=None))


def _summary(model: Model) -> dict[str, Any]:
    session = model.session
    return {
        "session": model.header.session_id,
        "verdict": model.verdict.headline,
        "tone": model.verdict.tone,
        "complete": model.coverage.complete,
        "lines": model.lines,
        "firstAudioMs": session.startup.total_ms if session else None,
    }


def _differs(one: float | None, other: float | None) -> bool:
    """Say whether one of two lengths is notably longer; of what only one has, nothing is said."""
    if one is None or other is None:
        return False
    short, long = sorted((max(one, 0.0), max(other, 0.0)))
    return long - short >= SLOWER_MS and long >= short * SLOWER_TIMES


# --- stages


def _stages(one: Session, other: Session) -> Iterator[Difference]:
    ones, others = _by_name(one), _by_name(other)
    for name in dict.fromkeys([*ones, *others]):
        mine, theirs = ones.get(name), others.get(name)
        sides = _stage_side(mine), _stage_side(theirs)
        if mine is None or theirs is None:
            yield Difference("stage", f"only one reached “{_stage_name(name)}”", *sides)
        elif _differs(mine.step_ms, theirs.step_ms):
            what = f"the step to “{_stage_name(name)}” took longer in one"
            yield Difference("stage", what, *sides)


def _by_name(session: Session) -> dict[tuple[str, int], Stage]:
    """Return the stages that were reached, each by its name and which time it was."""
    found: dict[tuple[str, int], Stage] = {}
    times: dict[str, int] = {}
    for stage in session.startup.stages:
        if stage.line is not None:
            times[stage.event] = times.get(stage.event, 0) + 1
            found[stage.event, times[stage.event]] = stage
    return found


def _stage_name(name: tuple[str, int]) -> str:
    event, time = name
    return NAMES[event] if time == 1 else f"{NAMES[event]} ({time})"


def _stage_side(stage: Stage | None) -> Side:
    if stage is None or stage.line is None:
        return Side()
    step = f", {length(stage.step_ms)} after the stage before" if stage.step_ms is not None else ""
    return Side(f"{stage.event} at {length(stage.ms)}{step}", stage.ms, stage.line.place)


# --- turns


def _turns(one: Session, other: Session) -> Iterator[Difference]:
    for number, (mine, theirs) in enumerate(zip_longest(one.turns, other.turns), start=1):
        sides = _turn_side(one, mine), _turn_side(other, theirs)
        if mine is None or theirs is None:
            yield Difference("turn", f"only one has turn {number}", *sides)
        elif mine.state != theirs.state:
            yield Difference("turn", f"turn {number} ended differently", *sides)
        elif _differs(mine.latency_ms, theirs.latency_ms):
            what = f"the latency of turn {number}{_slower_part(mine, theirs)}"
            yield Difference("turn", what, *sides)


def _slower_part(one: Turn, other: Turn) -> str:
    """Return the part of a latency that differs most."""
    ones, others = dict(one.parts), dict(other.parts)
    apart = {name: abs(ones[name] - others[name]) for name in ones if name in others}
    name = max(apart, key=lambda key: apart[key], default=None)
    if name is None or apart[name] < SLOWER_MS:
        return ""
    said = f"{length(ones[name])} against {length(others[name])}"
    return f", most of all {one_line(name, 60)}: {said}"


def _turn_side(session: Session, turn: Turn | None) -> Side:
    if turn is None:
        return Side()
    said = [turn.state or "completed", f"user to bot {length(turn.latency_ms)}"]
    origin = session.startup.origin
    known = origin is not None and origin.us is not None and turn.ended_us is not None
    ms = (turn.ended_us - origin.us) / 1000 if known else None  # type: ignore[operator, union-attr]
    return Side(one_line(", ".join(said), _WORDS_MAX), ms, turn.place)


# --- events


def _events(one: Session, other: Session) -> Iterator[Difference]:
    """Yield the events that one call has more often; stages and turns are compared by themselves."""
    ones, others = _other_events(one), _other_events(other)
    for key in dict.fromkeys([*ones, *others]):
        mine, theirs = ones.get(key, []), others.get(key, [])
        if len(mine) == len(theirs):
            continue
        service, event = key
        shared = min(len(mine), len(theirs))
        what = f"{one_line(service, 40)} logged {one_line(event, 80)} {_times(mine)} against {_times(theirs)}"
        yield Difference(
            "event",
            what,
            _event_side(one, mine[shared:]),
            _event_side(other, theirs[shared:]),
        )


def _times(items: Sequence[Entry]) -> str:
    return count(len(items), "time")


def _other_events(session: Session) -> dict[tuple[str, str], list[Entry]]:
    staged = {id(stage.line) for stage in session.startup.stages}
    found: dict[tuple[str, str], list[Entry]] = {}
    for item in session.timeline:
        event = item.event or ""
        if id(item) not in staged and not event.startswith("turn."):
            found.setdefault((item.service, event), []).append(item)
    return found


def _event_side(session: Session, items: Sequence[Entry]) -> Side:
    if not items:
        return Side()
    return _entry_side(session.startup.origin, items[0])


def _entry_side(origin: Entry | None, item: Entry) -> Side:
    words = one_line(item.words(named=False), _WORDS_MAX)
    return Side(words, between(origin, item), item.place)


# --- errors


def _errors(one: Model, other: Model) -> Iterator[Difference]:
    ones, others = _bad_lines(one), _bad_lines(other)
    for key in dict.fromkeys([*ones, *others]):
        if (key in ones) != (key in others):
            sides = [
                _entry_side(model.session.startup.origin if model.session else None, found[key])
                if key in found
                else Side()
                for model, found in ((one, ones), (other, others))
            ]
            yield Difference(
                "error",
                f"only one has this line of {one_line(key[1], 40)} at level {key[0]}",
                *sides,
            )


def _bad_lines(model: Model) -> dict[tuple[str, str, str], Entry]:
    """Return the first of each warning and error, by level, service and message without numbers."""
    found: dict[tuple[str, str, str], Entry] = {}
    items = [item for block in model.troubles.blocks for item in block if item.bad]
    for item in sorted(items, key=lambda item: item.index):
        words = "".join("#" if c.isdigit() else c for c in f"{item.message} {item.error}")
        found.setdefault((item.level, item.service, words), item)
    return found


# --- latencies


def _latencies(one: Session, other: Session) -> Iterator[Difference]:
    pairs = {"time to the first audio": (one.startup.total_ms, other.startup.total_ms)}
    if one.latency and other.latency:
        pairs["median latency"] = one.latency.median_ms, other.latency.median_ms
        pairs["worst latency"] = one.latency.worst_ms, other.latency.worst_ms
    if one.heard and other.heard:
        pairs["median latency as heard"] = one.heard.median_ms, other.heard.median_ms
    for name, (mine, theirs) in pairs.items():
        if _differs(mine, theirs):
            yield Difference("latency", name, Side(length(mine)), Side(length(theirs)))


# --- for people


def text(found: Comparison) -> Iterator[str]:
    """Give the comparison `found` line by line."""
    names = [one_line(str(model.header.session_id), 140) for model in (found.one, found.other)]
    yield from wrapped(f"{names[0]} AGAINST {names[1]}")
    yield "=" * COLUMNS
    for mark, name, model in zip("AB", names, (found.one, found.other), strict=True):
        said = one_line(model.verdict.headline, _WORDS_MAX)
        short = "" if model.coverage.complete else " Lines are missing."
        yield from wrapped(f"{name}: {said}{short}", f"{mark}  ", "   ")
    yield ""
    if found.first is None:
        nothing = found.one.session is None or found.other.session is None
        yield "One of the two has no lines." if nothing else "No difference was found."
        return
    yield f"FIRST DIFFERENCE  {_when(found.first)}".rstrip()
    yield from _rows([found.first])
    for kind in dict.fromkeys(item.kind for item in found.differences):
        items = [item for item in found.differences if item.kind == kind]
        yield from title(f"{_TITLES[kind]}  {count(len(items), 'difference')}")
        yield from _rows(items[:ROWS_MAX])
        if len(items) > ROWS_MAX:
            yield f"and {len(items) - ROWS_MAX:,} more"


_TITLES: Final = {
    "stage": "STAGES",
    "turn": "TURNS",
    "event": "EVENTS",
    "error": "WARNINGS AND ERRORS",
    "latency": "LATENCIES",
}


def _when(item: Difference) -> str:
    return "" if item.at_ms == float("inf") else f"{length(item.at_ms)} after the beginning"


def _rows(items: Iterable[Difference]) -> Iterator[str]:
    for item in items:
        yield from wrapped(item.what, "- ", "  ")
        for mark, side in (("A", item.one), ("B", item.other)):
            place = side.place or {}
            where = f" [{place['boot']}:{place['seq']}]" if place else ""
            said = f"{side.words}{where}" if side.words else "nothing"
            when = padded(length(side.ms) if side.ms is not None else "", 12)
            yield from wrapped(said, f"    {mark} {when} ", " " * 19)
