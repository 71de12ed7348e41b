"""What the records of a call add up to, in both forms of a report."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import SettingsError
from cordboard.logs.report.entry import Entry, clean_record
from cordboard.logs.report.prices import Prices, prices_from
from cordboard.logs.report.records import (
    SAMPLES_MAX,
    Usage,
    network,
    speech,
    tools,
    total_ms,
    usage,
)
from cordboard.logs.report.stages import Stay
from cordboard.logs.timespec import timestamp_of
from logs.report.page_support import Page
from report_support import (
    COMPLETE,
    HEADER,
    HOSTILE,
    ZERO_US,
    Told,
    good_call,
    page_of,
    recorded_call,
    turn,
    write_report,
)


def entries(told: Told) -> list[Entry]:
    """The events of what was told, in time order."""
    lines = told.lines()
    return [Entry(number, clean_record(line.record)) for number, line in enumerate(lines)]


def text_of(tmp_path: Path, told: Told) -> str:
    """The report as text, without the lines."""
    write_report(tmp_path / "call.txt", told.lines(), COMPLETE, HEADER)
    return (tmp_path / "call.txt").read_text().partition("EVENTS\n")[0]


# --- turns


def test_contributions_sum_up_to_the_latency() -> None:
    """The bars of a latency are as long as the latency: its parts leave nothing out."""
    stay = Stay(entries(recorded_call()))
    for found in stay.turns:
        assert found.total_ms == found.bar_ms == sum(ms for _, ms in found.parts) == 600
    page = Page(page_of(recorded_call().records))
    bars = [
        [
            float(attrs["width"])
            for (tag, attrs), above in page.found
            if tag == "rect" and above[-1][1] is svg
        ]
        for (name, svg), outer in page.found
        if name == "svg" and any(attrs.get("class") == "latency" for _, attrs in outer)
    ]
    assert len(bars) == 2
    assert all(rail == pytest.approx(sum(parts), abs=0.5) for rail, *parts in bars)


def test_without_contributions_the_measured_times_are_shown() -> None:
    """A bot with an older Pipecat has the times to the first byte alone."""
    (found,) = Stay(entries(turn(Told(), 0, 1))).turns
    assert found.parts == found.ttfb_ms != ()
    assert found.bar_ms == found.latency_ms


def test_words_stand_with_their_turn(tmp_path: Path) -> None:
    """What was said is shown where it was logged, and nothing where it was not."""
    said = text_of(tmp_path, recorded_call())
    assert said.index("user: Where is my order?") < said.index("bot: It is on its way.")
    page = Page(page_of(recorded_call().records))
    assert "Where is my order?" in page.text
    assert "words" not in {a.get("class") for (_, a), _ in Page(page_of(good_call().records)).found}


def test_what_was_heard_is_shown_beside_the_turn_of_that_time() -> None:
    """The caller counts turns by itself: theirs are matched by time, not by number."""
    told = recorded_call()
    for record in told.records:
        if record.get("event") == "turn.heard":
            record["meta"]["turn"] += 7
    stay = Stay(entries(told))
    assert [found.heard_ms for found in stay.turns] == [650, 650]
    assert stay.heard is not None
    assert stay.heard.median_ms == 650


def test_what_the_caller_heard_later_than_the_bot_claims_is_named(tmp_path: Path) -> None:
    """The difference has parts that sum up to it; what nobody measured is the detector's."""
    told = recorded_call()
    (turn, _) = Stay(entries(told)).turns
    assert turn.later_ms == 50
    assert turn.later_parts == (
        ("network", 12), ("jitter buffer", 40), ("devices", 20), ("detector", -22),
    )  # fmt: skip
    words = "heard 650 ms (50 ms later: network 12 ms, jitter buffer 40 ms, devices 20 ms, detector"
    assert words in " ".join(text_of(tmp_path, told).split())
    page = " ".join(Page(page_of(told.records)).text.split())
    assert "heard 50 ms later: network 12 ms jitter buffer 40 ms devices 20 ms" in page


@pytest.mark.parametrize("value", [None, "x", -1, 1e400, {"a": 1}, True])
def test_delays_of_any_form_do_no_harm(value: Any) -> None:
    """A browser may say anything of its delays: what is no length is left out."""
    told = recorded_call()
    for record in told.records:
        if record.get("event") == "turn.heard":
            record["meta"] |= dict.fromkeys(("network_ms", "buffer_ms", "device_ms"), value)
    (turn, _) = Stay(entries(told)).turns
    assert turn.later_parts == (("detector", 50),)


@pytest.mark.parametrize(
    "value", [None, 7, "x", [7], [{"ms": "long"}], [{"key": 1, "ms": -1}], {"a": 1}, [[]]]
)
def test_contributions_of_any_form_do_no_harm(value: Any) -> None:
    """A writer may be wrong: what is no contribution is none."""
    told = Told().event(0, "bot", "turn.ended", turn=1, contributions=value, total_ms=value)
    assert Stay(entries(told)).turns[0].contributions == ()


