"""Requests to one cluster: get, list, create, delete, watch and logs, with errors of ours."""

import contextlib
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx2
import msgspec
from lightkube.core.exceptions import ConfigError
from lightkube.core.generic_client import BasicRequest, GenericAsyncClient
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource
from lightkube.generic_resource import create_api_info as api

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

Object = dict[str, Any]
Kind = Literal["Job", "Pod", "Event", "Namespace"]

REQUEST_S: Final = 10.0
CONNECT_S: Final = 5.0
WATCH_S: Final = 30
"""The server closes an idle watch after so long; we ask again, and so notice an API that hangs."""
WATCH_SILENCE_S: Final = WATCH_S + 15.0
LOG_SILENCE_S: Final = 300.0
"""A followed log that says nothing for so long is opened anew: its connection may be half dead."""
PAGE: Final = 500

_OK_MAX: Final = 299
_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_REFUSALS: Final[dict[int, type[CordboardError]]] = {
    403: ClusterForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: ClusterExpiredError,
}
_ALL: Final = "*"

# It writes a line at `info` for each request: an operator's log would hold little else.
logging.getLogger("httpx2").setLevel(logging.WARNING)  # noqa: TID251 - a library's, not ours


class _Job(GenericNamespacedResource):
    _api_info = api("batch", "v1", "Job", "jobs")


class _Pod(GenericNamespacedResource):
    _api_info = api("", "v1", "Pod", "pods")


class _Event(GenericNamespacedResource):
    _api_info = api("", "v1", "Event", "events")


class _Namespace(GenericGlobalResource):
    _api_info = api("", "v1", "Namespace", "namespaces")


