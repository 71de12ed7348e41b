"""The client behind a proxy: only headers of trusted proxies count."""

from typing import Any

import pytest

from cordboard import emit
from cordboard.contract.errors import SettingsError
from cordboard.web.proxies import (
    FROM_TRUSTED_PROXY,
    ForwardedMiddleware,
    TrustedProxies,
    client_address,
)


async def seen(trusted: tuple[str, ...], peer: str | None, *headers: tuple[str, str]) -> Any:
    """Return the scope that an application behind the middleware receives."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "scheme": "http", "headers": pairs, "client": peer and (peer, 99)}
    with emit.capture():
        await ForwardedMiddleware(app, TrustedProxies(trusted))(scope, None, None)  # type: ignore[arg-type]
    return scopes[0]


@pytest.mark.parametrize(
    ("trusted", "peer", "said", "address"),
    [
        ((), "127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ((), "::1", "203.0.113.7:4711", "203.0.113.7"),
        ((), "10.0.0.1", "203.0.113.7", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "203.0.113.7", "203.0.113.7"),
        (("10.0.0.0/8",), "127.0.0.1", "203.0.113.7", "127.0.0.1"),
        # What the client itself wrote is to the left of what the proxies appended.
        (("10.0.0.0/8",), "10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        (("10.0.0.0/8",), "10.0.0.1", "1.1.1.1, garbage", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "", "10.0.0.1"),
        (("10.0.0.1",), "::ffff:10.0.0.1", "[2001:db8::7]:80", "2001:db8::7"),
        ((), None, "203.0.113.7", None),
    ],
)
async def test_client_is_the_last_address_that_is_not_a_trusted_proxy(
    trusted: tuple[str, ...], peer: str | None, said: str, address: str | None
) -> None:
    """X-Forwarded-For is read from its end, as far as each sender is trusted."""
    scope = await seen(trusted, peer, ("X-Forwarded-For", said))
    assert (scope["client"] and scope["client"][0]) == address
    assert scope["headers"] == []


@pytest.mark.parametrize(
    ("peer", "values", "scheme"),
    [
        ("127.0.0.1", ["https"], "https"),
        ("127.0.0.1", ["https", "http"], "http"),
        ("127.0.0.1", ["https, http"], "http"),
        ("127.0.0.1", ["gopher"], "http"),
        ("10.0.0.1", ["https"], "http"),
    ],
)
async def test_scheme_is_taken_from_a_trusted_proxy(
    peer: str, values: list[str], scheme: str
) -> None:
    """X-Forwarded-Proto counts only from a trusted proxy, and only if it is one word."""
    scope = await seen((), peer, *(("X-Forwarded-Proto", value) for value in values))
    assert (scope["scheme"], scope[FROM_TRUSTED_PROXY]) == (scheme, peer == "127.0.0.1")


async def test_untrusted_proxy_is_logged_once() -> None:
    """The warning names the address to trust; repeated requests do not repeat it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    middleware = ForwardedMiddleware(app, TrustedProxies())
    headers = [(b"x-forwarded-for", b"203.0.113.7")]
    scope = {"type": "http", "headers": headers, "client": ("10.0.0.1", 9)}
    with emit.capture() as records:
        for _ in range(3):
            await middleware(scope, None, None)  # type: ignore[arg-type]
    (warning,) = records
    assert warning["meta"]["peer"] == "10.0.0.1"
    assert "CORDBOARD_TRUSTED_PROXIES" in warning["meta"]["hint"]


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        (("203.0.113.7", 1), "203.0.113.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (("::ffff:203.0.113.7", 1), "203.0.113.7"),
        (("fe80::1%eth0", 1), "fe80::"),
        (("testclient", 1), "unknown"),
        (None, "unknown"),
    ],
)
def test_ipv6_client_is_counted_by_its_network(client: Any, counted: str) -> None:
    """One customer has 2**64 addresses, which count as one client."""
    assert client_address({"client": client}) == counted


def test_invalid_list_of_proxies_is_a_settings_error() -> None:
    """A typing error must not silently trust nobody, or everybody."""
    with pytest.raises(SettingsError, match="trusted_proxies"):
        TrustedProxies(["10.0.0.0/8", "proxy.example"])
