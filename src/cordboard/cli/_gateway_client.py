"""The commands' client of a gateway: which gateway to use, and requests to it."""

import json
import os
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from cordboard.contract.errors import CordboardError, UsageError
from cordboard.contract.http_api import bearer_headers, gateway_refusal, gateway_unreachable
from cordboard.contract.urls import check_http_url, redacted_url
from cordboard.environment import GATEWAY_URL
from cordboard.settings import Settings, load
from cordboard.settings.running import running_up

# A gateway answers a listing within 1 s even while a shard of Redis is down (2 s timeouts).
TIMEOUT_S: Final = 10.0
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirects, so that the secret goes only to the URL that the user gave."""

    def redirect_request(self, *_: Any) -> None:
        """Return no request, so that urllib raises an `HTTPError`."""


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """A client of one gateway.

    Attributes:
        url: The gateway's base URL, http or https.
        secret: The control secret; None if none is set.
        tls_ca: A file of certificate authorities, as in the setting ``tls_ca``.
    """

    url: str
    secret: str | None
    tls_ca: str | None = None

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the decoded JSON that the gateway returns for ``path``.

        Args:
            path: The path, with a leading slash.
            query: The parameters of the query; those with the value None are left out.

        Raises:
            CordboardError: The gateway cannot be reached, or refuses the request.
        """
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.url}{path}"
        if parameters:
            url += f"?{urllib.parse.urlencode(parameters)}"
        try:
            with self._opener().open(url, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise response_error(error) from error
        except ValueError as error:
            raise CordboardError(
                f"The server at {redacted_url(self.url)} is not a gateway.",
                hint="Use --gateway URL to name another one.",
            ) from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise gateway_unreachable(self.url, str(getattr(reason, "strerror", reason))) from error

    def _opener(self) -> urllib.request.OpenerDirector:
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if self.url.startswith("https:"):
            from cordboard.web.tls import client_context

            handlers.append(urllib.request.HTTPSHandler(context=client_context(self.tls_ca)))
        opener = urllib.request.build_opener(*handlers)
        opener.addheaders += bearer_headers(self.secret).items()
        return opener


def open_gateway(url: str | None, config: str | None) -> GatewayClient:
    """Return a client of the gateway that the user named, else of a running `up`, else of the settings.

    Args:
        url: The value of ``--gateway``.
        config: The value of ``--config``.

    Raises:
        UsageError: The URL is not http or https, or another user may have written it.
    """
    settings = load(config)
    running = running_up()
    secret = settings.control_secrets[0] if settings.control_secrets else None
    if url is None and running is not None:
        return GatewayClient(running.gateway_url, secret or running.secrets()["control_secret"])
    if running is not None and url == running.gateway_url:
        secret = secret or running.secrets()["control_secret"]
    name = "--gateway" if url else GATEWAY_URL
    checked_url = check_http_url(name, url or settings.gateway_url)
    if secret and not url:
        _check_author(settings, checked_url)
    return GatewayClient(checked_url, secret, settings.tls_ca)


def _check_author(settings: Settings, url: str) -> None:
    """Refuse to send the secret to a gateway that a file of another user names.

    Raises:
        UsageError: Another user may have written the file, and it names another machine.
    """
    file = settings.config_file
    if file is None or "gateway_url" not in settings.from_file or os.environ.get(GATEWAY_URL):
        return
    if urllib.parse.urlsplit(url).hostname in LOOPBACK or _is_private(file.stat()):
        return
    raise UsageError(
        f"Other users can write to {file}, which names the gateway {redacted_url(url)}: the control "
        "secret is not sent there.",
        hint="If this is your gateway, name it with --gateway URL. If not, check who wrote the file.",
    )


def _is_private(file: os.stat_result) -> bool:
    """Return whether only this user, this user's private group and root can write to a file."""
    by_others = file.st_mode & stat.S_IWOTH
    by_group = file.st_mode & stat.S_IWGRP and file.st_gid not in {os.getegid(), 0}
    return file.st_uid in {os.geteuid(), 0} and not by_others and not by_group


def response_error(error: urllib.error.HTTPError) -> CordboardError:
    """Return the error for a response with a status from 300 on.

    Args:
        error: The response, as urllib raises it.
    """
    if error.code in range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST):
        target = redacted_url(urllib.parse.urljoin(error.url, error.headers.get("Location", "")))
        return CordboardError(
            f"The server at {redacted_url(error.url)} redirects to {target}.",
            hint="Use --gateway URL to name the gateway itself; redirects are not followed.",
        )
    return gateway_refusal(error.url, error.code, error.read())
