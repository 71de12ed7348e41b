"""Errors of a cluster's API, of lightkube and of the HTTP clients, as Cordboard's errors."""

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import httpx2
import msgspec
from lightkube.core.exceptions import ConfigError

from cordboard.contract.errors import (
    ClusterError,
    ClusterExpiredError,
    ClusterForbiddenError,
    ClusterUnavailableError,
    ConflictError,
    CordboardError,
    NotFoundError,
)
from cordboard.contract.redaction import redact

_ERROR_CLASSES: Final[dict[int, type[CordboardError]]] = {
    HTTPStatus.FORBIDDEN: ClusterForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.GONE: ClusterExpiredError,
}


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Translate the errors of lightkube and of the HTTP clients."""
    try:
        yield
    except (httpx2.TimeoutException, TimeoutError) as error:
        raise ClusterUnavailableError("The Kubernetes API does not answer in time.") from error
    except (httpx2.HTTPError, aiohttp.ClientError, ssl.SSLError, OSError) as error:
        raise ClusterUnavailableError(
            f"The Kubernetes API cannot be reached: {redact(str(error)) or type(error).__name__}."
        ) from error
    except (ConfigError, KeyError) as error:  # KeyError: a login command printed no token
        raise ClusterError(
            f"The kubeconfig's login does not work: {redact(str(error))}.",
            hint="Check whether `kubectl get pods` works.",
        ) from error
    except msgspec.DecodeError as error:
        raise ClusterUnavailableError(
            f"The Kubernetes API sent an invalid answer: {error}."
        ) from error


def status_of(body: bytes) -> Mapping[str, Any]:
    """Return the API's status object; of a proxy's answer, the beginning as its message."""
    try:
        status = msgspec.json.decode(body)
    except msgspec.DecodeError:
        status = None
    return status if isinstance(status, dict) else {"message": body[:200].decode(errors="replace")}


def api_error(
    status: Mapping[str, Any], code: int, headers: Mapping[str, str] | None = None
) -> CordboardError:
    """Return the error for a status object of the API."""
    text = str(status.get("message") or status.get("reason") or f"HTTP {code}").strip()
    message = f"Kubernetes: {text}{'' if text.endswith('.') else '.'}"
    if code == HTTPStatus.UNAUTHORIZED:
        return ClusterForbiddenError(
            "Kubernetes does not accept this user's login.", hint="Log in to the cluster again."
        )
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ClusterUnavailableError(message, retry_after_s=_retry_after_s(status, headers))
    extra = {"status": code, "reason": status.get("reason")}
    return _ERROR_CLASSES.get(code, ClusterError)(message, extra=extra)


def _retry_after_s(status: Mapping[str, Any], headers: Mapping[str, str] | None) -> int | None:
    text = (headers or {}).get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return int(text)
    seconds = (status.get("details") or {}).get("retryAfterSeconds")
    return seconds if isinstance(seconds, int) and seconds > 0 else None
