"""The silences of a recording, as benchmarks and tests measure them."""

import math
from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from sound_support import Silence, silence_around, silences

RATE = 8000


def sound(seconds: float) -> bytes:
    turn = 2 * math.pi * 400 / RATE
    count = round(RATE * seconds)
    return array("h", (int(8000 * math.sin(turn * one)) for one in range(count))).tobytes()


def quiet(seconds: float) -> bytes:
    return bytes(2 * round(RATE * seconds))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(5, 60), st.integers(5, 60)), min_size=1, max_size=5))
def test_silences_are_found_where_they_are(parts: list[tuple[int, int]]) -> None:
    """In hundredths of a second; the silence before the first sound is none."""
    samples, wanted, at = quiet(0.3), [], 0.3
    for loud, silent in parts:
        samples += sound(loud / 100) + quiet(silent / 100)
        wanted.append((at + loud / 100, at + (loud + silent) / 100))
        at = wanted[-1][1]
    found = silences(samples + sound(0.1), RATE)
    assert len(found) == len(wanted)
    for one, (start, end) in zip(found, wanted, strict=True):
        assert abs(one.start_s - start) <= 0.011
        assert abs(one.end_s - end) <= 0.011


def test_silence_of_a_fault() -> None:
    """The longest that the fault can have caused; without end, if no sound comes back."""
    samples = sound(1) + quiet(2) + sound(1) + quiet(0.1) + sound(1) + quiet(0.5) + sound(1)
    assert round(silence_around(samples, RATE, 4.2).seconds, 1) == 0.5
    assert round(silence_around(samples, RATE, 4.2, late_s=0.5).seconds, 1) == 0.1
    assert round(silence_around(samples, RATE, 1.0).seconds, 1) == 2.0
    assert silence_around(sound(2), RATE, 1.0) == Silence(1.0, 1.0)
    assert silence_around(sound(1) + quiet(1), RATE, 1.0).end_s == math.inf
