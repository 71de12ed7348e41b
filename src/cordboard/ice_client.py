"""STUN and TURN servers from a client's side: whether they answer, and which of them aiortc can use.

aiortc uses one STUN server and one TURN server, and does not report why a server cannot be used. So
`usable_servers` tries all of them first.
"""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partialmethod
from http import HTTPStatus
from typing import Any, Final

from aioice import Connection, stun, turn

from cordboard.contract.errors import CordboardError
from cordboard.contract.ice import IceUrl, parse_ice_url

ANSWER_S: Final = 2.0
"""Seconds within which a server must answer. An allocation over TLS takes six round trips: 1.8 s at 300 ms."""

GATHER_S: Final = 2.0
"""Seconds for which aiortc waits for its servers before it makes an offer or an answer, for the same reason. Its own
limit is 5 s, and it sends a request to a STUN server from each address of the machine, of which some may have no route to it."""

HEAD_START_S: Final = 0.3
"""Seconds for which a server that answers waits for those before it in the list, as addresses do in RFC 8305. An
allocation over UDP takes three round trips: 0.3 s at 100 ms."""

_FORBIDDEN: Final = 403
_QUOTA: Final = 486
_CAPACITY: Final = 508
_DELETE_S: Final = 0.5  # one round trip; else the server deletes the allocation when it expires
_STUN_RETRY_S: Final = 0.5  # RFC 8489, section 6.2.1
_OWN_GATHERING: Final = Connection.get_component_candidates


@dataclass(frozen=True, slots=True, repr=False)  # the credential is a secret
class IceTarget:
    """One STUN or TURN server with the credentials for it.

    Attributes:
        url: The server.
        username: The user name for a TURN server.
        credential: The password for a TURN server.
    """

    url: IceUrl
    username: str | None = None
    credential: str | None = None

    @property
    def is_checkable(self) -> bool:
        """Whether `check_server` can ask the server: aioice supports neither stuns nor TLS over UDP."""
        return not self.url.is_tls or (self.url.is_turn and self.url.transport == "tcp")

    @property
    def is_usable_by_aiortc(self) -> bool:
        """Whether aiortc can use the server: beyond this, it supports no IPv6 address in a URL."""
        return self.is_checkable and not self.url.host.startswith("[")

    def entry(self) -> dict[str, str]:
        """Return the arguments of aiortc's ``RTCIceServer``."""
        entry = {"urls": str(self.url)}
        if self.username is not None and self.credential is not None:
            entry |= {"username": self.username, "credential": self.credential}
        return entry


@dataclass(frozen=True, slots=True)
class UsableServers:
    """The servers that aiortc gets.

    Attributes:
        entries: The arguments of ``RTCIceServer``, for at most one STUN and one TURN server.
        has_relay: Whether one of them is a TURN server.
        faults: Why each of the other servers that were tried cannot be used.
        is_relay_only: Whether only paths through the TURN server are permitted.
    """

    entries: tuple[dict[str, str], ...] = field(default=(), repr=False)  # they contain passwords
    has_relay: bool = False
    faults: tuple[CordboardError, ...] = ()
    is_relay_only: bool = False


def bound_gathering(seconds: float = GATHER_S) -> None:
    """Limit how long each ICE agent of this process waits for its servers.

    There is no setting for it. `get_component_candidates` is public, but aiortc calls it without a timeout.

    Args:
        seconds: The limit.
    """
    bounded = partialmethod(_OWN_GATHERING, timeout=seconds)
    Connection.get_component_candidates = bounded  # type: ignore[method-assign, assignment]


def targets_of(config: Mapping[str, Any] | None) -> tuple[IceTarget, ...]:
    """Return each server of a session's ICE servers, in their order.

    Args:
        config: What `contract.ice.ice_config` returned; None for no servers.
    """
    return tuple(
        IceTarget(parse_ice_url(url), entry.get("username"), entry.get("credential"))
        for entry in (config or {}).get("iceServers", ())
        for url in entry["urls"]
    )


async def usable_servers(
    config: Mapping[str, Any] | None, *, timeout_s: float = ANSWER_S
) -> UsableServers:
    """Return the first STUN server and the first TURN server that answer, of those that aiortc can use.

    Args:
        config: What `contract.ice.ice_config` returned; None for no servers.
        timeout_s: Seconds within which a server must answer.
    """
    targets = [target for target in targets_of(config) if target.is_usable_by_aiortc]
    kinds = [[t for t in targets if t.url.is_turn == is_turn] for is_turn in (False, True)]
    stun_choice, turn_choice = await asyncio.gather(*(_first(kind, timeout_s) for kind in kinds))
    chosen = [choice[0] for choice in (stun_choice, turn_choice) if choice[0] is not None]
    return UsableServers(
        entries=tuple(target.entry() for target in chosen),
        has_relay=turn_choice[0] is not None,
        faults=(*stun_choice[1], *turn_choice[1]),
        is_relay_only=(config or {}).get("iceTransportPolicy") == "relay",
    )


async def _first(
    targets: list[IceTarget], timeout_s: float
) -> tuple[IceTarget | None, tuple[CordboardError, ...]]:
    """Return the first of the servers that answer, and the faults of those that were refused before."""
    checks = [asyncio.create_task(check_server(target, timeout_s=timeout_s)) for target in targets]
    try:
        pending = set(checks)
        while pending and not _has_answered(checks):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            await _wait_for_preferred(checks)
    finally:
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
    chosen = next((t for t, check in zip(targets, checks, strict=True) if _is_good(check)), None)
    return chosen, tuple(_faults(checks))


