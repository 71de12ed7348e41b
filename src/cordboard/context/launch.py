"""The context of a launch: what each log line about its session carries."""

from typing import Protocol

from cordboard.context import Context


class SessionFields(Protocol):
    """The fields from which a context is made; launches and session records have them."""

    @property
    def session_id(self) -> str:
        """The session."""

    @property
    def user_id(self) -> str | None:
        """The user, if known."""

    @property
    def user_name(self) -> str | None:
        """The user's display name, if known."""

    @property
    def room_url(self) -> str:
        """The room, in canonical form."""

    @property
    def epoch(self) -> int:
        """The epoch of the grant."""

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of the join, if it had one."""


def context_of(session: SessionFields) -> Context:
    """Return the context of a session.

    This is the only place that maps a launch to a context, so that no process drops one of its values.

    Args:
        session: The session's launch or record.
    """
    return Context(
        session_id=session.session_id,
        user_id=session.user_id,
        user_name=session.user_name,
        room=session.room_url,
        epoch=session.epoch,
        traceparent=session.traceparent,
    )
