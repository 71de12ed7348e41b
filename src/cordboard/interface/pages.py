"""The pages: sign in, the room, and errors."""

import time
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from cordboard.contract.errors import (
    CordboardError,
    InvalidValueError,
    NotFoundError,
    UnauthorizedError,
)
from cordboard.contract.ids import canonical_room
from cordboard.emit import get_logger
from cordboard.interface.access import Visitor
from cordboard.interface.cells import other_interface
from cordboard.interface.identity import login_of, person_of, renew_login
from cordboard.interface.login import (
    NAME_MAX_CHARS,
    LoginCookies,
    account_by_name,
    check_name,
)
from cordboard.interface.rendering import (
    HOME,
    STATIC,
    arrived_secure,
    has_login_page,
    identity,
    own_path,
    redirect,
    render_page,
)
from cordboard.interface.request_limits import RequestLimits
from cordboard.interface.services import Services
from cordboard.web.proxies import client_address

DEFAULT_ROOM: Final = "demo"
_ICON: Final = (STATIC / "icon.svg").read_bytes()

log = get_logger("pages")
router = APIRouter()


@router.get("/")
async def home(request: Request) -> Response:
    """Redirect to the default room.

    Args:
        request: The request.
    """
    return redirect(request, _room_path(DEFAULT_ROOM))


@router.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    """Serve the icon under the name that browsers request by default."""
    # Not a FileResponse, which answers a malformed Range in a form of its own.
    return Response(_ICON, media_type="image/svg+xml")


@router.get("/login")
async def login_form(
    request: Request, target: Annotated[str, Query(alias="next")] = HOME
) -> Response:
    """Show the sign-in form.

    Args:
        request: The request.
        target: The path of the page to open afterwards.
    """
    path = own_path(target)
    # A person who is signed in does not need the form again, for example after the Back button.
    if person_of(request) is not None:
        return redirect(request, path)
    _require_login_page(request)
    if not identity(request).accepts_names:
        return render_page(request, "sign_in.html", target=path)
    return _login_page(request, path)


@router.post("/login")
async def login(
    request: Request,
    name: Annotated[str, Form()] = "",
    target: Annotated[str, Form(alias="next")] = HOME,
) -> Response:
    """Sign in and redirect to a page.

    Args:
        request: The request.
        name: The person's name.
        target: The path of the page.
    """
    _require_login_page(request)
    if not identity(request).accepts_names:
        raise UnauthorizedError("Names are not accepted here.", hint="Sign in on the login page.")
    limits: RequestLimits = request.app.state.request_limits
    limits.login(client_address(request.scope))
    path = own_path(target)
    try:
        checked_name = check_name(name)
    except InvalidValueError as error:
        # Cut: the page repeats the name, and a form may contain 64 KB.
        return _login_page(request, path, name=name[: NAME_MAX_CHARS * 2], error=error)
    response = redirect(request, path)
    account = account_by_name(checked_name)
    _cookies(request).sign_in(account, response, secure=arrived_secure(request))
    log.info("Signed in", user=account.user_id)
    return response


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Sign out the person who sent the request."""
    if request.app.state.oidc is not None:
        # Not at the top: its libraries are those of an extra.
        from cordboard.interface.oidc.routes import sign_out_page

        response = await sign_out_page(request)
    else:
        # A redirect, so that reloading the page does not repeat the request.
        response = redirect(request, "/login")
    _cookies(request).sign_out(login_of(request), response, secure=arrived_secure(request))
    return response


@router.get("/rooms/{name}")
async def room_page(request: Request, name: str, services: Services, _person: Visitor) -> Response:
    """Show a room, after a login if nobody is signed in.

    Args:
        request: The request.
        name: The room's name.
        services: The interface's services.
    """
    room = _canonical_room(name)
    elsewhere = await other_interface(request.app.state.settings, services.gateway, room)
    if elsewhere is not None:
        return RedirectResponse(f"{elsewhere}{_room_path(name)}", HTTPStatus.TEMPORARY_REDIRECT)
    response = render_page(
        request,
        "room.html",
        room=room,
        name=name,
        content=request.app.state.settings.content,  # the page logs words only where it permits them
        logs_option=services.log_readings.environment.option,
        # Session ids contain the time, and only recent ones are accepted: by this server's clock.
        now_ms=time.time_ns() // 1_000_000,
    )
    renew_login(request, response)
    return response


def _login_page(
    request: Request, target: str, *, name: str = "", error: CordboardError | None = None
) -> HTMLResponse:
    return render_page(
        request,
        "login.html",
        200 if error is None else error.status,
        target=target,
        name=name,
        error=error,
        name_max=NAME_MAX_CHARS,
    )


def _canonical_room(name: str) -> str:
    try:
        return canonical_room(f"webrtc:{name}")
    except InvalidValueError as error:
        raise NotFoundError(
            "There is no room with this name.",
            hint="The name of a room has letters and digits, and any of . _ ~ @ - between them.",
        ) from error


def open_room(request: Request, name: str) -> RedirectResponse:
    """Return a redirect to the room that a form names.

    Raises:
        NotFoundError: It is not the name of a room.
    """
    _canonical_room(name)
    return redirect(request, _room_path(name))


def _room_path(name: str) -> str:
    return f"/rooms/{quote(name, safe='')}"


def _cookies(request: Request) -> LoginCookies:
    cookies: LoginCookies = request.app.state.login
    return cookies


def _require_login_page(request: Request) -> None:
    """Refuse people who did not come through the proxy that authenticates them.

    Raises:
        UnauthorizedError: People do not sign in here.
    """
    if not has_login_page(request):
        raise UnauthorizedError(
            "You are not signed in.",
            hint="Open this site at its usual address and sign in there.",
        )
