"""What the pods of the chart are, when they restart, and what they may reach."""

from ipaddress import ip_network
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from chart.chart_support import (
    ALL,
    COMPONENTS,
    OLDEST,
    REDIS,
    ZONES,
    merged,
    named,
    of_kind,
    pod_of,
    render,
)
from cordboard.contract.launch import Launch
from cordboard.launchers.kubernetes_manifest import JobTemplate, job_manifest


def template_of(found: list[dict[str, Any]], component: str) -> dict[str, Any]:
    """Return the pod template of a component."""
    template: dict[str, Any] = named(found, "Deployment", f"cordboard-{component}")["spec"][
        "template"
    ]
    return template


def restarted_by(*change: dict[str, Any]) -> set[str]:
    """Return the components whose pods another value replaces."""
    before, after = render(*change[:-1]), render(*change)
    return {name for name in COMPONENTS if template_of(before, name) != template_of(after, name)}


def test_pods_have_no_label_of_a_version() -> None:
    """A new chart with the same images and settings leaves the pods, and the calls in them, alone."""
    bundled = {"redis": {"url": "", "bundled": {"enabled": True}}}
    found = of_kind(render(ALL, bundled), "Deployment", "StatefulSet", "DaemonSet", "Job")
    assert len(found) == len(COMPONENTS) + 1
    for item in found:
        assert set(item["spec"]["template"]["metadata"]["labels"]) == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
            "app.kubernetes.io/part-of",
            "app.kubernetes.io/managed-by",
        }


def test_another_redis_restarts_the_pods_that_use_it() -> None:
    """They read its URL at the start; a new password alone does not leave a trace that could be guessed."""
    other = {"redis": {"url": "redis://:hunter2@other.data:6379/0"}}
    assert restarted_by(ALL, other) == {"gateway", "operator", "runner"}
    assert (
        restarted_by(ALL, other, {"redis": {"url": "redis://:s3cret@other.data:6379/0"}}) == set()
    )


@pytest.mark.parametrize(
    "change",
    [
        {"coldRunners": {"template": {"spec": {"ttlSecondsAfterFinished": 60}}}},
        {"config": "[bots.sales]\nfile = '/app/sales.py'\n"},
    ],
    ids=["template", "config"],
)
def test_another_job_restarts_the_operators(change: dict[str, Any]) -> None:
    """An operator reads the template of its Jobs at the start."""
    assert "operator" in restarted_by(ALL, change)
    assert "operator" not in restarted_by(ALL, {"coldRunners": {"enabled": False}}, {"coldRunners": {"template": {"spec": {}}}})  # fmt: skip


@pytest.mark.parametrize("pod_spec", [{}, {"terminationGracePeriodSeconds": 90}])
def test_cold_runners_read_the_tables_too(pod_spec: dict[str, Any]) -> None:
    """A session that moves from a warm runner to a cold one keeps the policy of its bot."""
    config = "[bots.sales]\nfile = '/app/sales.py'\nkeep_context = true\n"
    own = {"spec": {"template": {"spec": pod_spec}}}
    values = merged(ALL, {"config": config, "coldRunners": {"template": own}})
    launch = Launch("call-7", "webrtc:demo", epoch=1)
    words = ["--bot", "default=/app/bot.py", "--bot", "sales=/app/sales.py"]

    def pod(values: dict[str, Any]) -> dict[str, Any]:
        file = named(render(values), "ConfigMap", "cordboard-job")["data"]["job.yaml"]
        base = JobTemplate(image="bots", arguments=words, base=yaml.safe_load(file))
        found: dict[str, Any] = job_manifest(launch, base)["spec"]["template"]["spec"]
        return found

    (runner,) = pod(values)["containers"]
    (without,) = pod(merged(values, {"config": ""}))["containers"]
    assert runner["args"] == [*without["args"], "--config", "/etc/cordboard/cordboard.toml"]
    assert {"name": "config", "mountPath": "/etc/cordboard", "readOnly": True} in runner["volumeMounts"]  # fmt: skip
    (volume,) = [item for item in pod(values)["volumes"] if item["name"] == "config"]
    name = volume["configMap"]["name"]
    assert named(render(values), "ConfigMap", name)["data"] == {"cordboard.toml": config}


def test_pod_that_is_not_ready_holds_no_drain_back() -> None:
    """One that crashes again and again would otherwise keep its node; old clusters do not know the field."""
    for version, policy in ((OLDEST, "AlwaysAllow"), ("1.20.2", None)):
        budgets = of_kind(render(ALL, version=version), "PodDisruptionBudget")
        assert {item["spec"].get("unhealthyPodEvictionPolicy") for item in budgets} == {policy}


def test_runners_and_interfaces_may_have_accounts_of_their_own() -> None:
    """A runner gets a role in the cloud and no token; an interface, which reads logs, gets both."""
    own = {"runner": {"serviceAccount": "bots"}, "interface": {"serviceAccount": "reader"}}
    found = render(ALL, own)
    runner, interface = pod_of(found, "runner"), pod_of(found, "interface")
    assert (runner["serviceAccountName"], interface["serviceAccountName"]) == ("bots", "reader")
    assert runner["automountServiceAccountToken"] is False
    assert interface["automountServiceAccountToken"] is True
    api = {"ports": [{"protocol": "TCP", "port": port} for port in (443, 6443)]}
    assert api in egress(found, "interface")
    assert api not in egress(render(ALL), "interface")
    assert api not in egress(found, "edge")


