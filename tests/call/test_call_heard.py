"""What counts as a turn that the caller has heard."""

from array import array
from collections.abc import Iterable

import pytest

from cordboard.call.audio import FRAME_S, Microphone, SoundDetector
from cordboard.call.heard import GAP_S, HeardTurn, HeardTurns
from cordboard.call.recording import RATE

Sound = tuple[float, float]


def turns_of(user: Iterable[Sound], bot: Iterable[Sound], seconds: float = 12.0) -> list[HeardTurn]:
    """Return the turns in a call in which both sides are loud between the given times."""
    found: list[HeardTurn] = []
    turns = HeardTurns(found.append)
    for number in range(round(seconds / FRAME_S)):
        began = number * FRAME_S
        turns.hear_user(began + FRAME_S, part_of(user, began))
        turns.hear_bot(began + FRAME_S, part_of(bot, began))
    return found


def part_of(sounds: Iterable[Sound], began: float) -> Sound | None:
    """Return what of the sounds is in the frame that begins then."""
    parts = [
        (max(first, began), min(last, began + FRAME_S))
        for first, last in sounds
        if first < began + FRAME_S and last >= began
    ]
    return (parts[0][0], parts[-1][1]) if parts else None


@pytest.mark.parametrize(
    ("user", "bot", "latencies"),
    [
        ([(2.0, 4.007)], [(0.5, 1.5), (4.811, 6.0)], [0.804]),
        ([(2.0, 3.0), (3.3, 4.0)], [(4.811, 6.0)], [0.811]),
        ([(1.0, 2.0), (6.0, 7.0)], [(2.5, 4.0), (8.25, 9.0)], [0.5, 1.25]),
        ([(1.0, 2.0)], [(2.5, 3.0), (4.0, 5.0)], [0.5]),
        ([(1.0, 2.0)], [(2.105, 3.0)], [0.105]),
        ([(1.0, 2.003)], [(2.012, 3.0)], [0.009]),
    ],
    ids=["to the sample", "words", "two turns", "second sentence", "at once", "in the same frame"],
)
def test_latency_is_from_the_last_sound_to_the_answer(
    user: list[Sound], bot: list[Sound], latencies: list[float]
) -> None:
    """A greeting is no answer, a pause between words no end, and one speech has one answer."""
    found = turns_of(user, bot)
    assert [turn.bot_began - turn.user_ended for turn in found] == pytest.approx(latencies)


@pytest.mark.parametrize(
    ("user", "bot"),
    [
        ([(1.0, 2.0), (2.2, 3.0)], [(2.1, 6.0)]),
        ([(1.0, 3.0)], [(2.5, 6.0)]),
        ([(2.0, 2.3)], [(0.5, 6.0), (7.0, 8.0)]),
        ([(2.0, 2.03)], [(3.0, 4.0)]),
        ([], [(3.0, 4.0)]),
    ],
    ids=["between words", "over words", "backchannel", "click", "nothing said"],
)
def test_what_answers_nothing_is_no_turn(user: list[Sound], bot: list[Sound]) -> None:
    """A bot that talks over the caller, or goes on talking, has no latency; nor has the click of a key."""
    assert turns_of(user, bot) == []


def test_bot_that_speaks_up_much_later_does_not_answer() -> None:
    """A bot that asks after a minute whether anybody is there has not taken a minute to answer."""
    assert turns_of([(1.0, 2.0)], [(45.0, 46.0)], 50.0) == []


def test_interrupted_bot_that_falls_silent_answers_then() -> None:
    """Buffers hold what the bot had said already; what it says after that is the answer."""
    (turn,) = turns_of([(2.0, 2.5)], [(0.5, 3.2), (4.5, 6.0)])
    assert (turn.user_ended, turn.bot_began) == pytest.approx((2.5, 4.5))


async def test_times_are_those_of_the_samples() -> None:
    """A sound that begins or ends within a frame counts from there, at both sides."""
    frames: list[tuple[float, Sound | None]] = []

    class Kept(HeardTurns):
        def hear_user(self, until: float, voiced: Sound | None) -> None:
            frames.append((until, voiced))

        def hear_bot(self, until: float, voiced: Sound | None) -> None:
            frames.append((until, voiced))

    turns = Kept(lambda _turn: None)
    voice = Microphone(turns)
    voice.speak(array("h", [0] * 480 + [-600] * 240).tobytes())
    await voice.recv()
    await voice.recv()
    SoundDetector(turns=turns).add_samples(array("h", [0] * 480 + [600] * 480).tobytes(), 7.0)
    (until, said), (_, silence), (end, heard) = frames
    assert said == pytest.approx((until - 480 / RATE, until - 241 / RATE))
    assert silence is None
    assert end == pytest.approx(7.02)
    assert heard == pytest.approx((7.01, 7.02 - 1 / RATE))


def test_turn_is_certain_only_after_a_gap() -> None:
    """Until then a further word may come."""
    found: list[HeardTurn] = []
    turns = HeardTurns(found.append)
    for number in range(1, 4):
        turns.hear_user(number * FRAME_S, (0.0, number * FRAME_S))
    turns.hear_bot(0.2, (0.18, 0.2))
    turns.hear_user(0.06 + GAP_S - 0.01, None)
    assert found == []
    turns.hear_user(0.06 + GAP_S, None)
    assert len(found) == 1
