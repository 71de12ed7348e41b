"""Records become stages, turns, attempts, lanes and troubles, whatever the records hold."""

from typing import Any

import pytest

from cordboard.contract.record import EVENTS
from cordboard.logs.report import Header, text
from cordboard.logs.report.lanes import AFTER, BEFORE, BLOCKS_MAX, BUCKETS, LANES_MAX, is_warning
from cordboard.logs.report.model import SESSIONS_MAX, Model, ModelMaker
from cordboard.logs.report.stages import OPTIONAL, PATH, SETBACKS
from report_support import (
    COMPLETE,
    Told,
    connected,
    crashed_call,
    ended,
    good_call,
    joined,
    page_of,
    recovered_call,
    turn,
)


def model_of(*tolds: Told, header: Header | None = None) -> Model:
    maker = ModelMaker(header or Header())
    records = [record for told in tolds for record in told.records]
    for record in sorted(records, key=lambda item: str(item["timestamp"])):
        maker.add(record)
    return maker.model(COMPLETE)


def session_of(told: Told) -> Any:
    session = model_of(told).session
    assert session is not None
    return session


def shown(told: Told) -> list[tuple[str, float | None, float | None]]:
    return [(item.event, item.ms, item.step_ms) for item in session_of(told).startup.stages]


def test_stages_are_those_of_the_contract() -> None:
    """Each stage and setback is an event of the contract."""
    assert {*PATH, *SETBACKS} <= set(EVENTS)


def test_stages_of_a_good_call() -> None:
    """Each stage has its time after the click and after the stage before, up to the first audio."""
    assert shown(good_call()) == [
        ("page.opened", -3200.0, None),
        ("join.clicked", 0.0, 3200.0),
        ("join.requested", 24.0, 24.0),
        ("join.received", 31.0, 7.0),
        ("join.accepted", 38.0, 7.0),
        ("launch.claimed", 44.0, 6.0),
        ("start.received", 61.0, 17.0),
        ("bot.forked", 90.0, 29.0),
        ("bot.started", 94.0, 4.0),
        ("launch.assigned", 97.0, 3.0),
        ("bot.connected", 330.0, 233.0),
        ("user.connected", 338.0, 8.0),
        ("bot.first_audio", 348.0, 10.0),
    ]
    startup = session_of(good_call()).startup
    assert (startup.origin.event, startup.total_ms) == ("join.clicked", 348.0)


@pytest.mark.parametrize(
    "missing", [event for event in PATH if event not in {"launch.job_created", *OPTIONAL}]
)
def test_a_stage_without_a_line_is_shown_as_missing(missing: str) -> None:
    """A stage that no line tells of stands in its place, without a time; the others keep theirs."""
    told = connected(joined(Told()))
    told.records = [record for record in told.records if record.get("event") != missing]
    rows = shown(told)
    assert (missing, None, None) in rows
    assert sum(ms is None for _, ms, _ in rows) == 1
    assert [event for event, ms, _ in rows if ms is None] == [missing]
    names = [event for event, _, _ in rows]
    after = [event for event in names[names.index(missing) + 1 :] if event in PATH]
    if missing != "bot.first_audio":
        assert list(PATH).index(after[0]) > list(PATH).index(missing)


def test_without_a_click_time_counts_from_what_comes_nearest() -> None:
    """A call from a terminal has no click: time counts from the gateway's receipt, and says so."""
    startup = session_of(connected(joined(Told(), browser=False))).startup
    assert (startup.origin.event, startup.total_ms) == ("join.received", 317.0)
    assert [item.event for item in startup.stages if item.ms is None] == [
        "join.clicked",
        "join.requested",
    ]


def test_a_cold_start_lacks_no_hand_over() -> None:
    """A cold runner that was started stands for the hand-over to a warm one."""
    told = joined(Told())
    told.records = [item for item in told.records if item.get("event") != "launch.assigned"]
    told.event(50, "operator", "launch.job_created", job="bot-call-7-1")
    rows = shown(told)
    assert ("launch.job_created", 50.0, 6.0) in rows
    assert "launch.assigned" not in [event for event, _, _ in rows]


def test_a_failed_launch_on_the_way_is_a_setback() -> None:
    """Each attempt's stages are shown, and what went wrong between them."""
    told = Told(epoch=None).event(0, "gateway", "join.received")
    told.epoch = 1
    told.event(5, "gateway", "join.accepted").event(10, "operator", "launch.claimed", attempt=1)
    told.event(900, "operator", "launch.failed", runner="runner-a", why="port refused")
    told.epoch = 2
    told.event(910, "operator", "launch.claimed", attempt=2)
    told.event(990, "runner", "bot.started", attempt=2)
    told.event(1500, "bot", "bot.first_audio")
    stages = [item for item in session_of(told).startup.stages if item.ms is not None]
    assert [(item.event, item.line.epoch, item.event in SETBACKS) for item in stages] == [
        ("join.received", None, False),
        ("join.accepted", 1, False),
        ("launch.claimed", 1, False),
        ("launch.failed", 1, True),
        ("launch.claimed", 2, False),
        ("bot.started", 2, False),
        ("bot.first_audio", 2, False),
    ]
    assert "port refused" in next(item.line.note for item in stages if item.event in SETBACKS)


