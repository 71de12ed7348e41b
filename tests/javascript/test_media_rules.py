"""The page judges the media of a call by the same rules as the other ends."""

import json
import random
from typing import Any

import pytest

from cordboard.contract.media_quality import MediaJudge, mos
from javascript.node_support import node

CALLS = 40
SECONDS = 60


def call_of(random_: random.Random) -> list[dict[str, Any]]:
    """Return the samples of a call, some of them bad, some without a value."""
    samples = []
    bad = 0.0
    for _ in range(SECONDS):
        bad = random_.choice([bad, random_.random()])
        worse = random_.random() < bad
        sample: dict[str, Any] = {
            "packets_sent": 0 if random_.random() < bad / 4 else 50,
            "packets_received": 0 if random_.random() < bad / 4 else 50,
            "packets_lost": random_.randrange(-1, 8) if worse else 0,
            "jitter_ms": random_.uniform(0, 60) if worse else 5.0,
            "rtt_ms": random_.uniform(0, 900) if worse else 30.0,
            "level_out": random_.choice([0.0, 0.0, 0.1]) if worse else 0.0,
            "path": random_.choice(["host", "relay"]) if worse else "host",
        }
        sample = {key: value for key, value in sample.items() if random_.random() > 0.05}
        score = mos(sample)
        samples.append(sample if score is None else {**sample, "mos": score})
    return samples


def test_page_judges_as_the_other_ends_do() -> None:
    """The same samples give the same warnings, and the same scores but for rounding."""
    random_ = random.Random(7)
    calls = [call_of(random_) for _ in range(CALLS)]
    answer = json.loads(node("judge.js", json.dumps(calls)))
    seen: set[tuple[str, str]] = set()
    for samples, results in zip(calls, answer, strict=True):
        judge = MediaJudge("page")
        for sample, result in zip(samples, results, strict=True):
            ours = list(judge.judge(sample))
            seen |= {(warning["name"], warning["state"]) for warning in ours}
            assert [rounded(w) for w in result["warnings"]] == [rounded(w) for w in ours]
            assert result["mos"] == pytest.approx(mos(sample), abs=0.011)
    assert len(seen) == 17  # each of 8 warnings both ways; path_changed is only raised


def rounded(warning: dict[str, Any]) -> dict[str, Any]:
    """Return a warning without its end, and with a value to three digits: the two round differently."""
    value = warning["value"]
    value = round(value, 2) if isinstance(value, float) else value
    return {key: each for key, each in warning.items() if key != "end"} | {"value": value}
