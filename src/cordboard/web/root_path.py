"""The path prefix under which a proxy serves an application, such as ``/voice``.

ASGI names it ``root_path``. A proxy either removes the prefix from the requests that it forwards (nginx with a
path in ``proxy_pass``) or keeps it (an Ingress of Kubernetes). uvicorn's option of that name supports only
proxies that remove it. Here both kinds reach the same routes, and requests without a proxy do, too. The
prefix comes from the settings alone: ``X-Forwarded-Prefix`` is not read, so no header changes a link.
"""

from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.contract.errors import SettingsError

_CONNECTIONS: Final = frozenset({"http", "websocket"})


class RootPathMiddleware:
    """Removes the prefix from the path of a request that still has it.

    All other code sees the paths of the routes, in checks and in log lines.

    Args:
        app: The wrapped application.
        root_path: The prefix; "" for none.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._prefix = root_path
        self._raw_prefix = root_path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if self._prefix and scope["type"] in _CONNECTIONS:
            scope = self._without_prefix(scope)
        await self._app(scope, receive, send)

    def _without_prefix(self, scope: Scope) -> Scope:
        path: str = scope["path"]
        # Carriers sign the path as it was sent. A prefix with percent-encoding is not ours.
        raw_path: bytes = scope["raw_path"]
        has_prefix = f"{path}/".startswith(f"{self._prefix}/") and (raw_path + b"/").startswith(
            self._raw_prefix + b"/"
        )
        if not has_prefix:
            return scope
        return {
            **scope,
            "path": path[len(self._prefix) :] or "/",
            "raw_path": raw_path[len(self._raw_prefix) :] or b"/",
        }


def refuse_own_paths(root_path: str, own: Collection[str], setting: str) -> None:
    """Refuse a prefix that begins like a path of the application.

    ``/api/...`` without a prefix would otherwise look like a request for ``/...`` below the prefix ``/api``.

    Args:
        root_path: The prefix; "" for none.
        own: The first segments of the application's paths.
        setting: The name of the setting, for the message.

    Raises:
        SettingsError: The first segment of the prefix is one of them.
    """
    first = root_path.lstrip("/").partition("/")[0]
    if first and first in own:
        raise SettingsError(
            f"{setting}: the prefix {root_path} begins with /{first}, a path of this component itself.",
            hint="Choose another prefix, such as /voice.",
        )
