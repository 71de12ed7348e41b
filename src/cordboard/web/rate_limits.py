"""Token buckets: they limit the requests of one caller and the lines of one kind."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.errors import CordboardError

SAMPLED_A_SECOND: Final = 0.2
"""17 280 lines a day of 400 bytes are 7 MB, a ninth of one log file of `up`."""
SAMPLED_BURST: Final = 20.0

KEYS_MAX: Final = 10_000
"""Buckets of one kind that are kept: about 2 MB. The one that was idle longest goes first; it has
filled up meanwhile unless ten thousand others came within a minute."""

Clock = Callable[[], float]


class TooManyRequestsError(CordboardError):
    """A person or an address has exceeded its limit."""

    status = 429
    retryable = True
    code = "too_many_requests"
    title = "Too many requests"


@dataclass(slots=True)
class Bucket:
    """A token bucket: lets ``burst`` pass at once, and ``rate`` per second."""

    rate: float
    burst: float
    level: float
    at: float

    def wait_s(self, count: float, now: float) -> float:
        """Fill the bucket up to now; return the seconds until ``count`` are there."""
        self.level = min(self.burst, self.level + max(now - self.at, 0.0) * self.rate)
        self.at = now
        return max(count - self.level, 0.0) / self.rate

    def take(self, count: float) -> None:
        """Take ``count`` out, which ``wait_s`` has found there."""
        self.level -= count


class Buckets:
    """One bucket for each key.

    Args:
        rate: What a bucket gets a second.
        burst: What it holds.
        most: Keys that are kept.
    """

    def __init__(self, rate: float, burst: float, most: int = KEYS_MAX) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._kept: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, key: str, now: float) -> Bucket:
        """Return a key's bucket, full when it is new."""
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = Bucket(self._rate, self._burst, self._burst, now)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return found


def take_all(wanted: Iterable[tuple[Bucket, float]], now: float) -> float:
    """Take from all buckets or from none; return the seconds until all have enough, 0 when taken."""
    pairs = list(wanted)
    wait_s = max((bucket.wait_s(count, now) for bucket, count in pairs), default=0.0)
    if wait_s == 0:
        for bucket, count in pairs:
            bucket.take(count)
    return wait_s


@dataclass(slots=True)
class Sampler:
    """Passes a few lines of a kind, and counts the others.

    A line that every stranger can cause must not fill the log and so push out older lines.

    Attributes:
        clock: Seconds that never go back.
    """

    clock: Clock = time.monotonic
    _bucket: Bucket | None = field(default=None, init=False)
    _held: int = field(default=0, init=False)

    def admit(self) -> int | None:
        """Return how many were held back since the last line; None when this one is held back."""
        now = self.clock()
        if self._bucket is None:
            self._bucket = Bucket(SAMPLED_A_SECOND, SAMPLED_BURST, SAMPLED_BURST, now)
        if take_all([(self._bucket, 1)], now) > 0:
            self._held += 1
            return None
        held, self._held = self._held, 0
        return held
