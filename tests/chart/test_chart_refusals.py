"""Values that the chart refuses, because components would not start, or would be open to everybody."""

from typing import Any

import pytest

from chart.chart_support import ALL, REDIS, merged, refusal, render
from cordboard.settings.loading import FIELDS

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


@pytest.mark.parametrize(
    "opened",
    [
        {"networkPolicies": {"proxies": []}},
        {"networkPolicies": {"enabled": False}},
        {"interface": {"service": {"type": "NodePort"}}},
        {"interface": {"service": {"type": "LoadBalancer"}}},
    ],
    ids=str,
)
def test_header_is_not_trusted_by_an_address_that_others_may_have(opened: dict[str, Any]) -> None:
    """Without a secret, any pod of a trusted network could sign in as anybody, unless only the proxies come in."""
    told = refusal(ALL, opened)
    assert "CORDBOARD_INTERFACE_LOGIN_SECRET" in told
    assert "networkPolicies.proxies" in told
    secret = {"secret": {"values": {"CORDBOARD_INTERFACE_LOGIN_SECRET": "of the proxy, shared"}}}
    render(ALL, opened, secret)


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
        {"edge": {"host": "https://voice.example.org"}},
        {"interface": {"host": "voice.example.org:443"}},
        {"secret": {"name": "The_Secret"}},
        {"secret": {"keys": ["CORDBOARD_TRUN_SECRET"]}},
        {"runner": {"maxSurge": "0%"}},
        {"runner": {"maxUnavailable": "0%"}},
        {"coldRunners": {"memory": "1 GB"}},
        {"networkPolicies": {"privateNetworks": ["10.0.0.1"]}},
        {"networkPolicies": {"dnsPorts": []}},
        {"networkPolicies": {"apiPorts": []}},
        {"networkPolicies": {"redisPorts": []}},
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
        ({"secret": {"values": {"REDIS_URL": "redis://other:6379"}}}, "redis.url"),
    ],
    ids=["two addresses", "bundled beside a URL", "values for a foreign Secret", "keda without Prometheus", "two URLs"],
)  # fmt: skip
def test_contradictions_are_refused(values: dict[str, Any], name: str) -> None:
    """A value that would have no effect is an error."""
    assert name in refusal(REDIS, values)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"settings": {"interface_login": "password"}}, "settings.interface_login"),
        ({"interface": {"httpRoute": {"parentRefs": []}}}, "interface.httpRoute.parentRefs"),
        ({"edge": {"httpRoute": {"parentRefs": []}}}, "edge.httpRoute.parentRefs"),
        ({"secret": {"values": {"BOT_CONTROL_SHARED_SECRET": "short"}}}, "16 or more"),
        ({"secret": {"values": {"CORDBOARD_INTERFACE_LOGIN_SECRET": "short"}}}, "16 or more"),
        ({"runner": {"autoscaling": {"minReplicas": 0}}}, "autoscaling.minReplicas"),
        ({"runner": {"autoscaling": {"minReplicas": 21}}}, "autoscaling.maxReplicas"),
        ({"runner": {"terminationGracePeriodSeconds": 15}}, "runner.terminationGrace"),
        ({"gateway": {"lameDuckSeconds": 40}}, "gateway.terminationGrace"),
        ({"interface": {"terminationGracePeriodSeconds": 5}}, "interface.terminationGrace"),
        ({"edge": {"terminationGracePeriodSeconds": 20}}, "edge.terminationGrace"),
        ({"settings": {"stream_grace_s": 581}}, "edge.terminationGrace"),
        ({"operator": {"terminationGracePeriodSeconds": 19}}, "operator.terminationGrace"),
        (
            {
                "coldRunners": {
                    "template": {
                        "spec": {"template": {"spec": {"terminationGracePeriodSeconds": 15}}}
                    }
                }
            },
            "coldRunners.template",
        ),
    ],
    ids=lambda item: "" if isinstance(item, dict) else item,
)
def test_what_the_api_or_a_component_would_refuse_later_is_refused(
    values: dict[str, Any], name: str
) -> None:
    """An installation that cannot work ends before it has begun, and the message names the value."""
    assert name in refusal(ALL, values)


@pytest.mark.parametrize(
    "config",
    [
        "lease_s = 7",
        "'shards' = 2\n[bots]\ndefault = '/app/bot.py'\n",
        '# the capacity\n  "runner_capacity"=8\n\n  [phone]\n',
        "interface_login = 'name'",
        "ice_servers = [\n  {urls = 'turn:turn.example.org', username = 'u', credential = 'c'},\n]",
    ],
)
def test_settings_are_not_in_the_tables(config: str) -> None:
    """The chart would neither see a change that needs a word, nor scale by it, nor keep a password out."""
    told = refusal(REDIS, {"config": config})
    (name,) = [name for name in FIELDS if f"settings.{name} " in told]
    assert name in config


