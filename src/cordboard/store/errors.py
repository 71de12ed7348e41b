"""Redis is unreachable or refuses: its client's errors become those of the store.

A server that lives may refuse all the same: it is full, fails over, lacks replicas, cannot save, or
does not permit it. Its word for that stands at the beginning of an error, inside the error of a
script, or behind what the client puts before the errors of a pipeline.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from cordboard.contract.errors import StoreForbiddenError, StoreUnavailableError
from cordboard.contract.urls import redacted_url

RETRY_AFTER_S: Final = 2

# What uvloop says of a connection that was closed meanwhile; asyncio's own loop raises an OSError.
_CLOSED: Final = "the handler is closed"

# The client takes these words away, and names them by a class.
_REFUSALS: Final = (OutOfMemoryError, TryAgainError)
# What our own commands may be wrong about, or our callers deal with; every other word is a refusal.
_OURS: Final = frozenset(
    {"ERR", "WRONGTYPE", "NOSCRIPT", "NOGROUP", "BUSYGROUP", "BUSYKEY", "EXECABORT", "CROSSSLOT"}
)
_OF_PIPELINE: Final = re.compile(
    r"Command # \d+ .*? of pipeline caused error: (?:\(['\"])?", re.DOTALL
)
_WORD: Final = re.compile(r"(?:^-?|[\s'\":]-)([A-Z]{2}[A-Z_]*)\b")
_NOT_PERMITTED: Final = ("NOPERM", "user executing the script can't")  # the latter: Redis 6.2


@contextmanager
def mapped_errors(url: str) -> Iterator[None]:
    """Turn errors of a Redis that is unreachable or refuses into ``StoreUnavailableError``."""
    try:
        yield
    except AuthenticationError as error:
        raise StoreForbiddenError(
            f"Redis at {redacted_url(url)} refuses the login: {error}.",
            hint="Check the user and the password in REDIS_URL.",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    except (ReadOnlyError, ClusterError, MovedError) as error:  # before ResponseError, their base
        raise _away(url, error) from error
    except ResponseError as error:
        found = refusal(url, error)
        if found is None:
            raise
        raise found from error
    except (
        RedisConnectionError,
        RedisTimeoutError,
        BusyLoadingError,
        InvalidResponse,  # something else listens there
        RedisClusterException,
        OSError,
    ) as error:
        raise _away(url, error) from error
    except RuntimeError as error:
        if not str(error).endswith(_CLOSED):
            raise
        raise StoreUnavailableError(
            f"Redis at {redacted_url(url)} has closed the connection.", retry_after_s=RETRY_AFTER_S
        ) from error


def refusal(url: str, error: ResponseError) -> StoreUnavailableError | None:
    """Return our error where a server refuses; None where the command itself is wrong."""
    if is_forbidden(error):
        return StoreForbiddenError(
            f"Redis at {redacted_url(url)} does not permit it: {_cause(error)}.",
            hint="Give its user the rights in docs/operations.md; `cordboard doctor` names those that are missing.",
            retry_after_s=RETRY_AFTER_S,
        )
    found = set(_WORD.findall(_words(error)))
    if not isinstance(error, _REFUSALS) and found <= _OURS:
        return None
    return StoreUnavailableError(
        f"Redis at {redacted_url(url)} accepts no writes: {_cause(error)}.",
        hint="Check its log, its memory, its disk and its replicas.",
        retry_after_s=RETRY_AFTER_S,
    )


def is_forbidden(error: BaseException) -> bool:
    """Return whether the server's user may not do what was asked for."""
    return isinstance(error, NoPermissionError) or (
        isinstance(error, ResponseError) and any(word in str(error) for word in _NOT_PERMITTED)
    )


def is_missing_group(error: BaseException) -> bool:
    """Return whether a stream or its consumer group does not exist (yet, or any more)."""
    return isinstance(error, ResponseError) and "NOGROUP" in str(error)


def is_existing_group(error: BaseException) -> bool:
    """Return whether a consumer group could not be made because it is there."""
    return isinstance(error, ResponseError) and "BUSYGROUP" in str(error)


def _away(url: str, error: BaseException) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"Redis at {redacted_url(url)} does not answer: {_cause(error)}.",
        hint="Check that it runs and that REDIS_URL is right.",
        retry_after_s=RETRY_AFTER_S,
    )


def _words(error: BaseException) -> str:
    """Return what the server said: a pipeline's error repeats the command, with all its values."""
    text = str(error)
    found = _OF_PIPELINE.match(text)
    return text[found.end() :].rstrip("',)\"") if found else text


def _cause(error: BaseException) -> str:
    if isinstance(error, MasterNotFoundError):  # what follows is a client of each sentinel, in full
        return str(error).partition(" : ")[0]
    return " ".join(_words(error).split()).rstrip(".") or type(error).__name__
