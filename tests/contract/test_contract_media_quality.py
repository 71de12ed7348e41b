"""The rules that judge media, and the mean opinion score."""

import re
from itertools import repeat
from typing import Any

import pytest

from cordboard.contract.media_quality import LEVEL_SAMPLES, RULES, MediaJudge, loss_percent, mos
from docs_support import page, rows, section

GOOD = {
    "packets_sent": 50,
    "packets_received": 50,
    "packets_lost": 0,
    "jitter_ms": 2.0,
    "rtt_ms": 40.0,
    "mos": 4.3,
}


def verdicts(end: str, *samples: dict[str, Any]) -> list[list[str]]:
    """What a judge says to each sample."""
    judge = MediaJudge(end)
    return [
        [f"{warning['name']} {warning['state']}" for warning in judge.judge(sample)]
        for sample in samples
    ]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("high_loss", {"packets_lost": 1}),
        ("high_jitter", {"jitter_ms": 30.1}),
        ("high_rtt", {"rtt_ms": 400.1}),
        ("low_mos", {"mos": 2.99}),
        ("one_way", {"packets_received": 0, "packets_lost": None}),
    ],
)
def test_three_of_five_raise_and_five_good_ones_clear(name: str, bad: dict[str, Any]) -> None:
    """A single bad second is nothing; a warning lasts until five samples are good."""
    sample = GOOD | bad
    said = verdicts("page", sample, GOOD, sample, GOOD, sample, *repeat(GOOD, 5), sample)
    mine = [[one for one in each if one.startswith(name)] for each in said]
    assert mine == [[], [], [], [], [f"{name} raised"], [], [], [], [], [f"{name} cleared"], []]


@pytest.mark.parametrize("direction", ["in", "out"])
def test_silence_of_three_seconds_raises(direction: str) -> None:
    """No packet in three samples: nothing arrives, or nothing is sent."""
    member = {"in": "packets_received", "out": "packets_sent"}[direction]
    said = verdicts("bot", GOOD, *repeat(GOOD | {member: 0}, 3))
    assert said[:3] == [[], [], []]
    assert f"no_audio_{direction} raised" in said[3]


def test_constant_level_is_that_of_the_callers_voice() -> None:
    """The bot hears it, the page sends it; a bot that is silent is no fault."""
    for end, mine, other in (
        ("page", "level_out", "level_in"),
        ("bot", "level_in", "level_out"),
    ):
        still = [{mine: 0.0, other: 0.1 * n} for n in range(LEVEL_SAMPLES)]
        assert verdicts(end, *still, {mine: 0.2})[-2:] == [
            ["constant_level raised"],
            ["constant_level cleared"],
        ]
        assert not any(verdicts(end, *({mine: 0.1 * n, other: 0.0} for n in range(12))))


def test_path_changes_are_told_each_time() -> None:
    """The first path is no change, and neither is a second without one."""
    paths = ["host", None, "host", "relay", "relay", "host"]
    samples = [{} if path is None else {"path": path} for path in paths]
    assert verdicts("call", *samples) == [
        [], [], [], ["path_changed raised"], [], ["path_changed raised"],
    ]  # fmt: skip


def test_unknown_values_are_not_judged() -> None:
    """A browser without a value raises nothing by it."""
    assert not any(verdicts("page", *repeat({}, 20)))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({"packets_received": 50, "packets_lost": 0, "rtt_ms": 0.0}, 4.42),
        ({"packets_received": 95, "packets_lost": 5, "rtt_ms": 100.0, "jitter_ms": 10.0}, 3.83),
        ({"packets_received": 80, "packets_lost": 20, "rtt_ms": 100.0}, 2.62),
        ({"packets_received": 50, "packets_lost": 0, "rtt_ms": 2000.0}, 1.0),
        ({"packets_received": 0, "packets_lost": 0, "rtt_ms": 1.0}, None),
        ({"packets_received": 50, "packets_lost": 0}, None),
    ],
)
def test_score_falls_with_loss_and_delay(sample: dict[str, Any], expected: float | None) -> None:
    """The formula of Cole and Rosenbluth; without a round trip or a packet there is no score."""
    assert mos(sample) == expected


def test_loss_is_of_the_packets_that_were_due() -> None:
    """One of fifty is two percent; a count that runs backwards is none."""
    assert loss_percent({"packets_received": 49, "packets_lost": 1}) == 2.0
    assert loss_percent({"packets_received": 50, "packets_lost": -3}) == 0.0


def test_page_lists_the_rules() -> None:
    """events.md has each rule with its numbers."""
    listed = {
        cells[0].strip("`"): (float(re.findall(r"[0-9.]+$", cells[2])[0]), *map(int, cells[3:]))
        for cells in rows(section(page("events.md"), "### Media warnings"), "warning")
        if cells[2]
    }
    assert listed == {rule.name: (rule.threshold, rule.raise_at, rule.window) for rule in RULES}
