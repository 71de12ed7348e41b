"""The bodies of the gateway's requests and responses."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
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
from cordboard.contract.state import State
from cordboard.store import AcceptedJoin, Overview, SessionFilter, SessionRecord, TakeOver
from cordboard.web.strict_body import StrictBody


def _room(value: object) -> str:
    try:
        return canonical_room(value)
    except InvalidValueError as error:
        raise _validation_error(error) from error


def _session_id(value: object) -> str | None:
    if value is None or value == "":
        return None
    try:
        return check_session_id(value)
    except InvalidValueError as error:
        raise _validation_error(error) from error


def _validation_error(error: InvalidValueError) -> PydanticCustomError:
    # Pydantic adds "Value error, " to a ValueError; this keeps the message as it is.
    return PydanticCustomError("invalid", str(error))


def _none_if_empty(value: str | None) -> str | None:
    return value or None


RoomUrl = Annotated[str, BeforeValidator(_room)]
SessionId = Annotated[str | None, BeforeValidator(_session_id)]
# Longer than any name, e-mail address or id in use; each is stored with the session in Redis.
Text = Annotated[str | None, Field(max_length=1024), AfterValidator(_none_if_empty)]


class JoinBody(StrictBody):
    """A join. Other top-level fields are added to ``body``, which the bot receives."""

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
        description="The room: webrtc:NAME, phone:PROVIDER:CALLID, ws:NAME, livekit:NAME, or a "
        "provider's URL. A token in the URL's query is removed; it becomes `token`, unless that is given."
    )
    session_id: SessionId = Field(None, description="1 to 128 of A-Z a-z 0-9 . _ ~ : @ -")
    user_id: Text = None
    user_name: Text = None
    user_email: Text = None
    tenant_id: Text = None
    token: Annotated[str | None, Field(max_length=8192), AfterValidator(_none_if_empty)] = Field(
        None, description="The room's token for the bot; a secret."
    )
    bot: str = Field("default", pattern=f"^{BOT_NAME}$", description="The bot's name.")
    body: dict[str, Any] = Field(default_factory=dict, description="Passed to the bot.")
    deadline_s: int = Field(DEADLINE_DEFAULT_S, ge=1, le=DEADLINE_MAX_S)
    max_duration_s: int = Field(MAX_DURATION_DEFAULT_S, ge=1, le=MAX_DURATION_MAX_S)

    @model_validator(mode="before")
    @classmethod
    def _token_of_room(cls, data: Any) -> Any:
        """Move the token from the room's URL to its own field: the name of a room contains no secret."""
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
                "epoch": 1,  # the store assigns the epoch when it grants the room
                "body": {**(self.model_extra or {}), **self.body},
                "traceparent": traceparent,
            }
        )


class LeaveBody(StrictBody):
    """The session to end: its id, or a room whose holder ends (with ``force``)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"sessionId": "call-7"}, {"room_url": "webrtc:standup", "force": True}]
        },
    )

    session_id: SessionId = Field(None, alias="sessionId")
    room_url: Annotated[str | None, BeforeValidator(lambda value: value and _room(value))] = None
    force: bool = False
    detail: Annotated[str | None, Field(max_length=300), AfterValidator(_none_if_empty)] = Field(
        None, description="Why, in one sentence for people."
    )


class SessionsQuery(BaseModel):
    """The query of ``GET /sessions``. A query has only text, so numbers are parsed from it."""

    state: State | None = None
    live: bool = Field(default=False, description="Only sessions that have not ended.")
    reason: str | None = None
    room_url: str | None = None
    user_id: str | None = Field(None, alias="userId")
    user: str | None = Field(None, description="The id or the name of the user.")
    build: str | None = Field(
        None, min_length=1, description="How a hash, a version or the image of the build begins."
    )
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: int = Field(50, ge=1, le=500)
    cursor: str | None = None

    def wanted(self) -> SessionFilter:
        """Return which sessions the query asks for."""
        return SessionFilter(
            state=self.state,
            live=self.live,
            reason=self.reason,
            room=canonical_room(self.room_url) if self.room_url else None,
            user_id=self.user_id,
            user=self.user,
            build=self.build,
            since_ms=_milliseconds(self.since),
            until_ms=_milliseconds(self.until),
        )


def join_response(accepted: AcceptedJoin, requested: str) -> dict[str, Any]:
    """Return the body of the response to a join.

    Args:
        accepted: The session that the join created or met.
        requested: The session id of the join; it differs if the room had a live session.
    """
    response = {
        "sessionId": accepted.session_id,
        "room_url": accepted.room_url,
        "status": accepted.status,
        "epoch": accepted.epoch,
        "reused": accepted.reused,
        "createdAt": rfc3339(accepted.created_ms),
    }
    if accepted.session_id != requested:
        response["requestedSessionId"] = requested
    return response


def session_response(record: SessionRecord, cell: str | None = None) -> dict[str, Any]:
    """Return `record` as JSON: without absent values, each stage with its time.

    Args:
        record: The session.
        cell: The cell of this gateway, if there are cells.
    """
    values = {
        "sessionId": record.session_id,
        "room_url": record.room_url,
        "cell": cell,
        "status": record.state,
        "reason": record.reason,
        "detail": record.detail,
        "epoch": record.epoch,
        "attempt": record.attempt,
        "recovery": record.recovery,
        "build": dict(record.build) or None,
        "takeOvers": [_take_over(item) for item in record.take_overs] or None,
        "bot": record.bot,
        "userId": record.user_id,
        "userName": record.user_name,
        "tenantId": record.tenant_id,
        "type": record.type,
        "runner": record.runner_id,
        "jobName": record.job_name,
        "pid": record.pid,
        "createdAt": rfc3339(record.created_ms),
        "stages": {name: rfc3339(at_ms) for name, at_ms in record.stages.items()},
    }
    return {name: value for name, value in values.items() if value is not None}


def _take_over(item: TakeOver) -> dict[str, Any]:
    values = {
        "epoch": item.epoch,
        "attempt": item.attempt,
        "cause": item.cause,
        "runner": item.runner_id,
        "at": rfc3339(item.at_ms),
        "sign": item.sign,
        "takenBy": item.taken_by,
        "silenceMs": item.silence_ms,
    }
    return {name: value for name, value in values.items() if value is not None}


def overview_response(overview: Overview) -> dict[str, Any]:
    """Return the state of the plane as JSON."""
    return {
        "queued": overview.queued,
        "oldestWaitSeconds": round(overview.oldest_wait_s, 3),
        "live": overview.live,
        "overdue": overview.overdue,
        "deadLetters": overview.dead_letters,
        "runners": [
            {
                "runner": runner.runner_id,
                "capacity": runner.capacity,
                "free": runner.free,
                "seenMilliseconds": runner.seen_ms,
                "alive": runner.is_alive,
            }
            for runner in overview.runners
        ],
        "operators": [
            {
                "operator": operator.name,
                "pending": operator.pending,
                "coldRunners": operator.cold_slots,
                "seenMilliseconds": operator.seen_ms,
                "alive": operator.is_alive,
            }
            for operator in overview.operators
        ],
    }


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)


def rfc3339(unix_ms: int) -> str:
    """Return a time as RFC 3339 in UTC, with milliseconds.

    Args:
        unix_ms: The time in milliseconds since 1970.
    """
    at = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
