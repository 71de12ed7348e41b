"""Inject and extract: the same two for HTTP headers, W3C baggage, queue messages, environments.

Foreign input never raises: a value that does not fit its grammar is left out and its name is
returned in ``Extracted.refused``, so that the caller can write one warning line.
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
ENVIRONMENT_NAMES: Final = tuple(_ENVIRONMENT.values())

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
_NO_MACHINE: Final = ("0.0.0.0", "localhost")  # noqa: S104 - names no machine, nothing listens
_MACHINE_FOREIGN: Final = re.compile(r"[^A-Za-z0-9._~:@-]")  # not allowed in a session id
_MACHINE_MAX_CHARS: Final = 121
"""A session id has at most 128 characters, of which ``server:`` takes 7."""
_EPOCH_MAX_DIGITS: Final = 18  # fits 63 bits
_VALUE_MAX_CHARS: Final = 1024
_BAGGAGE_MAX_CHARS: Final = 8192  # W3C Baggage, section 3.3.2: the least that all must carry


Headers = (
    Mapping[str, str]
    | Mapping[bytes, bytes]
    | Iterable[tuple[str, str]]
    | Iterable[tuple[bytes, bytes]]
)


@dataclass(frozen=True, slots=True)
class LogEnvironment:
    """What the environment says about logging; empty texts count as absent.

    Attributes:
        level: ``LOG_LEVEL``, as it stands.
        format: ``LOG_FORMAT``, as it stands.
        machine: ``POD_NAME``, ``JOB_ID``, the host's name, or ``server``; what a session id cannot
            hold is replaced by ``-``.
        color: Whether a terminal may get colours (``NO_COLOR``, ``TERM``).
    """

    level: str | None
    format: str | None
    machine: str
    color: bool


@dataclass(frozen=True, slots=True)
class OtlpEnvironment:
    """Where OpenTelemetry's variables send logs to.

    Attributes:
        endpoint: The whole URL.
        headers: ``name=value`` pairs with commas, percent-encoded; they may hold a secret.
    """

    endpoint: str
    headers: str


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a carrier held: a context, and the names of values that did not fit."""

    context: Context
    refused: tuple[str, ...] = ()

    @property
    def refused_variables(self) -> list[str]:
        """The names of ``refused`` as environment variables."""
        return [_ENVIRONMENT[name] for name in self.refused]


def inject_headers(context: Context, headers: MutableMapping[str, str]) -> None:
    """Write a context into HTTP headers; absent and malformed values are not written."""
    values = _sendable(context)
    for name, header in _HEADERS.items():
        value = values.get(name)
        if value is not None:
            headers[header] = quote(value, safe="") if name == "user_name" else _ascii(value)


def extract_headers(headers: Headers) -> Extracted:
    """Read a context from HTTP headers, whatever they hold.

    ``X-…`` headers come before W3C baggage.

    Args:
        headers: A mapping, or pairs as ASGI has them; names and values are texts or bytes.
    """
    lower = _lower(headers)
    values: dict[str, Any] = dict(_baggage(lower.get(HEADER_BAGGAGE, "")))
    for name, header in _HEADERS.items():
        value = lower.get(header.lower())
        if value:
            values[name] = unquote(value, errors="replace") if name == "user_name" else value
    return _checked(values)


def inject_baggage(context: Context, headers: MutableMapping[str, str]) -> None:
    """Write a context into the headers ``baggage`` and ``traceparent`` of the W3C.

    Members of others are kept, as far as they fit into the 8192 bytes that all must carry.
    """
    values = _sendable(context)
    members = [
        f"{key}={quote(values[name], safe='')}"
        for key, name in _BAGGAGE_NAMES.items()
        if name in values
    ]
    for member in headers.get(HEADER_BAGGAGE, "").split(","):
        name = member.partition("=")[0].strip()
        fits = len(",".join([*members, member])) <= _BAGGAGE_MAX_CHARS
        if name and name not in _BAGGAGE_NAMES and fits and not _CONTROL.search(member):
            members.append(member.strip())
    if members:
        headers[HEADER_BAGGAGE] = ",".join(members)
    if "traceparent" in values:
        headers[HEADER_TRACEPARENT] = values["traceparent"]


