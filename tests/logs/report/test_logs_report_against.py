"""Where two calls first differ."""

import json

from cordboard.logs.report.against import Comparison, compare, text
from cordboard.logs.report.entry import clean_record
from cordboard.logs.report.model import Model, ModelMaker
from report_support import (
    COMPLETE,
    HEADER,
    HOSTILE,
    MISSING,
    Told,
    connected,
    crashed_call,
    ended,
    good_call,
    joined,
    recorded_call,
    recovered_call,
    turn,
)


def model(told: Told) -> Model:
    maker = ModelMaker(HEADER)
    for line in told.lines():
        maker.add(clean_record(line.record))
    return maker.model(COMPLETE)


def compared(one: Told, other: Told) -> Comparison:
    return compare(model(one), model(other))


def call(latency_ms: int = 600, forked_ms: float = 90) -> Told:
    told = joined(Told())
    for record in told.records:
        if record.get("event") == "bot.forked":
            shifted = Told().event(forked_ms, "runner", "bot.forked").records[0]
            record["timestamp"] = shifted["timestamp"]
    return ended(turn(connected(told), 1000, 1, latency_ms), 9000, "left", seconds=9)


def test_a_call_does_not_differ_from_itself() -> None:
    """Nor from one that is a little slower."""
    found = compared(call(), call(latency_ms=640))
    assert found.differences == []
    assert found.first is None
    assert "No difference was found." in "\n".join(text(found))


def test_a_slower_step_is_the_first_difference() -> None:
    """A stage that both reached, and that took notably longer in one."""
    found = compared(call(), call(forked_ms=320))
    assert found.first is not None
    assert found.first.kind == "stage"
    assert found.first.one.words.startswith("bot.forked at 90 ms")
    assert found.first.other.words.startswith("bot.forked at 320 ms")


def test_a_slower_turn_names_its_slowest_part() -> None:
    """The latencies of a turn are compared, and the part that differs most is named."""
    one, other = recorded_call(), recorded_call()
    for record in other.records:
        if record.get("event") == "turn.ended" and record["meta"]["turn"] == 2:
            record["meta"] |= {"user_bot_latency_ms": 2600, "total_ms": 2600}
            record["meta"]["contributions"][1]["ms"] = 2300
    found = compared(one, other)
    assert found.first is not None
    assert (found.first.kind, found.first.other.ms) == ("turn", 14_000)
    assert "OpenAILLMService#0: ttft: 300 ms against 2.3 s" in found.first.what


def test_what_one_call_alone_has_is_named_with_its_line() -> None:
    """A crash is an event and an error of one of the two, with process and number."""
    found = compared(good_call(), crashed_call())
    crash = next(item for item in found.differences if "bot.crashed" in item.other.words)
    assert crash.one.words == ""
    assert crash.other.place is not None
    assert crash.other.place["seq"] in {record["seq"] for record in crashed_call().records}
    assert {"turn", "event", "error"} <= {item.kind for item in found.differences}


def test_a_recovered_call_differs_from_a_good_one_where_it_was_lost() -> None:
    """The first difference is the first in time, of whatever kind."""
    one = turn(connected(joined(Told())), 1000, 1)
    found = compared(ended(one, 40_000, "left", seconds=39), recovered_call())
    assert found.first is not None
    assert "lease.expired" in found.first.other.words


def test_json_has_what_the_text_has() -> None:
    """Both forms name the first difference, both sides, and where their lines are."""
    found = compared(good_call(), crashed_call())
    value = json.loads(json.dumps(found.as_dict()))
    assert (
        value["first"]
        == value["differences"][
            [item["what"] for item in value["differences"]].index(value["first"]["what"])
        ]
    )
    assert value["first"]["what"].split()[0] in "\n".join(text(found))
    assert {"verdict", "complete", "firstAudioMs"} <= value["against"].keys()


def test_lines_that_are_missing_are_told() -> None:
    """A difference may be a lost line: the text says so beside the verdict, and the coverage is of both."""
    one = model(good_call())
    maker = ModelMaker(HEADER)
    for line in crashed_call().lines():
        maker.add(clean_record(line.record))
    found = compare(one, maker.model(MISSING))
    assert "Lines are missing." in " ".join("\n".join(text(found)).split())
    assert not found.coverage.complete


def test_a_call_without_lines_is_told() -> None:
    """Nothing is compared with nothing."""
    found = compared(good_call(), Told(session_id="other").say(0, "bot", "hello"))
    assert "One of the two has no lines." in "\n".join(text(found))


def test_hostile_texts_steer_nothing() -> None:
    """What is shown of lines has no control characters."""
    for hostile in HOSTILE:
        told = recorded_call(hostile)
        told.say(5, hostile, hostile, level="error", event=hostile)
        shown = "\n".join(text(compared(good_call(), told)))
        assert not [c for c in shown if (c != "\n" and ord(c) < 32) or 127 <= ord(c) < 160]
        assert not {"\u202e", "\u2028"} & set(shown)
