"""The pages: sign in, the room, and errors."""

import os
import re
import time
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.staticfiles import StaticFiles

from cordboard.contract.errors import (
    CordboardError,
    InvalidValueError,
    NotFoundError,
    UnauthorizedError,
)
from cordboard.contract.ids import canonical_room
from cordboard.emit import get_logger
from cordboard.interface import plain_words
from cordboard.interface.access import Visitor
from cordboard.interface.cells import other_interface
from cordboard.interface.identity import Identity, login_of, person_of, renew_login
from cordboard.interface.login import (
    NAME_MAX_CHARS,
    LoginCookies,
    account_by_name,
    check_name,
)
from cordboard.interface.request_limits import RequestLimits
from cordboard.web.origin import Origin, is_secure
from cordboard.web.proxies import client_address

DEFAULT_ROOM: Final = "demo"
HOME: Final = "/"
PATH_MAX_CHARS: Final = (
    512  # of the page to open after a login; the longest search takes half of it
)
_OWN_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII without backslashes
STATIC: Final = Path(str(files("cordboard.interface").joinpath("static")))
REPORT_STYLE: Final = Path(str(files("cordboard.logs.report").joinpath("page.css")))

_REPORT_STYLE: Final = "report.css"

log = get_logger("pages")
router = APIRouter()
_templates: Final = Environment(
    loader=PackageLoader("cordboard.interface"),
    autoescape=True,  # names and rooms come from people
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


_templates.globals["words"] = plain_words
_templates.filters["segment"] = partial(quote, safe="")


class PageFiles(StaticFiles):
    """The files of the pages, with the style of the report, whose sections the session page shows."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return where the file of a path is."""
        if path == _REPORT_STYLE:
            return str(REPORT_STYLE), REPORT_STYLE.stat()
        return super().lookup_path(path)


def static_paths() -> frozenset[str]:
    """Return the paths of all files below ``/static``."""
    # Not rglob: it does not follow the link that static/client is in a checkout.
    own = {
        f"/static/{Path(folder, name).relative_to(STATIC)}"
        for folder, _, names in os.walk(STATIC, followlinks=True)
        for name in names
    }
    return frozenset({*own, f"/static/{_REPORT_STYLE}"})


def render_page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page.

    Args:
        request: The request.
        template: The file name of the template.
        status: The HTTP status.
        **values: The variables of the template.
    """
    person = person_of(request)
    values |= {"person": person, "has_login_page": person is not None and _has_login_page(request)}
    values["path"] = request.scope["path"]
    return HTMLResponse(render(request, template, **values), status)


def render(request: Request, template: str, **values: Any) -> str:
    """Return a page, or a part of one, as HTML.

    Args:
        request: The request.
        template: The file name of the template.
        **values: The variables of the template.
    """
    values["root_path"] = request.app.state.root_path
    return _templates.get_template(template).render(values)


def error_page(request: Request, status: int, message: str, hint: str = "") -> HTMLResponse:
    """Return the page for an error.

    Args:
        request: The request.
        status: The HTTP status.
        message: What happened.
        hint: What to do about it.
    """
    title = HTTPStatus(status).phrase
    return render_page(request, "error.html", status, title=title, message=message, hint=hint)


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
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


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
    if not _identity(request).accepts_names:
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
    if not _identity(request).accepts_names:
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
    _cookies(request).sign_in(account, response, secure=_is_secure(request))
    log.info("Signed in", user=account.user_id)
    return response


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Sign out the person who sent the request."""
    if request.app.state.oidc is not None:
        from cordboard.interface.oidc.routes import sign_out_page

        response = await sign_out_page(request)
    else:
        # A redirect, so that reloading the page does not repeat the request.
        response = redirect(request, "/login")
    _cookies(request).sign_out(login_of(request), response, secure=_is_secure(request))
    return response


@router.get("/rooms/{name}")
async def room_page(request: Request, name: str, _person: Visitor) -> Response:
    """Show a room, after a login if nobody is signed in.

    Args:
        request: The request.
        name: The room's name.
    """
    room = _canonical_room(name)
    elsewhere = other_interface(request.app.state.settings, room)
    if elsewhere is not None:
        return RedirectResponse(f"{elsewhere}{_room_path(name)}", HTTPStatus.TEMPORARY_REDIRECT)
    response = render_page(
        request,
        "room.html",
        room=room,
        name=name,
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


def session_path(session_id: str) -> str:
    """Return the path of the page of a session."""
    return f"/sessions/{quote(session_id, safe='')}"


def _room_path(name: str) -> str:
    return f"/rooms/{quote(name, safe='')}"


def own_path(path: str) -> str:
    """Return the path of a page of this interface, to open after a login.

    Args:
        path: The path, with its query, as a request named it: it may name another site.

    Raises:
        NotFoundError: It is not the path of a page.
    """
    # "//host" and "/\\host" are other sites for browsers, which also skip tabs and line breaks.
    if len(path) > PATH_MAX_CHARS or not _OWN_PATH.fullmatch(path):
        raise NotFoundError("There is no such page.", hint="Go to the home page.")
    return path


def redirect(request: Request, path: str) -> RedirectResponse:
    """Return a redirect to a page of this interface.

    Args:
        request: The request.
        path: The path of the page, without the prefix of the interface.
    """
    return RedirectResponse(f"{request.app.state.root_path}{path}", HTTPStatus.SEE_OTHER)


def redirect_to(url: str) -> RedirectResponse:
    """Return a redirect to another site, which no request has named.

    Args:
        url: The URL.
    """
    return RedirectResponse(url, HTTPStatus.SEE_OTHER)


def base_url(request: Request) -> str:
    """Return the address at which people open this interface, with its path prefix.

    Args:
        request: The request. Its host counts only without a public address, that is on loopback, where the
            names of this machine alone are accepted.
    """
    origin: Origin | None = request.app.state.origin
    scheme = "https" if _is_secure(request) else "http"
    address = str(origin) if origin else f"{scheme}://{request.headers.get('host', '')}"
    return f"{address}{request.app.state.root_path}"


def _cookies(request: Request) -> LoginCookies:
    cookies: LoginCookies = request.app.state.login
    return cookies


def _is_secure(request: Request) -> bool:
    return is_secure(request.scope, request.app.state.origin)


def _identity(request: Request) -> Identity:
    identity: Identity = request.app.state.identity
    return identity


def _has_login_page(request: Request) -> bool:
    return _identity(request).has_login_page


def _require_login_page(request: Request) -> None:
    """Refuse people who did not come through the proxy that authenticates them.

    Raises:
        UnauthorizedError: People do not sign in here.
    """
    if not _has_login_page(request):
        raise UnauthorizedError(
            "You are not signed in.",
            hint="Open this site at its usual address and sign in there.",
        )