# --- tools and usage


def test_tools_are_paired_by_their_call() -> None:
    """Two calls at once are told apart, and one without an end is open."""
    told = Told()
    for call_id in ("a", "b"):
        told.event(0, "bot", "tool.started", name="look_up", call_id=call_id)
    told.event(50, "bot", "tool.ended", name="look_up", call_id="b", status="error", ms=50)
    found = tools(entries(told))
    assert [(tool.status, tool.ms) for tool in found] == [("", None), ("error", 50)]


def test_usage_is_summed_by_service_and_model() -> None:
    """Reports are deltas: what each service consumed is their sum."""
    model, voice = usage(entries(recorded_call()))
    assert (model.processor, model.model) == ("OpenAILLMService#0", "gpt-x")
    assert model.amounts == {
        "prompt_tokens": 2000,
        "completion_tokens": 1000,
        "cache_read_tokens": 800,
    }
    assert voice.amounts == {"characters": 240, "audio_s": 12}


def test_cost_follows_the_prices(tmp_path: Path) -> None:
    """Per million tokens and characters; cached tokens have their own price."""
    assert "OpenAILLMService#0 (gpt-x): 2,000 prompt tokens" in text_of(tmp_path, recorded_call())
    assert "USAGE  0.0228 USD" in text_of(tmp_path, recorded_call())
    page = Page(page_of(recorded_call().records))
    assert "0.0228 USD" in page.text
    assert "0.0108 USD" in page.text


@pytest.mark.parametrize(
    ("table", "used", "cost"),
    [
        ({"m": {"prompt": 10}}, Usage("P#0", "m", {"prompt_tokens": 500_000}), 5.0),
        ({"P": {"audio_minute": 0.6}}, Usage("P#3", "", {"audio_s": 30}), 0.3),
        ({"P#3": {"audio_minute": 1}, "P": {"audio_minute": 9}}, Usage("P#3", "", {"audio_s": 60}), 1.0),
        ({"m": {"prompt": 10}}, Usage("P#0", "m", {"prompt_tokens": 1, "completion_tokens": 1}), None),
        ({"m": {"prompt": 10}}, Usage("P#0", "other", {"prompt_tokens": 1}), None),
        (
            {"m": {"prompt": 10, "cached": 1, "cached_apart": True}},
            Usage("P#0", "m", {"prompt_tokens": 1_000_000, "cache_read_tokens": 1_000_000}),
            11.0,
        ),
        (
            {"m": {"prompt": 10}},
            Usage("P#0", "m", {"prompt_tokens": 1_000_000, "cache_read_tokens": 500_000}),
            10.0,
        ),
        ({}, Usage("P#0", "m", {"prompt_tokens": 1}), None),
    ],
)  # fmt: skip
def test_a_cost_is_whole_or_unknown(table: dict[str, Any], used: Usage, cost: float | None) -> None:
    """A service one of whose amounts has no price has no cost: a sum of a part would mislead."""
    assert prices_from(table).cost(used) == (None if cost is None else pytest.approx(cost))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"m": 7}, r"\[prices\] m: expected a table"),
        ({"m": {"input": 7}}, "expected one of prompt, cached"),
        ({"m": {"prompt": "7"}}, "expected a number"),
        ({"m": {"prompt": -1}}, "expected a number"),
        ({"m": {"cached_apart": 1}}, "expected true or false"),
        ({"currency": 7}, "expected a text"),
    ],
)
def test_prices_are_checked(table: dict[str, Any], words: str) -> None:
    """What is no price is refused, with what is expected."""
    with pytest.raises(SettingsError, match=words):
        prices_from(table)


def test_without_prices_there_is_no_cost() -> None:
    """Nothing is shown in the place of a cost."""
    assert Prices().total(usage(entries(recorded_call()))) is None


# --- speech


def test_speech_has_the_times_of_the_speech(tmp_path: Path) -> None:
    """Not those of its detector; what both say at once is the overlap."""
    told = speech(entries(recorded_call()))
    assert told.spans["user"][0] == (ZERO_US + 5_000_000, ZERO_US + 6_500_000)
    assert told.overlap == [(ZERO_US + 6_000_000, ZERO_US + 6_500_000)]
    assert "both             |" in text_of(tmp_path, recorded_call())


moments = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 50)), max_size=12)


