"""Carriers' signatures, compared with what their own libraries compute and accept."""

import base64
import importlib.util
import sys
import time
import types
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from plivo.utils import signature_v3
from starlette.websockets import WebSocket
from twilio.request_validator import RequestValidator

from cordboard.edge.phone.carriers import CARRIERS
from cordboard.edge.phone.credentials import Credentials
from cordboard.edge.phone.desk import PhoneDesk
from cordboard.edge.phone.handshakes import handshake_proof
from cordboard.edge.phone.signatures import is_ed25519_key
from cordboard.edge.phone.webhook import Webhook, read_pairs
from cordboard.edge.tokens import StreamTokens
from cordboard.settings import Settings
from cordboard.settings.phone import CarrierAccount
from edge.phone_support import (
    SIGNERS,
    TELNYX_PUBLIC,
    TOKEN,
    MultiDict,
    accounts,
    phone_settings,
    sign_twilio,
    signed,
)

NAMES = tuple(CARRIERS)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
forms = st.lists(st.tuples(texts.filter(bool), texts), max_size=6)
URL = "https://voice.example.com/phone/x"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CARRIER_TOKEN", TOKEN)


def webhook(url: str, body: bytes, headers: dict[str, str], now: float | None = None) -> Webhook:
    return Webhook(
        method="POST",
        url=url,
        headers={name.lower(): value for name, value in headers.items()},
        body=body,
        form=read_pairs(body.decode()),
        query=read_pairs(url.partition("?")[2]),
        client="192.0.2.9",
        now=time.time() if now is None else now,
    )


def is_genuine(name: str, request: Webhook, account: CarrierAccount | None = None) -> bool:
    credentials = Credentials(account or accounts()[name])
    return CARRIERS[name].proof.is_genuine(request, credentials)


@pytest.mark.parametrize("name", NAMES)
@hypothesis.settings(max_examples=30)
@given(form=forms)
def test_what_a_carrier_signs_is_accepted_and_nothing_else(
    name: str, form: list[tuple[str, str]]
) -> None:
    """The signature of the carrier's own library fits; with a change anywhere it does not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_CARRIER_TOKEN", TOKEN)
        body, headers = signed(name, URL, form)
        assert is_genuine(name, webhook(URL, body, headers))
        for header in SIGNERS[name](URL, form, body, time.time()):
            assert not is_genuine(name, webhook(URL, body, headers | {header: "AAAA"}))
            assert not is_genuine(name, webhook(URL, body, headers | {header: ""}))
        if name != "exotel":  # who has its password may send anything
            assert not is_genuine(name, webhook(URL, body + b"&CallSid=CA2", headers))


@hypothesis.settings(max_examples=50)
@given(form=forms, query=forms)
def test_our_signatures_are_those_of_the_carriers_libraries(
    form: list[tuple[str, str]], query: list[tuple[str, str]]
) -> None:
    """With a query, with repeated names and with values of any script."""
    from urllib.parse import urlencode

    url = f"{URL}?{urlencode(query)}" if query else URL
    body = urlencode(form).encode()
    headers = SIGNERS["twilio"](url, form, body, 0)
    assert RequestValidator(TOKEN).validate(url, MultiDict(form), headers["X-Twilio-Signature"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_CARRIER_TOKEN", TOKEN)
        assert is_genuine("twilio", webhook(url, body, headers))


def test_plivo_signs_query_and_form() -> None:
    """The separators between URL, query, form and nonce are those of Plivo's library."""
    for url, form in (
        (URL, []),
        (URL, [("CallUUID", "u1"), ("From", "1555")]),
        (f"{URL}?b=2&a=1", []),
        (f"{URL}?b=2&a=1", [("From", "1555"), ("To", "1"), ("To", "0")]),
    ):
        body, headers = signed("plivo", url, form)
        assert is_genuine("plivo", webhook(url, body, headers)), url
        assert signature_v3.validate_v3_signature(
            "POST",
            url,
            "17",
            TOKEN,
            headers["X-Plivo-Signature-V3"],
            MultiDict(form).lists(),
        )


def test_plivo_main_account_and_several_signatures() -> None:
    """A subaccount's request has the main account's signature as well; a header may have several."""
    body, headers = signed("plivo", URL, [("CallUUID", "u1")])
    signature = headers.pop("X-Plivo-Signature-V3")
    assert not is_genuine("plivo", webhook(URL, body, headers))
    both = headers | {"X-Plivo-Signature-V3": f"AAAA, {signature}"}
    assert is_genuine("plivo", webhook(URL, body, both))
    main = headers | {"X-Plivo-Signature-V3": "AAAA", "X-Plivo-Signature-Ma-V3": signature}
    assert is_genuine("plivo", webhook(URL, body, main))


