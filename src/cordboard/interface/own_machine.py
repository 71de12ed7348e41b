"""With a login by name, an interface serves the people of its own machine, whatever address it listens on.

A pod has to listen on its address, because the cluster asks there whether it works. `kubectl port-forward` connects to
the loopback address within the pod. So a login by name is safe there only if all other connections are refused: a
name that anybody can type, and a Host header that anybody can send, keep nobody out.
"""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from cordboard.context import EMPTY, bound_context
from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.interface.access import METRICS_PATH
from cordboard.interface.local_user import is_forwarded
from cordboard.web.auth import OPEN_PATHS, refuse
from cordboard.web.proxies import is_loopback_peer
from cordboard.web.rate_limits import Sampler
from cordboard.web.session_middleware import logged_path

# Probes and monitoring come from other machines; the metrics need a secret.
_FOR_ALL: Final = frozenset({*OPEN_PATHS, METRICS_PATH})

log = get_logger("guard")


class OtherMachineError(CordboardError):
    """Another machine, or a proxy, has sent the request."""

    status = 403
    code = "other_machine"
    title = "For this machine only"


class OwnMachineMiddleware:
    """Refuses requests of other machines, and those that a proxy has sent for others.

    It runs before anything reads the headers of proxies, which may name any address.

    Args:
        app: The wrapped application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._sampler = Sampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_exempt = scope["type"] == "lifespan" or scope["path"] in _FOR_ALL
        if is_exempt or (is_loopback_peer(scope) and not is_forwarded(scope)):
            await self._app(scope, receive, send)
            return
        suppressed = self._sampler.admit()
        if suppressed is not None:
            with bound_context(EMPTY):
                log.warning(
                    "A request from another machine was refused: people sign in by name alone",
                    event="auth.refused",
                    peer=(scope.get("client") or (None,))[0],
                    path=logged_path(scope),
                    suppressed=suppressed,
                )
        error = OtherMachineError(
            "This site is for the people of its own machine: a name is no authentication.",
            hint="Open it with `kubectl port-forward`, or set CORDBOARD_INTERFACE_LOGIN to oidc or header.",
        )
        await refuse(error, scope, receive, send)
