"""The verdict says how a session went, and never more than its lines prove."""

from collections.abc import Callable

import pytest

from cordboard.contract.state import REASONS
from cordboard.logs.coverage import Coverage
from cordboard.logs.report import Header
from cordboard.logs.report.model import ModelMaker
from cordboard.logs.report.verdict import Verdict
from report_support import (
    COMPLETE,
    MISSING,
    Told,
    connected,
    crashed_call,
    ended,
    good_call,
    joined,
    recovered_call,
)

Tell = Callable[[], Told]


def verdict(told: Told, coverage: Coverage = COMPLETE, header: Header | None = None) -> Verdict:
    maker = ModelMaker(header or Header(session_id=told.session_id))
    for line in told.lines():
        maker.add(line.record)
    return maker.model(coverage).verdict


def started() -> Told:
    return joined(Told())


def accepted() -> Told:
    return Told().event(0, "gateway", "join.received").event(7, "gateway", "join.accepted")


def refused() -> Told:
    return Told(epoch=None).event(0, "gateway", "join.received").event(
        2, "gateway", "join.refused", reason="queue_full"
    )  # fmt: skip


def reused() -> Told:
    return Told(epoch=None).event(0, "gateway", "join.received").event(
        2, "gateway", "join.reused", holder="call-6", status="running"
    )  # fmt: skip


def killed() -> Told:
    told = started()
    told.say(4094, "runner", "Bot crashed", event="bot.crashed", level="error", status="SIGKILL")
    return ended(told, 4100, "bot_crashed", "failed", detail="killed by SIGKILL")


def lost() -> Told:
    told = recovered_call()
    told.records.pop()
    told.event(60_000, "operator", "lease.expired").event(60_001, "operator", "session.recovered")
    return ended(told, 99_000, "runner_lost", "failed")


def never_launched() -> Told:
    told = accepted().event(50, "operator", "launch.failed", runner="a", why="no such image")
    return ended(told, 60, "launch_failed", "failed")


@pytest.mark.parametrize(
    ("tell", "tone", "headline"),
    [
        (Told, "unknown", "No lines were found."),
        (
            lambda: Told().say(0, "bot", "Hello"),
            "unknown",
            "The outcome is unknown: none of the lines is an event.",
        ),
        (good_call, "ok", "The call worked: first audio 348 ms after the click."),
        (
            lambda: ended(connected(joined(Told(), browser=False)), 9000, "bot_finished"),
            "ok",
            "The call worked: first audio 317 ms after the join was received.",
        ),
        (
            lambda: ended(Told().event(0, "bot", "bot.first_audio"), 9000, "left"),
            "ok",
            "The call worked: the bot spoke.",
        ),
        (
            lambda: ended(started().event(300, "bot", "bot.connected"), 9000, "left"),
            "warn",
            "Connected, but no line records audio of the bot.",
        ),
        (
            lambda: ended(started(), 9000, "left"),
            "warn",
            "The bot started, but no line shows that anyone connected.",
        ),
        (
            lambda: ended(accepted(), 9000, "left"),
            "warn",
            "The session ended, but no line shows that a bot started.",
        ),
        (
            recovered_call,
            "warn",
            "The call worked, but its runner died: first audio 348 ms after the click.",
        ),
        (
            crashed_call,
            "bad",
            "The bot crashed 2.1 s after the user began to speak: ValueError: no order 4711",
        ),
        (killed, "bad", "The bot crashed 4.0 s after it started: SIGKILL"),
        (
            lambda: ended(started(), 60_094, "user_absent"),
            "bad",
            "Nobody joined: the bot waited 1 min 00 s, and no offer arrived.",
        ),
        (
            lambda: ended(connected(started()), 60_094, "user_absent"),
            "warn",
            "The session ended as user_absent, although its lines show a user.",
        ),
        (
            lambda: ended(accepted(), 60_007, "deadline", "expired"),
            "bad",
            (
                "Expired 1 min 00 s after the join was accepted: the bot was not running by the deadline. "
                "Last stage reached: Join accepted."
            ),
        ),
        (
            lambda: ended(accepted(), 5000, "cancelled", "cancelled"),
            "warn",
            "Cancelled before the bot ran. Last stage reached: Join accepted.",
        ),
        (never_launched, "bad", "No bot was started, because every launch failed: no such image"),
        (lost, "bad", "The runner was lost, and the session was given up after 2 recoveries."),
        (
            lambda: ended(connected(started()), 5000, "lease_lost", "failed"),
            "bad",
            "The bot was stopped: its runner no longer held the room's lease.",
        ),
        (refused, "bad", "The join was refused: queue_full"),
        (reused, "ok", "No new session: the room was in use, and the join returned session call-6."),
        (
            lambda: connected(started()),
            "unknown",
            (
                "The end is not in these lines: the last event is “User's first audio” at "
                "06:00:00.402 UTC. The bot had already sent its first audio."
            ),
        ),
        (
            accepted,
            "unknown",
            "The end is not in these lines: the last event is “Join accepted” at 06:00:00.007 UTC.",
        ),
        (
            lambda: ended(started(), 10_000, "abducted", "failed"),
            "bad",
            "The session ended as failed: abducted.",
        ),
    ],
)  # fmt: skip
def test_verdicts(tell: Tell, tone: str, headline: str) -> None:
    """Each way a session can go has its sentence."""
    found = verdict(tell())
    assert (found.headline, found.tone) == (headline, tone)


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_each_reason_of_the_contract_has_words_of_its_own(reason: str) -> None:
    """No reason falls through to the sentence for unknown ones."""
    found = verdict(ended(started(), 9000, reason, REASONS[reason]))
    assert not found.headline.startswith("The session ended as")


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_no_audio_no_success(reason: str) -> None:
    """Without a line of the bot's audio no session is said to have worked."""
    found = verdict(ended(started(), 9000, reason, REASONS[reason]))
    assert "worked" not in found.headline
    assert found.tone != "ok"


