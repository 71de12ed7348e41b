"""Injects a context into a carrier and extracts it: HTTP headers, W3C baggage, messages, environments.

Input from outside never raises: a malformed value is left out, and its name is returned in
``Extracted.refused``, so that the caller can log one warning.
"""

import os
import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from cordboard.context import Context
from cordboard.contract.ids import ROOM_URL_MAX_CHARS, is_session_id

HEADER_SESSION_ID: Final = "X-Session-Id"
HEADER_USER_ID: Final = "X-User-Id"
HEADER_USER_NAME: Final = "X-User-Name"
HEADER_EPOCH: Final = "X-Session-Epoch"
HEADER_TRACEPARENT: Final = "traceparent"
HEADER_BAGGAGE: Final = "baggage"

ENV_SESSION_ID: Final = "BOT_SESSION_ID"
ENV_USER_ID: Final = "BOT_SESSION_USER_ID"
ENV_USER_NAME: Final = "BOT_SESSION_USER_NAME"
ENV_ROOM: Final = "BOT_ROOM_URL"
ENV_EPOCH: Final = "BOT_SESSION_EPOCH"
ENV_TRACEPARENT: Final = "TRACEPARENT"

_HEADERS: Final = {
    "session_id": HEADER_SESSION_ID,
    "user_id": HEADER_USER_ID,
    "user_name": HEADER_USER_NAME,
    "epoch": HEADER_EPOCH,
    "traceparent": HEADER_TRACEPARENT,
}
OWN_HEADERS: Final = tuple(_HEADERS.values())
"""The headers that ``inject_headers`` writes."""

_ENVIRONMENT: Final = {
    "session_id": ENV_SESSION_ID,
    "user_id": ENV_USER_ID,
    "user_name": ENV_USER_NAME,
    "room": ENV_ROOM,
    "epoch": ENV_EPOCH,
    "traceparent": ENV_TRACEPARENT,
}

_MESSAGE_KEYS: Final = {
    "session_id": "sessionId",
    "user_id": "userId",
    "user_name": "userName",
    "room": "room",
    "epoch": "epoch",
    "traceparent": "traceparent",
}
_BAGGAGE_NAMES: Final = {
    "session.id": "session_id",
    "user.id": "user_id",
    "user.name": "user_name",
}
# W3C Trace Context, section 3.2.2: version ff and ids of zeros are invalid.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Such numbers fit into 63 bits.
_EPOCH_MAX_DIGITS: Final = 18
# A limit on the length of names and ids of users, as in the request for a join.
_VALUE_MAX_CHARS: Final = 1024
# W3C Baggage, section 3.3.2: every participant must pass on that much, and may drop more.
_BAGGAGE_MAX_CHARS: Final = 8192


Headers = (
    Mapping[str, str]
    | Mapping[bytes, bytes]
    | Iterable[tuple[str, str]]
    | Iterable[tuple[bytes, bytes]]
)


@dataclass(frozen=True, slots=True)
class Extracted:
    """The contents of a carrier.

    Attributes:
        context: The values that are well-formed.
        refused: The names of the fields whose values are malformed.
    """

    context: Context
    refused: tuple[str, ...] = ()

    @property
    def refused_variables(self) -> list[str]:
        """The environment variables of the refused fields."""
        return [_ENVIRONMENT[name] for name in self.refused]


def inject_headers(context: Context, headers: MutableMapping[str, str]) -> None:
    """Write a context into HTTP headers; absent and malformed values are not written.

    Args:
        context: The context, such as ``current()``.
        headers: The headers of a request, which are changed.

    Example:
        ```python
        headers: dict[str, str] = {}
        inject_headers(current(), headers)
        ```
    """
    values = _sendable(context)
    # A user's name may be in any script, so it is always encoded; ids usually need no encoding.
    for name, header in _HEADERS.items():
        value = values.get(name)
        if value is not None:
            headers[header] = quote(value, safe="") if name == "user_name" else _ascii(value)


def extract_headers(headers: Headers) -> Extracted:
    """Read a context from HTTP headers, whatever they contain.

    A value in an ``X-…`` header takes precedence over one in W3C baggage.

    Args:
        headers: A mapping, or pairs as in ASGI; names and values are texts or bytes.

    Example:
        ```python
        context = extract_headers(request.headers).context
        ```
    """
    lower = _lowercase(headers)
    # Baggage first: the values of X-... headers overwrite it.
    values: dict[str, Any] = dict(_baggage(lower.get(HEADER_BAGGAGE, "")))
    for name, header in _HEADERS.items():
        value = lower.get(header.lower())
        if value:
            values[name] = unquote(value, errors="replace") if name == "user_name" else value
    return _checked(values)


def inject_baggage(context: Context, headers: MutableMapping[str, str]) -> None:
    """Write a context into the W3C headers ``baggage`` and ``traceparent``.

    Other members of the baggage are kept as far as they fit into the 8192 bytes that every
    participant passes on.

    Args:
        context: The context, such as ``current()``.
        headers: The headers of a request, which are changed.

    Example:
        ```python
        inject_baggage(current(), headers)
        ```
    """
    values = _sendable(context)
    members = [
        f"{key}={quote(values[name], safe='')}"
        for key, name in _BAGGAGE_NAMES.items()
        if name in values
    ]
    for member in headers.get(HEADER_BAGGAGE, "").split(","):
        name = member.partition("=")[0].strip()
        # The names of the context are this library's own; an older value of one is dropped.
        fits = len(",".join([*members, member])) <= _BAGGAGE_MAX_CHARS
        if name and name not in _BAGGAGE_NAMES and fits and not _CONTROL.search(member):
            members.append(member.strip())
    if members:
        headers[HEADER_BAGGAGE] = ",".join(members)
    if "traceparent" in values:
        headers[HEADER_TRACEPARENT] = values["traceparent"]


