"""Values that the chart refuses, because components would not start, or would be open to everybody."""

from typing import Any

import pytest

from chart.chart_support import ALL, REDIS, merged, refusal, render

OPEN = merged(ALL, {"settings": {"interface_login": "name"}})


def test_redis_is_required() -> None:
    """No component runs without Redis."""
    assert "redis.url" in refusal({})


@pytest.mark.parametrize(
    "door",
    [
        {"ingress": {"enabled": True}},
        {"httpRoute": {"enabled": True}},
        {"service": {"type": "LoadBalancer"}},
        {"service": {"type": "NodePort"}},
    ],
    ids=["ingress", "httpRoute", "LoadBalancer", "NodePort"],
)
def test_interface_with_login_by_name_is_not_exposed(door: dict[str, Any]) -> None:
    """Whoever reaches it could start bots, which cost money."""
    closed = {"ingress": {"enabled": False}, "httpRoute": {"enabled": False}}
    render(OPEN, {"interface": closed})
    assert "settings.interface_login" in refusal(OPEN, {"interface": merged(closed, door)})


def test_interface_needs_a_login() -> None:
    """The interface itself would refuse to start."""
    assert "settings.interface_login" in refusal(REDIS, {"interface": {"enabled": True}})


def test_header_needs_somebody_to_trust() -> None:
    """A header alone proves nothing: either proxies are listed, or they share a secret."""
    untrusted: dict[str, Any] = {"settings": {"trusted_proxies": []}}
    assert "trusted_proxies" in refusal(ALL, untrusted)
    secret = {"secret": {"values": {"CORDBOARD_INTERFACE_LOGIN_SECRET": "of the proxy, shared"}}}
    render(ALL, untrusted, secret)


def test_oidc_needs_a_provider() -> None:
    """The interface itself would refuse to start."""
    login = {"settings": {"interface_login": "oidc", "oidc_issuer": "https://login.example.org"}}
    assert "oidc_client_id" in refusal(ALL, login)
    render(ALL, login, {"settings": {"oidc_client_id": "cordboard"}})


@pytest.mark.parametrize("component", ["interface", "edge"])
def test_door_needs_a_host(component: str) -> None:
    """A door without a host name would take the requests of all hosts."""
    assert f"{component}.host" in refusal(ALL, {component: {"host": ""}})


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"lease_z": 15}},
        {"settings": {"lease_s": "15"}},
        {"settings": {"lease_s": 0}},
        {"settings": {"redis_url": "redis://redis:6379/0"}},
        {"runner": {"replica": 3}},
        {"runner": {"autoscaling": {"kind": "vpa"}}},
        {"image": {"plane": {"digest": "latest"}}},
    ],
    ids=str,
)
def test_schema_refuses(values: dict[str, Any]) -> None:
    """Names and types are checked before anything is installed."""
    assert "schema" in refusal(REDIS, values)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"secret": {"name": "mine"}}, "redis.url"),
        ({"redis": {"bundled": {"enabled": True}}}, "redis.bundled"),
        ({"redis": {"url": ""}, "secret": {"name": "mine", "values": {"A": "b"}}}, "secret.values"),
        ({"runner": {"autoscaling": {"kind": "keda"}}}, "keda.prometheus"),
    ],
    ids=["two addresses", "bundled beside a URL", "values for a foreign Secret", "keda without Prometheus"],
)  # fmt: skip
def test_contradictions_are_refused(values: dict[str, Any], name: str) -> None:
    """A value that would have no effect is an error."""
    assert name in refusal(REDIS, values)
