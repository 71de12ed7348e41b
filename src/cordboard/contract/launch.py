"""The launch message, version 1: an accepted join on its way to a runner."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from cordboard.contract.errors import InvalidValueError, UnknownVersionError
from cordboard.contract.ids import canonical_room, check_session_id

VERSION: Final = 1

DEADLINE_DEFAULT_S: Final = 60
DEADLINE_MAX_S: Final = 600
MAX_DURATION_DEFAULT_S: Final = 14_400
MAX_DURATION_MAX_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Launch:
    """All that a runner needs to run one session's bot.

    Attributes:
        session_id: The session.
        room_url: The room, in canonical form.
        epoch: The fencing number of this grant of the room.
        bot: Which bot, by its name in ``[bots]``.
        token: The room's token for the bot; a secret.
        body: What the bot gets as ``runner_args.body``.
        attempt: 1, and one more each time the session is handed to another runner.
        deadline_s: Seconds within which the session must run.
        max_duration_s: Seconds after which a running session ends.
    """

    session_id: str
    room_url: str
    epoch: int
    user_id: str | None = None
    user_name: str | None = None
    user_email: str | None = None
    tenant_id: str | None = None
    bot: str = "default"
    token: str | None = field(default=None, repr=False)
    body: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1
    deadline_s: int = DEADLINE_DEFAULT_S
    max_duration_s: int = MAX_DURATION_DEFAULT_S
    traceparent: str | None = None


def encode(launch: Launch) -> str:
    """Write a launch as JSON; absent values are not written."""
    values = {key: value for key, value in asdict(launch).items() if value is not None}
    return json.dumps({"v": VERSION, **values}, ensure_ascii=False, separators=(",", ":"))


def decode(text: str | bytes) -> Launch:
    """Read a launch; fields that this version does not know are ignored.

    Raises:
        UnknownVersionError: The message is of another version.
        InvalidValueError: It is no launch message.
    """
    try:
        message = json.loads(text)
    except ValueError as error:
        raise InvalidValueError(f"The launch message is not JSON: {error}.") from error
    if not isinstance(message, dict):
        raise InvalidValueError("The launch message is not an object.")
    if message.get("v") != VERSION:
        raise UnknownVersionError(
            f"The launch message has version {message.get('v')!r}; this release reads {VERSION}.",
            hint="Run the operator and the gateway in the same release.",
        )
    known = {key: message[key] for key in Launch.__dataclass_fields__ if key in message}
    try:
        launch = Launch(**known)
    except TypeError as error:
        raise InvalidValueError(f"The launch message lacks a field: {error}.") from error
    return _checked(launch)


def _checked(launch: Launch) -> Launch:
    check_session_id(launch.session_id)
    if canonical_room(launch.room_url) != launch.room_url:
        raise InvalidValueError("room_url is not in canonical form.", extra={"field": "room_url"})
    for name in ("epoch", "attempt", "deadline_s", "max_duration_s"):
        value = getattr(launch, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidValueError(f"{name} is not a positive number.", extra={"field": name})
    if not isinstance(launch.body, dict):
        raise InvalidValueError("body is not an object.", extra={"field": "body"})
    return launch
