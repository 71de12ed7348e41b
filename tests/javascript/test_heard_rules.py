"""The page finds the turns of a call by the same rules as `cordboard call`."""

import json
import random
import re

from cordboard.call import audio, heard
from cordboard.call.heard import HeardTurns
from javascript.node_support import ROOT, node

WORKLET = ROOT / "clients" / "js" / "src" / "browser" / "heard_worklet.js"
CALLS = 20
FRAMES = 3000  # a minute
FRAME_S = 0.02
Frame = tuple[str, float, tuple[float, float] | None]


def call_of(random_: random.Random) -> list[Frame]:
    """Return the frames of a call in which both sides speak for a while, pause, click and talk over each other."""
    loud = {"user": False, "bot": False}
    left = {"user": 0, "bot": 0}
    frames: list[Frame] = []
    for number in range(FRAMES):
        began = number * FRAME_S
        for side in ("user", "bot"):
            if not left[side]:
                loud[side] = not loud[side]
                left[side] = random_.choice([1, 2, 4, 15, 30, 50, 100, 200])
            left[side] -= 1
            first = began + random_.random() * FRAME_S / 2
            last = first + random_.random() * FRAME_S / 2
            frames.append((side, began + FRAME_S, (first, last) if loud[side] else None))
    return frames


def test_page_finds_the_turns_that_call_finds() -> None:
    """The same sound has the same turns."""
    random_ = random.Random(7)
    calls = [call_of(random_) for _ in range(CALLS)]
    answer = json.loads(node("heard.js", json.dumps(calls)))
    found = 0
    for frames, results in zip(calls, answer, strict=True):
        ours: list[list[float]] = []
        turns = HeardTurns(lambda turn, to=ours: to.append([turn.user_ended, turn.bot_began]))  # type: ignore[misc]
        for side, until, voiced in frames:
            (turns.hear_user if side == "user" else turns.hear_bot)(until, voiced)
        assert results == ours
        found += len(ours)
    assert found > CALLS


def test_page_has_the_bounds_of_call() -> None:
    """Each bound of the rules, and the threshold of a voiced sample, is the same number."""
    text = WORKLET.read_text(encoding="utf-8")
    theirs = dict(re.findall(r"^const (\w+) = ([\d.]+)", text, re.MULTILINE))
    names = ("VOICED_FRAMES_MIN", "GAP_S", "PAUSE_S", "TALK_ON_S", "LATENCY_MAX_S")
    for name in names:
        assert float(theirs[name]) == getattr(heard, name), name
    assert float(theirs["VOICED_MIN"]) == audio.SOUND_PEAK_MIN
    assert float(theirs["FRAME_S"]) == audio.FRAME_S
