"""How much one person, and one client address, may ask for.

A person is whoever holds a login, and a login by name costs nothing: the bound by address is the one
that holds. Several people share an address (an office, a mobile network), so it is a multiple of the
bound by person. All of it is kept in this process: each replica counts for itself.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from cordboard.contract.errors import CordboardError
from cordboard.settings import Settings

KEYS_MAX: Final = 10_000
"""Buckets of one kind that are kept: about 2 MB. The one that was idle longest goes first; it has
filled up meanwhile unless ten thousand others came within a minute."""

Clock = Callable[[], float]


class TooManyError(CordboardError):
    """A person or an address asks for more than its share."""

    status = 429
    retryable = True
    code = "too_many_requests"
    title = "Too many requests"


@dataclass(slots=True)
class Bucket:
    """A token bucket: lets ``burst`` pass at once, and ``rate`` a second."""

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


class Quota:
    """A rate, by person and by client address.

    Args:
        rate: What a person may have a second.
        burst: What a person may have at once.
        people: How many people's share an address has.
    """

    def __init__(self, rate: float, burst: float, people: int) -> None:
        self._people = Buckets(rate, burst)
        self._addresses = Buckets(rate * people, burst * people)

    def buckets(self, user_id: str | None, address: str, now: float) -> list[Bucket]:
        """Return the buckets that count; without a person only the address's."""
        by_address = self._addresses.of(address, now)
        return [by_address] if user_id is None else [self._people.of(user_id, now), by_address]


class Open:
    """Counts what is open at once, by person and by client address.

    Args:
        most: What a person may have open.
        people: How many people's share an address has.
    """

    def __init__(self, most: int, people: int) -> None:
        self._most = {"person": most, "address": most * people}
        self._open: dict[tuple[str, str], int] = {}

    def enter(self, user_id: str, address: str) -> Callable[[], None]:
        """Count one more; return what counts it off again.

        Raises:
            TooManyError: As many are open as may be.
        """
        keys = [("person", user_id), ("address", address)]
        if any(self._open.get(key, 0) >= self._most[key[0]] for key in keys):
            raise TooManyError(
                "Too many calls are being followed at once.",
                hint="Close other windows of this site.",
                retry_after_s=10,
            )
        for key in keys:
            self._open[key] = self._open.get(key, 0) + 1
        return lambda: self._leave(keys)

    def _leave(self, keys: list[tuple[str, str]]) -> None:
        for key in keys:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


class Limits:
    """All bounds of the interface on what its callers ask for.

    Args:
        settings: The bounds.
        clock: Seconds that never go back.
    """

    def __init__(self, settings: Settings, clock: Clock = time.monotonic) -> None:
        people = settings.interface_people_per_address
        self._clock = clock
        self._joins = _per_minute(settings.interface_joins_per_minute, people)
        self._offers = _per_minute(settings.interface_offers_per_minute, people)
        self._logins = _per_minute(settings.interface_logins_per_minute, 1)
        self.streams = Open(settings.interface_streams_per_user, people)

    def join(self, user_id: str, address: str) -> None:
        """Count a join.

        Raises:
            TooManyError: There were too many, by person or address.
        """
        self._spend(self._joins, "You have joined too often in a short time.", user_id, address)

    def offer(self, user_id: str, address: str) -> None:
        """Count an offer, or a batch of candidates.

        Raises:
            TooManyError: There were too many, by person or address.
        """
        self._spend(self._offers, "Too many attempts to connect.", user_id, address)

    def login(self, address: str) -> None:
        """Count an attempt to sign in.

        Raises:
            TooManyError: There were too many from this address.
        """
        self._spend(self._logins, "Too many people sign in from your network.", None, address)

    def _spend(self, quota: Quota, words: str, user_id: str | None, address: str) -> None:
        now = self._clock()
        wait_s = take_all(((bucket, 1) for bucket in quota.buckets(user_id, address, now)), now)
        if wait_s > 0:
            raise TooManyError(
                words, hint="Try again in a moment.", retry_after_s=math.ceil(wait_s)
            )


def _per_minute(count: int, people: int) -> Quota:
    """Return a quota that lets a minute's count pass at once: a retry is no attack."""
    return Quota(count / 60, count, people)


@dataclass(slots=True)
class Sampler:
    """Lets a few lines of a kind through, and counts the others.

    A line that every stranger can cause must not fill the log: that would drive out older lines.

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


SAMPLED_A_SECOND: Final = 0.2
"""17 280 lines a day of 400 bytes are 7 MB, a ninth of one log file of `up`."""
SAMPLED_BURST: Final = 20.0
