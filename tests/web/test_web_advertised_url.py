"""The URL that a server on all addresses of its machine gives to others."""

import socket

import pytest

from cordboard.contract.errors import UsageError
from cordboard.web import serve
from cordboard.web.advertised_url import Lookup, address_by_name, advertised_url

V4, V6 = socket.AF_INET, socket.AF_INET6


def found_in(addresses: dict[int, str]) -> Lookup:
    """Return a lookup that finds these addresses of the families."""

    def lookup(family: socket.AddressFamily) -> str | None:
        return addresses.get(family)

    return lookup


@pytest.mark.parametrize(
    ("host", "route", "name", "url"),
    [
        ("0.0.0.0", {V4: "10.1.2.3"}, {V4: "127.0.1.1"}, "http://10.1.2.3:7861"),
        ("0.0.0.0", {V4: "10.1.2.3", V6: "2001:db8::7"}, {}, "http://10.1.2.3:7861"),
        ("0.0.0.0", {}, {V4: "10.9.9.9"}, "http://10.9.9.9:7861"),
        ("::", {V4: "10.1.2.3", V6: "2001:db8::7"}, {}, "http://[2001:db8::7]:7861"),
        ("::", {V4: "10.1.2.3"}, {V6: "::1"}, "http://10.1.2.3:7861"),
        ("::", {V6: "fe80::1%eth0"}, {V4: "10.9.9.9"}, "http://10.9.9.9:7861"),
        ("2001:db8::7", {}, {}, "http://[2001:db8::7]:7861"),
        ("::1", {}, {}, "http://[::1]:7861"),
        ("10.0.0.5", {}, {}, "http://10.0.0.5:7861"),
        ("runner.internal", {}, {}, "http://runner.internal:7861"),
    ],
)
def test_url_has_an_address_that_others_can_use(
    host: str, route: dict[int, str], name: dict[int, str], url: str
) -> None:
    """The default route precedes the host name, which Debian maps to 127.0.1.1; IPv6 is bracketed."""
    assert advertised_url(host, 7861, lookups=(found_in(route), found_in(name))) == url


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("name", [{}, {V4: "127.0.1.1", V6: "::1"}])
def test_no_usable_address_is_a_usage_error_with_a_hint(host: str, name: dict[int, str]) -> None:
    """A loopback address is never given to others; the hint names the option that helps."""
    with pytest.raises(UsageError) as raised:
        advertised_url(host, 7861, lookups=(found_in({}), found_in(name)))
    assert "--url http://ADDRESS:PORT" in raised.value.hint


def test_unresolvable_host_name_gives_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that nothing resolves is not an error by itself."""
    monkeypatch.setattr("socket.gethostname", lambda: "no-such-host.invalid")
    assert address_by_name(V4) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_url_of_this_machine_leads_to_the_server(host: str) -> None:
    """A connection to the advertised address reaches the listening socket."""
    try:
        listener = serve.bind(host, 0)
    except Exception as error:  # noqa: BLE001
        pytest.skip(f"no {host} here: {error}")
    port = listener.getsockname()[1]
    try:
        address = advertised_url(host, port).removeprefix("http://").rpartition(":")[0].strip("[]")
    except UsageError as error:
        pytest.skip(f"a machine without a network: {error}")
    with listener, socket.create_connection((address, port), timeout=10):
        assert not address.startswith("127.")
