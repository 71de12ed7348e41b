"""Clients of Redis by its URL: alone, behind Sentinel or as a Cluster, with TLS or without."""

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

CONNECTIONS_MAX: Final = 64  # of one process; Redis works on one command at a time
CONNECTION_WAIT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 4.0  # not tried again: a caller is to hear soon that Redis is away
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
_TEXTS: Final = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


class UrlError(ValueError):
    """What is wrong with a URL, in a text that contains no part of it."""


def connect(url: str) -> Any:
    """Return a client for ``url``; it connects when it is first used.

    One retry at once heals connections that a restarted server has closed; every script answers
    the same when it is sent twice, so a retry is never a second decision.

    Raises:
        SettingsError: The URL is not supported.
    """
    parts = _parts(url)
    try:
        if parts.scheme in _CLUSTER:
            return _cluster(parts)
        if parts.scheme in _SENTINEL:
            return _behind_sentinel(parts)
        # In a burst callers wait for a connection: hundreds of new ones at once would only be late.
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=CONNECTION_WAIT_S,
            decode_responses=True,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            health_check_interval=30,
            retry=_retry(),
        )
        return redis.Redis.from_pool(pool)
    except UrlError as error:
        raise SettingsError(f"REDIS_URL {redacted_url(url)}: {error}.") from error
    except (ValueError, TypeError) as error:  # its words may hold the value
        raise SettingsError(
            f"REDIS_URL {redacted_url(url)}: one of its options has an invalid value."
        ) from error


def is_cluster(url: str) -> bool:
    """Return whether a URL names a cluster."""
    return url.partition("://")[0].lower() in _CLUSTER


def node_client(url: str, host: str, port: int) -> Any:
    """Return a client for one node of the cluster that ``url`` names."""
    return redis.Redis(host=host, port=port, **_options(urlsplit(url)))


def _parts(url: str) -> SplitResult:
    """Split a URL.

    Raises:
        SettingsError: It is none that this release reads. Its message is not urllib's, which may
            hold a part of the password.
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
    """A client of a cluster; any of the hosts is enough to learn of all."""
    if parts.path.strip("/") not in {"", "0"}:
        raise UrlError("a cluster has no database but 0")
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in _hosts(parts, REDIS_PORT)],
        require_full_coverage=False,  # one primary that is away is no reason not to ask the others
        max_connections=CONNECTIONS_MAX * 16,  # beyond it redis-py refuses; Scripts waits before
        retry=_retry(),
        **_options(parts),
    )


def _behind_sentinel(parts: SplitResult) -> redis.Redis:
    """A client of whoever Sentinel says is the master, asked anew for each new connection."""
    master, _, db = parts.path.strip("/").partition("/")
    if not master or (db and not db.isdigit()):
        raise UrlError("its path is not /MASTER or /MASTER/DB")
    of_sentinels: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": CONNECT_TIMEOUT_S,
        "retry": _retry(),
        **_tls(parts),
    }
    make: Any = Sentinel  # it has no types
    sentinel = make(_hosts(parts, SENTINEL_PORT), sentinel_kwargs=of_sentinels)
    client: redis.Redis = sentinel.master_for(
        unquote(master), db=int(db or 0), retry=_retry(), **_options(parts)
    )
    return client


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    """Return the hosts of a URL that names several, separated by commas."""
    found = []
    for text in _host_texts(parts):
        one = urlsplit(f"//{text}")
        if not one.hostname:
            raise UrlError("a host is missing")
        found.append((one.hostname, one.port or port))
    return found


def _options(parts: SplitResult) -> dict[str, Any]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return {
        "username": unquote(user) or None,
        "password": unquote(password) or None,
        "decode_responses": True,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        "health_check_interval": 30,
        **_tls(parts),
    }


def _tls(parts: SplitResult) -> dict[str, Any]:
    """Return how a cluster or Sentinel is spoken to by TLS; options are named as redis-py names them."""
    is_tls = parts.scheme.startswith("rediss")
    found: dict[str, Any] = {"ssl": True} if is_tls else {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if not is_tls:
            raise UrlError("options are only for rediss+cluster:// and rediss+sentinel://")
        if name in _TEXTS:
            found[name] = value
        elif name == "ssl_check_hostname" and value.lower() in _TRUE | _FALSE:
            found[name] = value.lower() in _TRUE
        elif name == "ssl_cert_reqs" and value in {"none", "optional", "required"}:
            found[name] = value
        else:
            raise UrlError(
                f"its options are {', '.join(sorted(_TEXTS))}, ssl_check_hostname (true, false) and "
                "ssl_cert_reqs (none, optional, required)"
            )
    return found


def _retry() -> Retry:
    return Retry(ConstantBackoff(0.05), 1, supported_errors=(RedisConnectionError,))
