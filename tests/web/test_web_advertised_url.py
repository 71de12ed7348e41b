"""The address that a server which listens everywhere tells others."""

import socket
from collections.abc import Callable

import pytest

from cordboard.contract.errors import UsageError
from cordboard.web import advertised_url, serve
from cordboard.web.advertised_url import reachable_url

V4, V6 = socket.AF_INET, socket.AF_INET6
Look = Callable[[socket.AddressFamily], str | None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which addresses a machine has by its routes, and by its name."""

    def set_up(route: dict[int, str], name: dict[int, str]) -> None:
        monkeypatch.setattr(advertised_url, "_by_route", route.get)
        monkeypatch.setattr(advertised_url, "_by_name", name.get)

    return set_up


@pytest.mark.parametrize(
    ("host", "route", "name", "url"),
    [
        ("0.0.0.0", {V4: "10.1.2.3"}, {V4: "127.0.1.1"}, "http://10.1.2.3:7860"),
        ("0.0.0.0", {V4: "10.1.2.3", V6: "2001:db8::7"}, {}, "http://10.1.2.3:7860"),
        ("0.0.0.0", {}, {V4: "10.9.9.9"}, "http://10.9.9.9:7860"),
        ("::", {V4: "10.1.2.3", V6: "2001:db8::7"}, {}, "http://[2001:db8::7]:7860"),
        ("::", {V4: "10.1.2.3"}, {V6: "::1"}, "http://10.1.2.3:7860"),
        ("::", {V6: "fe80::1%eth0"}, {V4: "10.9.9.9"}, "http://10.9.9.9:7860"),
        ("2001:db8::7", {}, {}, "http://[2001:db8::7]:7860"),
        ("::1", {}, {}, "http://[::1]:7860"),
        ("10.0.0.5", {}, {}, "http://10.0.0.5:7860"),
        ("runner.internal", {}, {}, "http://runner.internal:7860"),
    ],
)
def test_others_get_an_address_that_reaches(
    machine: Callable[..., None], host: str, route: dict[int, str], name: dict[int, str], url: str
) -> None:
    """The way out counts before the name, which Debian maps to 127.0.1.1; IPv6 stands in brackets."""
    machine(route, name)
    assert reachable_url(host, 7860) == url


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("name", [{}, {V4: "127.0.1.1", V6: "::1"}])
def test_without_such_an_address_it_is_asked_for(
    machine: Callable[..., None], host: str, name: dict[int, str]
) -> None:
    """No address that means another machine to others, and no traceback."""
    machine({}, name)
    with pytest.raises(UsageError, match="--url http://ADDRESS:PORT"):
        reachable_url(host, 7860)


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up of a machine's own name may fail; that is no error by itself."""
    monkeypatch.setattr(advertised_url, "_by_route", {}.get)
    monkeypatch.setattr("socket.gethostname", lambda: "no-such-host.invalid")
    with pytest.raises(UsageError):
        reachable_url("0.0.0.0", 1)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_it_reaches(host: str) -> None:
    """What this machine would tell leads to the server."""
    try:
        listener = serve.bind(host, 0)
    except Exception as error:  # noqa: BLE001
        pytest.skip(f"no {host} here: {error}")
    port = listener.getsockname()[1]
    try:
        address = reachable_url(host, port).removeprefix("http://").rpartition(":")[0].strip("[]")
    except UsageError as error:
        pytest.skip(f"a machine without a network: {error}")
    with listener, socket.create_connection((address, port), timeout=10):
        assert not address.startswith("127.")
