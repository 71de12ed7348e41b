"""ICE servers: the STUN and TURN servers of a call, and the credentials of one session at a TURN server.

A TURN server and Cordboard share a secret. From it, and without asking the server, Cordboard derives
credentials that are valid for a limited time (draft-uberti-behave-turn-rest-00; coturn's
``use-auth-secret``). The user name ends in the session id, so the log of the server names the session.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cordboard.contract.errors import InvalidValueError, SettingsError
from cordboard.contract.ids import check_session_id

IceTransportPolicy = Literal["all", "relay"]
"""Which paths a caller may use: all, or only those through a TURN server."""

SERVERS_MAX: Final = 16
"""URLs in all. Browsers slow down and warn from five servers on; more than this is a mistake."""

_TURN_SCHEMES: Final = ("turn", "turns")
_PORTS: Final = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}  # RFC 7064, RFC 7065
_PORT_MAX: Final = 65535
_HOST_CHARS_MAX: Final = 253  # of a name in the DNS
_URL: Final = r"(?P<scheme>[A-Za-z]+):(?P<host>\[[^\]]*\]|[^:?/\[\]]*)(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>[A-Za-z]+))?"
_NAME: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?"
_KEYS: Final = ("urls", "username", "credential")
_FORMS: Final = (
    "Use stun:HOST:PORT, turn:HOST:PORT, turn:HOST:PORT?transport=tcp or turns:HOST:PORT."
)


@dataclass(frozen=True, slots=True)
class IceUrl:
    """The URL of one STUN or TURN server (RFC 7064, RFC 7065).

    Attributes:
        scheme: ``stun``, ``stuns``, ``turn`` or ``turns``; the last letter means TLS.
        host: A name, an IPv4 address, or an IPv6 address in brackets.
        port: The port.
        transport: ``udp`` or ``tcp``: how a client reaches the server.
        has_transport: Whether the URL names the transport.
    """

    scheme: str
    host: str
    port: int
    transport: str
    has_transport: bool = False

    @property
    def is_turn(self) -> bool:
        """Whether the server relays media."""
        return self.scheme in _TURN_SCHEMES

    @property
    def is_tls(self) -> bool:
        """Whether the connection to the server is encrypted."""
        return self.scheme.endswith("s")

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        transport = f"?transport={self.transport}" if self.has_transport else ""
        return f"{self.scheme}:{self.host}{port}{transport}"


@dataclass(frozen=True, slots=True, repr=False)  # the credential is a secret
class IceServer:
    """One entry of ``ice_servers``.

    Attributes:
        urls: The URLs, in the order in which they are tried.
        username: The fixed user name; None without one.
        credential: The fixed password; None without one.
    """

    urls: tuple[IceUrl, ...]
    username: str | None = None
    credential: str | None = None

    @property
    def needs_credentials(self) -> bool:
        """Whether credentials have to be derived for each session."""
        return self.credential is None and any(url.is_turn for url in self.urls)

    def __repr__(self) -> str:
        return f"IceServer({', '.join(map(str, self.urls))})"


def parse_ice_url(text: str) -> IceUrl:
    """Return the server that a URL names, with scheme, host and transport in lower case.

    Args:
        text: The URL.

    Raises:
        InvalidValueError: It is not the URL of a STUN or TURN server. The message contains no password.
    """
    match = re.fullmatch(_URL, text)
    scheme = match["scheme"].lower() if match else text.partition(":")[0].lower()
    if scheme not in _PORTS:
        raise _invalid_url(text, "expected the scheme stun:, stuns:, turn: or turns:")
    if match is None:
        raise _invalid_url(text, _malformation(text))
    host, transport = match["host"].lower(), (match["transport"] or "").lower()
    if not _is_host(host):
        raise _invalid_url(text, "the host is not a name or an address")
    port = int(match["port"] or _PORTS[scheme])
    if not 0 < port <= _PORT_MAX:
        raise _invalid_url(text, f"the port is not between 1 and {_PORT_MAX}")
    if transport and scheme not in _TURN_SCHEMES:
        raise _invalid_url(text, "only turn: and turns: have a transport")
    if transport not in {"", "udp", "tcp"}:
        raise _invalid_url(text, "the transport is not udp or tcp")
    default = "tcp" if scheme.endswith("s") else "udp"
    return IceUrl(scheme, host, port, transport or default, has_transport=bool(transport))


def _malformation(text: str) -> str:
    if "@" in text:
        return "it contains a user; write username and credential beside urls"
    if "//" in text:
        return "it has no // after the scheme"
    return "it is malformed"


def _is_host(host: str) -> bool:
    import ipaddress

    if not host.startswith("["):
        return len(host) <= _HOST_CHARS_MAX and re.fullmatch(_NAME, host) is not None
    try:
        return ipaddress.IPv6Address(host[1:-1]).scope_id is None
    except ValueError:
        return False


def _invalid_url(text: str, why: str) -> InvalidValueError:
    # What stands before an @ may be a password.
    shown = ascii(f"…@{text.rpartition('@')[2]}" if "@" in text else text)[:80]
    return InvalidValueError(f"Invalid URL {shown}: {why}.", hint=_FORMS)


def parse_ice_servers(value: object) -> tuple[IceServer, ...]:
    """Return the ICE servers of a setting.

    Args:
        value: A list of URLs and of tables with ``urls``, ``username`` and ``credential``, or a text in the
            syntax of Pipecat's ``PIPECAT_ICE_SERVERS``: a JSON array of such entries, one JSON object, or
            URLs that are separated by commas.

    Raises:
        InvalidValueError: An entry is invalid. The message contains no user name and no password.
    """
    entries = _entries(value.strip()) if isinstance(value, str) else value
    if not isinstance(entries, Sequence):
        raise InvalidValueError("Expected a list of URLs and tables.", hint=_FORMS)
    servers = tuple(_server(entry) for entry in entries if entry != "")
    if sum(len(server.urls) for server in servers) > SERVERS_MAX:
        raise InvalidValueError(f"Expected at most {SERVERS_MAX} URLs in all.")
    return servers


def _entries(text: str) -> object:
    if not text.startswith(("[", "{")):
        return [part.strip() for part in text.split(",")]
    entries = _json(text)
    return [entries] if isinstance(entries, dict) else entries


def _json(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        # Not the error's own text: it may repeat a password.
        raise InvalidValueError(
            "Not valid JSON.",
            hint='Write [{"urls": "turn:HOST", "username": "...", "credential": "..."}].',
        ) from error


def _server(entry: object) -> IceServer:
    # As in Pipecat, an entry of a list may be an object written as text.
    if isinstance(entry, str) and entry.lstrip().startswith("{"):
        entry = _json(entry)
    if isinstance(entry, str):
        return IceServer((parse_ice_url(entry.strip()),))
    if not isinstance(entry, Mapping):
        raise InvalidValueError("Expected a URL, or a table with urls, in each entry.", hint=_FORMS)
    unknown = sorted(str(key) for key in entry if key not in _KEYS)
    if unknown:
        raise InvalidValueError(
            f"Unknown key {unknown[0]!a}. Expected urls, username and credential."
        )
    urls = entry.get("urls")
    texts = [urls] if isinstance(urls, str) else urls
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(t, str) for t in texts):
        raise InvalidValueError("urls: expected a URL or a list of URLs.", hint=_FORMS)
    username, credential = (_text(entry, name) for name in ("username", "credential"))
    if (username is None) != (credential is None):
        raise InvalidValueError("username and credential: expected both or neither.")
    return IceServer(tuple(parse_ice_url(text.strip()) for text in texts), username, credential)


def _text(entry: Mapping[Any, Any], name: str) -> str | None:
    value = entry.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise InvalidValueError(f"{name}: expected a text that is not empty.")
    return value


def ice_servers_json(servers: Iterable[IceServer]) -> str:
    """Return servers as JSON that `parse_ice_servers` reads; it contains their passwords."""
    import json

    return json.dumps([_entry(server) for server in servers])


def turn_credentials(secret: str, session_id: str, expires_at: int) -> tuple[str, str]:
    """Return a user name and a password for one session at a TURN server.

    Args:
        secret: The secret that the server has as well (coturn's ``static-auth-secret``).
        session_id: The session. It may contain colons: the server reads the time before the first one.
        expires_at: Seconds since 1970 until which the server accepts the credentials for a new
            allocation. An allocation that exists then goes on.

    Raises:
        InvalidValueError: ``session_id`` is not a session id.
    """
    # Imported here: most commands load the settings and derive nothing.
    import base64
    import hashlib
    import hmac

    username = f"{expires_at}:{check_session_id(session_id)}"
    # coturn and the draft use SHA-1. HMAC with it is not broken (by RFC 6151, not even HMAC with the weaker MD5 is).
    key = secret.encode("utf-8", "surrogateescape")
    digest = hmac.new(key, username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode()


def ice_config(
    servers: Iterable[IceServer],
    session_id: str,
    *,
    expires_at: int,
    secret: str | None = None,
    policy: IceTransportPolicy = "all",
) -> dict[str, Any] | None:
    """Return the ICE servers of one session, in the form of a browser's ``RTCConfiguration``.

    Args:
        servers: The configured servers.
        session_id: The session.
        expires_at: Seconds since 1970 until which derived credentials are valid.
        secret: The secret of the TURN servers; None if it is unset.
        policy: Which paths the caller may use.

    Returns:
        ``iceServers``, each with ``urls`` and, for TURN, ``username`` and ``credential``; with the policy
        ``relay`` also ``iceTransportPolicy``. None if no servers are configured.

    Raises:
        SettingsError: A TURN server has no credentials and there is no secret, or the policy permits no path.
    """
    entries = [
        _entry(_with_credentials(server, session_id, expires_at, secret)) for server in servers
    ]
    if policy == "all":
        return {"iceServers": entries} if entries else None
    if not any(url.startswith(_TURN_SCHEMES) for entry in entries for url in entry["urls"]):
        raise SettingsError(
            "ice_transport_policy is relay, but ice_servers has no TURN server.",
            hint="Add one, such as turn:turn.example.com, or set the policy to all.",
        )
    return {"iceServers": entries, "iceTransportPolicy": policy}


def _with_credentials(
    server: IceServer, session_id: str, expires_at: int, secret: str | None
) -> IceServer:
    """Return a server with the credentials of a session, if it needs some."""
    if not server.needs_credentials:
        return server
    if not secret:
        raise SettingsError(
            f"ice_servers: {server.urls[0]} has no credentials.",
            hint="Set CORDBOARD_TURN_SECRET or CORDBOARD_TURN_SECRET_FILE to the secret of that "
            "server, or write username and credential beside its urls.",
        )
    return IceServer(server.urls, *turn_credentials(secret, session_id, expires_at))


def _entry(server: IceServer) -> dict[str, Any]:
    """Return a server as an ``RTCIceServer``."""
    entry: dict[str, Any] = {"urls": [str(url) for url in server.urls]}
    if server.username is not None:
        entry |= {"username": server.username, "credential": server.credential}
    return entry