def test_tables_may_have_any_key() -> None:
    """Tables, inline as well; what looks like a setting in one of them is none."""
    tables = "bots = {default = '/app/bot.py'}\n[environments.prod]\nlease_s = 1\n"
    render(REDIS, {"config": tables})


@pytest.mark.parametrize("component", ["gateway", "operator", "runner", "interface", "edge"])
@pytest.mark.parametrize("setting", ["lease_s", "shards", "runner_capacity"])
def test_settings_that_the_chart_reads_are_not_variables(component: str, setting: str) -> None:
    """A component with a value of its own would not start beside the others, or would not be scaled by it."""
    variables = [{"name": f"CORDBOARD_{setting.upper()}", "value": "7"}]
    assert f"settings.{setting}" in refusal(REDIS, {component: {"env": variables}})


def test_settings_that_the_chart_reads_are_no_variables_of_jobs() -> None:
    """Cold runners share their values with the others."""
    runner = {"name": "runner", "env": [{"name": "CORDBOARD_LEASE_S", "value": "7"}]}
    template = {"spec": {"template": {"spec": {"containers": [runner]}}}}
    told = refusal(REDIS, {"coldRunners": {"enabled": True, "template": template}})
    assert "settings.lease_s" in told


def test_prometheus_needs_the_scrape_secret() -> None:
    """A PodMonitor that refers to a missing key would find nothing."""
    secret = {"name": "mine", "keys": ["CORDBOARD_TURN_SECRET"]}
    own: dict[str, Any] = {
        "secret": secret,
        "podMonitor": {"enabled": True},
        "networkPolicies": {"enabled": False},
    }
    assert "CORDBOARD_SCRAPE_SECRET" in refusal(own)
    render(own, {"secret": {"keys": ["CORDBOARD_SCRAPE_SECRET"]}})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"podMonitor": {"enabled": True}}, "networkPolicies.monitoring"),
        ({"gateway": {"service": {"type": "LoadBalancer"}}}, "networkPolicies.gatewayCallers"),
        ({"gateway": {"service": {"type": "NodePort"}}}, "networkPolicies.gatewayCallers"),
    ],
)
def test_policies_do_not_deny_what_another_value_asks_for(
    values: dict[str, Any], name: str
) -> None:
    """A scrape or a call that a policy denies only ends in a timeout."""
    assert name in refusal(REDIS, values)
    render(
        REDIS, values, {"networkPolicies": {name.rpartition(".")[2]: [{"namespaceSelector": {}}]}}
    )
    render(REDIS, values, {"networkPolicies": {"enabled": False}})


@pytest.mark.parametrize(
    "server", ["turn:turn.example.org", {"urls": ["turns:turn.example.org"]}], ids=str
)
def test_turn_server_needs_credentials(server: object) -> None:
    """Without them, every caller of a webrtc: room would get an error."""
    servers: dict[str, Any] = {"settings": {"ice_servers": ["stun:stun.example.org", server]}}
    assert "CORDBOARD_TURN_SECRET" in refusal(REDIS, servers)
    render(REDIS, servers, {"secret": {"values": {"CORDBOARD_TURN_SECRET": "of the server"}}})


@pytest.mark.parametrize(
    "server",
    [
        {"urls": "turn:turn.example.org", "username": "u", "credential": "hunter2"},
        '{"urls": "turn:turn.example.org", "username": "u", "credential": "hunter2"}',
    ],
    ids=["table", "text"],
)
def test_password_of_a_turn_server_is_in_the_secret_alone(server: object) -> None:
    """Settings are a ConfigMap. The message names the way out, and not the password."""
    told = refusal(REDIS, {"settings": {"ice_servers": [server]}})
    assert "CORDBOARD_ICE_SERVERS" in told
    assert "hunter2" not in told


def test_ice_servers_have_one_place() -> None:
    """The variable of the Secret would hide the setting."""
    both = {
        "settings": {"ice_servers": ["stun:stun.example.org"]},
        "secret": {"values": {"CORDBOARD_ICE_SERVERS": "stun:stun.example.org"}},
    }
    assert "settings.ice_servers" in refusal(REDIS, both)


@pytest.mark.parametrize("password", ["short", "with a space and more", "p@ssword-p@ssword"])
def test_password_of_the_bundled_valkey_fits_into_a_url(password: str) -> None:
    """Components get it as a part of the URL of Redis."""
    own = {"bundled": {"enabled": True}}
    values = {"redis": own, "secret": {"values": {"VALKEY_PASSWORD": password}}}
    assert "VALKEY_PASSWORD" in refusal(values)


def test_identity_provider_needs_an_address_to_send_people_back_to() -> None:
    """The interface itself would refuse to start."""
    settings = {"interface_login": "oidc", "oidc_issuer": "https://login.example.org",
                "oidc_client_id": "cordboard"}  # fmt: skip
    own = {"interface": {"enabled": True}, "settings": settings}
    assert "interface.host" in refusal(REDIS, own)
    render(REDIS, own, {"settings": {"interface_url": "https://voice.example.org"}})
