"""Which callers may use the edge's calls for clients: proofs, public keys and limits.

A caller proves itself by the control secret (a server), or by a public key (a browser, or a server that has
no secret). On loopback, without configured keys and without a public address, no proof is needed. A public key
permits only the calls of clients, only for its bot, and only as often as the settings permit.
"""

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.types import Scope

from cordboard.context import EMPTY, bound_context
from cordboard.contract.errors import SettingsError, UnauthorizedError
from cordboard.contract.ids import is_bot_name
from cordboard.edge.origins import AllowedOrigins
from cordboard.edge.public_address import is_private
from cordboard.edge.sessions import DEFAULT_BOT
from cordboard.emit import get_logger
from cordboard.settings import Settings
from cordboard.web.auth import find_secret, given_secret, refusals
from cordboard.web.proxies import client_address
from cordboard.web.rate_limits import Buckets, Clock, Sampler, TooManyRequestsError, take_all

# 16 characters of 64 kinds have 96 bits.
_KEY: Final = r"pk_[A-Za-z0-9_-]{16,}"

log = get_logger("edge")


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller may do.

    Attributes:
        is_control: Whether it has the control secret.
        may_join: Whether it may join any room, as at the gateway.
        bot: The only bot that it may use; None for any.
        client_address: The address whose live sessions the gateway limits; None for no limit.
    """

    is_control: bool = False
    may_join: bool = False
    bot: str | None = None
    client_address: str | None = None

    def bot_of(self, name: str | None) -> str:
        """Return the bot of a start.

        Args:
            name: The bot that the request names; None if it names none.

        Raises:
            UnauthorizedError: The caller may use another bot only.
        """
        if self.bot is not None and name not in {None, self.bot}:
            raise UnauthorizedError(
                "This public key does not permit this bot.",
                hint="Use the key of the bot that the path names.",
            )
        return name or self.bot or DEFAULT_BOT


class EdgeAccess:
    """Decides which callers may use the calls of clients.

    Args:
        settings: The secrets, the keys and the limits.
        local: Whether the edge listens on loopback.
        clock: A monotonic clock, in seconds.

    Attributes:
        origins: The web pages whose scripts may call the edge.

    Raises:
        SettingsError: A key or an origin is malformed.
    """

    def __init__(self, settings: Settings, *, local: bool, clock: Clock = time.monotonic) -> None:
        self.origins = AllowedOrigins(settings, local=local)
        self._settings = settings
        self._clock = clock
        self._keys = parse_public_keys(settings.public_keys)
        # Decided at the start: an edge that required a proof never becomes open.
        private = is_private(settings, local=local)
        self._is_open = private and not self._keys
        self._has_open_gateway = private and not settings.control_secrets
        self._limits: dict[str, Buckets] = {
            "start": _per_minute(settings.starts_per_minute),
            "request": _per_minute(settings.client_requests_per_minute),
            "wrong": _per_minute(settings.wrong_secrets_per_minute),
        }
        self._sampler = Sampler()

    def check(self, scope: Scope, kind: Literal["start", "request"]) -> Access:
        """Return what the caller of a request may do, and count the request.

        Args:
            scope: The ASGI scope of the request.
            kind: The limit under which it counts.

        Raises:
            UnauthorizedError: The proof is missing or wrong.
            ForeignOriginError: A page of another site sent it.
            TooManyRequestsError: The address has sent too many.
        """
        if find_secret(scope, self._settings.control_secrets) is not None:
            return Access(is_control=True, may_join=True)
        address = client_address(scope)
        key = find_secret(scope, self._keys)
        if key is None and not self._is_open:
            raise self._refusal(scope, address)
        self.origins.check(scope)
        if key is None:
            return Access(may_join=self._has_open_gateway, client_address=address)
        self._spend(kind, f"{key} {address}", "This address has sent too many requests.")
        return Access(bot=self._keys[key], client_address=address)

    def _refusal(self, scope: Scope, address: str) -> UnauthorizedError:
        """Return the error for a request without a valid proof; log and count it."""
        reason = "wrong" if given_secret(scope) else "missing"
        refusals.labels(reason).inc()
        suppressed = self._sampler.admit()
        if suppressed is not None:
            with bound_context(EMPTY):
                log.warning(
                    "A caller was refused",
                    event="auth.refused",
                    reason=reason,
                    peer=address,
                    path=scope["path"],
                    suppressed=suppressed,
                )
        if reason == "wrong":  # a request without a key is not a guess
            self._spend("wrong", address, "This address has sent too many wrong keys.")
        return UnauthorizedError(
            "The public key or the control secret is missing or wrong.",
            hint="Send Authorization: Bearer KEY, with a key of CORDBOARD_PUBLIC_KEYS.",
        )

    def _spend(self, kind: str, key: str, message: str) -> None:
        now = self._clock()
        wait_s = take_all([(self._limits[kind].of(key, now), 1)], now)
        if wait_s > 0:
            raise TooManyRequestsError(
                message, hint="Try again in a moment.", retry_after_s=math.ceil(wait_s)
            )


def parse_public_keys(entries: Iterable[str]) -> dict[str, str]:
    """Return the bot of each public key.

    Args:
        entries: Keys, each as ``KEY`` or ``BOT=KEY``.

    Raises:
        SettingsError: An entry is malformed, or two bots have the same key.
    """
    bots: dict[str, str] = {}
    for position, entry in enumerate(entries, start=1):
        bot, _, key = entry.rpartition("=")
        bot = bot or DEFAULT_BOT
        # The message does not repeat the entry: it may be a secret in the wrong place.
        if re.fullmatch(_KEY, key) is None or not is_bot_name(bot):
            raise SettingsError(
                f"public_keys: entry {position} is malformed.",
                hint="Write pk_ and 16 or more of A-Z a-z 0-9 _ -, or BOT=pk_... Generate one with "
                "`echo pk_$(openssl rand -hex 16)`.",
            )
        if bots.setdefault(key, bot) != bot:
            raise SettingsError(f"public_keys: {bots[key]} and {bot} have the same key.")
    return bots


def _per_minute(count: int) -> Buckets:
    return Buckets(count / 60, count)


async def start_access(connection: HTTPConnection) -> Access:
    """Return the rights of the caller of a start. The start is counted before its body is read."""
    access: EdgeAccess = connection.app.state.access
    return access.check(connection.scope, "start")


async def request_access(connection: HTTPConnection) -> Access:
    """Return the rights of the caller of a request that concerns a session."""
    access: EdgeAccess = connection.app.state.access
    return access.check(connection.scope, "request")


StartAccess = Annotated[Access, Depends(start_access)]
RequestAccess = Annotated[Access, Depends(request_access)]
