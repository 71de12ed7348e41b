"""What inbound and outbound calls share: carriers with their accounts, URLs, and the ways to the gateway."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from cordboard.contract.errors import (
    GatewayError,
    NotFoundError,
    NotReadyError,
    SettingsError,
)
from cordboard.edge.phone.carriers import CARRIERS, Carrier
from cordboard.edge.phone.credentials import Credentials
from cordboard.edge.phone.errors import SignatureError
from cordboard.edge.phone.numbers import shown, user_id
from cordboard.edge.phone.paths import CallPaths, CallStep
from cordboard.edge.phone.webhook import Call, Webhook, read_call
from cordboard.edge.tokens import StreamTokens
from cordboard.emit import get_logger
from cordboard.settings import Settings
from cordboard.settings.phone import CarrierAccount
from cordboard.settings.suggestions import nearest
from cordboard.web.auth import refusals
from cordboard.web.rate_limits import Sampler

# A gateway that cannot be reached now may be back at the carrier's next attempt.
RETRY_AFTER_S: Final = 2
STEPS: Final[tuple[str, ...]] = get_args(CallStep)

log = get_logger("phone")


class PhoneDesk:
    """The carriers of this edge, and the URLs under which they reach it.

    Args:
        settings: The settings of this process.
        tokens: Issues the tokens of streams.
        carriers: The tables of carriers, by name.

    Attributes:
        settings: The settings of this process.
        paths: Makes and checks the paths of calls.

    Raises:
        CordboardError: As `check_settings`.
    """

    def __init__(
        self, settings: Settings, tokens: StreamTokens, carriers: Mapping[str, Carrier] = CARRIERS
    ) -> None:
        check_settings(settings, carriers)
        self.settings = settings
        self.paths = CallPaths(lambda: settings.control_secrets)
        self._tokens = tokens
        self._carriers = carriers
        # Anybody can cause these lines.
        self._refused = Sampler()
        self._closed = Sampler()

    def open_carrier(self, name: str, method: str = "POST") -> Carrier:
        """Return the carrier of a path, if this edge takes requests of it.

        Args:
            name: The name in the path.
            method: The HTTP method.

        Raises:
            NotFoundError: There is no such carrier, or it has no key, or ``public_url`` is unset.
        """
        carrier = self.carrier_or_none(name)
        if carrier is None or method not in carrier.methods:
            # The answer does not reveal which carriers exist and are in use; the log line does.
            if name in self._carriers and self._closed.admit() is not None:
                log.warning(
                    "A webhook came for a carrier that is not configured",
                    provider=name,
                    hint="Set public_url and the carrier's key; `cordboard doctor` names what is missing.",
                )
            raise NotFoundError("There is no such carrier.")
        return carrier

    def carrier_or_none(self, name: str) -> Carrier | None:
        """Return a carrier, if this edge takes requests of it; None if it has no key, or ``public_url`` is unset.

        Args:
            name: The name of the carrier.
        """
        carrier = self._carriers.get(name)
        if carrier is None or self.settings.public_url is None:
            return None
        return carrier if carrier.proof.is_configured(self.credentials(carrier)) else None

    def known_carrier(self, name: str) -> Carrier:
        """Return a carrier for an authenticated caller.

        Args:
            name: The name in the path.

        Raises:
            NotFoundError: There is no such carrier.
        """
        carrier = self._carriers.get(name)
        if carrier is None:
            raise NotFoundError(f"There is no carrier {name!r}.{nearest(name, self._carriers)}")
        return carrier

    def credentials(self, carrier: Carrier) -> Credentials:
        """Return the account at a `carrier`."""
        return credentials_of(carrier, self.settings)

    def verified_call(self, carrier: Carrier, webhook: Webhook) -> Call:
        """Check a webhook's proof, and return its data of the call.

        Args:
            carrier: The carrier of the path.
            webhook: The request.

        Raises:
            SignatureError: The request is not the carrier's.
        """
        if not carrier.proof.is_genuine(webhook, self.credentials(carrier)):
            self._log_refusal(carrier, webhook)
            raise SignatureError(
                f"This is no request of {carrier.title}: its proof is missing or wrong.",
                hint="Check the key, and that public_url is the address in the carrier's console.",
            )
        return read_call(carrier.name, carrier.fields, webhook)

    def _log_refusal(self, carrier: Carrier, webhook: Webhook) -> None:
        refusals.labels("signature").inc()
        suppressed = self._refused.admit()
        if suppressed is not None:
            log.warning(
                "A request was refused: it has no valid proof of its carrier",
                event="auth.refused",
                reason="signature",
                provider=carrier.name,
                peer=webhook.client,
                path=urlsplit(webhook.url).path,
                suppressed=suppressed,
                hint="If it is the carrier's, check its key, and that public_url is the address in its console.",
            )

    def url(self, carrier: Carrier, step: CallStep, session_id: str) -> str:
        """Return the URL of a step of a call.

        Args:
            carrier: The carrier.
            step: What the carrier requests.
            session_id: The session.
        """
        return self._public_url + self.paths.path(carrier.name, step, session_id)

    def stream_url(self, session_id: str, room: str) -> str:
        """Return the URL of the stream of a session, with a new token.

        Args:
            session_id: The session.
            room: Its room, in canonical form.
        """
        token = self._tokens.issue(session_id, room, time.time())
        scheme, _, place = self._public_url.partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{place}/phone/stream/{token}"

    def user_id(self, number: str) -> str | None:
        """Return the id of the person with a `number`; None if the number is withheld."""
        return user_id(number, self.settings.control_secrets)

    def shown(self, number: str) -> str:
        """Return a person's `number` as log lines have it."""
        return shown(number, in_full=self.settings.phone.log_numbers)

    @property
    def _public_url(self) -> str:
        return (self.settings.public_url or "").rstrip("/")


