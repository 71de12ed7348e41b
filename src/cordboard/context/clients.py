"""Adds the session's headers to outgoing requests of httpx and aiohttp, for listed hosts only.

A session id, and above all a user's name, must not reach servers of other organisations: a host
that is not listed gets none of these headers, even if a redirect leads to it.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from cordboard.context import current
from cordboard.context.carrier import OWN_HEADERS, inject_headers

HostTest = Callable[[str | None], bool]
_NO_HOST: Final = ""


def host_test(hosts: Iterable[str]) -> HostTest:
    """Return a function that tests whether a host is listed.

    Args:
        hosts: Names such as ``gateway``, or patterns such as ``*.svc.cluster.local``.

    Raises:
        TypeError: `hosts` is a string.
    """
    if isinstance(hosts, str):
        raise TypeError(f"hosts must be a list of names, got a string. Use [{hosts!r}].")
    # Host names are compared without regard to case; httpx and aiohttp keep that of the URL.
    patterns = [host.lower() for host in hosts]

    def is_listed(host: str | None) -> bool:
        name = (host or _NO_HOST).lower()
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return is_listed


def httpx_hooks(hosts: Iterable[str]) -> dict[str, list[Callable[[Any], None]]]:
    """Return ``event_hooks`` for ``httpx.Client``.

    Args:
        hosts: The hosts that get the headers: names, or patterns with ``*``.

    Example:
        ```python
        client = httpx.Client(event_hooks=httpx_hooks(["billing", "*.svc.cluster.local"]))
        ```
    """
    is_listed = host_test(hosts)

    def add(request: Any) -> None:
        _apply(request.headers, is_listed=is_listed(request.url.host))

    return {"request": [add]}


def httpx_async_hooks(hosts: Iterable[str]) -> dict[str, list[Callable[[Any], Awaitable[None]]]]:
    """Return ``event_hooks`` for ``httpx.AsyncClient``.

    Args:
        hosts: The hosts that get the headers: names, or patterns with ``*``.

    Example:
        ```python
        client = httpx.AsyncClient(event_hooks=httpx_async_hooks(["billing"]))
        ```
    """
    is_listed = host_test(hosts)

    async def add(request: Any) -> None:
        _apply(request.headers, is_listed=is_listed(request.url.host))

    return {"request": [add]}


def aiohttp_trace(hosts: Iterable[str]) -> Any:
    """Return a ``TraceConfig`` for ``aiohttp.ClientSession``.

    Args:
        hosts: The hosts that get the headers: names, or patterns with ``*``.

    Example:
        ```python
        client = aiohttp.ClientSession(trace_configs=[aiohttp_trace(["billing"])])
        ```
    """
    from aiohttp import TraceConfig

    is_listed = host_test(hosts)

    async def on_start(_session: object, _trace: object, params: Any) -> None:
        _apply(params.headers, is_listed=is_listed(params.url.host))

    async def on_redirect(_session: object, _trace: object, params: Any) -> None:
        # aiohttp sends the same headers to the target unless they are removed here.
        target = urljoin(str(params.url), params.response.headers.get("Location", ""))
        _apply(params.headers, is_listed=is_listed(urlsplit(target).hostname))

    trace = TraceConfig()
    trace.on_request_start.append(on_start)
    trace.on_request_redirect.append(on_redirect)
    return trace


def _apply(headers: MutableMapping[str, str], *, is_listed: bool) -> None:
    if is_listed:
        inject_headers(current(), headers)
        return
    # A redirect keeps the headers of the request that was redirected.
    for name in OWN_HEADERS:
        headers.pop(name, None)
