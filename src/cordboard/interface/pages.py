"""The pages: sign in, the room, and what went wrong."""

import time
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from cordboard import __version__
from cordboard.contract.errors import (
    CordboardError,
    InvalidValueError,
    NotFoundError,
    UnauthorizedError,
)
from cordboard.contract.ids import canonical_room
from cordboard.emit import get_logger
from cordboard.interface.identity import Identity, person_of, renew
from cordboard.interface.login import NAME_MAX_CHARS, LoginCookies, check_name
from cordboard.interface.origin import is_secure
from cordboard.interface.request_limits import RequestLimits
from cordboard.web.proxies import client_address

DEFAULT_ROOM: Final = "demo"
STATIC: Final = Path(str(files("cordboard.interface").joinpath("static")))

log = get_logger("pages")
router = APIRouter()
_templates: Final = Environment(
    loader=PackageLoader("cordboard.interface"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["version"] = __version__


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page."""
    return HTMLResponse(_templates.get_template(template).render(values), status)


def error_page(status: int, message: str, hint: str = "") -> HTMLResponse:
    """Return the page that says what went wrong."""
    title = HTTPStatus(status).phrase
    return page("error.html", status, title=title, message=message, hint=hint)


@router.get("/")
async def home() -> Response:
    """Lead to the default room."""
    return _see(_room_path(DEFAULT_ROOM))


@router.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    """Serve the icon under the name that browsers try by themselves."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


@router.get("/login")
async def login_form(request: Request, room: str = DEFAULT_ROOM) -> Response:
    """Ask for a name."""
    _checked_room(room)
    if person_of(request) is not None:
        return _see(_room_path(room))
    _signs_in_here(request)
    return _login_page(room)


@router.post("/login")
async def login(
    request: Request, name: Annotated[str, Form()] = "", room: Annotated[str, Form()] = DEFAULT_ROOM
) -> Response:
    """Sign in, and lead to the room."""
    _signs_in_here(request)
    limits: RequestLimits = request.app.state.request_limits
    limits.login(client_address(request.scope))
    _checked_room(room)
    try:
        checked = check_name(name)
    except InvalidValueError as error:
        return _login_page(room, name=name[: NAME_MAX_CHARS * 2], error=error)
    response = _see(_room_path(room))
    person = _login(request).sign_in(checked, response, secure=_is_secure(request))
    log.info("Signed in", user=person.user_id)
    return response


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Sign out."""
    response = _see("/login")
    _login(request).sign_out(person_of(request), response, secure=_is_secure(request))
    return response


@router.get("/rooms/{name}")
async def room_page(request: Request, name: str) -> Response:
    """Show a room to who is signed in; others sign in first."""
    room = _checked_room(name)
    person = person_of(request)
    if person is None:
        return _see(f"/login?{urlencode({'room': name})}")
    response = page(
        "room.html",
        room=room,
        name=name,
        person=person,
        signs_out=_by_name(request),
        # Session ids contain the time, and only those of the last day are accepted: by our clock, then.
        now_ms=time.time_ns() // 1_000_000,
    )
    renew(request, response)
    return response


def _login_page(room: str, *, name: str = "", error: CordboardError | None = None) -> HTMLResponse:
    return page(
        "login.html",
        200 if error is None else error.status,
        room=room,
        name=name,
        error=error,
        name_max=NAME_MAX_CHARS,
    )


def _checked_room(name: str) -> str:
    try:
        return canonical_room(f"webrtc:{name}")
    except InvalidValueError as error:
        raise NotFoundError(
            "There is no room of that name.",
            hint="A room's name has letters and digits, and any of . _ ~ @ - between them.",
        ) from error


def _room_path(name: str) -> str:
    return f"/rooms/{quote(name, safe='')}"


def _see(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303)


def _login(request: Request) -> LoginCookies:
    found: LoginCookies = request.app.state.login
    return found


def _is_secure(request: Request) -> bool:
    return is_secure(request.scope, request.app.state.origin)


def _by_name(request: Request) -> bool:
    identity: Identity = request.app.state.identity
    return identity.by_name


def _signs_in_here(request: Request) -> None:
    """Refuse people who did not come through the proxy that signs them in.

    Raises:
        UnauthorizedError: People do not sign in here.
    """
    if not _by_name(request):
        raise UnauthorizedError(
            "You are not signed in.",
            hint="Open this site at its usual address, and sign in there.",
        )
