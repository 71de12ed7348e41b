"""Errors as pages for people; programs receive ``application/problem+json``, as from every component."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cordboard.contract.errors import CordboardError
from cordboard.interface import rendering
from cordboard.interface.access import LoginRequiredError, login_path

Handler = Callable[[Request, Exception], Awaitable[Response]]


def add_error_pages(app: FastAPI) -> None:
    """Wrap the error handlers of `app`: requests of people who open a page are answered with a page."""
    for kind in (CordboardError, RequestValidationError, HTTPException, Exception):
        handler: Any = app.exception_handlers[kind]
        app.add_exception_handler(kind, _page_handler(handler))


def _page_handler(handler: Handler) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, LoginRequiredError):
            return rendering.redirect(request, login_path(error.path))
        response = await handler(request, error)
        # The path is checked too, because a browser accepts HTML for whatever a person opens in it.
        if request.scope["path"].startswith("/api/") or not _accepts_html(request):
            return response
        message, hint = _texts(error)
        page = rendering.error_page(request, response.status_code, message, hint)
        if "Retry-After" in response.headers:
            page.headers["Retry-After"] = response.headers["Retry-After"]
        return page

    return handle


def _accepts_html(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _texts(error: Exception) -> tuple[str, str]:
    if isinstance(error, CordboardError):
        return error.message, error.hint
    if isinstance(error, HTTPException):
        return "This page does not exist.", "Go to the home page."
    if isinstance(error, RequestValidationError):
        return "The form contains an invalid value.", "Go back and try again."
    return (
        "Something went wrong on our side.",
        "Try again in a moment. If you operate this service, see its log.",
    )