@pytest.mark.parametrize(
    ("signed_url", "public_url"),
    [
        ("https://voice.example.com:443/p", "https://voice.example.com/p"),
        ("https://voice.example.com/p", "https://voice.example.com:443/p"),
        ("https://voice.example.com/p", "https://voice.example.com:8443/p"),
        ("https://voice.example.com:8443/p", "https://voice.example.com:8443/p"),
    ],
)
def test_twilio_signs_with_or_without_the_port(signed_url: str, public_url: str) -> None:
    """As its own library, which tries both."""
    form = [("CallSid", "CA1")]
    headers = sign_twilio(signed_url, form, b"", 0)
    assert RequestValidator(TOKEN).validate(
        public_url, MultiDict(form), headers["X-Twilio-Signature"]
    )
    assert is_genuine("twilio", webhook(public_url, b"CallSid=CA1", headers))


def test_twilio_shared_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that names its key is signed with that key; the auth token does not fit."""
    monkeypatch.setenv("TEST_SHARED_KEY", "shared-key-of-the-webhooks")
    form = [("CallSid", "CA1"), ("From", "+1555")]
    signature = RequestValidator("shared-key-of-the-webhooks").compute_signature(
        URL, dict(form), "HMAC_SHA256"
    )
    headers = {
        "X-Twilio-Signature": signature,
        "X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
    }
    request = webhook(URL, b"CallSid=CA1&From=%2B1555", headers)
    account = CarrierAccount(
        name="twilio",
        secret_sources={
            "auth_token_env": "TEST_CARRIER_TOKEN",
            "signing_key_env": "TEST_SHARED_KEY",
        },
    )
    assert is_genuine("twilio", request, account)
    assert not is_genuine("twilio", request)  # without signing_key
    unknown = headers | {"X-Twilio-Webhooks-Signature-Settings": "key=1,algorithm=MD5"}
    assert not is_genuine("twilio", webhook(URL, request.body, unknown), account)


def test_previous_token_is_accepted_during_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new token in the environment, the old one in ..._PREV: both verify."""
    body, headers = signed("twilio", URL, [("CallSid", "CA1")])
    monkeypatch.setenv("TEST_CARRIER_TOKEN", "another-token-of-twilio")
    assert not is_genuine("twilio", webhook(URL, body, headers))
    monkeypatch.setenv("TEST_CARRIER_TOKEN_PREV", TOKEN)
    assert is_genuine("twilio", webhook(URL, body, headers))


def test_token_from_a_file_is_read_again(tmp_path: Any) -> None:
    """A token that changes in its file needs no restart."""
    file = tmp_path / "token"
    account = CarrierAccount(name="twilio", secret_sources={"auth_token_file": str(file)})
    body, headers = signed("twilio", URL, [("CallSid", "CA1")])
    file.write_text("the token before the change\n")
    assert not is_genuine("twilio", webhook(URL, body, headers), account)
    file.write_text(f"{TOKEN}\n")
    assert is_genuine("twilio", webhook(URL, body, headers), account)


@pytest.mark.parametrize(
    ("age_s", "accepted"), [(0, True), (299, True), (301, False), (-301, False)]
)
def test_telnyx_refuses_old_requests(age_s: int, accepted: bool) -> None:
    """A request that somebody has recorded is good for 5 minutes."""
    body, headers = signed("telnyx", URL, [("CallSid", "v3:1")], at=1_000_000)
    assert is_genuine("telnyx", webhook(URL, body, headers, now=1_000_000 + age_s)) is accepted


def test_telnyx_as_its_own_library_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same requests pass Telnyx's function, over PyNaCl's interface."""
    _stand_in_for_pynacl(monkeypatch)
    body, headers = signed("telnyx", URL, [("CallSid", "v3:1")])
    _telnyx_library().verify_webhook_signature(body, headers, TELNYX_PUBLIC)
    assert is_genuine("telnyx", webhook(URL, body, headers))


def _telnyx_library() -> Any:
    """Load the one module: the package takes seconds to import."""
    package = importlib.util.find_spec("telnyx")
    assert package is not None
    folder = Path(next(iter(package.submodule_search_locations or ())))
    name = "webhook_verification"
    spec = importlib.util.spec_from_file_location(name, folder / "lib" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _stand_in_for_pynacl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide the two names of PyNaCl that Telnyx's library uses, by way of cryptography."""

    class VerifyKey:
        def __init__(self, key: bytes) -> None:
            self._key = Ed25519PublicKey.from_public_bytes(key)

        def verify(self, message: bytes, signature: bytes) -> None:
            self._key.verify(signature, message)

    signing: Any = types.ModuleType("nacl.signing")
    signing.VerifyKey = VerifyKey
    exceptions: Any = types.ModuleType("nacl.exceptions")
    exceptions.BadSignatureError = InvalidSignature
    for name, module in (("nacl.signing", signing), ("nacl.exceptions", exceptions)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "nacl", types.ModuleType("nacl"))