@pytest.mark.parametrize("component", ["runner", "interface", "edge"])
def test_services_of_the_cluster_can_be_opened(component: str) -> None:
    """Private networks are closed to the pods that face strangers, but for the rules of the user."""
    rule = {"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 8443}]}
    found = render(ALL, {"networkPolicies": {f"{component}Egress": [rule]}})
    having = {name for name in COMPONENTS if rule in egress(found, name)}
    assert having - {"cold-runner"} == {component}


@pytest.mark.parametrize("component", COMPONENTS)
def test_names_are_found_on_openshift_as_well(component: str) -> None:
    """Its DNS pods listen on 5353, and its network plugin applies a policy to the pod behind the Service."""
    dns = {"ports": [{"protocol": name, "port": port} for port in (53, 5353) for name in ("UDP", "TCP")]}  # fmt: skip
    assert dns in egress(render(ALL), component)
    # Values of an earlier release, kept by --reuse-values, do not have the list.
    assert dns in egress(render(ALL, {"networkPolicies": {"dnsPorts": None}}), component)


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("redis://redis.data:6379/0", [6379]),
        ("redis://redis.data", [6379]),
        ("rediss://:pa:1@redis.data:6390/0?ssl_check_hostname=false", [6379, 6390]),
        ("redis+sentinel://one:26380,two,[::1]:5/main/0", [6379, 26380, 26379, 5]),
        ("rediss+cluster://u:p@one:7001,[fd00::7]", [6379, 7001]),
    ],
)
def test_redis_is_reached_at_the_port_of_its_url(url: str, ports: list[int]) -> None:
    """Of several servers, at the port of each; the others are those of the values."""
    found = render(ALL, {"redis": {"url": url}})
    rule = {"ports": [{"protocol": "TCP", "port": port} for port in ports]}
    for component in ("gateway", "operator", "runner"):
        assert rule in egress(found, component)


@pytest.mark.parametrize(
    ("networks", "four", "six"),
    [
        (None, "192.168.0.0/16", "fc00::/7"),
        (["10.0.0.0/8", "fd12:3456::/32"], "10.0.0.0/8", "fd12:3456::/32"),
        (["10.0.0.0/8"], "10.0.0.0/8", "fe80::/10"),
    ],
)
def test_private_networks_are_those_of_their_family(
    networks: list[str] | None, four: str, six: str
) -> None:
    """The API refuses an exception that is no part of its block, such as one of IPv6 in that of IPv4."""
    own = {} if networks is None else {"networkPolicies": {"privateNetworks": networks}}
    found = render(ALL, own)
    for component in ("runner", "interface", "edge"):
        blocks = {
            peer["ipBlock"]["cidr"]: peer["ipBlock"].get("except", [])
            for rule in egress(found, component)
            for peer in rule.get("to", [])
            if "ipBlock" in peer
        }
        assert set(blocks) == {"0.0.0.0/0", "::/0"}
        for cidr, exceptions in blocks.items():
            versions = {ip_network(text).version for text in (cidr, *exceptions)}
            assert len(versions) == 1
        assert four in blocks["0.0.0.0/0"]
        assert six in blocks["::/0"]
        assert len(set(blocks["::/0"])) == len(blocks["::/0"])


def egress(found: list[dict[str, Any]], component: str) -> list[dict[str, Any]]:
    """Return the rules by which a component may connect."""
    rules: list[dict[str, Any]] = named(found, "NetworkPolicy", f"cordboard-{component}")["spec"][
        "egress"
    ]
    return rules


def test_user_of_the_pods_can_be_left_to_the_cluster() -> None:
    """OpenShift refuses pods that choose their user. What else the level `restricted` wants, stays."""
    unset = {"podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
    found = render(ALL, unset)
    job = yaml.safe_load(named(found, "ConfigMap", "cordboard-job")["data"]["job.yaml"])
    contexts = [pod_of(found, name)["securityContext"] for name in COMPONENTS]
    contexts.append(job["spec"]["template"]["spec"]["securityContext"])
    left = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert contexts == [left] * len(contexts)


def test_pods_can_be_spread_over_zones() -> None:
    """A constraint without a selector counts the pods of its component."""
    selector = {"matchLabels": {"a": "b"}}
    constraints = [ZONES, {**ZONES, "labelSelector": selector}]
    found = render(REDIS, {"gateway": {"topologySpreadConstraints": constraints}})
    deployment = named(found, "Deployment", "cordboard-gateway")["spec"]
    first, second = pod_of(found, "gateway")["topologySpreadConstraints"]
    assert first == {**ZONES, "labelSelector": deployment["selector"]}
    assert second["labelSelector"] == selector
    assert "topologySpreadConstraints" not in pod_of(found, "runner")