# Not lightkube's own classes: those drop the fields that their version does not know.
_KINDS: Final[dict[Kind, type[GenericNamespacedResource] | type[GenericGlobalResource]]] = {
    "Job": _Job,
    "Pod": _Pod,
    "Event": _Event,
    "Namespace": _Namespace,
}


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list returned, and the version from which a watch goes on."""

    objects: list[Object]
    version: str


class Kube:
    """One cluster, as one user of it.

    Args:
        client: lightkube's client.
        name: What to call the cluster in front of people: its context.
    """

    def __init__(self, client: GenericAsyncClient, name: str) -> None:
        self._client = client
        self.name = name

    @property
    def namespace(self) -> str:
        """The namespace of the context, or the one that this process runs in."""
        return str(self._client.namespace)

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """Return one object.

        Raises:
            NotFoundError: There is none.
            ClusterError: The API does not answer, or refuses.
        """
        return await self._json(self._prepare("get", kind, name=name, namespace=namespace))

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Listing:
        """Return all objects that match the selectors; of all namespaces where none is given.

        Raises:
            ClusterError: The API does not answer, or refuses.
        """
        objects: list[Object] = []
        page: str | None = None
        while True:
            params = {"limit": str(PAGE), "continue": page, **_selectors(labels, fields)}
            try:
                answer = await self._json(
                    self._prepare("list", kind, namespace=_scope(kind, namespace), params=params)
                )
            except ClusterExpiredError:
                if page is None:
                    raise
                objects, page = [], None  # it took too long to turn the pages: from the start
                continue
            objects += answer.get("items") or []
            meta = answer.get("metadata") or {}
            page = meta.get("continue") or None
            if page is None:
                return Listing(objects, str(meta.get("resourceVersion", "")))

    async def create(self, kind: Kind, manifest: Mapping[str, Any], namespace: str) -> Object:
        """Create an object.

        Raises:
            ConflictError: There is one of this name.
            NotFoundError: There is no such namespace.
            ClusterError: The API does not answer, or refuses.
        """
        request = self._prepare("list", kind, namespace=namespace)
        request.method, request.data = "POST", dict(manifest)
        return await self._json(request)

    async def delete(
        self, kind: Kind, name: str, namespace: str, *, wait_for_dependents: bool = False
    ) -> bool:
        """Delete an object and what belongs to it; False when there was none.

        Args:
            kind: The kind of the object.
            name: Its name.
            namespace: Where it is.
            wait_for_dependents: It stays, marked as being deleted, until its dependents are gone.

        Raises:
            ClusterError: The API does not answer, or refuses.
        """
        policy = "Foreground" if wait_for_dependents else "Background"
        request = self._prepare(
            "delete", kind, name=name, namespace=namespace, params={"propagationPolicy": policy}
        )
        try:
            await self._json(request)
        except NotFoundError:
            return False
        return True

    async def watch(
        self,
        kind: Kind,
        version: str,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
    ) -> AsyncGenerator[tuple[str, Object]]:
        """Yield the changes after a version, until the server closes the stream.

        ``follow`` goes on from there, and is what nearly everybody wants.

        Raises:
            ClusterExpiredError: The version is no longer kept.
            ClusterError: The API does not answer, or refuses.
        """
        params = {
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
            "allowWatchBookmarks": "true",
            **_selectors(labels, fields),
        }
        request = self._prepare(
            "list", kind, namespace=_scope(kind, namespace), params=params, watch=True
        )
        async with self._stream(request, WATCH_SILENCE_S) as chunks:
            async for line in _lines(chunks):
                event = msgspec.json.decode(line)
                if event["type"] == "ERROR":
                    raise _refusal(event["object"], int(event["object"].get("code") or 500))
                yield event["type"], event["object"]

    @contextlib.asynccontextmanager
    async def log(
        self, namespace: str, pod: str, container: str, **params: str | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the log of one container; gives its bytes as they come.

        Args:
            namespace: The pod's namespace.
            pod: The pod.
            container: Its container.
            params: As the API names them: ``previous``, ``sinceTime``, ``timestamps``, ``follow``.

        Raises:
            NotFoundError: There is no such pod.
            ClusterError: The API or the node does not answer, or refuses.
        """
        request = self._prepare(
            "get", "Pod", name=pod, namespace=namespace, params={"container": container, **params}
        )
        request.url += "/log"
        silence = LOG_SILENCE_S if params.get("follow") else 4 * REQUEST_S
        async with self._stream(request, silence) as chunks:
            yield chunks

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    def _prepare(self, method: str, kind: Kind, **about: Any) -> BasicRequest:
        return self._client.prepare_request(method, _KINDS[kind], **about)

    async def _json(self, request: BasicRequest) -> Object:
        with _translated():
            answer = await self._send(request)
            if answer.status_code > _OK_MAX:
                raise _refusal(_status(answer.content), answer.status_code, answer.headers)
            return msgspec.json.decode(answer.content, type=dict[str, Any])

    async def _send(self, request: BasicRequest, *, stream: bool = False) -> httpx2.Response:
        wanted = self._client.build_adapter_request(request)
        answer: httpx2.Response = await self._client.send(wanted, stream=stream)  # type: ignore[no-untyped-call]
        return answer

    @contextlib.asynccontextmanager
    async def _stream(
        self, request: BasicRequest, silence_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        request.timeout = httpx2.Timeout(REQUEST_S, connect=CONNECT_S, read=silence_s)
        with _translated():
            answer = await self._send(request, stream=True)
        try:
            if answer.status_code > _OK_MAX:
                body = b"".join([chunk async for chunk in _read(answer)])
                raise _refusal(_status(body), answer.status_code, answer.headers)
            async with contextlib.aclosing(_read(answer)) as chunks:
                yield chunks
        finally:
            await answer.aclose()


async def _read(answer: httpx2.Response) -> AsyncGenerator[bytes]:
    with _translated():
        async for chunk in answer.aiter_bytes():
            yield chunk


def _scope(kind: Kind, namespace: str | None) -> str | None:
    return None if kind == "Namespace" else namespace or _ALL


def _selectors(labels: str, fields: str) -> dict[str, str | None]:
    return {"labelSelector": labels or None, "fieldSelector": fields or None}


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split at newlines alone: a value may hold what text processing takes for a line's end."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what lightkube and its HTTP client raise into errors of ours."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise ClusterUnavailableError("The Kubernetes API does not answer in time.") from error
    except (httpx2.HTTPError, ssl.SSLError, OSError) as error:
        raise ClusterUnavailableError(
            f"The Kubernetes API cannot be reached: {redact(str(error)) or type(error).__name__}."
        ) from error
    except (ConfigError, KeyError) as error:  # KeyError: a login command printed no token
        raise ClusterError(
            f"The kubeconfig's login does not work: {redact(str(error))}.",
            hint="See whether `kubectl get pods` works for you.",
        ) from error
    except msgspec.DecodeError as error:
        raise ClusterUnavailableError(
            f"The Kubernetes API answers with what is no answer: {error}."
        ) from error


def _status(body: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        found = None
    return found if isinstance(found, dict) else {"message": body[:200].decode(errors="replace")}


def _refusal(
    status: Mapping[str, Any], code: int, headers: Mapping[str, str] | None = None
) -> CordboardError:
    """Return the error that a status of the API stands for."""
    words = str(status.get("message") or status.get("reason") or f"HTTP {code}").strip()
    message = f"Kubernetes: {words}{'' if words.endswith('.') else '.'}"
    if code == _UNAUTHORIZED:
        return ClusterForbiddenError(
            "Kubernetes does not accept this user's login.", hint="Log in to the cluster again."
        )
    if code == _TOO_MANY or code >= _SERVER_ERROR:
        return ClusterUnavailableError(message, retry_after_s=_retry_after(status, headers))
    extra = {"status": code, "reason": status.get("reason")}
    return _REFUSALS.get(code, ClusterError)(message, extra=extra)


def _retry_after(status: Mapping[str, Any], headers: Mapping[str, str] | None) -> int | None:
    text = (headers or {}).get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return int(text)
    seconds = (status.get("details") or {}).get("retryAfterSeconds")
    return seconds if isinstance(seconds, int) and seconds > 0 else None
