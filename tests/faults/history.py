"""Judges what bots and callers wrote down: whether the plane kept its promises while things broke.

A history is a list of plain events; ``at`` is a clock of this machine that never goes back.

======= =================================================================================
event   written by
======= =================================================================================
join    a caller: sid, room, at, status (HTTP), answer (the body), deadline_s
leave   a caller: sid, at, status
end     a caller: the session's last record: sid, state, reason, epoch, attempt, seconds
drain   who stops the runner of a session: sid; what follows is no attempt
change  who listens to the store: sid, state, epoch
enter   a bot, before it does anything: sid, room, epoch, attempt, pid, at
tick    a bot that speaks: sid, room, epoch, pid, at
exit    a bot that ends by itself: sid, epoch, pid, at, how (finished, cancelled)
======= =================================================================================
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cordboard.contract.state import REASONS, RECOVERIES_MAX, TERMINAL

Event = dict[str, Any]


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, and how."""

    promise: int
    words: str


@dataclass
class Stay:
    """One bot's process in one room."""

    sid: str
    room: str
    epoch: int
    attempt: int
    pid: int
    first: float
    last: float
    exit: str = ""


@dataclass
class History:
    """The events, sorted by what they are about."""

    events: Sequence[Event]
    stays: list[Stay] = field(default_factory=list)
    by_sid: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        of_pid: dict[tuple[str, int], Stay] = {}
        for event in self.events:
            self.by_sid[event["sid"]].append(event)
            key = (event["sid"], event.get("pid", 0))
            if event["kind"] == "enter":
                names = ("sid", "room", "epoch", "attempt", "pid", "at", "at")
                stay = Stay(*(event[name] for name in names))
                of_pid[key] = stay
                self.stays.append(stay)
            elif event["kind"] in {"tick", "exit"}:
                of_pid[key].last = max(of_pid[key].last, event["at"])
                of_pid[key].exit = event.get("how", of_pid[key].exit)
        self.stays.sort(key=lambda stay: stay.first)

    def of(self, sid: str, kind: str) -> list[Event]:
        return [event for event in self.by_sid[sid] if event["kind"] == kind]

    def stays_of(self, sid: str) -> list[Stay]:
        return [stay for stay in self.stays if stay.sid == sid]


def judge(events: Sequence[Event], *, late_s: float, recovery_s: float) -> list[Violation]:
    """Return every promise that was broken.

    Args:
        events: What was written down.
        late_s: How late after its deadline a join may be told that it has expired.
        recovery_s: Within which a session whose bot died must have another bot.
    """
    history = History(events)
    return [
        *_one_end(history, late_s),
        *_one_bot(history),
        *_epochs_grow(history),
        *_one_session(history),
        *_recovered(history, recovery_s),
    ]


def _accepted(history: History) -> Iterator[str]:
    for sid in list(history.by_sid):
        if any(event["status"] in {200, 202} for event in history.of(sid, "join")):
            yield sid


def _one_end(history: History, late_s: float) -> Iterator[Violation]:
    for sid in _accepted(history):
        ends = history.of(sid, "end")
        if len(ends) != 1 or ends[0]["state"] not in TERMINAL:
            yield Violation(1, f"{sid} did not end: {ends}")
            continue
        (end,) = ends
        told = Counter(e["epoch"] for e in history.of(sid, "change") if e["state"] in TERMINAL)
        born = max(1, sum(e["status"] == 202 for e in history.of(sid, "join")))
        if sum(told.values()) > born:
            yield Violation(1, f"{sid} ended {sum(told.values())} times")
        if REASONS.get(end["reason"]) != end["state"]:
            yield Violation(1, f"{sid} is {end['state']} because of {end['reason']}")
        untrue = _untrue(history, end, late_s)
        if untrue:
            yield Violation(1, f"{sid}: {end['reason']} is not true: {untrue}")


