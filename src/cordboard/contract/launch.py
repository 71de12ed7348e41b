"""A launch: an accepted join on its way to a runner.

``Launch`` declares each field once, with the places where the field crosses a process boundary. All
wire forms derive from this declaration:

- the message in the launch queue (``encode``, ``decode``), version 1;
- the body of ``POST /join`` and the body of ``POST /start`` (``request_key``, ``JOIN_FIELDS``,
  ``START_FIELDS``, ``start_body``);
- the fields of the session record in Redis (``record_fields``).

The environment of a cold runner carries the launch's context (``cordboard.context.launch``); the runner
reads the rest from the session record, so that no secret appears in a Kubernetes Job.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

from cordboard.contract.errors import InvalidValueError, UnknownVersionError
from cordboard.contract.ids import canonical_room, check_session_id

VERSION: Final = 1

DEADLINE_DEFAULT_S: Final = 60
DEADLINE_MAX_S: Final = 600
MAX_DURATION_DEFAULT_S: Final = 14_400
MAX_DURATION_MAX_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Wire:
    """Where a field of a launch crosses a process boundary. The queue message holds every field.

    Attributes:
        key: The key in HTTP bodies; None if no body has the field.
        join: The body of ``POST /join`` may have the field.
        start: The body of ``POST /start`` may have the field.
        record: The session record in Redis has the field, under the field's own name.
    """

    key: str | None
    join: bool = True
    start: bool = True
    record: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that a runner needs to run one session's bot.

    Attributes:
        session_id: The session.
        room_url: The room, in canonical form.
        epoch: The epoch of this grant of the room; 1 until the store assigns one.
        user_id: The user, if known.
        user_name: The user's display name, if known.
        user_email: The user's e-mail address, if known.
        tenant_id: The tenant whose limits apply.
        bot: The bot's name in ``[bots]``.
        token: The room's token for the bot; a secret.
        body: What the bot receives as ``runner_args.body``.
        attempt: The number of this hand-over, from 1.
        deadline_s: Seconds within which the session must run.
        max_duration_s: Seconds after which a running session ends.
        traceparent: The W3C trace context of the join. Over HTTP it travels as a header.
    """

    session_id: Annotated[str, Wire("sessionId")]
    room_url: Annotated[str, Wire("room_url")]
    epoch: Annotated[int, Wire("epoch", join=False)]
    user_id: Annotated[str | None, Wire("sessionUserId", record=True)] = None
    user_name: Annotated[str | None, Wire("sessionUserName", record=True)] = None
    user_email: Annotated[str | None, Wire("sessionUserEmail")] = None
    tenant_id: Annotated[str | None, Wire("tenantId", record=True)] = None
    bot: Annotated[str, Wire("bot", record=True)] = "default"
    token: Annotated[str | None, Wire("token")] = field(default=None, repr=False)
    body: Annotated[dict[str, Any], Wire("body")] = field(default_factory=dict)
    attempt: Annotated[int, Wire("attempt", join=False)] = 1
    deadline_s: Annotated[int, Wire("deadlineSeconds", start=False)] = DEADLINE_DEFAULT_S
    max_duration_s: Annotated[int, Wire("maxDurationSeconds", record=True)] = MAX_DURATION_DEFAULT_S
    traceparent: Annotated[str | None, Wire(None, record=True)] = None


# Session id, room, epoch and attempt of a record are absent here: the scripts write them at each grant.
_WIRES: Final[dict[str, Wire]] = {
    name: annotation.__metadata__[0] for name, annotation in Launch.__annotations__.items()
}
_KEYS: Final = {name: wire.key for name, wire in _WIRES.items() if wire.key is not None}
# The fields of a launch that the body of ``POST /join`` may have.
JOIN_FIELDS: Final = tuple(name for name in _KEYS if _WIRES[name].join)
# The fields of a launch that the body of ``POST /start`` may have.
START_FIELDS: Final = tuple(name for name in _KEYS if _WIRES[name].start)
# The fields of a launch that the session record in Redis has.
RECORD_FIELDS: Final = tuple(name for name, wire in _WIRES.items() if wire.record)


def request_key(name: str) -> str:
    """Return the key of a launch's field in the bodies of ``POST /join`` and ``POST /start``.

    Args:
        name: The field's name in ``Launch``.

    Raises:
        KeyError: ``Launch`` has no such field, or no body has it.
    """
    return _KEYS[name]


def start_body(launch: Launch) -> dict[str, Any]:
    """Return the body of ``POST /start`` for ``launch``, without absent values."""
    values = {_KEYS[name]: getattr(launch, name) for name in START_FIELDS}
    return {key: value for key, value in values.items() if value is not None}


def record_fields(launch: Launch) -> dict[str, str]:
    """Return the fields of a session record that come from ``launch``, without absent values."""
    values = {name: getattr(launch, name) for name in RECORD_FIELDS}
    return {name: str(value) for name, value in values.items() if value}


def encode(launch: Launch) -> str:
    """Return ``launch`` as the JSON of the launch queue, without absent values."""
    values = {key: value for key, value in asdict(launch).items() if value is not None}
    return json.dumps({"v": VERSION, **values}, ensure_ascii=False, separators=(",", ":"))


def decode(text: str | bytes) -> Launch:
    """Read a launch from the JSON of the launch queue. Unknown fields are ignored.

    Args:
        text: The message, as ``encode`` returns it.

    Raises:
        UnknownVersionError: The message has another version.
        InvalidValueError: The message is not a valid launch.
    """
    try:
        message = json.loads(text)
    except ValueError as error:
        raise InvalidValueError(f"Invalid launch message: {error}.") from error
    if not isinstance(message, dict):
        raise InvalidValueError("Invalid launch message: expected a JSON object.")
    if message.get("v") != VERSION:
        raise UnknownVersionError(
            f"Unknown launch message version {message.get('v')!r}; this release reads {VERSION}.",
            hint="Run the operator and the gateway in the same release.",
        )
    known = {name: message[name] for name in _WIRES if name in message}
    try:
        launch = Launch(**known)
    except TypeError as error:
        raise InvalidValueError(f"Incomplete launch message: {error}.") from error
    return _checked(launch)


def _checked(launch: Launch) -> Launch:
    check_session_id(launch.session_id)
    if canonical_room(launch.room_url) != launch.room_url:
        raise InvalidValueError("room_url is not in canonical form.", extra={"field": "room_url"})
    for name in ("epoch", "attempt", "deadline_s", "max_duration_s"):
        value = getattr(launch, name)
        # JSON's true is an int in Python.
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidValueError(f"{name} is not a positive integer.", extra={"field": name})
    if not isinstance(launch.body, dict):
        raise InvalidValueError("body is not an object.", extra={"field": "body"})
    return launch
