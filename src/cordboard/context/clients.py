"""Adds the session's headers to outgoing requests of httpx and aiohttp, for hosts on a list alone.

A session id, and above all a person's name, is nothing for a stranger's server: any other host,
and any other host that a redirect leads to, gets none of these headers.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from cordboard.context import current
from cordboard.context.carrier import OWN_HEADERS, inject_headers

Hosts = Callable[[str | None], bool]
_NO_HOST: Final = ""


def allowed(hosts: Iterable[str]) -> Hosts:
    """Return a test of hosts against names such as ``gateway`` or ``*.svc.cluster.local``."""
    if isinstance(hosts, str):
        raise TypeError(f"hosts is a list of names; did you mean [{hosts!r}]?")
    patterns = [host.lower() for host in hosts]

    def is_allowed(host: str | None) -> bool:
        name = (host or _NO_HOST).lower()
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    return is_allowed


def httpx_hooks(hosts: Iterable[str]) -> dict[str, list[Callable[[Any], None]]]:
    """Return ``event_hooks`` for ``httpx.Client``.

    Args:
        hosts: Who may get the headers: names, or patterns with ``*``.
    """
    is_allowed = allowed(hosts)

    def add(request: Any) -> None:
        _apply(request.headers, ours=is_allowed(request.url.host))

    return {"request": [add]}


def httpx_async_hooks(hosts: Iterable[str]) -> dict[str, list[Callable[[Any], Awaitable[None]]]]:
    """Return ``event_hooks`` for ``httpx.AsyncClient``.

    Args:
        hosts: Who may get the headers: names, or patterns with ``*``.
    """
    is_allowed = allowed(hosts)

    async def add(request: Any) -> None:
        _apply(request.headers, ours=is_allowed(request.url.host))

    return {"request": [add]}


def aiohttp_trace(hosts: Iterable[str]) -> Any:
    """Return a ``TraceConfig`` for ``aiohttp.ClientSession(trace_configs=[…])``.

    Args:
        hosts: Who may get the headers: names, or patterns with ``*``.
    """
    from aiohttp import TraceConfig

    is_allowed = allowed(hosts)

    async def on_start(_session: object, _trace: object, params: Any) -> None:
        _apply(params.headers, ours=is_allowed(params.url.host))

    async def on_redirect(_session: object, _trace: object, params: Any) -> None:
        target = urljoin(str(params.url), params.response.headers.get("Location", ""))
        _apply(params.headers, ours=is_allowed(urlsplit(target).hostname))

    trace = TraceConfig()
    trace.on_request_start.append(on_start)
    trace.on_request_redirect.append(on_redirect)
    return trace


def _apply(headers: MutableMapping[str, str], *, ours: bool) -> None:
    if ours:
        inject_headers(current(), headers)
        return
    for name in OWN_HEADERS:
        headers.pop(name, None)
