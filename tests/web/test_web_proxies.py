"""Who asked, where a proxy stands in front: only those that are named are believed."""

from typing import Any

import pytest

from cordboard import emit
from cordboard.contract.errors import SettingsError
from cordboard.web.proxies import PROXIED, ForwardedMiddleware, TrustedProxies, client_address


async def seen(trusted: tuple[str, ...], peer: str | None, *headers: tuple[str, str]) -> Any:
    """Return the scope that an application behind the middleware sees."""
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope)

    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "scheme": "http", "headers": pairs, "client": peer and (peer, 99)}
    with emit.capture():
        await ForwardedMiddleware(app, TrustedProxies(trusted))(scope, None, None)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(
    ("trusted", "peer", "said", "address"),
    [
        ((), "127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ((), "::1", "203.0.113.7:4711", "203.0.113.7"),
        ((), "10.0.0.1", "203.0.113.7", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "203.0.113.7", "203.0.113.7"),
        (("10.0.0.0/8",), "127.0.0.1", "203.0.113.7", "127.0.0.1"),
        # What a client has put there itself stands left of what our proxies have appended.
        (("10.0.0.0/8",), "10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        (("10.0.0.0/8",), "10.0.0.1", "1.1.1.1, garbage", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "", "10.0.0.1"),
        (("10.0.0.1",), "::ffff:10.0.0.1", "[2001:db8::7]:80", "2001:db8::7"),
        ((), None, "203.0.113.7", None),
    ],
)
async def test_the_client_is_the_first_that_is_no_proxy(
    trusted: tuple[str, ...], peer: str | None, said: str, address: str | None
) -> None:
    """X-Forwarded-For counts from its end, and as far as each sender is trusted."""
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
async def test_the_scheme_is_a_trusted_proxys(peer: str, values: list[str], scheme: str) -> None:
    """X-Forwarded-Proto is believed of a trusted proxy, and only where it is one plain word."""
    found = await seen((), peer, *(("X-Forwarded-Proto", value) for value in values))
    assert (found["scheme"], found[PROXIED]) == (scheme, peer == "127.0.0.1")


async def test_an_untrusted_proxy_is_told_of_once() -> None:
    """Whoever forgot to name the proxy learns which address to name; strangers fill no log."""

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
def test_a_client_of_ipv6_is_counted_by_its_network(client: Any, counted: str) -> None:
    """One customer has 2**64 addresses: they are one client."""
    assert client_address({"client": client}) == counted


def test_a_list_that_is_none_is_refused() -> None:
    """A typing error must not trust nobody, or everybody, in silence."""
    with pytest.raises(SettingsError, match="trusted_proxies"):
        TrustedProxies(["10.0.0.0/8", "proxy.example"])
