"""What the commands that ask a gateway share: where it is, asking it, tables."""

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

from cordboard.contract.errors import (
    CordboardError,
    UsageError,
)
from cordboard.contract.http_api import bearer_headers, gateway_refusal, gateway_unreachable
from cordboard.contract.urls import check_http_url, redacted_url
from cordboard.settings import Settings, load
from cordboard.settings.running import running_up

TIMEOUT_S: Final = 10.0
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
GATEWAY_URL: Final = "CORDBOARD_GATEWAY_URL"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the secret goes only to the URL that the user gave."""

    def redirect_request(self, *_: Any) -> None:
        """Return no further request, so that the answer is an error."""


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """A gateway that can be asked.

    Attributes:
        url: Where it is.
        secret: What lets us in.
        tls_ca: The file of certificate authorities for it, as in the setting ``tls_ca``.
    """

    url: str
    secret: str | None
    tls_ca: str | None = None

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return what the gateway answers, decoded.

        Raises:
            CordboardError: It cannot be reached, or refuses; in its own words.
        """
        words = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(words)}" if words else "")
        headers = bearer_headers(self.secret)
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http or https, checked in open_gateway()
        try:
            with _opener(self.url, self.tls_ca).open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise _refused(error) from error
        except ValueError as error:
            raise CordboardError(
                f"What answers at {redacted_url(self.url)} is not a gateway.",
                hint="Name another with --gateway URL.",
            ) from error
        except OSError as error:
            why = getattr(error, "reason", error)
            raise gateway_unreachable(self.url, str(getattr(why, "strerror", why))) from error


def _opener(url: str, ca: str | None) -> urllib.request.OpenerDirector:
    if not url.startswith("https:"):
        return urllib.request.build_opener(_NoRedirects)
    from cordboard.web.tls import client_context

    return urllib.request.build_opener(
        _NoRedirects, urllib.request.HTTPSHandler(context=client_context(ca))
    )


def open_gateway(url: str | None, config: str | None) -> GatewayClient:
    """Return the gateway that the user means: as named, else of a running `up`, else as set.

    Raises:
        UsageError: The URL is not http or https, or may have been chosen by another user.
    """
    settings = load(config)
    running = running_up()
    secret = settings.control_secrets[0] if settings.control_secrets else None
    if url is None and running is not None:
        return GatewayClient(running.gateway_url, secret or running.secrets()["control_secret"])
    if running is not None and url == running.gateway_url:
        secret = secret or running.secrets()["control_secret"]
    name = "--gateway" if url else "CORDBOARD_GATEWAY_URL"
    chosen = check_http_url(name, url or settings.gateway_url)
    if secret and not url:
        _check_who_chose(settings, chosen)
    return GatewayClient(chosen, secret, settings.tls_ca)


def _check_who_chose(settings: Settings, url: str) -> None:
    """Refuse to send the secret to a gateway that a file of another user names.

    Raises:
        UsageError: The file may have been written by another user, and names another machine.
    """
    file = settings.config_file
    if file is None or "gateway_url" not in settings.from_file or os.environ.get(GATEWAY_URL):
        return
    if urllib.parse.urlsplit(url).hostname in LOOPBACK or _is_ours(file.stat()):
        return
    raise UsageError(
        f"{file} can be written by others, and names the gateway {redacted_url(url)}: the control "
        "secret is not sent there.",
        hint="If this is your gateway, name it with --gateway URL. If not, check who wrote the file.",
    )


def _is_ours(file: os.stat_result) -> bool:
    """Return whether only this user, this user's private group and root can write to the file."""
    by_others = file.st_mode & stat.S_IWOTH
    by_group = file.st_mode & stat.S_IWGRP and file.st_gid not in {os.getegid(), 0}
    return file.st_uid in {os.geteuid(), 0} and not by_others and not by_group


def _refused(error: urllib.error.HTTPError) -> CordboardError:
    if error.code in range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST):
        where = redacted_url(urllib.parse.urljoin(error.url, error.headers.get("Location", "")))
        return CordboardError(
            f"What answers at {redacted_url(error.url)} redirects to {where}.",
            hint="Name the gateway itself with --gateway; redirects are not followed.",
        )
    return gateway_refusal(error.url, error.code, error.read())
