"""A carrier's request as the engine reads it, and the values that all carriers send under some name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from cordboard.contract.errors import InvalidValueError

FORM_MAX_BYTES: Final = 64 * 1024
"""The largest form. A webhook has about 1 KB; SIP headers that a carrier passes on add a few more."""

FIELDS_MAX: Final = 500
"""The most fields of a form. A webhook has about 30, and each SIP header adds one."""

_TEXT_MAX_CHARS: Final = 128  # of a value that is logged or compared; names of states have about 10
# Final states of calls, in the words of Twilio, Telnyx, Plivo and Exotel.
_FINAL: Final = frozenset(
    {"completed", "busy", "failed", "no-answer", "canceled", "cancelled", "timeout", "rejected"}
)
# What detection of answering machines reports for a person, or when it is not sure.
_PERSONS: Final = frozenset({"", "human", "unknown", "false", "not_sure"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """One request of a carrier.

    Attributes:
        method: The HTTP method.
        url: The URL that the carrier requested: ``public_url``, the path as sent, and the query.
        headers: The headers, with names in lower case.
        body: The body, as sent.
        form: The pairs of the body, in their order.
        query: The pairs of the URL's query, in their order.
        client: The address of the client, behind trusted proxies.
        now: The time in seconds since 1970.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    form: Sequence[tuple[str, str]]
    query: Sequence[tuple[str, str]]
    client: str
    now: float

    def value(self, *names: str) -> str:
        """Return the first value that one of ``names`` has; empty if none has any."""
        for name in names:
            for key, value in (*self.form, *self.query):
                if key == name and value:
                    return value
        return ""


@dataclass(frozen=True, slots=True)
class FieldNames:
    """The names under which a carrier sends what the engine needs; the first one with a value counts.

    Attributes:
        call_id: The carrier's id of the call.
        caller: The number that calls.
        called: The number that is called.
        direction: Whether the call is inbound or outbound.
        status: The state of the call.
        duration: The duration in seconds.
        sip_code: The SIP response code with which the call ended.
        cause: Why it ended.
        answered_by: What the detection of answering machines found.
        stream_event: What happened to the stream.
        stream_error: Why the stream failed.
        session_id: The session, where the carrier passes a value of ours on.
    """

    call_id: tuple[str, ...] = ("CallSid",)
    caller: tuple[str, ...] = ("From",)
    called: tuple[str, ...] = ("To",)
    direction: tuple[str, ...] = ("Direction",)
    status: tuple[str, ...] = ("CallStatus",)
    duration: tuple[str, ...] = ("CallDuration",)
    sip_code: tuple[str, ...] = ("SipResponseCode",)
    cause: tuple[str, ...] = ("ErrorMessage",)
    answered_by: tuple[str, ...] = ("AnsweredBy",)
    stream_event: tuple[str, ...] = ("StreamEvent",)
    stream_error: tuple[str, ...] = ("StreamError",)
    session_id: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A webhook's data of a call; a value that the webhook does not contain is an empty text.

    Attributes:
        provider: The carrier.
        call_id: The carrier's id of the call.
        caller: The number that calls, as the carrier writes it.
        called: The number that is called.
        is_outbound: Whether we have placed the call.
        status: The state of the call, in lower case.
        details: Duration, SIP code, cause and the like, for the log: only those that are present.
        answered_by: What the detection of answering machines found.
        session_id: The session, where the carrier passes a value of ours on.
    """

    provider: str
    call_id: str
    caller: str
    called: str
    is_outbound: bool
    status: str
    details: Mapping[str, str | int] = field(default_factory=dict)
    answered_by: str = ""
    session_id: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the carrier reports the end of the call."""
        return self.status in _FINAL

    @property
    def is_machine(self) -> bool:
        """Whether an answering machine, or a fax machine, has answered."""
        return self.answered_by.lower() not in _PERSONS

    @property
    def our_number(self) -> str:
        """The number of the call that is ours."""
        return self.caller if self.is_outbound else self.called

    @property
    def their_number(self) -> str:
        """The number of the person."""
        return self.called if self.is_outbound else self.caller


def read_call(provider: str, names: FieldNames, webhook: Webhook) -> Call:
    """Return a webhook's data of its call.

    Args:
        provider: The carrier.
        names: The carrier's names of the fields.
        webhook: The request.
    """

    def text(keys: tuple[str, ...]) -> str:
        return webhook.value(*keys)[:_TEXT_MAX_CHARS]

    duration = text(names.duration)
    details: dict[str, str | int] = {
        "duration_s": int(duration) if re.fullmatch("[0-9]{1,9}", duration) else duration,
        "sip_code": text(names.sip_code),
        "cause": text(names.cause),
        "answered_by": text(names.answered_by),
        "stream_event": text(names.stream_event),
        "stream_error": text(names.stream_error),
    }
    return Call(
        provider=provider,
        call_id=webhook.value(*names.call_id),
        caller=text(names.caller),
        called=text(names.called),
        is_outbound=text(names.direction).lower().startswith("outbound"),
        status=text(names.status).lower(),
        details={name: value for name, value in details.items() if value != ""},
        answered_by=text(names.answered_by),
        session_id=webhook.value(*names.session_id),
    )


def read_pairs(text: str) -> list[tuple[str, str]]:
    """Return the pairs of a form, or of a URL's query.

    Args:
        text: The pairs, encoded as in a URL.

    Raises:
        InvalidValueError: There are too many.
    """
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise InvalidValueError(f"The form has over {FIELDS_MAX} fields.") from error
