"""The tables of carriers. A further carrier is one more table; no other module names a carrier."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cordboard.edge.phone.credentials import Credentials
from cordboard.edge.phone.documents import (
    Documents,
    ExotelDocuments,
    PlivoDocuments,
    TwimlDocuments,
)
from cordboard.edge.phone.orders import (
    CallOrder,
    CarrierRequest,
    exotel_order,
    plivo_order,
    telnyx_order,
    twilio_order,
)
from cordboard.edge.phone.signatures import (
    BasicProof,
    PlivoProof,
    Proof,
    TelnyxProof,
    TwilioProof,
)
from cordboard.edge.phone.webhook import FieldNames


@dataclass(frozen=True, slots=True)
class Carrier:
    """One carrier.

    Attributes:
        name: The name in paths, rooms and ``cordboard.toml``.
        title: The name for people.
        proof: How its requests are verified.
        documents: The documents that it understands.
        proof_settings: The settings that verify its requests, for messages.
        fields: The names of the fields of its requests.
        order: Makes the request that places a call; None if that is not supported.
        order_settings: The settings that an order needs.
        variables: Variables by setting: those of the carrier's own libraries.
        methods: The HTTP methods of its webhooks.
        is_stream_ordered: Whether an order contains the URL of the stream, so that it needs no document.
    """

    name: str
    title: str
    proof: Proof
    documents: Documents
    proof_settings: str
    fields: FieldNames = field(default_factory=FieldNames)
    order: Callable[[CallOrder, Credentials], CarrierRequest] | None = None
    order_settings: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    methods: tuple[str, ...] = ("POST",)
    is_stream_ordered: bool = False


TWILIO: Final = Carrier(
    name="twilio",
    title="Twilio",
    proof=TwilioProof(),
    documents=TwimlDocuments(),
    proof_settings="auth_token_env or auth_token_file",
    order=twilio_order,
    order_settings=("account", "auth_token"),
    variables={"account": "TWILIO_ACCOUNT_SID", "auth_token": "TWILIO_AUTH_TOKEN"},
)

TELNYX: Final = Carrier(
    name="telnyx",
    title="Telnyx",
    proof=TelnyxProof(),
    # Telnyx documents no action of <Connect>, and takes no parameters; its first message has both numbers.
    documents=TwimlDocuments({"bidirectionalMode": "rtp"}, has_action=False, has_parameters=False),
    proof_settings="public_key",
    fields=FieldNames(
        sip_code=("SipHangupCause",),
        cause=("HangupCause", "ErrorMessage"),
        answered_by=("AnsweredBy",),
    ),
    order=telnyx_order,
    order_settings=("account", "application", "api_key"),
    variables={
        "account": "TELNYX_ACCOUNT_SID",
        "application": "TELNYX_APPLICATION_SID",
        "api_key": "TELNYX_API_KEY",
        "public_key": "TELNYX_PUBLIC_KEY",
    },
)

PLIVO: Final = Carrier(
    name="plivo",
    title="Plivo",
    proof=PlivoProof(),
    documents=PlivoDocuments(),
    proof_settings="auth_token_env or auth_token_file",
    fields=FieldNames(
        call_id=("CallUUID",),
        duration=("Duration",),
        sip_code=("SipResponseCode",),
        cause=("HangupCauseName", "HangupCause"),
        answered_by=("Machine",),
        stream_event=("Event",),
        stream_error=("StreamError",),
    ),
    order=plivo_order,
    order_settings=("account", "auth_token"),
    variables={"account": "PLIVO_AUTH_ID", "auth_token": "PLIVO_AUTH_TOKEN"},
)

EXOTEL: Final = Carrier(
    name="exotel",
    title="Exotel",
    proof=BasicProof(),
    documents=ExotelDocuments(),
    proof_settings="password_env, password_file or addresses",
    fields=FieldNames(
        caller=("CallFrom", "From"),
        called=("CallTo", "To"),
        status=("CallStatus", "Status"),
        duration=("ConversationDuration", "DialCallDuration"),
        session_id=("CustomField",),
    ),
    order=exotel_order,
    order_settings=("account", "api_key", "api_token"),
    variables={
        "account": "EXOTEL_ACCOUNT_SID",
        "api_key": "EXOTEL_API_KEY",
        "api_token": "EXOTEL_API_TOKEN",
    },
    methods=("GET", "POST"),  # the Voicebot applet sends GET
    is_stream_ordered=True,
)

CARRIERS: Final[Mapping[str, Carrier]] = {
    carrier.name: carrier for carrier in (TWILIO, TELNYX, PLIVO, EXOTEL)
}
"""Every carrier by its name."""