def _untrue(history: History, end: Event, late_s: float) -> str:  # noqa: PLR0911 - a table
    """Say why a session's reason cannot be true; empty when it can."""
    sid = end["sid"]
    stays = history.stays_of(sid)
    last = [stay for stay in stays if stay.epoch == end["epoch"]]
    match end["reason"]:
        case "bot_finished" if not any(stay.exit == "finished" for stay in last):
            return "its last bot did not finish"
        case "left" | "cancelled" if not history.of(sid, "leave"):
            return "nobody asked it to leave"
        case "cancelled" if last:
            return "its bot was in the room"
        case "deadline" if stays:
            return "its bot was in the room"
        case "deadline":
            most = _deadline_s(history, sid, max) * end["attempt"]
            if end["seconds"] > most + late_s:
                return f"it took {end['seconds']:.1f} s"
        case "runner_lost" if end["seconds"] >= _deadline_s(history, sid, min):
            return ""  # no runner took it in time after its bot was lost
        case "runner_lost" | "launch_failed" if end["attempt"] <= RECOVERIES_MAX:
            return f"attempt {end['attempt']} was not the last"
        case "bot_crashed":
            return "no bot of this test crashes"
    return ""


def _deadline_s(history: History, sid: str, which: Callable[[Iterable[float]], float]) -> float:
    return which(e["deadline_s"] for e in history.of(sid, "join"))


def _one_bot(history: History) -> Iterator[Violation]:
    rooms: defaultdict[str, list[Stay]] = defaultdict(list)
    for stay in history.stays:
        rooms[stay.room].append(stay)
    for room, stays in rooms.items():
        for i, stay in enumerate(stays):
            for later in stays[i + 1 :]:
                if later.first <= stay.last:
                    over_s = stay.last - later.first
                    yield Violation(2, f"two bots in {room} for {over_s:.3f} s: {stay}, {later}")


def _epochs_grow(history: History) -> Iterator[Violation]:
    highest: dict[str, Stay] = {}
    for stay in history.stays:
        before = highest.get(stay.room)
        if before and before.epoch >= stay.epoch:
            yield Violation(3, f"epoch {stay.epoch} entered {stay.room} after {before.epoch}")
        highest[stay.room] = stay


def _one_session(history: History) -> Iterator[Violation]:
    for sid in _accepted(history):
        answers = [e["answer"] for e in history.of(sid, "join") if e["status"] in {200, 202}]
        own = [answer for answer in answers if answer["sessionId"] == sid]
        if len({answer["room_url"] for answer in answers}) > 1:
            yield Violation(4, f"{sid} is in several rooms: {answers}")
        fresh = [answer for answer in own if not answer["reused"]]
        if len({answer["epoch"] for answer in fresh}) < len(fresh):
            yield Violation(4, f"{sid} was new twice under one epoch")
        rejoined = history.of(sid, "leave") or history.of(sid, "again")
        if len(fresh) > 1 and not rejoined:
            yield Violation(4, f"{sid} was new {len(fresh)} times")
        for answer in answers:
            if answer["sessionId"] != sid and answer.get("requestedSessionId") != sid:
                yield Violation(4, f"{sid} got another's answer: {answer}")


def _recovered(history: History, recovery_s: float) -> Iterator[Violation]:
    for sid in {stay.sid for stay in history.stays}:
        stays = history.stays_of(sid)
        ends = history.of(sid, "end")
        if len(stays) > RECOVERIES_MAX + 1 and not history.of(sid, "again"):
            yield Violation(5, f"{sid} had {len(stays)} bots")
        for stay, following in zip(stays, [*stays[1:], None], strict=True):
            if stay.exit:
                continue
            if following is None:
                if ends and ends[0]["reason"] not in {"left", "runner_lost", "lease_lost"}:
                    yield Violation(5, f"{sid}: its bot died at epoch {stay.epoch}, none followed")
                continue
            if following.first - stay.last > recovery_s:
                yield Violation(5, f"{sid} had no bot for {following.first - stay.last:.1f} s")
            is_counted = following.attempt == stay.attempt + 1
            is_handed_over = following.attempt == stay.attempt and history.of(sid, "drain")
            if following.epoch <= stay.epoch or not (is_counted or is_handed_over):
                yield Violation(5, f"{sid}: {following} does not follow {stay}")
