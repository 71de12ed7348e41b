"""The addresses that a developer opens: ``/``, ``/status``, and the page of Pipecat at ``/client/``."""

import importlib.util
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordboard.edge.rooms.start import is_configured
from cordboard.edge.start_request import TRANSPORTS
from cordboard.web.openapi import DescribedRoute

# Packages of Pipecat that contain a built page, the newest first. Neither is a dependency.
_PACKAGES: Final = ("pipecat_ai_prebuilt", "pipecat_ai_small_webrtc_prebuilt")
# The page loads Daily's library at run time, for its access to the microphone, and evaluates it. It is
# served apart from all other pages, and this server sets no cookies.
_POLICY: Final = (
    b"default-src 'self'; script-src 'self' https://c.daily.co 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob: data:; "
    b"worker-src 'self' blob:; font-src 'self' data:; connect-src 'self' https: wss: ws:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = [(b"content-security-policy", _POLICY), (b"x-content-type-options", b"nosniff")]
_HINT: Final = (
    "Pipecat's page is not installed. Install it beside Cordboard with "
    "`pip install pipecat-ai-prebuilt`, then restart the edge.\n"
)

router = APIRouter(route_class=DescribedRoute)


@router.get("/status", tags=["clients"], summary="The transports")
async def status() -> dict[str, Any]:
    """Return the transports of `POST /start` whose keys are configured."""
    return {"status": "ready", "transports": [one for one in TRANSPORTS if is_configured(one)]}


@router.get("/", include_in_schema=False)
async def home(request: Request) -> RedirectResponse:
    """Redirect to the page of Pipecat."""
    return RedirectResponse(f"{request.app.state.root_path}/client/")


def add_client_page(app: FastAPI) -> None:
    """Serve the page of Pipecat at ``/client/`` of `app`, or a hint where it is not installed."""
    folder = page_folder()
    if folder is not None:
        app.mount("/client", _PolicyMiddleware(StaticFiles(directory=folder, html=True)))
        return

    @app.get("/client/", include_in_schema=False)
    async def no_page() -> PlainTextResponse:
        """Return the command that installs the page."""
        return PlainTextResponse(_HINT, 404)


def page_folder() -> Path | None:
    """Return the folder of the built page; None if no package with one is installed."""
    # Found, not imported: the package prints lines when it is imported.
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(place) / "client" / "dist"
            if folder.is_dir():
                return folder
    return None


class _PolicyMiddleware:
    """Adds the page's own content security policy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_policy)