@given(moments, moments)
def test_overlap_is_what_both_say(user: list[tuple[int, int]], bot: list[tuple[int, int]]) -> None:
    """It equals the moments that are in both, counted one by one."""
    told = Told()
    parts = {"user": user, "bot": bot}
    for who, spans in parts.items():
        begin = 0
        for gap, ms in spans:
            begin += gap
            for name, at in (("started", begin), ("ended", begin + ms)):
                told.event(
                    at, "bot", f"speech.{name}", who=who, at=timestamp_of(ZERO_US + at * 1000)
                )
            begin += ms + 1
    found = speech(entries(told))
    spoken = {
        who: {at for begin, end in spans for at in range(begin, end, 1000)}
        for who, spans in found.spans.items()
    }
    both = spoken.get("user", set()) & spoken.get("bot", set())
    assert total_ms(found.overlap) == len(both)


# --- the network


def test_both_ends_of_the_network_are_shown(tmp_path: Path) -> None:
    """With what each lost, and the warning from its raise to its end."""
    page, bot = network(entries(recorded_call()))
    assert (page.name, bot.name) == ("page", "bot")
    assert page.lost_percent == pytest.approx(4.0)
    assert bot.lost_percent == 0
    assert [sample.bad for sample in page.samples] == [(), ("loss_percent",), ()]
    (warned,) = page.warnings
    assert warned.until_us is not None
    said = text_of(tmp_path, recorded_call())
    assert "high_loss until" in said
    assert "page   3 samples, 1 beyond a threshold, path host, lost 4.0 %" in said


def test_a_long_call_has_a_bounded_lane() -> None:
    """Of many samples the worst of each part is shown."""
    told = Told()
    for number in range(5000):
        rtt = 900 if number == 777 else 20
        told.event(number * 5000, "bot", "media.stats", end="bot", interval_ms=5000, rtt_ms=rtt)
    (end,) = network(entries(told))
    assert len(end.shown) <= SAMPLES_MAX
    assert sum(bool(sample.bad) for sample in end.shown) == 1


def test_a_warning_without_an_end_is_open() -> None:
    """So is one that is raised again; a clear alone says nothing."""
    told = Told()
    for state in ("cleared", "raised", "raised"):
        told.event(0, "bot", "media.warning", end="bot", name="low_mos", state=state)
    (end,) = network(entries(told))
    assert [warned.until_us for warned in end.warnings] == [None, None]


# --- all of them


def test_records_are_lanes_and_not_events() -> None:
    """What comes every few seconds would hide the events of the timeline."""
    stay = Stay(entries(recorded_call()))
    shown = {item.event for item in stay.timeline}
    assert not shown & {"media.stats", "speech.started", "speech.ended", "service.usage"}
    assert "tool.ended" in shown


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_words_stay_words(tmp_path: Path, hostile: str) -> None:
    """In a page they are no markup, in a text nothing that steers a terminal."""
    told = recorded_call(hostile)
    page = Page(page_of(told.records))
    assert not {tag for (tag, _), _ in page.found} & {"img", "b0"}
    assert len(page.scripts) == len(Page(page_of(recorded_call().records)).scripts)
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text_of(tmp_path, told)
    )


@pytest.mark.parametrize(
    ("event", "name"),
    [("media.stats", "interval_ms"), ("speech.ended", "ms"), ("turn.ended", "duration_ms")],
)
@pytest.mark.parametrize("ms", [7e13, 1.7e308, -1e300])
def test_length_that_begins_before_all_times_makes_a_report(
    event: str, name: str, ms: float
) -> None:
    """The beginning of such an interval, speech or turn is no time that a report could show."""
    told = Told().event(0, "bot", event, who="bot", turn=1, **{name: ms})
    assert page_of(told.records)


@given(st.dictionaries(st.sampled_from(["end", "who", "at", "name", "call_id", "processor", "model", "ms", "state",
    "packets_lost", "packets_received", "rtt_ms", "interval_ms", "characters", "turn", "text", "value"]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2)), max_size=8),
    st.lists(st.sampled_from(["media.stats", "media.warning", "speech.started", "speech.ended", "service.usage",
    "tool.started", "tool.ended", "turn.user_text", "turn.heard", "turn.ended"]), min_size=1, max_size=6))  # fmt: skip
def test_any_records_make_a_report(meta: dict[str, Any], events: list[str]) -> None:
    """Whatever a writer puts into a record, there is a page."""
    told = Told()
    for event in events:
        told.event(0, "bot", event, **meta)
    assert page_of(told.records)


def test_a_bot_that_says_too_much_has_a_report() -> None:
    """Thousands of records of one turn, or of as many turns, are a bounded amount of work."""
    told = Told()
    for number in range(3000):
        at = timestamp_of(ZERO_US + number * 1000)
        told.event(number, "bot", "turn.started", turn=number)
        told.event(number, "bot", "turn.bot_text", turn=0, text="again")
        told.event(number, "call", "turn.heard", turn=number, heard_ms=5, bot_began_at=at)
    stay = Stay(entries(told))
    assert len(stay.turns[0].words) < 100
    assert all(found.heard_ms == 5 for found in stay.turns)