def test_a_stage_told_again_counts() -> None:
    """A join that was asked for three times is one stage, told three times."""
    told = Told(epoch=None)
    for ms in (0, 10, 20):
        told.event(ms, "gateway", "join.received")
    first = next(item for item in session_of(told).startup.stages if item.ms is not None)
    assert (first.event, first.ms, first.times) == ("join.received", 0.0, 3)


def test_turns_have_their_latency_and_its_parts() -> None:
    """A turn has its beginning, length, interruption, latency and the parts of that."""
    session = session_of(good_call())
    assert len(session.turns) == 5
    second = session.turns[1]
    assert (second.number, second.duration_ms, second.interrupted) == ("2", 4000.0, True)
    assert second.latency_ms == 630.0
    assert second.ttfb_ms == (
        ("DeepgramSTT#0", 120.0),
        ("OpenAILLM#0", 310.0),
        ("CartesiaTTS#0", 160.0),
    )
    assert (session.latency.measured, session.latency.median_ms, session.latency.worst_ms) == (
        5,
        665.0,
        735.0,
    )


@pytest.mark.parametrize(
    "meta",
    [
        {"turn": 1, "ttfb_ms": "none", "duration_ms": "long", "user_bot_latency_ms": None},
        {"turn": {"a": 1}, "ttfb_ms": {"x": None, "y": -3, "z": True}, "interrupted": "yes"},
        {},
    ],
)
def test_odd_turns_are_turns(meta: dict[str, Any]) -> None:
    """Values that are none of ours leave a turn without them."""
    told = Told().event(0, "bot", "turn.ended", **meta)
    (found,) = session_of(told).turns
    assert (found.duration_ms, found.latency_ms, found.interrupted, found.ttfb_ms) == (
        None,
        None,
        False,
        (),
    )


def test_a_turn_without_its_end_is_open() -> None:
    """A turn that was under way when the lines ended is there, and open."""
    session = session_of(crashed_call())
    assert [item.ended_us is None for item in session.turns] == [False, True]


def test_attempts_say_who_held_the_room_and_how_it_ended() -> None:
    """Each epoch is an attempt, with its runner, process and outcome."""
    first, second = session_of(recovered_call()).attempts
    assert (first.epoch, first.runner, first.pid, first.started) == (1, "runner-a", "4242", True)
    assert first.outcome == "lease expired, 1.2 s overdue (evidence: refused)"
    assert first.failed
    assert (second.epoch, second.runner, second.number) == (2, "runner-b", "2")
    assert (second.outcome, second.failed) == ("ended: left", False)


def test_the_first_end_of_an_attempt_is_its_outcome() -> None:
    """What ended an attempt counts, not what was said of it afterwards."""
    (only,) = session_of(crashed_call()).attempts
    assert (only.outcome, only.failed) == ("crashed: ValueError: no order 4711", True)


def test_of_several_stays_the_last_is_told() -> None:
    """An id that was used again after its end: the report tells of its last session, and says so."""
    told = crashed_call()
    told.epoch = 2
    told.event(60_000, "gateway", "join.received").event(60_010, "gateway", "join.accepted")
    told.event(60_100, "runner", "bot.started", pid=1).event(60_300, "bot", "bot.first_audio")
    ended(told, 70_000, "left")
    model = model_of(told)
    assert model.session is not None
    assert (model.session.stays, model.session.verdict.tone) == (2, "ok")
    assert model.session.startup.total_ms == 300.0
    assert [item.epoch for item in model.session.attempts] == [2]
    assert any("used for 2 sessions" in sentence for sentence in model.verdict.details)


def test_an_end_before_its_join_is_no_other_stay() -> None:
    """Clocks differ: an end that stands before the join of its own epoch parts nothing."""
    told = ended(connected(joined(Told())), -5000, "left")
    session = session_of(told)
    assert (session.stays, session.reason) == (1, "left")
    assert session.verdict.headline.startswith("The call worked")


def test_lanes_follow_the_join_and_count_levels() -> None:
    """One lane a service, in the order in which a join passes them; marks stay in their bounds."""
    told = good_call()
    told.say(100, "zebra", "Hello").say(120, "adder", "Hello", level="error")
    lanes = model_of(told).lanes.lanes
    assert [lane.service for lane in lanes] == [
        "browser", "interface", "gateway", "operator", "runner", "bot", "adder", "zebra",
    ]  # fmt: skip
    assert {lane.service: lane.errors for lane in lanes}["adder"] == 1
    assert {lane.service: lane.warnings for lane in lanes}["runner"] == 1
    assert all(0 <= mark.at < BUCKETS for lane in lanes for mark in lane.marks)
    assert all(sum(mark.lines for mark in lane.marks) == lane.lines for lane in lanes)


