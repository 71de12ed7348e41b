"""Which sessions a list contains."""

from dataclasses import dataclass
from typing import Final

from cordboard.contract.state import State
from cordboard.store.records import SessionRecord


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Conditions that a session of a list meets; None means any.

    Attributes:
        state: Its state.
        live: True: it has not ended.
        reason: The reason of its end.
        room: Its room.
        user_id: The id of its user.
        user: The id or the name of its user.
        build: How a hash, a version or the image of its build begins.
        since_ms: It was accepted at this time or later, in milliseconds since 1970.
        until_ms: It was accepted before this time.
    """

    state: State | None = None
    live: bool = False
    reason: str | None = None
    room: str | None = None
    user_id: str | None = None
    user: str | None = None
    build: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def matches(self, record: SessionRecord) -> bool:
        """Return whether ``record`` meets all conditions."""
        return (
            (self.state is None or record.state == self.state)
            and (not self.live or record.live)
            and (self.reason is None or record.reason == self.reason)
            and (self.room is None or record.room_url == self.room)
            and (self.user_id is None or record.user_id == self.user_id)
            and (self.user is None or self.user in (record.user_id, record.user_name))
            and (self.build is None or _has_build(record, self.build))
            and (self.since_ms is None or record.created_ms >= self.since_ms)
            and (self.until_ms is None or record.created_ms < self.until_ms)
        )


def _has_build(record: SessionRecord, start: str) -> bool:
    return any(value.startswith(start) for value in record.build.values())


ALL_SESSIONS: Final = SessionFilter()