def inject_message(context: Context, message: MutableMapping[str, Any]) -> None:
    """Write a context into a message of a queue, under the same keys as in a log line.

    Args:
        context: The context, such as ``current()``.
        message: The message, which is changed.

    Example:
        ```python
        message = {"invoice": 42}
        inject_message(current(), message)
        ```
    """
    values = _sendable(context)
    for name, key in _MESSAGE_KEYS.items():
        if name in values:
            message[key] = context.epoch if name == "epoch" else values[name]


def extract_message(message: object) -> Extracted:
    """Read a context from a message of a queue, whatever it contains.

    Args:
        message: The decoded message; one that is not a mapping has no context.

    Example:
        ```python
        with bound_context(extract_message(message).context):
            handle(message)
        ```
    """
    if not isinstance(message, Mapping):
        return Extracted(Context())
    return _checked({name: message.get(key) for name, key in _MESSAGE_KEYS.items()})


def inject_environment(context: Context, environment: MutableMapping[str, str]) -> None:
    """Write a context into the environment of a process; absent values are removed from it.

    Args:
        context: The context, such as ``current()``.
        environment: The environment, which is changed.

    Example:
        ```python
        environment = dict(os.environ)
        inject_environment(current(), environment)
        subprocess.run(["worker"], env=environment)
        ```
    """
    values = _sendable(context)
    for name, variable in _ENVIRONMENT.items():
        if name in values:
            environment[variable] = values[name]
        else:
            # A child must not take the session that its parent happens to have in the environment.
            environment.pop(variable, None)


def extract_environment(environment: Mapping[str, str] | None = None) -> Extracted:
    """Read a context from the variables of an environment.

    Args:
        environment: The environment; by default that of this process.
    """
    source = os.environ if environment is None else environment
    return _checked({name: source.get(variable) for name, variable in _ENVIRONMENT.items()})


def _lowercase(headers: Headers) -> dict[str, str]:
    """Return `headers` by lower-case name; several headers of baggage are joined."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lower: dict[str, str] = {}
    for pair in pairs:
        name, value = (_text(part) for part in pair)
        name = name.lower()
        if name == HEADER_BAGGAGE and name in lower:
            value = f"{lower[name]},{value}"
        lower[name] = value.strip(" \t")
    return lower


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")  # HTTP headers, RFC 9110: any byte is accepted
    return value if isinstance(value, str) else ""


def _baggage(header: str) -> Iterable[tuple[str, str]]:
    for member in header[:_BAGGAGE_MAX_CHARS].split(","):
        name, equals, rest = member.partition("=")
        # Properties of a member, after a semicolon, carry no value of the context.
        field = _BAGGAGE_NAMES.get(name.strip())
        if field and equals:
            yield field, unquote(rest.partition(";")[0].strip(), errors="replace")


def _sendable(context: Context) -> dict[str, str]:
    """Return the values of `context` that are known and well-formed, as texts."""
    values = {name: getattr(context, name) for name in _ENVIRONMENT}
    return {
        name: str(value)
        for name, value in values.items()
        if value is not None and _well_formed(name, value) is not None
    }


def _checked(values: Mapping[str, Any]) -> Extracted:
    fields: dict[str, Any] = {}
    refused: list[str] = []
    for name, value in values.items():
        if value is None or value == "":
            continue
        field_value = _well_formed(name, value)
        if field_value is None:
            refused.append(name)
        else:
            fields[name] = field_value
    return Extracted(Context(**fields), tuple(refused))


def _well_formed(name: str, value: object) -> str | int | None:
    """Return the `value` of the field `name`, or None if it is malformed."""
    if name == "epoch":
        return _epoch(value)
    if not isinstance(value, str) or not value:
        return None
    if name == "session_id":
        return value if is_session_id(value) else None
    if name == "traceparent":
        return value if _TRACEPARENT.fullmatch(value) else None
    # Control characters, line separators and lone surrogates break headers, terminals or UTF-8.
    limit = ROOM_URL_MAX_CHARS if name == "room" else _VALUE_MAX_CHARS
    return None if len(value) > limit or _UNSENDABLE.search(value) else value


def _epoch(value: object) -> int | None:
    # isdigit() is true for digits of other scripts, which int() accepts as well: ASCII only.
    if isinstance(value, str) and len(value) <= _EPOCH_MAX_DIGITS:
        value = int(value) if value.isascii() and value.isdigit() else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < 10**_EPOCH_MAX_DIGITS else None


def _ascii(value: str) -> str:
    """Percent-encode a value that a header cannot carry; ids of plain ASCII stay as they are."""
    is_plain = value.isascii() and value.isprintable() and value == value.strip()
    return value if is_plain else quote(value, safe="")
