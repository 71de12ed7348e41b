"""Carriers as the edge meets them: keys, and requests signed by the carriers' own libraries."""

import base64
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from plivo.utils import signature_v3
from twilio.request_validator import RequestValidator

from cordboard.settings.phone import CarrierAccount, PhoneNumber, PhoneSettings

PUBLIC_URL = "https://voice.example.com"
TOKEN = "carrier-auth-token-of-32-letters"
TELNYX_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TELNYX_PUBLIC = base64.b64encode(
    TELNYX_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
).decode()
FORM = "application/x-www-form-urlencoded"
OURS = "+15551234567"
THEIRS = "+15557654321"
Pairs = Sequence[tuple[str, str]]


def signed(
    carrier: str, url: str, pairs: Pairs, *, at: float | None = None
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a webhook as a carrier sends it."""
    body = urlencode(list(pairs)).encode()
    return body, {"Content-Type": FORM, **SIGNERS[carrier](url, pairs, body, at or time.time())}


def sign_twilio(url: str, pairs: Pairs, _body: bytes, _at: float) -> dict[str, str]:
    return {"X-Twilio-Signature": RequestValidator(TOKEN).compute_signature(url, MultiDict(pairs))}


def sign_telnyx(_url: str, _pairs: Pairs, body: bytes, at: float) -> dict[str, str]:
    stamp = str(int(at))
    signature = base64.b64encode(TELNYX_KEY.sign(stamp.encode() + b"|" + body)).decode()
    return {"Telnyx-Timestamp": stamp, "Telnyx-Signature-Ed25519": signature}


def sign_plivo(url: str, pairs: Pairs, _body: bytes, _at: float) -> dict[str, str]:
    form: dict[str, Any] = MultiDict(pairs).lists()
    text = bytes(signature_v3.construct_post_url(url, form))
    signature = signature_v3.get_signature_v3(TOKEN, text.decode(), "17")
    return {"X-Plivo-Signature-V3": signature.decode(), "X-Plivo-Signature-V3-Nonce": "17"}


def sign_exotel(_url: str, _pairs: Pairs, _body: bytes, _at: float) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"exotel:{TOKEN}".encode()).decode()}


SIGNERS = {
    "twilio": sign_twilio,
    "telnyx": sign_telnyx,
    "plivo": sign_plivo,
    "exotel": sign_exotel,
}


class MultiDict(dict[str, Any]):
    """A form with repeated names, as web frameworks hand it to Twilio's library."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        self._pairs = list(pairs)

    def getall(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def lists(self) -> dict[str, Any]:
        """One value as it is, several as a list: the form of Plivo's library."""
        values = {name: self.getall(name) for name in self}
        return {name: items[0] if len(items) == 1 else items for name, items in values.items()}


def accounts(**more: Any) -> dict[str, CarrierAccount]:
    """Return accounts at all carriers, whose secrets are in the variables of `environment`."""
    secret = {"auth_token_env": "TEST_CARRIER_TOKEN"}
    return {
        "twilio": CarrierAccount(name="twilio", account="AC1", secret_sources=secret, **more),
        "telnyx": CarrierAccount(
            name="telnyx",
            account="T1",
            application="77",
            public_key=TELNYX_PUBLIC,
            secret_sources={"api_key_env": "TEST_CARRIER_TOKEN"},
            **more,
        ),
        "plivo": CarrierAccount(name="plivo", account="MA1", secret_sources=secret, **more),
        "exotel": CarrierAccount(
            name="exotel",
            account="E1",
            user="exotel",
            secret_sources=dict.fromkeys(
                ("password_env", "api_key_env", "api_token_env"), "TEST_CARRIER_TOKEN"
            ),
            **more,
        ),
    }


def phone_settings(
    number: PhoneNumber | None = None,
    *,
    accounts_by_name: Mapping[str, CarrierAccount] | None = None,
    **more: Any,
) -> PhoneSettings:
    """Return settings with all carriers and one number."""
    return PhoneSettings(
        numbers={OURS: number} if number else {},
        carriers=accounts() if accounts_by_name is None else accounts_by_name,
        **more,
    )
