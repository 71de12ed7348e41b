"""The routes of a sign-in with OpenID Connect."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.interface import rendering
from cordboard.interface.login import LoginCookies
from cordboard.interface.oidc.attempts import Attempts
from cordboard.interface.oidc.errors import ClockSkewError
from cordboard.interface.oidc.login import CALLBACK_PATH, OidcLogin
from cordboard.interface.request_limits import RequestLimits
from cordboard.web.origin import is_secure
from cordboard.web.proxies import client_address
from cordboard.web.rate_limits import Sampler

KEPT_COOKIE: Final = "cordboard_id_token"
_CODE_MAX_CHARS: Final = 4096

log = get_logger("oidc")
router = APIRouter()


@router.get("/login/start")
async def start(
    request: Request, target: Annotated[str, Query(alias="next")] = rendering.HOME
) -> Response:
    """Begin a sign-in: redirect to the identity provider.

    Args:
        request: The request.
        target: The path of the page to open afterwards.
    """
    limits: RequestLimits = request.app.state.request_limits
    limits.login(client_address(request.scope))
    attempts = _attempts(request)
    attempt = attempts.begin(rendering.own_path(target))
    try:
        url = await _oidc(request).sign_in_url(attempt, rendering.base_url(request))
    except CordboardError as error:
        _log_failure(request, error)
        raise
    response = rendering.redirect_to(url)
    attempts.remember(attempt, response, request.cookies, secure=_is_secure(request))
    return response


@router.get(CALLBACK_PATH)
async def callback(request: Request, state: str = "", code: str = "") -> Response:
    """End a sign-in: check what the identity provider has sent, and redirect to the page.

    Args:
        request: The request.
        state: The state of the sign-in.
        code: For which the provider says who has signed in.
    """
    secure = _is_secure(request)
    attempts, oidc = _attempts(request), _oidc(request)
    try:
        # First: without it, everybody could make this server ask the provider.
        attempt = attempts.end(state, request.cookies, secure=secure)
        await oidc.check_response(request.query_params)
        found = await oidc.complete(attempt, code[:_CODE_MAX_CHARS], rendering.base_url(request))
    except CordboardError as error:
        _log_failure(request, error)
        raise
    response = rendering.redirect(request, attempt.target)
    attempts.forget(state, response, secure=secure)
    # A new login with a new key, whatever cookie the request has: nobody can prepare one for others.
    cookies: LoginCookies = request.app.state.login
    cookies.sign_in(found.account, response, secure=secure)
    _keep_id_token(request, response, found.id_token, secure=secure)
    log.info("Signed in", user=found.account.user_id, groups=found.account.groups)
    return response


async def sign_out_page(request: Request) -> Response:
    """Return the page of a person who has signed out here; it leads to the sign-out at the provider."""
    kept = request.cookies.get(_id_token_cookie(secure=_is_secure(request)))
    url = await _oidc(request).sign_out_url(kept, rendering.base_url(request))
    response = rendering.render_page(request, "signed_out.html", url=url)
    _keep_id_token(request, response, None, secure=_is_secure(request))
    return response


def _keep_id_token(
    request: Request, response: Response, id_token: str | None, *, secure: bool
) -> None:
    """Keep the ID token for the sign-out, the only request with which the browser sends it."""
    name, path = _id_token_cookie(secure=secure), f"{request.app.state.root_path}/logout"
    if id_token is None:
        response.delete_cookie(name, path=path, httponly=True, samesite="lax", secure=secure)
        return
    limits = request.app.state.login.limits
    response.set_cookie(
        name,
        id_token,
        max_age=limits.age_s,
        path=path,
        httponly=True,
        samesite="lax",
        secure=secure,
    )


def _id_token_cookie(*, secure: bool) -> str:
    # Not __Host-, which would send it with each request. It grants nothing, so others may set it.
    return f"{'__Secure-' if secure else ''}{KEPT_COOKIE}"


def _log_failure(request: Request, error: CordboardError) -> None:
    sampler: Sampler = request.app.state.sign_in_refusals
    suppressed = sampler.admit()
    if suppressed is None:
        return
    write = log.error if isinstance(error, ClockSkewError) else log.warning
    write(
        "A sign-in failed",
        event="auth.refused",
        code=error.code,
        reason=getattr(error, "reason", error.message),
        peer=client_address(request.scope),
        suppressed=suppressed,
    )


def _oidc(request: Request) -> OidcLogin:
    oidc: OidcLogin = request.app.state.oidc
    return oidc


def _attempts(request: Request) -> Attempts:
    attempts: Attempts = request.app.state.attempts
    return attempts


def _is_secure(request: Request) -> bool:
    return is_secure(request.scope, request.app.state.origin)
