"""The sounds of the benchmark, whose times are known, and where they are in a recording."""

import random
import wave
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RATE = 16_000  # of all samples here; files for microphones have three times as many
UP = 3
VOICED_MIN = 500  # as both ends have it, of 32768
SPEECH_S = (0.45, 0.95)
PERIOD_S = 2.6  # from speech to speech: the longest one, the longest answer, and a pause of the bot
ANSWER_S = 0.4
FADE = RATE // 500
FIRST_S = 15.0  # within which the first speech begins
NEAR_S = 0.6  # of a speech to where it should be: a busy machine sends late, and then less
ANSWERED_S = 1.5  # from the end of a speech to the bot's answer, at most
START_S = 0.05
PUNCTUAL = 25  # parts before and after, of 10 or 20 ms
MATCH_MIN = 0.4  # of the normalised correlation; echo cancellation and codecs leave 0.7 and more

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Speech:
    """One speech of the caller.

    Attributes:
        begins_s: Where it begins in the file.
        samples: The speech.
        last: The number of its last voiced sample.
    """

    begins_s: float
    samples: Samples
    last: int


def read(path: Path) -> Samples:
    """Return the samples of a file."""
    with wave.open(str(path)) as file:
        assert file.getframerate() == RATE
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(float)


def write(path: Path, samples: Samples, times: int = 1) -> Path:
    """Write samples, each of them several times; return the path."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE * times, 0, "NONE", ""))
        file.writeframes(np.repeat(samples, times).astype("<i2").tobytes())
    return path


def phrases(voice: Samples) -> tuple[Samples, Samples]:
    """Return what stands before and after the pause in a sound."""
    voiced = np.flatnonzero(np.abs(voice) >= VOICED_MIN)
    pause = int(np.argmax(np.diff(voiced)))
    return voice[voiced[0] : voiced[pause]], voice[voiced[pause + 1] : voiced[-1]]


def speeches(phrase: Samples, turns: int, before_s: float) -> list[Speech]:
    """Return speeches that begin one period after the other, and that each end within a loud sound."""
    random_ = random.Random(3)
    found: list[Speech] = []
    while len(found) < turns:
        samples = phrase[: int(random_.uniform(*SPEECH_S) * RATE)].copy()
        if np.abs(samples[-RATE // 100 :]).max() < 8 * VOICED_MIN:
            continue
        samples[-FADE:] *= np.linspace(1, 0, FADE)
        last = int(np.flatnonzero(np.abs(samples) >= VOICED_MIN)[-1])
        found.append(Speech(before_s + len(found) * PERIOD_S, samples, last))
    return found


def answer(phrase: Samples) -> Samples:
    """Return the bot's answer, which begins within a loud sound."""
    began = int(np.flatnonzero(np.abs(phrase) >= 8 * VOICED_MIN)[0])
    samples = phrase[began : began + int(ANSWER_S * RATE)].copy()
    samples[:FADE] *= np.linspace(0, 1, FADE)
    return samples


def first_voiced(samples: Samples) -> int:
    """Return the number of the first voiced sample."""
    return int(np.flatnonzero(np.abs(samples) >= VOICED_MIN)[0])


def file_of(found: list[Speech], after_s: float) -> Samples:
    """Return the sound of a microphone into which the speeches are spoken."""
    sound = np.zeros(int((found[-1].begins_s + PERIOD_S + after_s) * RATE))
    for speech in found:
        at = round(speech.begins_s * RATE)
        sound[at : at + len(speech.samples)] = speech.samples
    return sound


def place_of(
    known: Samples, sound: Samples, begin: int, end: int, share: float = 0.9
) -> int | None:
    """Return where a known sound first begins in another one, if it begins between two places.

    Args:
        known: The sound.
        sound: The other one.
        begin: The first place.
        end: The last place.
        share: Of the best match, which an earlier one must reach.
    """
    begin, end = max(0, begin), min(len(sound), end + len(known))
    part = sound[begin:end]
    if len(part) < len(known):
        return None
    size = 1 << (len(part) + len(known)).bit_length()
    spectrum = np.fft.rfft(part, size) * np.conj(np.fft.rfft(known, size))
    product = np.fft.irfft(spectrum, size)[: len(part) - len(known) + 1]
    total = np.concatenate(([0.0], np.cumsum(part**2)))
    energy = (known**2).sum()
    power = np.maximum(total[len(known) :] - total[: -len(known)], energy / 1000)
    match = product / np.sqrt(power * energy)
    if match.max() < MATCH_MIN:
        return None
    # All speeches begin alike: the first good match is meant.
    first = int(np.flatnonzero(match >= match.max() * share)[0])
    return begin + first + int(np.argmax(match[first : first + RATE // 100]))


class Tape:
    """A sound as it came, in parts of one length, with their times in seconds since 1970.

    A part may come late, but not early: the time of a sample is that by the most punctual part near it.
    """

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._parts: list[Samples] = []

    def add(self, ended: float, samples: npt.NDArray[Any]) -> None:
        """Keep a part that came at its end."""
        self._ends.append(ended)
        self._parts.append(samples.astype(float))

    @property
    def samples(self) -> Samples:
        """All samples."""
        return np.concatenate(self._parts)

    def time_of(self, place: int) -> float:
        """Return the time of a sample."""
        size = len(self._parts[0])
        part = place // size
        near = range(max(0, part - PUNCTUAL), min(len(self._ends), part + PUNCTUAL + 1))
        began = min(self._ends[one] - (one + 1) * size / RATE for one in near)
        return began + place / RATE

    def place_at(self, time: float) -> int:
        """Return the number of the sample at a time, roughly."""
        part = max(0, bisect_right(self._ends, time) - 1)
        return part * len(self._parts[0])


def turns_in(
    said: list[Speech], reply: Samples, user: Tape, bot: Tape
) -> Iterator[tuple[float, float]]:
    """Find each turn in the sounds of both sides.

    Yields:
        The times of the caller's last voiced sample, and of the first one of the bot's answer.
    """
    users, bots = user.samples, bot.samples
    place = place_of(said[0].samples, users, 0, int(FIRST_S * RATE))
    if place is None:
        raise SystemExit("heard: the first speech is not in what was sent")
    near, answered = int(NEAR_S * RATE), int(ANSWERED_S * RATE)
    for number, speech in enumerate(said):
        if number:
            place += round((speech.begins_s - said[number - 1].begins_s) * RATE)
        found = place_of(speech.samples, users, place - near, place + near)
        if found is None:
            continue
        place = found
        ended = user.time_of(place + speech.last)
        since = bot.place_at(ended) - near
        began = place_of(reply, bots, since, since + near + answered)
        if began is not None:
            # A bot may pause just after it has begun: then most of the answer comes late, but not its beginning.
            start = reply[: int(START_S * RATE)]
            began = place_of(start, bots, began - near, began + RATE // 100, 1.0) or began
            yield ended, bot.time_of(began + first_voiced(reply))


def packed(samples: Samples) -> bytes:
    """Return samples as a frame of `cordboard call` has them."""
    return np.repeat(samples, UP).astype("<i2").tobytes()
