"""How carriers prove that a request is theirs. Every comparison takes constant time.

The rules are those of the carriers' own libraries, which the tests compare with: ``twilio.request_validator``,
``telnyx.lib.webhook_verification``, ``plivo.utils.signature_v3``.
"""

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from cordboard.contract.errors import SettingsError
from cordboard.contract.extras import NotInstalledError
from cordboard.edge.phone.credentials import Credentials
from cordboard.edge.phone.webhook import Webhook

TELNYX_TOLERANCE_S: Final = 300  # as in Telnyx's own library
_SECONDS: Final = re.compile("[0-9]{1,12}")  # since 1970, for some 30,000 years
_TWILIO_HASHES: Final = {"hmac_sha1": hashlib.sha1, "hmac_sha256": hashlib.sha256}
_DEFAULT_PORTS: Final = {"https": 443, "http": 80, "wss": 443, "ws": 80}
_ED25519_KEY_BYTES: Final = 32  # RFC 8032, section 5.1.5


class Proof(Protocol):
    """How the requests of one carrier are verified."""

    def is_configured(self, credentials: Credentials) -> bool:
        """Return whether `credentials` have a key; without one the carrier's requests are not served."""
        ...

    def is_genuine(self, webhook: Webhook, credentials: Credentials) -> bool:
        """Return whether the carrier sent the `webhook`, according to its `credentials`."""
        ...


class TwilioProof:
    """``X-Twilio-Signature``: the HMAC of the URL and of the sorted pairs of the form.

    A request with ``X-Twilio-Webhooks-Signature-Settings`` is signed with a shared key (``signing_key``) and
    the algorithm that this header names; others with the auth token and SHA-1. Twilio signs the URL with or
    without its port, so both are tried (https://www.twilio.com/docs/usage/security).
    """

    def is_configured(self, credentials: Credentials) -> bool:
        """Return whether `credentials` have an auth token or a shared key."""
        return bool(credentials.secrets("auth_token") or credentials.secrets("signing_key"))

    def is_genuine(self, webhook: Webhook, credentials: Credentials) -> bool:
        """Return whether Twilio sent the `webhook` to the account of these `credentials`."""
        header = webhook.headers.get("x-twilio-webhooks-signature-settings", "")
        algorithm = _setting(header, "algorithm") or "hmac_sha1"
        digest = _TWILIO_HASHES.get(algorithm.lower())
        if digest is None:
            return False
        # Twilio signs each pair once, however often the form repeats it.
        form = "".join(name + value for name, value in sorted(set(webhook.form)))
        signature = webhook.headers.get("x-twilio-signature", "").encode("utf-8", "replace")
        expected = [
            base64.b64encode(hmac.digest(_encoded(key), (url + form).encode(), digest))
            for key in credentials.secrets("signing_key" if header else "auth_token")
            for url in _with_and_without_port(webhook.url)
        ]
        return _is_one_of(signature, expected)


class TelnyxProof:
    """``Telnyx-Signature-Ed25519``: the signature of ``TIMESTAMP|BODY``, at most 5 minutes old."""

    def is_configured(self, credentials: Credentials) -> bool:
        """Return whether `credentials` have Telnyx's public key, and whether it can be used.

        Raises:
            SettingsError: The key is malformed.
            NotInstalledError: The package that verifies its signatures is missing.
        """
        key = credentials.text("public_key")
        if not key:
            return False
        if not is_ed25519_key(key):
            raise SettingsError(
                "[phone.telnyx] public_key is no Ed25519 key in base64.",
                hint="Copy it from the portal: 44 characters that end in =.",
            )
        if find_spec("cryptography") is None:
            raise NotInstalledError(
                "Telnyx's signatures need the package cryptography, which is not installed.",
                hint="pip install cryptography",
            )
        return True

    def is_genuine(self, webhook: Webhook, credentials: Credentials) -> bool:
        """Return whether Telnyx sent the `webhook` to the account of these `credentials`."""
        # Not at the top: only Telnyx needs it, and it comes with the extra `bots` alone.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        timestamp = webhook.headers.get("telnyx-timestamp", "")
        if not _SECONDS.fullmatch(timestamp):
            return False
        if abs(webhook.now - int(timestamp)) > TELNYX_TOLERANCE_S:
            return False
        try:
            key = base64.b64decode(credentials.text("public_key"), validate=True)
            signature = base64.b64decode(
                webhook.headers.get("telnyx-signature-ed25519", ""), validate=True
            )
            Ed25519PublicKey.from_public_bytes(key).verify(
                signature, timestamp.encode() + b"|" + webhook.body
            )
        except (ValueError, InvalidSignature):
            return False
        return True