@pytest.mark.parametrize(
    ("address", "password", "accepted"),
    [
        ("192.0.2.9", True, True),
        ("192.0.2.9", False, False),
        ("198.51.100.1", True, False),
        ("unknown", True, False),
    ],
)
def test_exotel_address_and_password(address: str, password: bool, accepted: bool) -> None:
    """Exotel signs nothing: where both are configured, both have to fit."""
    body, headers = signed("exotel", URL, [])
    request = Webhook("GET", URL, {}, b"", [], [], address, 0)
    if password:
        request = Webhook(
            "GET",
            URL,
            {name.lower(): value for name, value in headers.items()},
            body,
            [],
            [],
            address,
            0,
        )
    sources = {"password_env": "TEST_CARRIER_TOKEN"}
    account = CarrierAccount(
        name="exotel", user="exotel", addresses=("192.0.2.0/24",), secret_sources=sources
    )
    assert is_genuine("exotel", request, account) is accepted
    only_addresses = CarrierAccount(name="exotel", addresses=("192.0.2.0/24",))
    assert is_genuine("exotel", request, only_addresses) is (address == "192.0.2.9")


@pytest.mark.parametrize("name", NAMES)
def test_a_carrier_without_a_key_is_not_configured(name: str) -> None:
    """Without a key its requests are refused."""
    proof = CARRIERS[name].proof
    assert not proof.is_configured(Credentials(CarrierAccount(name=name)))
    assert proof.is_configured(Credentials(accounts()[name]))


def test_public_keys() -> None:
    """The form in which Telnyx's portal shows the key is recognised."""
    assert is_ed25519_key(TELNYX_PUBLIC)
    assert not is_ed25519_key("no base64!")
    assert not is_ed25519_key(base64.b64encode(b"short").decode())


@pytest.mark.parametrize(
    ("signed_url", "accepted"),
    [
        ("wss://voice.example.com/ws", True),
        ("https://voice.example.com/ws", True),
        ("wss://voice.example.com/ws/", True),
        ("wss://voice.example.com:443/ws", True),
        ("wss://evil.example.com/ws", False),
        ("", None),
    ],
)
def test_twilio_signs_the_handshake_of_a_stream(signed_url: str, accepted: bool | None) -> None:
    """A static document needs no token then; a signature that does not fit is wrong, and without one nothing is known."""
    headers = sign_twilio(signed_url, [], b"", 0) if signed_url else {}
    assert proof_of_handshake(headers) is accepted


def test_signature_of_a_key_that_is_not_configured_is_neither_right_nor_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An account whose webhooks have a shared key may sign its streams with the auth token, and the reverse."""
    headers = {
        "X-Twilio-Signature": "x",
        "X-Twilio-Webhooks-Signature-Settings": "key=1,algorithm=HMAC_SHA256",
    }
    assert proof_of_handshake(headers) is None
    monkeypatch.delenv("TEST_CARRIER_TOKEN")
    monkeypatch.setenv("TEST_SHARED_KEY", "a shared key")
    shared = CarrierAccount(name="twilio", secret_sources={"signing_key_env": "TEST_SHARED_KEY"})
    assert proof_of_handshake({"X-Twilio-Signature": "x"}, twilio=shared) is None
    assert proof_of_handshake(headers, twilio=shared) is False


def proof_of_handshake(headers: dict[str, str], **changed: CarrierAccount) -> bool | None:
    """Return what the edge makes of a handshake."""
    phone = phone_settings(accounts_by_name=accounts() | changed)
    settings = Settings(public_url="https://voice.example.com", phone=phone)
    desk = PhoneDesk(settings, StreamTokens(lambda: ()))
    scope = {
        "type": "websocket",
        "path": "/ws",
        "raw_path": b"/ws",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.9", 1),
    }
    websocket: Any = WebSocket(scope, None, None)  # type: ignore[arg-type]
    return handshake_proof(desk, time.time)(websocket)