def check_settings(settings: Settings, carriers: Mapping[str, Carrier] = CARRIERS) -> None:
    """Check the names of carriers in ``[phone]``, and read their keys for the first time.

    Args:
        settings: The settings.
        carriers: The tables of carriers, by name.

    Raises:
        SettingsError: A name is unknown, or a key is malformed or cannot be read.
        NotInstalledError: A key needs a package that is not installed.
    """
    check_names(settings, carriers)
    for carrier in carriers.values():
        carrier.proof.is_configured(credentials_of(carrier, settings))


def credentials_of(carrier: Carrier, settings: Settings) -> Credentials:
    """Return the account at a carrier.

    Args:
        carrier: The carrier.
        settings: The settings.
    """
    account = settings.phone.carriers.get(carrier.name)
    return Credentials(account or CarrierAccount(name=carrier.name), carrier.variables)


def check_names(settings: Settings, carriers: Mapping[str, Carrier] = CARRIERS) -> None:
    """Check the names of carriers in ``[phone]``.

    Args:
        settings: The settings.
        carriers: The tables of carriers, by name.

    Raises:
        SettingsError: A name is unknown.
    """
    where = f"{settings.config_file}: [phone"
    for name in settings.phone.carriers:
        if name not in carriers:
            raise SettingsError(f"{where}.{name}]: unknown carrier.{nearest(name, carriers)}")
    for number, values in settings.phone.numbers.items():
        provider = values.provider
        if provider is not None and provider not in carriers:
            raise SettingsError(
                f'{where}."{number}"] provider: unknown carrier {provider!r}.{nearest(provider, carriers)}'
            )


def call_body(call: Call, body: Mapping[str, Any], session_id: str) -> dict[str, Any]:
    """Return what the bot gets as ``runner_args.body``.

    The names are those of Pipecat's ``CallData``; Plivo's stream has no numbers, so a bot finds them here.

    Args:
        call: The call.
        body: What the number, or the caller of the API, adds.
        session_id: The carrier's id of an inbound call; the session of an outbound one.
    """
    return {
        **body,
        "call": {
            "provider": call.provider,
            "call_id": call.call_id or session_id,
            "from": call.caller,
            "to": call.called,
            "direction": "outbound" if call.is_outbound else "inbound",
        },
    }


@contextmanager
def unavailable_as_503() -> Iterator[None]:
    """Turn the failures of the gateway into 503, so that a carrier requests the number's fallback URL.

    Raises:
        NotReadyError: The gateway cannot be reached, or does not answer in time.
    """
    try:
        yield
    except (GatewayError, TimeoutError) as error:
        raise NotReadyError(
            "The gateway cannot be reached.", retry_after_s=RETRY_AFTER_S
        ) from error
