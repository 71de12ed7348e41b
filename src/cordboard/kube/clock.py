"""The clock of a cluster, as the headers of its answers tell it."""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(slots=True)
class ClusterClock:
    """The difference between this machine's clock and that of a cluster, by the quickest answer.

    Attributes:
        offset_s: Seconds by which this machine is ahead; None if no answer has told its time.
        took_s: Seconds that the answer took.
    """

    offset_s: float | None = None
    took_s: float = float("inf")

    def compare(self, date: str | None, asked_at: float, took_s: float) -> None:
        """Take an answer into account.

        Args:
            date: The header ``Date`` of the answer.
            asked_at: This machine's time of the request, in seconds since 1970.
            took_s: Seconds from the request to the answer.
        """
        if took_s >= self.took_s:
            return
        try:
            # The header has whole seconds: half a second is the best guess.
            told_at = parsedate_to_datetime(date or "").timestamp() + 0.5
        except ValueError:
            return
        self.offset_s, self.took_s = asked_at + took_s / 2 - told_at, took_s
