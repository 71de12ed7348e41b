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
from cordboard.contract.ids import is_session_id

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

ENVIRONMENT_NAMES: Final = (
    ENV_SESSION_ID,
    ENV_USER_ID,
    ENV_USER_NAME,
    ENV_ROOM,
    ENV_EPOCH,
    ENV_TRACEPARENT,
)

_BAGGAGE_NAMES: Final = {
    "session.id": "session_id",
    "user.id": "user_id",
    "user.name": "user_name",
}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_MACHINE: Final = ("0.0.0.0", "localhost")  # noqa: S104 - names no machine, nothing listens
_EPOCH_MAX_DIGITS: Final = 18  # fits 63 bits
_VALUE_MAX_CHARS: Final = 1024
_BAGGAGE_MAX_CHARS: Final = 8192  # W3C Baggage, section 3.3.2: the least that all must carry


@dataclass(frozen=True, slots=True)
class LogEnvironment:
    """What the environment says about logging; empty texts count as absent.

    Attributes:
        level: ``LOG_LEVEL``, as it stands.
        format: ``LOG_FORMAT``, as it stands.
        machine: ``POD_NAME``, ``JOB_ID``, the host's name, or ``server``.
        color: Whether a terminal may get colours (``NO_COLOR``, ``TERM``).
    """

    level: str | None
    format: str | None
    machine: str
    color: bool


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a carrier held: a context, and the names of values that did not fit."""

    context: Context
    refused: tuple[str, ...] = ()


def inject_headers(context: Context, headers: MutableMapping[str, str]) -> None:
    """Write a context into HTTP headers; absent values are not written."""
    for name, value in (
        (HEADER_SESSION_ID, context.session_id),
        (HEADER_USER_ID, _header_safe(context.user_id)),
        (HEADER_USER_NAME, quote(context.user_name, safe="") if context.user_name else None),
        (HEADER_EPOCH, str(context.epoch) if context.epoch is not None else None),
        (HEADER_TRACEPARENT, context.traceparent),
    ):
        if value:
            headers[name] = value


def extract_headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Extracted:
    """Read a context from HTTP headers; ``X-…`` headers come before W3C baggage."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lower = {name.lower(): value for name, value in pairs}
    values: dict[str, Any] = dict(_baggage(lower.get(HEADER_BAGGAGE, "")))
    for name, header in (
        ("session_id", HEADER_SESSION_ID),
        ("user_id", HEADER_USER_ID),
        ("epoch", HEADER_EPOCH),
        ("traceparent", HEADER_TRACEPARENT),
    ):
        if lower.get(header.lower()):
            values[name] = lower[header.lower()].strip()
    if lower.get(HEADER_USER_NAME.lower()):
        values["user_name"] = unquote(lower[HEADER_USER_NAME.lower()].strip(), errors="replace")
    return _checked(values)


def inject_environment(context: Context, environment: MutableMapping[str, str]) -> None:
    """Write a context into an environment; absent values are removed, never written empty."""
    for name, value in (
        (ENV_SESSION_ID, context.session_id),
        (ENV_USER_ID, context.user_id),
        (ENV_USER_NAME, context.user_name),
        (ENV_ROOM, context.room),
        (ENV_EPOCH, str(context.epoch) if context.epoch is not None else None),
        (ENV_TRACEPARENT, context.traceparent),
    ):
        if value:
            environment[name] = value.replace("\x00", "")
        else:
            environment.pop(name, None)


def extract_environment(environment: Mapping[str, str] | None = None) -> Extracted:
    """Read a context from an environment, by default this process's own."""
    source = os.environ if environment is None else environment
    return _checked(
        {
            "session_id": source.get(ENV_SESSION_ID),
            "user_id": source.get(ENV_USER_ID),
            "user_name": source.get(ENV_USER_NAME),
            "room": source.get(ENV_ROOM),
            "epoch": source.get(ENV_EPOCH),
            "traceparent": source.get(ENV_TRACEPARENT),
        }
    )


def log_environment(environment: Mapping[str, str] | None = None) -> LogEnvironment:
    """Read what the environment says about logging, by default this process's own."""
    source = os.environ if environment is None else environment
    names = (source.get("POD_NAME"), source.get("JOB_ID"), os.uname().nodename)
    known = (name.strip() for name in names if name)
    return LogEnvironment(
        level=source.get("LOG_LEVEL", "").strip() or None,
        format=source.get("LOG_FORMAT", "").strip() or None,
        machine=next((name for name in known if name and name not in _NO_MACHINE), "server"),
        color=not source.get("NO_COLOR") and source.get("TERM") != "dumb",
    )


def _baggage(header: str) -> Iterable[tuple[str, str]]:
    for member in header[:_BAGGAGE_MAX_CHARS].split(","):
        name, equals, rest = member.partition("=")
        field = _BAGGAGE_NAMES.get(name.strip())
        if field and equals:
            yield field, unquote(rest.partition(";")[0].strip(), errors="replace")


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


def _fit(name: str, value: str) -> str | int | None:
    if name == "session_id":
        return value if is_session_id(value) else None
    if name == "epoch":
        return (
            int(value)
            if value.isascii() and value.isdigit() and len(value) <= _EPOCH_MAX_DIGITS
            else None
        )
    if name == "traceparent":
        return value if _TRACEPARENT.fullmatch(value) else None
    if len(value) > _VALUE_MAX_CHARS or _CONTROL.search(value):
        return None
    return value


def _header_safe(value: str | None) -> str | None:
    """Percent-encode what a header cannot carry; ids of plain ASCII stay as they are."""
    if value is None or (value.isascii() and value.isprintable()):
        return value
    return quote(value, safe="")
