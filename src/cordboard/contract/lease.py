"""The periods of leases, and the results of renewals.

A lease is the right of one session and epoch to be the room's bot until a deadline.
"""

from dataclasses import dataclass
from typing import Final, Literal

RENEWAL_S: Final = 5.0
"""Seconds between two renewals. A runner renews all its leases, outside the bots' event loops."""

LEASE_S: Final = 15.0
"""Seconds without a renewal after which a session is suspect. Its room is not granted again yet."""

OUTAGE_TOLERANCE_S: Final = 75.0
"""Seconds without a renewal after which a holder stops its bot on its own."""

SILENCE_S: Final = 90.0
"""Seconds without a renewal after which a session without confirmed death is recovered.

This exceeds ``OUTAGE_TOLERANCE_S``, so that its holder has stopped: two bots never share a room."""

RenewalResult = Literal["held", "lost", "stop", "unknown", "away"]
"""The result of a renewal.

``held``: the lease is extended. ``lost``: another session has the room, stop at once. ``stop``: the lease
is extended, but a caller asked to end the session. ``unknown``: Redis has no record of the session, and
may have lost its data; the lease is not extended, but no other session has the room. ``away``: the
session's shard does not answer.
"""


@dataclass(frozen=True, slots=True)
class Periods:
    """All periods of a lease, in the proportions of the constants above.

    They follow from one number, so that a holder always stops before its session is recovered.

    Attributes:
        lease_s: Seconds that a lease lasts; the same in all components.
    """

    lease_s: float = LEASE_S

    @property
    def renewal_s(self) -> float:
        """Seconds between two renewals."""
        return self.lease_s * (RENEWAL_S / LEASE_S)

    @property
    def tolerance_s(self) -> float:
        """Seconds without a renewal after which a holder stops its bot."""
        return self.lease_s * (OUTAGE_TOLERANCE_S / LEASE_S)

    @property
    def silence_s(self) -> float:
        """Seconds without a renewal after which a session without confirmed death is recovered."""
        return self.lease_s * (SILENCE_S / LEASE_S)
