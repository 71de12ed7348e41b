"""Take-overs: what died, how it was known, who continued, and how long nobody spoke."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from cordboard.cli import main
from cordboard.logs.report.entry import Entry
from cordboard.logs.report.stages import Stay
from cordboard.logs.takeovers import DIED, TakeOver, take_overs
from cordboard.store.records import HandOverCause, RecoveryCause
from report_support import Told, connected, ended, joined, recovered_call


def taken(told: Told) -> tuple[TakeOver, ...]:
    return take_overs(Entry(at, record) for at, record in enumerate(told.records))


def queued_again(told: Told, ms: float, epoch: int, why: str, **meta: Any) -> Told:
    """Tell that the plane queued the session again."""
    told.epoch = epoch
    return told.event(ms, "operator", "session.recovered", why=why, runner="runner-a", **meta)


def runs(told: Told, ms: float, runner: str = "runner-b") -> Told:
    """Tell that the next bot ran."""
    told.event(ms, "runner", "bot.started", pid=5, attempt=told.epoch)
    return told.event(ms + 2, "operator", "launch.assigned", runner=runner)


def test_causes_are_those_of_the_store() -> None:
    """Each cause of the store is a death or a drain; a hand-over that failed is neither."""
    causes = {*get_args(RecoveryCause), *get_args(HandOverCause)}
    assert causes - set(DIED) == {"unstarted", "refused"}
    assert set(DIED) <= causes


@pytest.mark.parametrize(
    ("why", "sign", "died", "known"),
    [
        ("confirmed", "the runner's port is closed", "runner", "the runner's port is closed"),
        ("confirmed", "the runner does not hold the session", "runner", "the runner does not hold the session"),
        ("died", "the runner does not answer", "runner", "the lease ran out; the runner does not answer"),
        ("died", None, "runner", "the lease ran out"),
        ("bot_died", "killed by SIGKILL", "bot process", "killed by SIGKILL"),
        ("draining", None, "draining", "the runner announced it"),
    ],
)  # fmt: skip
def test_what_died_and_how_it_was_known(why: str, sign: str | None, died: str, known: str) -> None:
    """The cause says what died; the sign, and the lease's end, how it was known."""
    told = runs(queued_again(joined(Told()), 5000, 2, why, sign=sign, attempt=2), 5100)
    (only,) = taken(told)
    assert (only.died, only.known, only.lost, only.runner) == (died, known, "runner-a", "runner-b")
    assert (only.epoch, only.attempt) == (2, 2)


def test_the_silence_is_that_of_the_caller() -> None:
    """The longest of several callers; else that of the edge; else the plane's own times, and it says so."""
    told = runs(queued_again(joined(Told()), 5000, 2, "confirmed", seen_ms=1000), 5400)
    assert (taken(told)[0].silence_ms, taken(told)[0].silence_from) == (1400, "plane")
    told.event(6000, "bot", "bot.first_audio")
    assert (taken(told)[0].silence_ms, taken(told)[0].silence_from) == (2000, "plane")
    told.event(6100, "edge", "stream.resumed", silence_ms=1900, died="runner")
    for died in ("edge", "connection"):  # later, and of another kind
        told.event(6150, "edge", "stream.resumed", silence_ms=9000, died=died)
    assert (taken(told)[0].silence_ms, taken(told)[0].silence_from) == (1900, "edge")
    told.event(6200, "browser", "call.resumed", silence_ms=1800)
    told.event(6300, "browser", "call.resumed", silence_ms=2100.4)
    for odd in (None, "3", True, -1, float("inf"), 10**400):
        told.event(6400, "browser", "call.resumed", silence_ms=odd)
    assert (taken(told)[0].silence_ms, taken(told)[0].silence_from) == (2100, "caller")


@pytest.mark.parametrize("service", ["browser", "call"])
def test_a_caller_names_the_epoch_in_meta(service: str) -> None:
    """Its session is bound before there is one."""
    told = runs(queued_again(joined(Told()), 5000, 2, "confirmed"), 5400)
    told.epoch = None
    told.event(6200, service, "call.resumed", epoch=2, silence_ms=1300)
    told.event(6300, service, "call.resumed", epoch=1, silence_ms=9000)
    assert (taken(told)[0].silence_ms, taken(told)[0].silence_from) == (1300, "caller")


def test_each_take_over_has_its_own_epochs() -> None:
    """A start that was refused raises the epoch again, and is no take-over; a silence is that of its epoch."""
    told = queued_again(joined(Told()), 5000, 2, "confirmed")
    queued_again(told, 5100, 3, "refused")
    runs(told, 5300).event(6000, "browser", "call.resumed", silence_ms=1100)
    runs(queued_again(told, 9000, 4, "bot_died"), 9100, "runner-c")
    told.event(9200, "browser", "call.resumed", silence_ms=300)
    first, second = taken(told)
    assert (first.epoch, first.silence_ms, first.runner) == (3, 1100, "runner-b")
    assert (second.epoch, second.silence_ms, second.runner) == (4, 300, "runner-c")


def test_a_dead_edge_is_a_take_over_within_an_epoch() -> None:
    """The bot stays; another edge has the stream."""
    told = joined(Told(), browser=False)
    told.event(7000, "edge", "stream.resumed", died="edge", silence_ms=950)
    (only,) = taken(told)
    assert (only.died, only.epoch, only.runner) == ("edge", 1, "runner-a")
    assert (only.silence_ms, only.silence_from) == (950, "edge")


def test_unknown_is_said() -> None:
    """Without the lines of the next bot nobody is named, and no time is made up."""
    (only,) = taken(queued_again(joined(Told()), 5000, 2, "confirmed"))
    assert (only.runner, only.silence_ms, only.silence_from) == ("", None, "")
    assert only.silence_words == "the length of the silence is unknown"
    assert taken(connected(joined(Told()))) == ()


def test_sessions_show_attempts_and_take_overs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list has the number of attempts, one session its take-overs, and JSON both."""
    told = recovered_call()
    told.event(22_000, "bot", "user.note", attempt=99)
    lines = "".join(f"{json.dumps(record)}\n" for record in told.records)
    (tmp_path / "all.jsonl").write_text(lines)
    words = ["sessions", "--dir", str(tmp_path)]
    main(words)
    header, row = capsys.readouterr().out.splitlines()
    at = header.index("ATTEMPTS")
    assert row[at:].split()[0] == "2"
    main([*words, "call-7"])
    shown = capsys.readouterr().out
    assert "the runner runner-a died" in shown
    assert "taken by runner-b" in shown
    main([*words, "-o", "json"])
    session = json.loads(capsys.readouterr().out)
    assert session["attempts"] == 2
    assert session["takeOvers"] == [
        {
            "at": "2026-11-24T06:00:21.010000Z",
            "epoch": 2,
            "attempt": 2,
            "died": "runner",
            "known": "the lease ran out; the runner's port is closed",
            "lost": "runner-a",
            "runner": "runner-b",
            "silenceMs": 2090,
            "silenceFrom": "plane",
        }
    ]


def test_an_attempt_without_its_end_ends_with_the_take_over() -> None:
    """A killed runner logs no end; the report says what the plane found, and names each epoch's own runner."""
    told = queued_again(joined(Told()), 5000, 2, "confirmed", attempt=2)
    ended(told, 6000, "runner_lost", "failed")
    first, second = Stay([Entry(at, record) for at, record in enumerate(told.records)]).attempts
    assert (first.outcome, first.failed, first.runner) == (
        "the runner runner-a died",
        True,
        "runner-a",
    )
    assert second.runner == ""