def test_more_services_than_lanes_share_the_last() -> None:
    """Services beyond the bound share a lane: no log can make the page grow without end."""
    told = Told()
    for number in range(LANES_MAX + 10):
        told.say(number, f"s{number}", "Hello")
    lanes = model_of(told).lanes.lanes
    assert len(lanes) == LANES_MAX + 1
    assert sum(lane.lines for lane in lanes) == LANES_MAX + 10


def test_an_error_is_among_its_neighbours() -> None:
    """A block holds the lines before and after an error, whichever service spoke them."""
    told = Told()
    for number in range(20):
        told.say(
            number, f"s{number % 3}", f"line {number}", level="error" if number == 10 else "info"
        )
    (block,) = model_of(told).troubles.blocks
    assert [item.message for item in block] == [
        f"line {number}" for number in range(10 - BEFORE, 11 + AFTER)
    ]


def test_errors_close_together_share_a_block() -> None:
    """No line is shown twice: neighbours that are errors themselves go into the same block."""
    told = Told()
    for number in range(20):
        told.say(number, "bot", f"line {number}", level="warn" if number in {5, 7} else "info")
    (block,) = model_of(told).troubles.blocks
    assert [item.index for item in block] == list(range(5 - BEFORE, 8 + AFTER))
    assert is_warning(block)


def test_a_flood_of_warnings_leaves_room_for_errors() -> None:
    """Blocks have a bound; what is left out is counted; an error after the flood is still shown."""
    told = Told()
    for number in range(1000):
        told.say(number * 10, "bot", "Late", level="warn")
        for step in range(6):
            told.say(number * 10 + step + 1, "bot", "Well")
    told.say(99_999, "bot", "Broken", level="error")
    troubles = model_of(told).troubles
    assert (troubles.warnings, troubles.errors) == (1000, 1)
    assert len(troubles.blocks) == BLOCKS_MAX // 3 + 1
    assert troubles.left_out == 1000 - BLOCKS_MAX // 3
    assert [is_warning(block) for block in troubles.blocks[:2]] == [False, True]


def test_several_sessions_are_listed() -> None:
    """Without a session asked for, each has its own verdict; machines are no sessions."""
    other = ended(joined(Told("call-8")), 61_000, "user_absent")
    server = Told("server:op-1").say(0, "operator", "Started")
    model = model_of(good_call(), other, server)
    assert model.session is None
    assert [(item.session_id, item.verdict.tone) for item in model.sessions] == [
        ("call-7", "ok"),
        ("call-8", "bad"),
    ]
    assert model.verdict.headline == "2 sessions: 1 worked, 1 failed."
    assert model.verdict.tone == "bad"


def test_a_lone_session_needs_no_asking() -> None:
    """A window with one session is that session's report, whatever machines said besides."""
    model = model_of(good_call(), Told("server:op-1").say(0, "operator", "Started"))
    assert model.session is not None
    assert model.session.session_id == "call-7"


def test_sessions_beyond_the_bound_are_counted() -> None:
    """A window with very many sessions tells how many it does not list."""
    tolds = [Told(f"s{number}").say(number, "bot", "Hi") for number in range(SESSIONS_MAX + 3)]
    model = model_of(*tolds)
    assert (len(model.sessions), model.others) == (SESSIONS_MAX, 3)


def test_lines_of_no_session_are_the_asked_ones() -> None:
    """With --session, a line that names none belongs to it: the reader has attributed it."""
    told = crashed_call()
    del told.records[-2]["sessionId"]
    session = model_of(told, header=Header(session_id="call-7")).session
    assert session is not None
    assert session.errors == 2


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"timestamp": 7, "level": 3, "message": None, "service": [], "sessionId": {}, "meta": "x"},
        {"timestamp": "yesterday", "level": "FATAL", "event": 5, "error": "boom", "epoch": True},
        {"timestamp": "0001-01-01T00:00:00+23:59", "epoch": 10**400, "meta": {"turn": 10**400}},
        {"event": "turn.ended", "meta": {"duration_ms": 1e308, "turn": None}, "sessionId": "a"},
        {"event": "session.ended", "sessionId": "a", "meta": {"reason": ["x"], "seconds": "y"}},
    ],
)
def test_no_record_breaks_a_report(record: dict[str, Any]) -> None:
    """A record of any shape is counted and shown, and nothing raises."""
    maker = ModelMaker(Header())
    shown = [maker.add(record)]
    model = maker.model(COMPLETE)
    assert model.lines == 1
    assert "ALL LINES (1)" in list(text.report(model, shown))
    assert "The one line is embedded" in page_of([record])


def test_a_turn_of_a_recovered_call_is_another() -> None:
    """Turn 1 of the second attempt is not turn 1 of the first."""
    told = recovered_call()
    told.records.pop()
    turn(told, 23_000, 1)
    assert [item.epoch for item in session_of(told).turns] == [1, 2]