class PlivoProof:
    """``X-Plivo-Signature-V3``: the HMAC-SHA256 of the URL, the sorted form, and a nonce.

    The header may contain several signatures. ``X-Plivo-Signature-Ma-V3`` is that of the main account, for
    requests of a subaccount (https://www.plivo.com/docs/voice/concepts/signature-validation).
    """

    def is_configured(self, credentials: Credentials) -> bool:
        """Return whether `credentials` have an auth token."""
        return bool(credentials.secrets("auth_token"))

    def is_genuine(self, webhook: Webhook, credentials: Credentials) -> bool:
        """Return whether Plivo sent the `webhook` to the account of these `credentials`."""
        nonce = webhook.headers.get("x-plivo-signature-v3-nonce", "")
        if not nonce:
            return False
        message = f"{_plivo_text(webhook)}.{nonce}".encode()
        expected = [
            base64.b64encode(hmac.digest(_encoded(key), message, hashlib.sha256))
            for key in credentials.secrets("auth_token")
        ]
        names = ("x-plivo-signature-v3", "x-plivo-signature-ma-v3")
        signatures = [
            signature.strip().encode("utf-8", "replace")
            for name in names
            for signature in webhook.headers.get(name, "").split(",")
        ]
        matches = [_is_one_of(signature, expected) for signature in signatures]
        return any(matches)


class BasicProof:
    """HTTP basic authentication, or the carrier's addresses, for a carrier that does not sign.

    Where both are configured, both have to match.
    """

    def is_configured(self, credentials: Credentials) -> bool:
        """Return whether `credentials` have a password or addresses."""
        return bool(credentials.secrets("password") or credentials.account.addresses)

    def is_genuine(self, webhook: Webhook, credentials: Credentials) -> bool:
        """Return whether the `webhook` has the password and the address of these `credentials`."""
        passwords = credentials.secrets("password")
        addresses = credentials.account.addresses
        if addresses and not _is_in(webhook.client, addresses):
            return False
        if not passwords:
            return bool(addresses)
        user = credentials.text("user")
        scheme, _, token = webhook.headers.get("authorization", "").partition(" ")
        expected = [base64.b64encode(f"{user}:{password}".encode()) for password in passwords]
        return scheme.lower() == "basic" and _is_one_of(
            token.strip().encode("utf-8", "replace"), expected
        )


def is_ed25519_key(text: str) -> bool:
    """Return whether ``text`` is an Ed25519 public key in base64, as Telnyx's portal shows it."""
    try:
        return len(base64.b64decode(text, validate=True)) == _ED25519_KEY_BYTES
    except ValueError:
        return False


def _is_one_of(given: bytes, expected: Iterable[bytes]) -> bool:
    # A list, so that all are compared: the time does not reveal which one matched.
    matches = [hmac.compare_digest(given, one) for one in expected]
    return any(matches)


def _encoded(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogateescape")


def _setting(header: str, name: str) -> str:
    """Return the value of ``name`` in a header of the form ``key=...,algorithm=...``."""
    for part in header.split(","):
        key, _, value = part.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""


def _with_and_without_port(url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    name = host[: -len(f":{parts.port}")] if parts.port else host
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    return tuple(urlunsplit(parts._replace(netloc=netloc)) for netloc in (name, f"{name}:{port}"))


def _plivo_text(webhook: Webhook) -> str:
    """Return the text that Plivo signs, without the nonce."""
    parts = urlsplit(webhook.url)
    base = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    pairs = "&".join(f"{name}={value}" for name, value in sorted(webhook.query))
    has_form = bool(webhook.form)
    text = base + (f"?{pairs}" if pairs or has_form else "") + ("." if pairs and has_form else "")
    return text + "".join(name + value for name, value in sorted(webhook.form))


def _is_in(client: str, networks: Iterable[str]) -> bool:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(item, strict=False) for item in networks)
