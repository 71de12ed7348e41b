"""The judge itself: a history that keeps the promises, and one planted violation of each."""

from typing import Any

import pytest

from faults.history import Event, judge

ROOM = "https://rooms.example/a"


def answer(sid: str = "a", *, reused: bool = False, **over: Any) -> dict[str, Any]:
    return {"sessionId": sid, "room_url": ROOM, "epoch": 1, "reused": reused} | over


def stay(epoch: int, first: float, last: float, how: str = "", **over: Any) -> list[Event]:
    """The words of one bot."""
    base = {"sid": "a", "room": ROOM, "epoch": epoch, "attempt": epoch, "pid": epoch} | over
    events = [
        base | {"kind": "enter", "at": first},
        base | {"kind": "tick", "at": (first + last) / 2},
        base | {"kind": "tick", "at": last},
    ]
    return [*events, base | {"kind": "exit", "at": last, "how": how}] if how else events


def good() -> list[Event]:
    """A session whose first runner died, and whose second bot finished."""
    return [
        {"kind": "join", "sid": "a", "room": ROOM, "at": 0, "status": 202, "answer": answer(),
         "deadline_s": 60},
        {"kind": "join", "sid": "a", "room": ROOM, "at": 1, "status": 200,
         "answer": answer(reused=True), "deadline_s": 60},
        *stay(1, 1, 2),
        *stay(2, 5, 6, "finished"),
        {"kind": "change", "sid": "a", "state": "ended", "epoch": 2},
        {"kind": "end", "sid": "a", "state": "ended", "reason": "bot_finished", "epoch": 2,
         "attempt": 2, "seconds": 6},
    ]  # fmt: skip


def promises(events: list[Event]) -> set[int]:
    return {found.promise for found in judge(events, late_s=2, recovery_s=10)}


def end(**over: Any) -> list[Event]:
    return [event | over if event["kind"] == "end" else event for event in good()]


def without(kind: str) -> list[Event]:
    return [event for event in good() if event["kind"] != kind]


def test_good_history_has_no_violation() -> None:
    """A history without a fault has no violation."""
    assert promises(good()) == set()


def test_hand_over_is_no_attempt() -> None:
    """The bot that follows one whose runner was stopped may have the same attempt."""
    same = [event | {"attempt": 1} if event.get("pid") == 2 else event for event in good()]
    assert promises(same) == {5}
    assert promises([*same, {"kind": "drain", "sid": "a"}]) == set()


@pytest.mark.parametrize(
    ("promise", "events"),
    [
        (1, without("end")),
        (1, end(state="running")),
        (1, [*good(), {"kind": "change", "sid": "a", "state": "failed", "epoch": 2}]),
        (1, end(state="failed")),
        (1, end(reason="left")),
        (1, end(reason="deadline", state="expired")),
        (1, end(reason="runner_lost", state="failed")),
        (1, [*without("enter")[:2], *end(reason="deadline", state="expired", seconds=200)[-1:]]),
        (2, [*good(), *stay(3, 5.5, 7, "finished", pid=9, attempt=3)]),
        (2, [*good(), *stay(3, 5.5, 7, "finished", sid="b", pid=9)]),
        (3, [*good(), *stay(2, 8, 9, "finished", pid=9, sid="b")]),
        (3, [*good(), *stay(1, 8, 9, "finished", pid=9, sid="b")]),
        (4, [*good(), good()[0] | {"answer": answer(epoch=7)}]),
        (4, [*good(), good()[0] | {"status": 200, "answer": answer("other", reused=True)}]),
        (4, [*good(), good()[0] | {"answer": answer(room_url="https://rooms.example/b")}]),
        (5, [event for event in good() if event.get("epoch") != 2 or event["kind"] == "end"]),
        (5, [event | {"at": event["at"] + 60} if event.get("pid") == 2 else event
             for event in good()]),
        (5, [event | {"attempt": 1} if event.get("pid") == 2 else event for event in good()]),
    ],
)  # fmt: skip
def test_planted_violation_is_found(promise: int, events: list[Event]) -> None:
    """Each broken promise is named."""
    assert promise in promises(events)
