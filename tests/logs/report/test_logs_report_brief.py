"""A session in a few kilobytes: each fact with its line, within a bound, the same each time."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordboard.logs.coverage import Coverage
from cordboard.logs.report import Header
from cordboard.logs.report.brief import BYTES, BYTES_LEAST, brief
from cordboard.logs.report.entry import clean_record
from cordboard.logs.report.model import ModelMaker
from report_support import (
    COMPLETE,
    HEADER,
    HOSTILE,
    MISSING,
    Told,
    crashed_call,
    good_call,
    recorded_call,
    turn,
)

COMMAND = "cordboard logs --local --session call-7"


def text_of(
    told: Told, most: int = BYTES, coverage: Coverage = COMPLETE, header: Header = HEADER
) -> str:
    maker = ModelMaker(header)
    for line in told.lines():
        maker.add(clean_record(line.record))
    return brief(maker.model(coverage), COMMAND, most)


def found(told: Told, most: int = BYTES, coverage: Coverage = COMPLETE) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text_of(told, most, coverage))
    return value


def places(value: Any) -> Iterator[tuple[str, int]]:
    """Every line that a brief names."""
    if isinstance(value, Mapping):
        if "boot" in value:
            yield value["boot"], value["seq"]
        for item in value.values():
            yield from places(item)
    elif isinstance(value, list):
        for item in value:
            yield from places(item)


def test_each_fact_names_its_line() -> None:
    """Stages, turns, errors, tools and evidence have the process and the number of a line that is there."""
    told = crashed_call()
    known = {(record["boot"], record["seq"]): record for record in told.records}
    said = found(told)
    assert set(places(said)) <= known.keys()
    for name in ("stages", "turns", "errors", "evidence"):
        assert all("seq" in fact for fact in said[name] if fact.get("line", 0) is not None), name
    crash = next(fact for fact in said["errors"] if fact.get("event") == "bot.crashed")
    assert known[crash["boot"], crash["seq"]]["event"] == "bot.crashed"
    assert "bot.py" in crash["stack"]


def test_what_was_heard_later_is_named_within_any_bound_of_numbers() -> None:
    """The parts of the difference are there, also where a browser's numbers are absurd."""
    told = recorded_call()
    (first, second) = (one["meta"] for one in told.records if one.get("event") == "turn.heard")
    first["heard_ms"], second["buffer_ms"] = 1e308, 1e308
    turns = found(told)["turns"]
    assert turns[0]["heard_later"]["network"] == 12
    assert turns[1]["heard_later"]["jitter buffer"] > 0 > turns[1]["heard_later"]["detector"]


def test_it_says_what_happened() -> None:
    """The verdict, the cause with its evidence, and what is missing."""
    said = found(crashed_call(), coverage=MISSING)
    assert said["session"] == "call-7"
    assert said["verdict"]["tone"] == "bad"
    assert "no order 4711" in said["verdict"]["headline"]
    assert (said["state"], said["reason"]) == ("failed", "bot_crashed")
    assert said["complete"] is False
    assert {fact["reason"] for fact in said["missing"]} == {"gone", "gap"}
    assert said["cause"][0]["cause"]
    assert said["logs"] == COMMAND


def test_records_of_a_call_are_in_it() -> None:
    """Words and parts of each turn, tools that failed, both ends of the network, usage."""
    said = found(recorded_call())
    assert said["turns"][0]["said"]["user"] == "Where is my order?"
    assert sum(said["turns"][0]["parts"].values()) == said["turns"][0]["latency_ms"] == 600
    assert [tool["status"] for tool in said["tools"]] == ["timeout"]
    assert [end["end"] for end in said["network"]] == ["page", "bot"]
    assert said["network"][0]["warnings"] == ["high_loss"]
    assert said["usage"][0]["prompt_tokens"] == 2000


def test_it_is_the_same_each_time() -> None:
    """Nothing of it depends on when, or where, it was made."""
    assert text_of(recorded_call()) == text_of(recorded_call())


@pytest.mark.parametrize("most", [BYTES_LEAST, BYTES, 20_000])
def test_a_long_call_stays_within_the_bound(most: int) -> None:
    """Of many turns those that went wrong are kept, in the order of time, and the rest is counted."""
    told = good_call()
    for number in range(6, 400):
        turn(told, number * 5000, number, 3000 if number == 200 else 700)
    told.say(999_000, "bot", "x" * 9000, level="error")
    text = text_of(told, most)
    said = json.loads(text)
    assert len(text.encode()) <= most
    numbers = [int(fact["turn"]) for fact in said["turns"]]
    assert numbers == sorted(numbers)
    assert {2, 200} <= set(numbers)
    assert said["left_out"]["turns"] == 399 - len(numbers)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_are_data(hostile: str) -> None:
    """Whatever a line says: one object, no control characters, within the bound."""
    told = recorded_call(hostile * 20)
    told.say(0, "bot", hostile, level="error", error={"type": hostile, "message": hostile})
    text = text_of(told, BYTES_LEAST)
    assert len(text.encode()) <= BYTES_LEAST
    json.loads(text)
    assert all(c.isprintable() or c == "\n" for c in text if c < "\u2000")
    assert not {"\u202e", "\u2028", "\x9b"} & set(text)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.text(max_size=400), st.text(max_size=400)), max_size=30),
    st.text(max_size=300),
)
def test_the_bound_always_holds(texts: list[tuple[str, str]], session: str) -> None:
    """Even where every text is long and every character takes many bytes."""
    told = good_call()
    for one, other in texts:
        told.say(100, one or "bot", other, level="error", event="session.ended", detail=one)
    header = Header(session_id=session or "call-7")
    text = text_of(told, BYTES_LEAST, MISSING, header)
    assert len(text.encode("utf-8", "replace")) <= BYTES_LEAST
    json.loads(text)


def test_without_a_session_it_lists_sessions() -> None:
    """A window has a verdict on each session."""
    told = good_call()
    other = crashed_call()
    told.records += [{**record, "sessionId": "call-8"} for record in other.records]
    said = json.loads(text_of(told, header=Header()))
    assert [(item["session"], item["tone"]) for item in said["sessions"]] == [
        ("call-7", "ok"),
        ("call-8", "bad"),
    ]
    assert "session" not in said
