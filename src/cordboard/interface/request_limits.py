"""RequestLimits on the requests of one person and of one client address.

A person is whoever has a login, and a login by name costs nothing: the limit by address is the one
that holds. Several people share an address (an office, a mobile network), so it is a multiple of the
limit by person. The counts are kept in this process: each replica counts for itself.
"""

import math
import time
from collections.abc import Callable

from cordboard.settings import Settings
from cordboard.web.rate_limits import Bucket, Buckets, Clock, TooManyRequestsError, take_all


class Quota:
    """A rate, by person and by client address.

    Args:
        rate: What a person may have a second.
        burst: What a person may have at once.
        people: By how much an address may exceed a person's limit.
    """

    def __init__(self, rate: float, burst: float, people: int) -> None:
        self._people = Buckets(rate, burst)
        self._addresses = Buckets(rate * people, burst * people)

    def buckets(self, user_id: str | None, address: str, now: float) -> list[Bucket]:
        """Return the buckets that count; without a person only the address's."""
        by_address = self._addresses.of(address, now)
        return [by_address] if user_id is None else [self._people.of(user_id, now), by_address]


class OpenStreams:
    """Counts what is open at the same time, by person and by client address.

    Args:
        most: What a person may have open.
        people: By how much an address may exceed a person's limit.
    """

    def __init__(self, most: int, people: int) -> None:
        self._most = {"person": most, "address": most * people}
        self._open: dict[tuple[str, str], int] = {}

    def enter(self, user_id: str, address: str) -> Callable[[], None]:
        """Count one more; return what counts it off again.

        Raises:
            TooManyRequestsError: The limit is reached.
        """
        keys = [("person", user_id), ("address", address)]
        if any(self._open.get(key, 0) >= self._most[key[0]] for key in keys):
            raise TooManyRequestsError(
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


class RequestLimits:
    """All limits of the interface on the requests of its callers.

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
        self.streams = OpenStreams(settings.interface_streams_per_user, people)

    def join(self, user_id: str, address: str) -> None:
        """Count a join.

        Raises:
            TooManyRequestsError: There were too many, by person or address.
        """
        self._spend(self._joins, "You have joined too often in a short time.", user_id, address)

    def offer(self, user_id: str, address: str) -> None:
        """Count an offer, or a batch of candidates.

        Raises:
            TooManyRequestsError: There were too many, by person or address.
        """
        self._spend(self._offers, "Too many attempts to connect.", user_id, address)

    def login(self, address: str) -> None:
        """Count an attempt to sign in.

        Raises:
            TooManyRequestsError: There were too many from this address.
        """
        self._spend(self._logins, "Too many people sign in from your network.", None, address)

    def _spend(self, quota: Quota, words: str, user_id: str | None, address: str) -> None:
        now = self._clock()
        wait_s = take_all(((bucket, 1) for bucket in quota.buckets(user_id, address, now)), now)
        if wait_s > 0:
            raise TooManyRequestsError(
                words, hint="Try again in a moment.", retry_after_s=math.ceil(wait_s)
            )


def _per_minute(count: int, people: int) -> Quota:
    """Return a quota that lets a minute's count pass at once: a retry is no attack."""
    return Quota(count / 60, count, people)
