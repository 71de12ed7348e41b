"""The bodies of the gateway's HTTP interface: what is read, and what is answered."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from cordboard.contract.errors import InvalidValueError
from cordboard.contract.ids import BOT_NAME, canonical_room, check_session_id, with_room_token
from cordboard.contract.launch import (
    DEADLINE_DEFAULT_S,
    DEADLINE_MAX_S,
    JOIN_FIELDS,
    MAX_DURATION_DEFAULT_S,
    MAX_DURATION_MAX_S,
    Launch,
    request_key,
)
from cordboard.store import AcceptedJoin, SessionRecord
from cordboard.web.strict_body import StrictBody


def _room(value: object) -> str:
    try:
        return canonical_room(value)
    except InvalidValueError as error:
        raise _unfit(error) from error


def _session_id(value: object) -> str | None:
    if value is None or value == "":
        return None
    try:
        return check_session_id(value)
    except InvalidValueError as error:
        raise _unfit(error) from error


def _unfit(error: InvalidValueError) -> PydanticCustomError:
    return PydanticCustomError("invalid", str(error))


def _absent(value: str | None) -> str | None:
    return value or None


RoomUrl = Annotated[str, BeforeValidator(_room)]
SessionId = Annotated[str | None, BeforeValidator(_session_id)]
Text = Annotated[str | None, Field(max_length=1024), AfterValidator(_absent)]


class JoinBody(StrictBody):
    """A join. Any other top-level field is kept and handed to the bot inside ``body``."""

    model_config = ConfigDict(
        extra="allow",
        alias_generator=request_key,  # a field that Launch does not declare fails here
        json_schema_extra={
            "examples": [
                {
                    "room_url": "webrtc:standup",
                    "sessionId": "call-7",
                    "sessionUserId": "u-1",
                    "sessionUserName": "Ada",
                }
            ]
        },
    )

    room_url: RoomUrl = Field(
        description="The room: a provider's URL, or webrtc:NAME. A token in the URL's query is taken "
        "out; it becomes `token`, unless that is given."
    )
    session_id: SessionId = Field(None, description="1 to 128 of A-Z a-z 0-9 . _ ~ : @ -")
    user_id: Text = None
    user_name: Text = None
    user_email: Text = None
    tenant_id: Text = None
    token: Annotated[str | None, Field(max_length=8192), AfterValidator(_absent)] = Field(
        None, description="The room's token for the bot; a secret."
    )
    bot: str = Field("default", pattern=f"^{BOT_NAME}$", description="Which bot.")
    body: dict[str, Any] = Field(default_factory=dict, description="Handed to the bot.")
    deadline_s: int = Field(DEADLINE_DEFAULT_S, ge=1, le=DEADLINE_MAX_S)
    max_duration_s: int = Field(MAX_DURATION_DEFAULT_S, ge=1, le=MAX_DURATION_MAX_S)

    @model_validator(mode="before")
    @classmethod
    def _token_of_room(cls, data: Any) -> Any:
        """Move the token from the room's URL to where readers expect it."""
        return with_room_token(data)

    def launch(self, session_id: str, traceparent: str | None) -> Launch:
        """Return the launch that this join requests; the store assigns its epoch.

        Args:
            session_id: The session's id, which the caller or the gateway chose.
            traceparent: The W3C trace context of the request, if it has one.
        """
        return Launch(
            **{
                **{name: getattr(self, name) for name in JOIN_FIELDS},
                "session_id": session_id,
                "epoch": 1,
                "body": {**(self.model_extra or {}), **self.body},
                "traceparent": traceparent,
            }
        )


class LeaveBody(StrictBody):
    """Which session is to end: its own id, or whoever holds a room (with ``force``)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"sessionId": "call-7"}, {"room_url": "webrtc:standup", "force": True}]
        },
    )

    session_id: SessionId = Field(None, alias="sessionId")
    room_url: Annotated[str | None, BeforeValidator(lambda value: value and _room(value))] = None
    force: bool = False


def join_answer(accepted: AcceptedJoin, requested: str) -> dict[str, Any]:
    """Return the answer to a join."""
    answer = {
        "sessionId": accepted.session_id,
        "room_url": accepted.room_url,
        "status": accepted.status,
        "epoch": accepted.epoch,
        "reused": accepted.reused,
        "createdAt": iso(accepted.created_ms),
    }
    if accepted.session_id != requested:
        answer["requestedSessionId"] = requested
    return answer


def session_answer(record: SessionRecord) -> dict[str, Any]:
    """Return a session's record as it is shown: absent values are left out, stages with times."""
    values = {
        "sessionId": record.session_id,
        "room_url": record.room_url,
        "status": record.state,
        "reason": record.reason,
        "detail": record.detail,
        "epoch": record.epoch,
        "attempt": record.attempt,
        "bot": record.bot,
        "userId": record.user_id,
        "userName": record.user_name,
        "tenantId": record.tenant_id,
        "type": record.type,
        "runner": record.runner_id,
        "jobName": record.job_name,
        "pid": record.pid,
        "createdAt": iso(record.created_ms),
        "stages": {name: iso(at) for name, at in record.stages.items()},
    }
    return {name: value for name, value in values.items() if value is not None}


def iso(unix_ms: int) -> str:
    """Return a time as RFC 3339 in UTC, with milliseconds."""
    at = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
