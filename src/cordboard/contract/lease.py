"""The lease: the right of one (session, epoch) to be the room's bot until a deadline."""

from dataclasses import dataclass
from typing import Final, Literal

RENEWAL_S: Final = 5.0
"""Every so often the runner renews all its leases, from outside the bots' event loops."""

LEASE_S: Final = 15.0
"""Without renewal for so long a session is suspect; nothing is granted yet."""

OUTAGE_TOLERANCE_S: Final = 75.0
"""A holder that could not renew for so long stops its bot by itself."""

SILENCE_S: Final = 90.0
"""A suspect that nobody can confirm is given up only now: its holder must have stopped."""

RenewalResult = Literal["held", "lost", "stop", "unknown", "away"]
"""``held``: go on. ``lost``: another's, stop at once. ``stop``: held, and someone asked to end it.
``unknown``: Redis knows nothing of the session and may have lost its memory; no renewal took place,
but the room is not another's either. ``away``: the session's shard does not answer, others may."""


@dataclass(frozen=True, slots=True)
class Periods:
    """All periods of the lease, in the proportions of the defaults above.

    One number moves them all, so that a holder always stops before it is given up.

    Attributes:
        lease_s: Seconds that a lease lasts; the same in every part of one plane.
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
        """Seconds without a renewal after which a silent holder is given up."""
        return self.lease_s * (SILENCE_S / LEASE_S)
