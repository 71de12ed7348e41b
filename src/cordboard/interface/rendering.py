"""How pages become answers: templates, paths, redirects and the files of the pages."""

import os
import re
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.staticfiles import StaticFiles

from cordboard.contract.errors import NotFoundError
from cordboard.interface import plain_words
from cordboard.interface.identity import Identity, person_of
from cordboard.web.origin import Origin, is_secure

HOME: Final = "/"
PATH_MAX_CHARS: Final = (
    512  # of the page to open after a login; the longest search takes half of it
)
_OWN_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII without backslashes
STATIC: Final = Path(str(files("cordboard.interface").joinpath("static")))
REPORT_STYLE: Final = Path(str(files("cordboard.logs.report").joinpath("page.css")))

_REPORT_STYLE: Final = "report.css"

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
    values |= {"person": person, "has_login_page": person is not None and has_login_page(request)}
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


def session_path(session_id: str) -> str:
    """Return the path of the page of the session `session_id`."""
    return f"/sessions/{quote(session_id, safe='')}"


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
    scheme = "https" if arrived_secure(request) else "http"
    address = str(origin) if origin else f"{scheme}://{request.headers.get('host', '')}"
    return f"{address}{request.app.state.root_path}"


def arrived_secure(request: Request) -> bool:
    """Return whether the browser sent `request` over https."""
    return is_secure(request.scope, request.app.state.origin)


def identity(request: Request) -> Identity:
    """Return how people are identified in the application of `request`."""
    found: Identity = request.app.state.identity
    return found


def has_login_page(request: Request) -> bool:
    """Return whether people sign in on a page of this interface."""
    return identity(request).has_login_page