def inject_message(context: Context, message: MutableMapping[str, Any]) -> None:
    """Write a context into a message of a queue, under the keys of a log line."""
    values = _sendable(context)
    for name, key in _MESSAGE_KEYS.items():
        if name in values:
            message[key] = context.epoch if name == "epoch" else values[name]


def extract_message(message: object) -> Extracted:
    """Read a context from a message of a queue, whatever it holds."""
    if not isinstance(message, Mapping):
        return Extracted(Context())
    return _checked({name: message.get(key) for name, key in _MESSAGE_KEYS.items()})


def inject_environment(context: Context, environment: MutableMapping[str, str]) -> None:
    """Write a context into an environment; absent values are removed, never written empty."""
    values = _sendable(context)
    for name, variable in _ENVIRONMENT.items():
        if name in values:
            environment[variable] = values[name]
        else:
            environment.pop(variable, None)


def extract_environment(environment: Mapping[str, str] | None = None) -> Extracted:
    """Read a context from an environment, by default this process's own."""
    source = os.environ if environment is None else environment
    return _checked({name: source.get(variable) for name, variable in _ENVIRONMENT.items()})


def log_environment(environment: Mapping[str, str] | None = None) -> LogEnvironment:
    """Read what the environment says about logging, by default this process's own."""
    source = os.environ if environment is None else environment
    names = (source.get("POD_NAME"), source.get("JOB_ID"), os.uname().nodename)
    known = (name.strip() for name in names if name)
    return LogEnvironment(
        level=source.get("LOG_LEVEL", "").strip() or None,
        format=source.get("LOG_FORMAT", "").strip() or None,
        machine=_fit_machine(next((n for n in known if n and n not in _NO_MACHINE), "server")),
        color=not source.get("NO_COLOR") and source.get("TERM") != "dumb",
    )


def otlp_environment(environment: Mapping[str, str] | None = None) -> OtlpEnvironment:
    """Read where logs are exported to, by the names that OpenTelemetry specifies."""
    source = os.environ if environment is None else environment
    base = source.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"
    headers = source.get("OTEL_EXPORTER_OTLP_LOGS_HEADERS")
    return OtlpEnvironment(
        endpoint=source.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT") or f"{base.rstrip('/')}/v1/logs",
        headers=headers or source.get("OTEL_EXPORTER_OTLP_HEADERS", ""),
    )


def _lower(headers: Headers) -> dict[str, str]:
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
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _baggage(header: str) -> Iterable[tuple[str, str]]:
    for member in header[:_BAGGAGE_MAX_CHARS].split(","):
        name, equals, rest = member.partition("=")
        field = _BAGGAGE_NAMES.get(name.strip())
        if field and equals:
            yield field, unquote(rest.partition(";")[0].strip(), errors="replace")


def _sendable(context: Context) -> dict[str, str]:
    """Return what of a context is there and fits its grammar, as texts."""
    found = {name: getattr(context, name) for name in _ENVIRONMENT}
    return {
        name: str(value)
        for name, value in found.items()
        if value is not None and _fit(name, value) is not None
    }


def _checked(values: Mapping[str, Any]) -> Extracted:
    kept: dict[str, Any] = {}
    refused: list[str] = []
    for name, value in values.items():
        if value is None or value == "":
            continue
        fit = _fit(name, value)
        if fit is None:
            refused.append(name)
        else:
            kept[name] = fit
    return Extracted(Context(**kept), tuple(refused))


def _fit(name: str, value: object) -> str | int | None:
    if name == "epoch":
        return _fit_epoch(value)
    if not isinstance(value, str) or not value:
        return None
    if name == "session_id":
        return value if is_session_id(value) else None
    if name == "traceparent":
        return value if _TRACEPARENT.fullmatch(value) else None
    limit = ROOM_URL_MAX_CHARS if name == "room" else _VALUE_MAX_CHARS
    return None if len(value) > limit or _UNSENDABLE.search(value) else value


def _fit_epoch(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= _EPOCH_MAX_DIGITS:
        value = int(value) if value.isascii() and value.isdigit() else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < 10**_EPOCH_MAX_DIGITS else None


def _fit_machine(name: str) -> str:
    return _MACHINE_FOREIGN.sub("-", name[:_MACHINE_MAX_CHARS])


def _ascii(value: str) -> str:
    """Percent-encode what a header cannot carry; ids of plain ASCII stay as they are."""
    plain = value.isascii() and value.isprintable() and value == value.strip()
    return value if plain else quote(value, safe="")