def test_what_is_missing_limits_the_verdict() -> None:
    """An incomplete answer is named beside the verdict, with what is incomplete."""
    said = " ".join(verdict(good_call(), MISSING).details)
    assert "Incomplete: lines are missing from prod/runner-a-x2/runner, bot" in said
    assert "Incomplete" not in " ".join(verdict(good_call()).details)


def test_filters_limit_the_verdict() -> None:
    """A verdict on a part of the lines says that it is one."""
    header = Header(session_id="call-7", filters=("--level warn",))
    assert any("--level warn" in said for said in verdict(good_call(), header=header).details)


def test_a_recovery_says_whether_the_bot_spoke_again() -> None:
    """After a take-over, the silence is told, or that no line tells of a bot that spoke again."""
    said = " ".join(verdict(recovered_call()).details)
    assert "continued it once; the silence was 2.1 s, measured by the plane's own times" in said
    told = recovered_call()
    silent = ("bot.first_audio", 2)
    told.records = [
        item for item in told.records if (item.get("event"), item.get("epoch")) != silent
    ]
    assert "no line shows that the bot spoke again" in " ".join(verdict(told).details)


def test_a_verdict_says_what_died_and_the_longest_silence() -> None:
    """A bot process that died is no lost runner; an edge counts too; of several silences the longest is told."""
    told = connected(started())
    told.event(900, "edge", "stream.resumed", died="edge", silence_ms=950)
    for epoch, why, silence_ms in (
        (2, "bot_died", 230),
        (3, "bot_died", 1210),
        (4, "draining", 90),
    ):
        told.epoch = epoch
        told.event(epoch * 2000, "operator", "session.recovered", why=why, runner="runner-a")
        told.event(epoch * 2000 + 300, "bot", "bot.first_audio")
        told.event(epoch * 2000 + 310, "call", "call.resumed", silence_ms=silence_ms)
    found = verdict(ended(told, 30_000, "left"))
    assert (
        "its edge died, and its bot process died 2 times, and its runner was stopped"
        in found.headline
    )
    assert found.details[0] == (
        "Another process continued it 4 times; the longest silence was 1.2 s, measured by the caller."
    )


def test_a_start_that_was_repeated_is_no_take_over() -> None:
    """No bot was lost, so no other process continued."""
    told = accepted()
    told.epoch = 2
    told.event(20, "operator", "session.recovered", why="refused", runner="runner-a")
    found = verdict(ended(connected(joined(told)), 30_000, "left"))
    assert found.headline.startswith("The call worked, but the session was queued again:")
    assert found.details[0] == "A start failed once, and was repeated."


def test_errors_are_counted_beside_the_verdict() -> None:
    """A call that worked with warnings says how many."""
    assert "Its lines include 2 warnings." in verdict(good_call()).details


def test_no_lines_of_the_asked_session() -> None:
    """Lines of others prove nothing of the session that was asked for."""
    found = verdict(good_call(), header=Header(session_id="another"))
    assert (found.tone, found.headline) == ("unknown", "No lines were found.")
