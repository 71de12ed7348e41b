"""Token buckets, which limit the requests of one caller and the log lines of one kind."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.errors import CordboardError

SAMPLED_LINES_PER_S: Final = 0.2
"""17,280 lines of 400 bytes a day are 7 MB, a ninth of one log file of ``up``."""
SAMPLED_BURST: Final = 20.0

KEYS_MAX: Final = 10_000
"""Buckets per limit, about 2 MB. The bucket that was idle longest is dropped first; unless 10,000 others
came within a minute, it has refilled by then, so dropping it forgives nothing."""

Clock = Callable[[], float]


class TooManyRequestsError(CordboardError):
    """A person or an address has exceeded a rate limit."""

    status = 429
    retryable = True
    code = "too_many_requests"
    title = "Too many requests"


@dataclass(slots=True)
class Bucket:
    """A token bucket.

    Attributes:
        rate: Tokens that the bucket gains per second.
        burst: Tokens that the bucket holds at most.
        level: Tokens in the bucket at ``updated_at``.
        updated_at: When the level was computed, in seconds of a monotonic clock.
    """

    rate: float
    burst: float
    level: float
    updated_at: float

    def wait_s(self, count: float, now: float) -> float:
        """Refill the bucket and return the seconds until it holds enough tokens, 0 if it does.

        Args:
            count: The tokens that the caller needs.
            now: The time of the same clock as `updated_at`.
        """
        # max(): `now` of concurrent requests may arrive out of order.
        elapsed_s = max(now - self.updated_at, 0.0)
        self.level = min(self.burst, self.level + elapsed_s * self.rate)
        self.updated_at = now
        return max(count - self.level, 0.0) / self.rate

    def take(self, count: float) -> None:
        """Remove `count` tokens. The caller has checked with `wait_s` that they are there."""
        self.level -= count


class Buckets:
    """One bucket for each key.

    Args:
        rate: Tokens that each bucket gains per second.
        burst: Tokens that each bucket holds at most.
        keys_max: How many buckets are kept.
    """

    def __init__(self, rate: float, burst: float, keys_max: int = KEYS_MAX) -> None:
        self._rate = rate
        self._burst = burst
        self._keys_max = keys_max
        # In order of use: the first bucket is the one that was idle longest.
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, key: str, now: float) -> Bucket:
        """Return the bucket of `key`; a new bucket is full at `now`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._rate, self._burst, self._burst, now)
            if len(self._buckets) > self._keys_max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket


def take_all(demands: Iterable[tuple[Bucket, float]], now: float) -> float:
    """Take tokens from all buckets, or from none of them.

    Args:
        demands: The buckets, each with the tokens to take from it.
        now: The time, by the clock of the buckets.

    Returns:
        0 if the tokens were taken, else the seconds until all buckets hold enough.
    """
    # A refused request must not use up tokens of one limit because of another one.
    pairs = list(demands)
    wait_s = max((bucket.wait_s(count, now) for bucket, count in pairs), default=0.0)
    if wait_s == 0:
        for bucket, count in pairs:
            bucket.take(count)
    return wait_s


@dataclass(slots=True)
class Sampler:
    """Passes a few log lines of one kind and counts the suppressed ones.

    A line that any stranger can cause must not fill the log and push out older lines.

    Attributes:
        clock: A monotonic clock, in seconds.
    """

    clock: Clock = time.monotonic
    _bucket: Bucket | None = field(default=None, init=False)
    _suppressed: int = field(default=0, init=False)

    def admit(self) -> int | None:
        """Return how many lines were suppressed since the last one; None to suppress this one too."""
        now = self.clock()
        if self._bucket is None:
            self._bucket = Bucket(SAMPLED_LINES_PER_S, SAMPLED_BURST, SAMPLED_BURST, now)
        if take_all([(self._bucket, 1)], now) > 0:
            self._suppressed += 1
            return None
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
