"""Requests to one cluster: get, list, create, delete, watch and logs, with Cordboard's errors."""

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httpx2
import msgspec
from lightkube.core.generic_client import BasicRequest, GenericAsyncClient

from cordboard.contract.errors import ClusterExpiredError, ClusterUnavailableError, NotFoundError
from cordboard.kube.api_errors import api_error, status_of, translated_errors
from cordboard.kube.clock import ClusterClock
from cordboard.kube.kinds import KINDS, Kind
from cordboard.kube.log_connections import LogConnections

Object = dict[str, Any]

# Seconds for a connection to the API.
CONNECT_S: Final = 5.0

# Objects in one answer of a list, as kubectl requests them. A longer answer loads the API server.
PAGE: Final = 500

_ALL: Final = "*"

# httpx2 logs each request at `info`: an operator's log would contain little else.
logging.getLogger("httpx2").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class KubeTimes:
    """How long requests to a cluster may take, in seconds.

    Attributes:
        request: A request with one answer.
        watch: The server closes an idle watch after this time. The next one shows whether the API hangs.
        watch_grace: A watch that is silent for this long beyond ``watch`` has a dead connection.
        log_silence: A followed log that is silent for this long is opened again: its connection may be dead.
    """

    request: float = 10.0
    watch: int = 30
    watch_grace: float = 15.0
    log_silence: float = 300.0


