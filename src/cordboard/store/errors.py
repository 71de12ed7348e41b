"""The errors of redis-py as errors of the store.

A server that answers may still refuse: it is full, fails over, lacks replicas, cannot save, or does not
permit the command. The code of the refusal (``OOM``, ``READONLY``, ...) stands at the beginning of the error,
inside the error of a script, or behind the text that redis-py puts before the errors of a pipeline.
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
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cordboard.contract.errors import StoreForbiddenError, StoreUnavailableError
from cordboard.contract.urls import redacted_url

RETRY_AFTER_S: Final = 2  # short: most outages are a restart or a failover

# The message of the RuntimeError with which uvloop reports that the connection was closed meanwhile. The
# event loop of asyncio raises an OSError.
_CLOSED: Final = "the handler is closed"

# redis-py removes the code of these errors and raises a class for it.
_REFUSALS: Final = (OutOfMemoryError, TryAgainError)
# Codes of faulty commands, and of errors that the store handles. Every other code is a refusal.
_COMMAND_ERRORS: Final = frozenset(
    {"ERR", "WRONGTYPE", "NOSCRIPT", "NOGROUP", "BUSYGROUP", "BUSYKEY", "EXECABORT", "CROSSSLOT"}
)
_PIPELINE_PREFIX: Final = re.compile(
    r"Command # \d+ .*? of pipeline caused error: (?:\(['\"])?", re.DOTALL
)
_CODE: Final = re.compile(r"(?:^-?|[\s'\":]-)([A-Z]{2}[A-Z_]*)\b")
_NOT_PERMITTED: Final = ("NOPERM", "user executing the script can't")  # the latter: Redis 6.2


@contextmanager
def mapped_errors(url: str) -> Iterator[None]:
    """Raise the errors of redis-py as ``StoreUnavailableError``, for the length of a block.

    Args:
        url: The URL of Redis, for the message.
    """
    try:
        yield
    except AuthenticationError as error:
        raise StoreForbiddenError(
            f"Redis at {redacted_url(url)} refuses the login: {error}.",
            hint="Check the user and the password in REDIS_URL.",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    except (ReadOnlyError, ClusterError, MovedError) as error:  # before ResponseError, their base
        raise _unreachable(url, error) from error
    except ResponseError as error:
        refused = refusal(url, error)
        if refused is None:
            raise
        raise refused from error
    except (
        RedisConnectionError,
        RedisTimeoutError,
        BusyLoadingError,
        InvalidResponse,  # another kind of server listens there
        RedisClusterException,
        OSError,
    ) as error:
        raise _unreachable(url, error) from error
    except RuntimeError as error:
        if not str(error).endswith(_CLOSED):
            raise
        raise StoreUnavailableError(
            f"Redis at {redacted_url(url)} has closed the connection.", retry_after_s=RETRY_AFTER_S
        ) from error


def refusal(url: str, error: ResponseError) -> StoreUnavailableError | None:
    """Return the error for a refusal of the server, or None if the command itself is faulty.

    Args:
        url: The URL of Redis, for the message.
        error: The error of redis-py.
    """
    if is_forbidden(error):
        return StoreForbiddenError(
            f"Redis at {redacted_url(url)} does not permit the command: {_cause(error)}.",
            hint="Grant its user the permissions in docs/operations.md; `cordboard doctor` lists the missing ones.",
            retry_after_s=RETRY_AFTER_S,
        )
    # A message of the server may name several codes; one that is no command error is a refusal.
    codes = set(_CODE.findall(_message(error)))
    if not isinstance(error, _REFUSALS) and codes <= _COMMAND_ERRORS:
        return None
    return StoreUnavailableError(
        f"Redis at {redacted_url(url)} accepts no writes: {_cause(error)}.",
        hint="Check its log, its memory, its disk and its replicas.",
        retry_after_s=RETRY_AFTER_S,
    )


def is_forbidden(error: BaseException) -> bool:
    """Return whether ``error`` means that the user lacks a permission."""
    return isinstance(error, NoPermissionError) or (
        isinstance(error, ResponseError) and any(text in str(error) for text in _NOT_PERMITTED)
    )


def is_missing_group(error: BaseException) -> bool:
    """Return whether ``error`` means that a stream or its consumer group does not exist."""
    return isinstance(error, ResponseError) and "NOGROUP" in str(error)


def is_existing_group(error: BaseException) -> bool:
    """Return whether ``error`` means that a consumer group exists already."""
    return isinstance(error, ResponseError) and "BUSYGROUP" in str(error)


def _unreachable(url: str, error: BaseException) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"Redis at {redacted_url(url)} does not answer: {_cause(error)}.",
        hint="Check that it runs and that REDIS_URL is right.",
        retry_after_s=RETRY_AFTER_S,
    )


def _message(error: BaseException) -> str:
    """Return the message of the server, without the command that redis-py repeats for a pipeline."""
    text = str(error)
    prefix = _PIPELINE_PREFIX.match(text)
    return text[prefix.end() :].rstrip("',)\"") if prefix else text


def _cause(error: BaseException) -> str:
    if isinstance(error, MasterNotFoundError):  # the rest is the repr of a client of each sentinel
        return str(error).partition(" : ")[0]
    return " ".join(_message(error).split()).rstrip(".") or type(error).__name__
