"""The URL of Redis and the client that it describes: a server, Sentinel or a cluster, optionally with TLS."""

from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from cordboard.contract.errors import SettingsError
from cordboard.contract.urls import is_malformed_url, redacted_url
from cordboard.store.cancellation import keep_cancellations

# Connections of one process. Redis runs one command at a time, so more of them make nothing faster.
CONNECTIONS_MAX: Final = 64
# A burst of joins waits for a free connection instead of opening hundreds, which would only arrive late.
CONNECTION_WAIT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
REPLY_TIMEOUT_S: Final = 4.0  # without a retry: a caller should soon learn that Redis is away
SENTINEL_PORT: Final = 26379
REDIS_PORT: Final = 6379

_CLUSTER: Final = frozenset({"redis+cluster", "rediss+cluster"})
_SENTINEL: Final = frozenset({"redis+sentinel", "rediss+sentinel"})
_SCHEMES: Final = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_TEXT_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


class UrlError(ValueError):
    """What is wrong with a URL. The message contains no part of the URL, which may hold a password."""


def connect(url: str) -> Any:
    """Return a client for ``url``; it connects when it is first used.

    The client repeats a command once if its connection is closed, as after a restart of the server. Every
    script repeats its answer when it is sent twice, so a retry is never a second decision.

    Raises:
        SettingsError: The URL is not supported.
    """
    keep_cancellations()
    parts = _parts(url)
    try:
        if parts.scheme in _CLUSTER:
            return _cluster(parts)
        if parts.scheme in _SENTINEL:
            return _behind_sentinel(parts)
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=CONNECTION_WAIT_S,
            decode_responses=True,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=REPLY_TIMEOUT_S,
            # Finds connections that a firewall has dropped silently, before a command uses them.
            health_check_interval=30,
            retry=_retry(),
        )
        return redis.Redis.from_pool(pool)
    except UrlError as error:
        raise SettingsError(f"REDIS_URL {redacted_url(url)}: {error}.") from error
    except (ValueError, TypeError) as error:  # its message may contain the value
        raise SettingsError(
            f"REDIS_URL {redacted_url(url)}: one of its options has an invalid value."
        ) from error


def is_cluster(url: str) -> bool:
    """Return whether ``url`` names a cluster."""
    return url.partition("://")[0].lower() in _CLUSTER


def node_client(url: str, host: str, port: int) -> Any:
    """Return a client for the node at ``host`` and ``port`` of the cluster that ``url`` names."""
    return redis.Redis(host=host, port=port, **_options(urlsplit(url)))


def _parts(url: str) -> SplitResult:
    """Split a URL.

    Raises:
        SettingsError: The URL is not supported. Its message is not that of urllib, which may contain a
            part of the password.
    """
    if url.partition("://")[0].lower() not in _SCHEMES:
        raise SettingsError(
            f"REDIS_URL {redacted_url(url)}: expected one of the schemes {', '.join(_SCHEMES)}.",
            hint="For example redis://127.0.0.1:6379/0 or redis+sentinel://HOST:26379/MASTER/0.",
        )
    if is_malformed_url(url):
        raise SettingsError(
            f"REDIS_URL {redacted_url(url)} cannot be read.",
            hint="Write / ? # @ [ ] in a password as %2F %3F %23 %40 %5B %5D; a port is a number.",
        )
    return urlsplit(url)


def _host_texts(parts: SplitResult) -> list[str]:
    return parts.netloc.rpartition("@")[2].split(",")


def _cluster(parts: SplitResult) -> RedisCluster:
    """Return a client of a cluster; it learns all nodes from any of the hosts."""
    if parts.path.strip("/") not in {"", "0"}:
        raise UrlError("a cluster has only database 0")
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in _hosts(parts, REDIS_PORT)],
        require_full_coverage=False,  # the other primaries work while one is away
        # redis-py raises an error beyond this number. Connection.turns waits at a lower one.
        max_connections=CONNECTIONS_MAX * 16,
        retry=_retry(),
        **_options(parts),
    )


def _behind_sentinel(parts: SplitResult) -> redis.Redis:
    """Return a client of the master; each new connection asks Sentinel for its address."""
    master, _, db = parts.path.strip("/").partition("/")
    if not master or (db and not db.isdigit()):
        raise UrlError("expected the path /MASTER or /MASTER/DB")
    sentinel_options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": CONNECT_TIMEOUT_S,
        "retry": _retry(),
        **_tls(parts),
    }
    create_sentinel: Any = Sentinel  # redis-py has no types for it
    sentinel = create_sentinel(_hosts(parts, SENTINEL_PORT), sentinel_kwargs=sentinel_options)
    client: redis.Redis = sentinel.master_for(
        unquote(master), db=int(db or 0), retry=_retry(), **_options(parts)
    )
    return client


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    """Return the hosts of a URL that names several, separated by commas."""
    hosts = []
    for text in _host_texts(parts):
        host = urlsplit(f"//{text}")
        if not host.hostname:
            raise UrlError("a host is missing")
        hosts.append((host.hostname, host.port or port))
    return hosts


def _options(parts: SplitResult) -> dict[str, Any]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return {
        "username": unquote(user) or None,
        "password": unquote(password) or None,
        "decode_responses": True,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": REPLY_TIMEOUT_S,
        "health_check_interval": 30,
        **_tls(parts),
    }


def _tls(parts: SplitResult) -> dict[str, Any]:
    """Return the TLS options of a URL of a cluster or of Sentinel, which have the names of redis-py."""
    is_tls = parts.scheme.startswith("rediss")
    options: dict[str, Any] = {"ssl": True} if is_tls else {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if not is_tls:
            raise UrlError("only rediss+cluster:// and rediss+sentinel:// take options")
        if name in _TEXT_OPTIONS:
            options[name] = value
        elif name == "ssl_check_hostname" and value.lower() in _TRUE | _FALSE:
            options[name] = value.lower() in _TRUE
        elif name == "ssl_cert_reqs" and value in {"none", "optional", "required"}:
            options[name] = value
        else:
            raise UrlError(
                f"expected the options {', '.join(sorted(_TEXT_OPTIONS))}, ssl_check_hostname (true, false) and "
                "ssl_cert_reqs (none, optional, required)"
            )
    return options


def _retry() -> Retry:
    # Once and soon: it replaces a connection that the server has closed, and nothing slower.
    return Retry(ConstantBackoff(0.05), 1, supported_errors=(RedisConnectionError,))