DEFAULT_TIMES: Final = KubeTimes()


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer to a list.

    Attributes:
        objects: The objects.
        version: The resource version from which a watch continues.
    """

    objects: list[Object]
    version: str


class Right(NamedTuple):
    """A right that a Role grants.

    Attributes:
        verb: What may be done, such as ``create``.
        resource: To what, in the plural and with its subresource: ``pods/log``.
        group: The API group; empty for the core.
    """

    verb: str
    resource: str
    group: str = ""


class Kube:
    """One cluster, as one user of it.

    Args:
        client: lightkube's client.
        logs: Connections for logs.
        name: The name of the cluster for people: its context.
        times: How long requests may take.
    """

    def __init__(
        self,
        client: GenericAsyncClient,
        logs: LogConnections,
        name: str,
        times: KubeTimes = DEFAULT_TIMES,
    ) -> None:
        self.name = name
        self._client = client
        self._logs = logs
        self._times = times
        self._clock = ClusterClock()

    @property
    def clock_offset_s(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the cluster's; None if no answer has told its time."""
        return self._clock.offset_s

    @property
    def namespace(self) -> str:
        """The namespace of the context, or of the pod of this process."""
        return str(self._client.namespace)

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """Return one object.

        Args:
            kind: The kind of the object.
            name: Its name.
            namespace: Its namespace; None for the context's.

        Raises:
            NotFoundError: There is no such object.
            ClusterError: The API does not answer, or refuses the request.
        """
        return await self._json(self._prepare("get", kind, name=name, namespace=namespace))

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Listing:
        """Return all objects that match the selectors.

        Args:
            kind: The kind of the objects.
            namespace: Their namespace; None for all namespaces.
            labels: A label selector; empty for all objects.
            fields: A field selector; empty for all objects.

        Raises:
            ClusterError: The API does not answer, or refuses the request.
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
                objects, page = [], None  # the pages expired while they were read: start again
                continue
            if "items" not in answer:  # a proxy's answer; an empty list of the API is one
                raise ClusterUnavailableError("The Kubernetes API sent an answer that is no list.")
            objects += answer["items"] or []
            meta = answer.get("metadata") or {}
            page = meta.get("continue") or None
            if page is None:
                return Listing(objects, str(meta.get("resourceVersion", "")))

    async def create(
        self,
        kind: Kind,
        manifest: Mapping[str, Any],
        namespace: str | None,
        *,
        is_trial: bool = False,
    ) -> Object:
        """Create an object, and return it.

        Args:
            kind: The kind of the object.
            manifest: The object.
            namespace: Its namespace; None for a kind that has none.
            is_trial: Whether the API only says whether it would create the object: it asks for the right, the
                quota and all admission controllers (``dryRun=All``).

        Raises:
            ConflictError: An object of this name exists.
            NotFoundError: There is no such namespace.
            ClusterError: The API does not answer, or refuses the request.
        """
        # A create is a POST to the path of a list.
        params = {"dryRun": "All"} if is_trial else {}
        request = self._prepare("list", kind, namespace=namespace, params=params)
        request.method, request.data = "POST", dict(manifest)
        return await self._json(request)

    async def may(self, right: "Right", namespace: str | None) -> bool:
        """Return whether this user has a right.

        Args:
            right: The right.
            namespace: Where it is needed; None for all namespaces.

        Raises:
            ClusterError: The API does not answer, or refuses the request.
        """
        resource, _, sub = right.resource.partition("/")
        asked = {
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": sub,
            "namespace": namespace or "",
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        answer = await self.create("SelfSubjectAccessReview", review, None)
        return bool((answer.get("status") or {}).get("allowed"))

    async def annotate(
        self, kind: Kind, name: str, namespace: str, annotations: Mapping[str, str | None]
    ) -> None:
        """Set annotations of an object, and leave its other ones as they are.

        Args:
            kind: The kind of the object.
            name: Its name.
            namespace: Its namespace.
            annotations: The values by name; None removes an annotation.

        Raises:
            NotFoundError: There is no such object.
            ClusterError: The API does not answer, or refuses the request.
        """
        patch = {"metadata": {"annotations": dict(annotations)}}
        headers = {"Content-Type": "application/merge-patch+json"}
        await self._json(
            self._prepare("patch", kind, obj=patch, name=name, namespace=namespace, headers=headers)
        )

    async def delete(
        self, kind: Kind, name: str, namespace: str, *, wait_for_dependents: bool = False
    ) -> bool:
        """Delete an object and its dependents; return whether it existed.

        Args:
            kind: The kind of the object.
            name: Its name.
            namespace: Its namespace.
            wait_for_dependents: Whether the object stays, marked as being deleted, until its dependents
                are gone.

        Raises:
            ClusterError: The API does not answer, or refuses the request.
        """
        # Without a policy, the API would leave a Job's pods running.
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
        """Yield the changes after a resource version, until the server closes the stream.

        Use ``follow``, which continues after that, unless one stream is enough.

        Args:
            kind: The kind of the objects.
            version: The resource version of the last list or change.
            namespace: Their namespace; None for all namespaces.
            labels: A label selector; empty for all objects.
            fields: A field selector; empty for all objects.

        Raises:
            ClusterExpiredError: The server no longer keeps this version.
            ClusterError: The API does not answer, or refuses the request.
        """
        params = {
            "resourceVersion": version,
            "timeoutSeconds": str(self._times.watch),
            "allowWatchBookmarks": "true",
            **_selectors(labels, fields),
        }
        request = self._prepare(
            "list", kind, namespace=_scope(kind, namespace), params=params, watch=True
        )
        async with self._stream(request, self._times.watch + self._times.watch_grace) as chunks:
            async for line in _lines(chunks):
                event = msgspec.json.decode(line)
                if event["type"] == "ERROR":
                    raise api_error(event["object"], int(event["object"].get("code") or 500))
                yield event["type"], event["object"]

    @contextlib.asynccontextmanager
    async def log(
        self, namespace: str, pod: str, container: str, **params: str | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the log of one container, and yield an iterator over its bytes as they arrive.

        Args:
            namespace: The pod's namespace.
            pod: The pod.
            container: Its container.
            params: Parameters of the API: ``previous``, ``sinceTime``, ``timestamps``, ``follow``.

        Raises:
            NotFoundError: There is no such pod.
            ClusterError: The API or the node does not answer, or refuses the request.
        """
        request = self._prepare(
            "get", "Pod", name=pod, namespace=namespace, params={"container": container, **params}
        )
        request.url += "/log"
        # A node may have to read much of a log before it sends the first byte.
        silence_s = self._times.log_silence if params.get("follow") else 4 * self._times.request
        opened = self._logs.get(
            self._client.build_adapter_request(request), connect_s=CONNECT_S, silence_s=silence_s
        )
        async with contextlib.AsyncExitStack() as stack:
            with translated_errors():
                answer = await stack.enter_async_context(opened)
                if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                    raise api_error(status_of(await answer.read()), answer.status, answer.headers)
            chunks = _translated(answer.content.iter_any())
            yield await stack.enter_async_context(contextlib.aclosing(chunks))

    async def close(self) -> None:
        """Close all connections."""
        await self._logs.close()
        await self._client.close()  # type: ignore[no-untyped-call]

    def _prepare(self, method: str, kind: Kind, **arguments: Any) -> BasicRequest:
        return self._client.prepare_request(method, KINDS[kind], **arguments)

    async def _json(self, request: BasicRequest) -> Object:
        with translated_errors():
            answer = await self._send(request)
            if not answer.is_success:
                raise api_error(status_of(answer.content), answer.status_code, answer.headers)
            return msgspec.json.decode(answer.content, type=dict[str, Any])

    async def _send(self, request: BasicRequest, *, stream: bool = False) -> httpx2.Response:
        prepared = self._client.build_adapter_request(request)
        asked_at, began_at = time.time(), time.monotonic()
        answer: httpx2.Response = await self._client.send(prepared, stream=stream)  # type: ignore[no-untyped-call]
        self._clock.compare(answer.headers.get("Date"), asked_at, time.monotonic() - began_at)
        return answer

    @contextlib.asynccontextmanager
    async def _stream(
        self, request: BasicRequest, silence_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        request.timeout = httpx2.Timeout(self._times.request, connect=CONNECT_S, read=silence_s)
        with translated_errors():
            answer = await self._send(request, stream=True)
        try:
            if not answer.is_success:
                body = b"".join([chunk async for chunk in _translated(answer.aiter_bytes())])
                raise api_error(status_of(body), answer.status_code, answer.headers)
            async with contextlib.aclosing(_translated(answer.aiter_bytes())) as chunks:
                yield chunks
        finally:
            await answer.aclose()


async def _translated(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    with translated_errors():
        async for chunk in chunks:
            yield chunk


def _scope(kind: Kind, namespace: str | None) -> str | None:
    return None if kind == "Namespace" else namespace or _ALL


def _selectors(labels: str, fields: str) -> dict[str, str | None]:
    return {"labelSelector": labels or None, "fieldSelector": fields or None}


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield lines, split at newlines alone: values may contain other characters that end lines of text."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
