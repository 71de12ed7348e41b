"""Limits on the requests of one person and of one client address.

A login by name costs nothing, so anybody can be many persons: the limit by address is the one that holds.
Several people share an address (an office, a mobile network), so it is a multiple of the limit by person.
The counts are kept in this process; each replica counts for itself.
"""

import math
import time
from collections.abc import Callable
from typing import Final

from cordboard.settings import Settings
from cordboard.web.rate_limits import Bucket, Buckets, Clock, TooManyRequestsError, take_all

_RETRY_STREAM_S: Final = 10


class Quota:
    """A rate limit by person and by client address.

    Args:
        rate: How much a person may do per second.
        burst: How much a person may do at once.
        people: How many times the limit of a person an address has.
    """

    def __init__(self, rate: float, burst: float, people: int) -> None:
        self._people = Buckets(rate, burst)
        self._addresses = Buckets(rate * people, burst * people)

    def buckets(self, user_id: str | None, address: str, now: float) -> list[Bucket]:
        """Return the buckets from which a request takes tokens.

        Args:
            user_id: The person; None if nobody is signed in, so that only the address counts.
            address: The client's address.
            now: The time of a monotonic clock, in seconds.
        """
        by_address = self._addresses.of(address, now)
        return [by_address] if user_id is None else [self._people.of(user_id, now), by_address]


class OpenStreams:
    """Counts the event streams that are open, by person and by client address.

    Args:
        limit: How many streams a person may have open.
        people: How many times the limit of a person an address has.
    """

    def __init__(self, limit: int, people: int) -> None:
        self._limits = {"person": limit, "address": limit * people}
        self._open: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        """Return how many persons and addresses have open streams."""
        return len(self._open)

    def enter(self, user_id: str, address: str) -> Callable[[], None]:
        """Count one more stream; return a function that ends its count.

        Args:
            user_id: The person.
            address: The client's address.

        Raises:
            TooManyRequestsError: The limit is reached.
        """
        keys = [("person", user_id), ("address", address)]
        if any(self._open.get(key, 0) >= self._limits[key[0]] for key in keys):
            raise TooManyRequestsError(
                "Too many calls are being followed at once.",
                hint="Close other windows of this site.",
                retry_after_s=_RETRY_STREAM_S,
            )
        for key in keys:
            self._open[key] = self._open.get(key, 0) + 1
        return lambda: self._leave(keys)

    def _leave(self, keys: list[tuple[str, str]]) -> None:
        for key in keys:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]  # or the table would keep every person who ever called


class RequestLimits:
    """All limits on the requests of browsers, except log lines.

    Args:
        settings: The limits.
        clock: A monotonic clock, in seconds.

    Attributes:
        streams: Counts the open event streams.
    """

    def __init__(self, settings: Settings, clock: Clock = time.monotonic) -> None:
        people = settings.interface_people_per_address
        self._clock = clock
        self._joins = _per_minute(settings.interface_joins_per_minute, people)
        self._offers = _per_minute(settings.interface_offers_per_minute, people)
        self._logins = _per_minute(settings.interface_logins_per_minute, 1)
        self.streams = OpenStreams(settings.interface_streams_per_user, people)

    def join(self, user_id: str, address: str) -> None:
        """Count a join of `user_id` from `address`.

        Raises:
            TooManyRequestsError: The person or the address has joined too often.
        """
        self._spend(self._joins, "You have joined too often in a short time.", user_id, address)

    def offer(self, user_id: str, address: str) -> None:
        """Count an offer, or a batch of candidates, of `user_id` from `address`.

        Raises:
            TooManyRequestsError: The person or the address has sent too many.
        """
        self._spend(self._offers, "You have tried to connect too often.", user_id, address)

    def login(self, address: str) -> None:
        """Count an attempt to sign in from `address`.

        Raises:
            TooManyRequestsError: There were too many attempts from this address.
        """
        message = "Too many people are signing in from your network."
        self._spend(self._logins, message, None, address)

    def _spend(self, quota: Quota, message: str, user_id: str | None, address: str) -> None:
        now = self._clock()
        wait_s = take_all(((bucket, 1) for bucket in quota.buckets(user_id, address, now)), now)
        if wait_s > 0:
            raise TooManyRequestsError(
                message, hint="Try again in a moment.", retry_after_s=math.ceil(wait_s)
            )


def _per_minute(count: int, people: int) -> Quota:
    """Return a quota that allows a minute's count at once: people retry quickly."""
    return Quota(count / 60, count, people)
