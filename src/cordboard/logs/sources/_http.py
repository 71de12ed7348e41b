"""Requests to log stores over HTTP, for sources whose stores speak it."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any, Final
from urllib.parse import urlencode

from cordboard.contract.urls import redacted_url
from cordboard.logs.sources._secrets import Secret, words_of
from cordboard.logs.sources._slices import StoreError

TIMEOUT_S: Final = 60.0
"""Between two pieces of an answer: a store may search for long before it sends the first one."""

_CHUNK_BYTES: Final = 64 << 10
_ERROR_BYTES: Final = 500
_FORBIDDEN: Final = (401, 403)
_BUSY: Final = (429, 500, 502, 503, 504)
# Loki sends no Retry-After with 429.
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
_EXACT_S: Final = 2.0  # the header Date has whole seconds


class Store:
    """The HTTP interface of a log store.

    Args:
        url: Its base URL, with ``http`` or ``https``.
        headers: Sent with every request.
        token_env: The environment variable that holds a bearer token, or the password of ``user``; or empty.
        user: The name for basic authentication, or empty.
        timeout_s: How long the store may be silent.
        pauses_s: How long to wait before a request that was refused for load is sent again.

    Attributes:
        clock_skew_s: By how many seconds the store's clock is ahead of this machine's, by its last answer.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        token_env: str = "",
        user: str = "",
        timeout_s: float = TIMEOUT_S,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._secret = Secret(token_env, user)
        self._timeout_s = timeout_s
        self.pauses_s = tuple(pauses_s)
        self._closed = threading.Event()
        self._open: set[HTTPResponse] = set()
        self.clock_skew_s: float | None = None
        # No redirect is followed: it would take the token to another host.
        self._opener = urllib.request.build_opener(_NoRedirects)

    @property
    def shown(self) -> str:
        """The URL as messages show it, without user and password."""
        return redacted_url(self.url)

    def read(self, path: str, values: Mapping[str, str], *, post: bool = False) -> Iterator[bytes]:
        """Yield the body of an answer in chunks.

        Args:
            path: The path below the base URL.
            values: The query, or the form.
            post: Whether the values are sent as a form, whose length has no limit.

        Raises:
            StoreError: The store did not answer, refused, or ended in the middle.
        """
        response = self._response(path, urlencode(values), post=post)
        self._open.add(response)
        try:
            while chunk := response.read1(_CHUNK_BYTES):
                yield chunk
            if response.length:  # read1 takes a closed connection for the end
                raise StoreError(
                    "truncated", f"the response is incomplete: {response.length} bytes are missing"
                )
        except (OSError, HTTPException, ValueError) as error:
            raise StoreError("truncated", f"the response ended early: {words_of(error)}") from None
        finally:
            self._open.discard(response)
            response.close()

    def lines(self, path: str, values: Mapping[str, str], *, post: bool = False) -> Iterator[bytes]:
        """Yield the lines of an answer, without their newlines; `path`, `values`, `post` and errors as for `read`."""
        rest = b""
        for chunk in self.read(path, values, post=post):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def json(self, path: str, values: Mapping[str, str]) -> Any:
        """Return the decoded body of an answer; `path`, `values` and errors as for `read`."""
        body = b"".join(self.read(path, values))
        try:
            return json.loads(body)
        except ValueError as error:
            start = self._secret.removed_from(body[:_ERROR_BYTES].decode("utf-8", "replace"))
            raise StoreError("unreadable", f"expected JSON, got {start[:80]!r}") from error

    @property
    def identity(self) -> str:
        """The identity of the requests, for people."""
        return self._secret.identity

    def close(self) -> None:
        """End the answers that are being read, from another thread; nothing is repeated any more."""
        self._closed.set()
        for response in list(self._open):
            connection = getattr(getattr(response, "fp", None), "raw", None)
            sock = getattr(connection, "_sock", None)
            if isinstance(sock, socket.socket):
                sock.shutdown(socket.SHUT_RDWR)

    def _response(self, path: str, query: str, *, post: bool) -> HTTPResponse:
        """Return an answer whose body is to be read; a request that is refused for load is sent again."""
        for pause_s in self.pauses_s:
            try:
                return self._request(path, query, post=post)
            except StoreError as error:
                if error.status not in _BUSY or self._closed.wait(pause_s):
                    raise
        return self._request(path, query, post=post)

    def _request(self, path: str, query: str, *, post: bool) -> HTTPResponse:
        headers = {**self._headers, **self._secret.header()}
        url, data = (
            (f"{self.url}{path}", query.encode())
            if post
            else (f"{self.url}{path}{'?' if query else ''}{query}", None)
        )
        try:
            request = urllib.request.Request(url, data, headers)  # noqa: S310 - the scheme is checked
            response: HTTPResponse = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except (OSError, HTTPException, ValueError) as error:
            # Not chained: the error's own text may contain a header, and a traceback would show it.
            raise StoreError("unreachable", f"{self.shown}: {words_of(error)}") from None
        self.clock_skew_s = skew_s(response.headers.get("Date"))
        if response.status != HTTPStatus.OK:  # 204 and the like have no answer; a proxy sends them
            response.close()
            raise StoreError("unreadable", f"HTTP {response.status}: there is no response to read")
        return response

    def _refused(self, error: urllib.error.HTTPError) -> StoreError:
        with error:
            try:
                text = error.read(_ERROR_BYTES).decode("utf-8", "replace").strip()
            except (OSError, HTTPException):
                text = ""
        reason = "forbidden" if error.code in _FORBIDDEN else "unreachable"
        said = self._secret.removed_from(text or str(error.reason))
        return StoreError(reason, f"HTTP {error.code}: {said}", error.code)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse: the answer is then an error."""


def skew_s(date: str | None) -> float | None:
    """Return by how many seconds the clock of `date`, a header (RFC 9110, section 6.6.1), is ahead of this machine's.

    Returns:
        None if there is no such header, or it is malformed.
    """
    if not date:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return None


def clock_fact(ahead_s: float | None) -> str:
    """Return what the difference between a server's clock and this machine's means.

    Args:
        ahead_s: By how many seconds the server's clock is ahead; None if it sent no date.
    """
    if ahead_s is None:
        return "its clock is unknown"
    if abs(ahead_s) < _EXACT_S:
        return "its clock agrees with this machine's"
    return f"its clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
