"""Requests to carriers' APIs that place a call, one function per carrier."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from cordboard.edge.phone.credentials import Credentials

_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class CallOrder:
    """A call to place.

    Attributes:
        called: The number to call, in the form of E.164.
        caller: Our number, which the called person sees.
        session_id: The session that waits for the call.
        answer_url: The URL that the carrier requests when the call is answered.
        status_url: Where it reports the states of the call.
        machine_url: Where it reports an answering machine; None if it does not look for one.
        stream_url: The URL of the stream, for a carrier that takes it at once.
        ring_s: Seconds after which an unanswered call ends.
    """

    called: str
    caller: str
    session_id: str
    answer_url: str
    status_url: str
    machine_url: str | None
    stream_url: str = field(repr=False)
    ring_s: int


@dataclass(frozen=True, slots=True)
class CarrierRequest:
    """A request to a carrier's API (always POST). It contains credentials.

    Attributes:
        url: The URL.
        headers: The headers.
        body: The body.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A carrier's answer to an order.

    Attributes:
        call_id: The carrier's id of the call; None if the answer has none.
        status: The state of the call, in the carrier's words.
    """

    call_id: str | None
    status: str


def twilio_order(order: CallOrder, account: Credentials) -> CarrierRequest:
    """Return Twilio's request (https://www.twilio.com/docs/voice/api/call-resource#create-a-call-resource).

    Args:
        order: The call.
        account: The account, with ``account`` and ``auth_token``.
    """
    name = account.text("account")
    pairs = [
        ("To", order.called),
        ("From", order.caller),
        ("Url", order.answer_url),
        ("StatusCallback", order.status_url),
        *(("StatusCallbackEvent", event) for event in ("ringing", "answered", "completed")),
        ("Timeout", str(order.ring_s)),
    ]
    if order.machine_url:
        pairs += [
            ("MachineDetection", "Enable"),
            ("AsyncAmd", "true"),  # the person hears the bot at once
            ("AsyncAmdStatusCallback", order.machine_url),
        ]
    url = f"{_base(account, 'https://api.twilio.com')}/2010-04-01/Accounts/{quote(name)}/Calls.json"
    return _form(url, _basic(name, account.secret("auth_token")), pairs)


def telnyx_order(order: CallOrder, account: Credentials) -> CarrierRequest:
    """Return Telnyx's request (https://developers.telnyx.com/api-reference/texml-rest-commands).

    Args:
        order: The call.
        account: The account, with ``account``, ``application`` and ``api_key``.
    """
    values = {
        "ApplicationSid": account.text("application"),
        "To": order.called,
        "From": order.caller,
        "Url": order.answer_url,
        "UrlMethod": "POST",
        "StatusCallback": order.status_url,
        "StatusCallbackMethod": "POST",
        "StatusCallbackEvent": "ringing answered completed",
        "Timeout": order.ring_s,
    }
    if order.machine_url:
        values |= {
            "MachineDetection": "Enable",
            "AsyncAmd": True,
            "AsyncAmdStatusCallback": order.machine_url,
            "AsyncAmdStatusCallbackMethod": "POST",
        }
    base = _base(account, "https://api.telnyx.com")
    url = f"{base}/v2/texml/Accounts/{quote(account.text('account'))}/Calls"
    return _json(url, {"Authorization": f"Bearer {account.secret('api_key')}"}, values)


def plivo_order(order: CallOrder, account: Credentials) -> CarrierRequest:
    """Return Plivo's request (https://docs.plivo.com/docs/voice/api/call/make-a-call).

    Args:
        order: The call.
        account: The account, with ``account`` and ``auth_token``.
    """
    name = account.text("account")
    values: dict[str, Any] = {
        "from": order.caller.lstrip("+"),
        "to": order.called.lstrip("+"),
        "answer_url": order.answer_url,
        "answer_method": "POST",
        "ring_url": order.status_url,
        "ring_method": "POST",
        "hangup_url": order.status_url,
        "hangup_method": "POST",
        "ring_timeout": order.ring_s,
    }
    if order.machine_url:
        values |= {
            "machine_detection": "true",
            "machine_detection_url": order.machine_url,
            "machine_detection_method": "POST",
        }
    url = f"{_base(account, 'https://api.plivo.com')}/v1/Account/{quote(name)}/Call/"
    return _json(url, _basic(name, account.secret("auth_token")), values)


def exotel_order(order: CallOrder, account: Credentials) -> CarrierRequest:
    """Return Exotel's request (https://developer.exotel.com/docs/agentstream/developer-guide).

    Exotel takes the URL of the stream with the order, so it requests no document.

    Args:
        order: The call.
        account: The account, with ``account``, ``api_key`` and ``api_token``.
    """
    pairs = [
        ("From", order.called),  # whom Exotel calls first, and here alone
        ("CallerId", order.caller),
        ("StreamUrl", order.stream_url),
        ("StreamType", "bidirectional"),
        ("StatusCallback", _with_user(order.status_url, account)),
        ("StatusCallbackEvents[0]", "terminal"),
        ("CustomField", order.session_id),
        ("TimeOut", str(order.ring_s)),
    ]
    base = _base(account, "https://api.exotel.com")
    url = f"{base}/v1/Accounts/{quote(account.text('account'))}/Calls/connect.json"
    return _form(url, _basic(account.secret("api_key"), account.secret("api_token")), pairs)


def read_placed(body: bytes) -> PlacedCall:
    """Return the placed call, from a carrier's answer to an order.

    Args:
        body: The body of the answer.

    Raises:
        ValueError: It is not JSON.
    """
    answer = json.loads(body)
    # Exotel wraps its answer in Call, an older interface of Telnyx in data.
    wrapped = _part(answer, "Call") or _part(answer, "call") or _part(answer, "data") or answer
    call_id = _text(wrapped, "sid", "Sid", "call_sid", "CallSid", "request_uuid")
    return PlacedCall(call_id or None, _text(wrapped, "status", "Status", "message") or "queued")


def read_refusal(body: bytes) -> str:
    """Return a carrier's reason for refusing an order, for people; empty if its answer has none.

    Args:
        body: The body of the answer.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if isinstance(errors, list) and errors:  # Telnyx
        answer = errors[0]
    nested = _part(answer, "RestException") or answer  # Exotel
    return _text(nested, "message", "detail", "error", "Message", "title")[:300]


def _base(account: Credentials, default: str) -> str:
    return account.text("api_url") or default


def _basic(user: str, password: str) -> dict[str, str]:
    pair = f"{user}:{password}".encode("utf-8", "surrogateescape")
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _form(url: str, auth: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> CarrierRequest:
    return CarrierRequest(url, {**auth, "Content-Type": _FORM}, urlencode(pairs).encode())


def _json(url: str, auth: Mapping[str, str], values: Mapping[str, Any]) -> CarrierRequest:
    return CarrierRequest(url, {**auth, "Content-Type": _JSON}, json.dumps(values).encode())


def _with_user(url: str, account: Credentials) -> str:
    """Return ``url`` with the user and the password that the edge expects of this carrier."""
    password = account.secret("password")
    if not password:
        return url
    parts = urlsplit(url)
    user = f"{quote(account.text('user'), safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))


def _part(answer: object, name: str) -> dict[str, Any] | None:
    part = answer.get(name) if isinstance(answer, dict) else None
    return part if isinstance(part, dict) else None


def _text(answer: object, *names: str) -> str:
    values = answer if isinstance(answer, dict) else {}
    return next((str(values[name]) for name in names if values.get(name)), "")
