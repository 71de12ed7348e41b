"""What a store leaves out of a window at its beginning, and what may be missing at its end."""

import time
from typing import Final, NamedTuple

from cordboard.logs.coverage import MAY_ARRIVE, REASONS, Shortfall
from cordboard.logs.query import Query
from cordboard.logs.sources._proof import Traces
from cordboard.logs.sources._slices import NANOSECONDS, Slice, nanoseconds
from cordboard.logs.sources._store_pods import time_of
from cordboard.logs.timespec import HIGHEST, LOWEST

CUT_MARGIN_NS: Final = 60 * NANOSECONDS
"""A window that begins this little before a store's oldest line is not cut: both are counted back from now."""


class Cut(NamedTuple):
    """What a store leaves out of a window without a word.

    Attributes:
        oldest: The nanosecond before which it returns no line.
        why: The reason.
    """

    oldest: int
    why: Shortfall

    def spares(self, query: Query, found: Traces | None) -> bool:
        """Return whether all of the session of `query`, at whatever time, is later: `found` has its beginning."""
        if query.first != LOWEST or found is None or not found.has_begun:
            return False
        return found.span.begin >= self.oldest + CUT_MARGIN_NS


class Delay(NamedTuple):
    """How late the lines of a store may arrive.

    Attributes:
        seconds: So late.
        counts: Whether a window that ends now is incomplete even if all of its lines are older than that.
    """

    seconds: float
    counts: bool

    def reason(
        self, query: Query, window: Slice, found: Traces | None, last: bytes
    ) -> Shortfall | str | None:
        """Return why lines may still arrive; None where the window, or the session, ended long enough ago.

        It is a reason where the query set the end, or where lines of that time were found: others beside them may be
        missing. Otherwise nothing tells that there are any, and every query of now would be incomplete: then it is a
        sentence.

        Args:
            query: The question.
            window: What was read.
            found: What the session's own lines tell, if a session was asked for.
            last: The last line of the window.
        """
        settled = time.time_ns() - int(self.seconds * NANOSECONDS)
        end = window.end
        if found is not None and found.ended_ns is not None:
            end = min(end, found.ended_ns)
        if end <= settled:
            return None
        newest = found.newest if found is not None else nanoseconds(time_of(last.rstrip(b"\n")))
        says = f"{MAY_ARRIVE} {self.seconds:.0f} s late"
        if self.counts or query.end != HIGHEST or newest > settled:
            return Shortfall("not_settled", f"{says}; read again after that")
        return f"{says[0].upper()}{says[1:]}: {REASONS['not_settled']}."