async def _wait_for_preferred(checks: list[asyncio.Task[str]]) -> None:
    """Give the servers before the first one that has answered a little more time."""
    earlier = checks[: next(index for index, check in enumerate(checks) if _is_good(check))]
    if earlier:
        await asyncio.wait(earlier, timeout=HEAD_START_S)


def _has_answered(checks: list[asyncio.Task[str]]) -> bool:
    return any(_is_good(check) for check in checks)


def _is_good(check: asyncio.Task[str]) -> bool:
    return check.done() and not check.cancelled() and check.exception() is None


def _faults(checks: list[asyncio.Task[str]]) -> Iterator[CordboardError]:
    for check in checks:
        error = None if check.cancelled() else check.exception()
        if isinstance(error, CordboardError):
            yield error


async def check_server(target: IceTarget, *, timeout_s: float = ANSWER_S) -> str:
    """Ask a STUN server for this machine's public address, or let a TURN server allocate a relay.

    Args:
        target: The server, which is checkable. A TURN server needs credentials.
        timeout_s: Seconds within which it must answer.

    Returns:
        The address: this machine's as the server sees it, or that of the relay, which is given back.

    Raises:
        CordboardError: The server cannot be used; the message has the reason, without the credentials.
    """
    url = target.url
    try:
        async with asyncio.timeout(timeout_s):
            if url.is_turn:
                return await _allocate(target)
            return await _ask_stun(url)
    except TimeoutError as error:
        raise _unanswered(url, timeout_s) from error
    except stun.TransactionFailed as error:
        raise _refused(url, error.response) from error
    except stun.TransactionError as error:
        raise _unanswered(url, timeout_s) from error
    except ssl.SSLError as error:
        raise CordboardError(
            f"{url}: the TLS connection failed: {error.reason or error}.",
            hint="Its certificate must be valid for this name, from an authority that this machine trusts.",
        ) from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CordboardError(
            f"{url}: cannot be reached: {reason}.",
            hint="Check the name, the port, the firewall, and that the server listens there.",
        ) from error


async def _allocate(target: IceTarget) -> str:
    url = target.url
    transport, relay = await turn.create_turn_endpoint(
        _Relay,
        (url.host.strip("[]"), url.port),
        target.username,
        target.credential,
        ssl=True if url.is_tls else None,
        transport=url.transport,
    )
    try:
        return _shown(transport.get_extra_info("sockname"))
    finally:
        # It deletes the allocation on the server, which the end of the event loop would interrupt.
        transport.close()
        await asyncio.wait({relay.closed}, timeout=_DELETE_S)


class _Relay(asyncio.DatagramProtocol):
    """Receives what arrives at a relay: nothing.

    Attributes:
        closed: The future for the end of the allocation.
    """

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the server has deleted the allocation."""
        del exc
        if not self.closed.done():
            self.closed.set_result(None)


async def _ask_stun(url: IceUrl) -> str:
    loop = asyncio.get_running_loop()
    transport, answer = await loop.create_datagram_endpoint(
        _StunAnswer, remote_addr=(url.host.strip("[]"), url.port)
    )
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    try:
        while True:
            transport.sendto(bytes(request))
            with suppress(TimeoutError):
                async with asyncio.timeout(_STUN_RETRY_S):
                    message = await asyncio.shield(answer.message)
                return _shown(message.attributes["XOR-MAPPED-ADDRESS"])
    finally:
        transport.close()


class _StunAnswer(asyncio.DatagramProtocol):
    """Receives the answer to one STUN request.

    Attributes:
        message: The future for the answer.
    """

    def __init__(self) -> None:
        self.message: asyncio.Future[stun.Message] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take the first answer with an address."""
        del addr
        with suppress(ValueError):
            message = stun.parse_message(data)
            if not self.message.done() and "XOR-MAPPED-ADDRESS" in message.attributes:
                self.message.set_result(message)

    def error_received(self, exc: Exception) -> None:
        """Report that no server listens at the port."""
        if not self.message.done():
            self.message.set_exception(exc)


def _shown(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _unanswered(url: IceUrl, timeout_s: float) -> CordboardError:
    return CordboardError(
        f"{url}: no answer within {timeout_s:g} s.",
        hint=f"{url.transport.upper()} to port {url.port} must not be blocked (firewall, security group, VPN).",
    )


def _refused(url: IceUrl, response: stun.Message) -> CordboardError:
    """Return the error for the answer of a server (codes: RFC 8489, section 14.8; RFC 8656, section 19)."""
    code, reason = response.attributes.get("ERROR-CODE", (0, ""))
    if code == HTTPStatus.UNAUTHORIZED:
        return CordboardError(
            f"{url}: the server rejected the credentials (401).",
            hint="CORDBOARD_TURN_SECRET must be the server's static-auth-secret, and the clocks of both "
            "machines must agree. Fixed credentials must be those of the server.",
        )
    hint = {
        _FORBIDDEN: "The server forbids relays for this user or address.",
        _QUOTA: "The server's user-quota or total-quota is reached.",
        _CAPACITY: "The server has no free port between min-port and max-port.",
    }.get(code, "The server's log gives the cause.")
    return CordboardError(f"{url}: the server answered {code} {reason}".rstrip() + ".", hint=hint)
