"""What the chart renders."""

import json
import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

import cordboard
from chart.chart_support import (
    ALL,
    CHART,
    COMPONENTS,
    NEWEST,
    OLDEST,
    PORTS,
    REDIS,
    ROOT,
    merged,
    named,
    objects,
    of_kind,
    pod_of,
    render,
    run,
    variables_of,
    walk,
)
from cordboard.contract.launch import Launch
from cordboard.environment import SECRET_NAMES, SECRET_VARIABLES
from cordboard.kube import Right
from cordboard.launchers.cluster_check import COLD_RIGHTS, MARK_RIGHTS, READER_RIGHTS
from cordboard.launchers.kubernetes_manifest import CONTAINER, job_manifest
from cordboard.launchers.kubernetes_manifest import JobTemplate as Template


@pytest.fixture(scope="module")
def everything() -> list[dict[str, Any]]:
    """All objects that the chart can create."""
    return render(ALL)


def test_chart_has_the_version_of_the_package() -> None:
    """Chart and images are released together."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == cordboard.__version__


@pytest.mark.parametrize("values", [REDIS, ALL], ids=["least", "all"])
def test_lint_finds_nothing(values: dict[str, Any]) -> None:
    """`helm lint --strict` accepts the chart."""
    run("helm", "lint", "--strict", str(CHART), values=values)


def test_every_port_states_its_protocol(everything: list[dict[str, Any]]) -> None:
    """Helm 4 applies on the server's side, where old servers demand the keys of lists."""
    lists = [
        value
        for item in of_kind(everything, "Service", "Deployment", "StatefulSet", "NetworkPolicy")
        for path, value in walk(item)
        if path.endswith(".ports[]")
    ]
    assert len(lists) > 20
    assert [item for item in lists if "protocol" not in item] == []


def test_no_pod_gets_service_links_or_a_root_user(everything: list[dict[str, Any]]) -> None:
    """Pods satisfy the level `restricted`, write in /tmp alone, and get no variables of Services."""
    found = of_kind(everything, "Deployment", "StatefulSet")
    assert len(found) == len(COMPONENTS)
    for item in found:
        pod = item["spec"]["template"]["spec"]
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        assert "cpu" not in container["resources"]["limits"]


def test_only_the_operator_has_a_token(everything: list[dict[str, Any]]) -> None:
    """No other pod can use the API of Kubernetes."""
    tokens = {name: pod_of(everything, name)["automountServiceAccountToken"] for name in COMPONENTS}
    assert [name for name, has_token in tokens.items() if has_token] == ["operator"]
    accounts = {pod_of(everything, name)["serviceAccountName"] for name in COMPONENTS}
    assert accounts == {"cordboard", "cordboard-operator"}


def test_roles_grant_the_rights_that_the_doctor_asks_for(
    everything: list[dict[str, Any]],
) -> None:
    """`doctor --env` finds no right missing in an account of the chart, and no account has one that it does not know."""
    operator = "cordboard-operator"
    assert rights_of(everything, operator) == {*COLD_RIGHTS, *MARK_RIGHTS}
    assert rights_of(everything, "cordboard-log-reader") == {*READER_RIGHTS}
    assert rights_of(render(REDIS), operator) == {*MARK_RIGHTS}
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    example = next(text for text in page.split("```") if "kind: Role\n" in text)
    documents = objects(example.removeprefix("yaml\n"))
    assert rights_of(documents, operator) == {*COLD_RIGHTS}


def rights_of(found: list[dict[str, Any]], role: str) -> set[Right]:
    """Return what a Role grants."""
    return {
        Right(verb, resource, group)
        for rule in named(found, "Role", role)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_components_have_only_the_secrets_that_they_need() -> None:
    """As `cordboard up` shares them out: the interface has no Redis, nobody else the login secrets."""
    found = render(ALL, {"secret": {"asFiles": False}})
    secrets = {
        name: {key for key in variables_of(found, name) if key in SECRET_VARIABLES}
        for name in COMPONENTS
    }
    shared = {
        "BOT_CONTROL_SHARED_SECRET",
        "BOT_CONTROL_SHARED_SECRET_PREV",
        "CORDBOARD_SCRAPE_SECRET",
    }
    login = {"CORDBOARD_SESSION_SECRET", "CORDBOARD_SESSION_SECRET_PREV"}
    assert secrets == {
        "gateway": shared | {"REDIS_URL", "CORDBOARD_TURN_SECRET"},
        "operator": shared | {"REDIS_URL"},
        "runner": shared | {"REDIS_URL", "CORDBOARD_TURN_SECRET"},
        "interface": shared | login,
        "edge": shared,
    }


def test_every_secret_can_be_a_file(everything: list[dict[str, Any]]) -> None:
    """By default components other than runners read secrets from files, which are mounted for each of them."""
    for component in COMPONENTS:
        variables = variables_of(everything, component)
        pod = pod_of(everything, component)
        paths = {
            f"/run/secrets/cordboard/{item['path']}"
            for volume in pod["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            for item in source["secret"]["items"]
        }
        files = {value for name, value in variables.items() if name.endswith("_FILE")}
        assert files == paths
        assert bool(files) == (component != "runner")
        plain = {name for name in variables if name in {*SECRET_NAMES, "REDIS_URL"}}
        assert bool(plain) == (component == "runner")


def test_no_object_but_the_secret_has_a_secret() -> None:
    """Secrets are references; a password in the URL of Redis is in the Secret alone."""
    url = "redis://:hunter2hunter2@redis.data:6379/0"
    found = render(ALL, {"redis": {"url": url}})
    (secret,) = of_kind(found, "Secret")
    texts = [json.dumps(item) for item in found if item is not secret]
    assert [text for text in texts if "hunter2" in text or "of the TURN server" in text] == []
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("as_files", [True, False])
def test_fixed_password_of_a_turn_server_is_a_reference(as_files: bool) -> None:
    """Gateways, warm and cold runners get the servers as a variable, which refers to the Secret."""
    servers = '[{"urls": "turn:turn.example.org", "username": "u", "credential": "hunter2"}]'
    secret = {"asFiles": as_files, "values": {"CORDBOARD_ICE_SERVERS": servers}}
    found = render(ALL, {"secret": secret})
    (own,) = of_kind(found, "Secret")
    assert [
        item["kind"] for item in found if item is not own and "hunter2" in json.dumps(item)
    ] == []
    reference = {"secretKeyRef": {"name": "cordboard", "key": "CORDBOARD_ICE_SERVERS"}}
    for component in COMPONENTS:
        variables = variables_of(found, component)
        expected = reference if component in {"gateway", "runner"} else None
        assert variables.get("CORDBOARD_ICE_SERVERS") == expected
        assert "CORDBOARD_ICE_SERVERS_FILE" not in variables
        assert "CORDBOARD_ICE_SERVERS" not in json.dumps(pod_of(found, component)["volumes"])
    base = yaml.safe_load(named(found, "ConfigMap", "cordboard-job")["data"]["job.yaml"])
    launch = Launch("call-7", "webrtc:demo", epoch=1)
    pod = job_manifest(launch, Template(image="bots", base=base))["spec"]["template"]["spec"]
    assert {"name": "CORDBOARD_ICE_SERVERS", "valueFrom": reference} in pod["containers"][0]["env"]


def test_existing_secret_is_used_and_none_created() -> None:
    """With `secret.name` the chart has no Secret of its own; optional keys are those that it is told of."""
    values = merged(ALL, {"redis": {"url": ""}, "podMonitor": {"enabled": False}})
    values["secret"] = {"name": "mine", "keys": ["CORDBOARD_TURN_SECRET"], "asFiles": False}
    found = render(values)
    assert of_kind(found, "Secret") == []
    names = {
        item["name"] for found_item in found for path, item in walk(found_item)
        if path.endswith("secretKeyRef") and isinstance(item, dict)
    }  # fmt: skip
    assert names == {"mine"}
    assert "CORDBOARD_SCRAPE_SECRET" not in variables_of(found, "gateway")
    assert "CORDBOARD_TURN_SECRET" in variables_of(found, "gateway")


def test_settings_become_variables() -> None:
    """Numbers stay whole, lists get commas, tables become JSON."""
    settings = {
        "placement": "spread",
        "interface_log_total_bytes_per_s": 12345678,
        "open_websockets": True,
        "public_keys": ["pk_0123456789abcdef", "sales=pk_fedcba9876543210"],
        "ice_servers": ["stun:stun.example.org", {"urls": ["turn:turn.example.org"]}],
    }
    secret = {"values": {"CORDBOARD_TURN_SECRET": "of the server"}}
    found = render(REDIS, {"settings": settings, "secret": secret})
    data = named(found, "ConfigMap", "cordboard-settings")["data"]
    assert json.loads(data.pop("CORDBOARD_ICE_SERVERS")) == settings["ice_servers"]
    assert data == {
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
        "CORDBOARD_PLACEMENT": "spread",
        "CORDBOARD_INTERFACE_LOG_TOTAL_BYTES_PER_S": "12345678",
        "CORDBOARD_OPEN_WEBSOCKETS": "true",
        "CORDBOARD_PUBLIC_KEYS": "pk_0123456789abcdef,sales=pk_fedcba9876543210",
    }


def test_changed_settings_restart_the_pods() -> None:
    """Pods read their settings at the start."""
    seen = {
        named(render(REDIS, change), "Deployment", "cordboard-gateway")["spec"]["template"]["metadata"]["annotations"]["cordboard/settings"]
        for change in ({}, {"settings": {"queue_max": 9}}, {"config": "[phone]\n"}, {"logLevel": "warn"})
    }  # fmt: skip
    assert len(seen) == 4


def test_own_variables_take_precedence() -> None:
    """A variable of the user replaces that of the chart: a list with one name twice is refused by the API."""
    mine = {"name": "CORDBOARD_GATEWAY_URL", "value": "http://elsewhere:4444"}
    found = render(ALL, {"edge": {"env": [mine]}})
    (container,) = pod_of(found, "edge")["containers"]
    assert [item for item in container["env"] if item["name"] == mine["name"]] == [mine]


def test_grace_periods_fit_into_those_of_the_pods() -> None:
    """A runner and an edge end by themselves before they are killed."""
    values = {
        "runner": {"terminationGracePeriodSeconds": 120},
        "edge": {"terminationGracePeriodSeconds": 120},
    }
    found = render(ALL, values)
    (runner,) = pod_of(found, "runner")["containers"]
    assert "--grace=105" in runner["args"]
    assert variables_of(found, "edge")["CORDBOARD_STREAM_GRACE_S"] == "100"
    for component in ("gateway", "interface", "edge"):
        (container,) = pod_of(found, component)["containers"]
        assert "--lame-duck=5" in container["args"]


@pytest.mark.parametrize("grace", [0, 580])
def test_own_grace_of_streams_stays(grace: int) -> None:
    """A setting that fits into the grace period takes precedence over that of the chart; 0 is one, too."""
    found = render(ALL, {"settings": {"stream_grace_s": grace}})
    assert "CORDBOARD_STREAM_GRACE_S" not in variables_of(found, "edge")
    data = named(found, "ConfigMap", "cordboard-settings")["data"]
    assert data["CORDBOARD_STREAM_GRACE_S"] == str(grace)


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_autoscaler_determines_the_replicas(kind: str) -> None:
    """With an autoscaler the Deployment has no `replicas`, which each upgrade would reset."""
    scaling = {"kind": kind, "keda": {"prometheus": "http://prometheus:9090"}}
    found = render(REDIS, {"runner": {"autoscaling": scaling}, "settings": {"runner_capacity": 6}})
    assert "replicas" not in named(found, "Deployment", "cordboard-runner")["spec"]
    (scaler,) = of_kind(found, "HorizontalPodAutoscaler", "ScaledObject")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "cordboard-runner"
    assert "cordboard_slots_wanted" in json.dumps(scaler)
    if kind == "hpa":
        (metric,) = scaler["spec"]["metrics"]
        assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "6"}
    else:
        (trigger,) = scaler["spec"]["triggers"]
        assert trigger["metadata"]["threshold"] == "6"
        # No value means that the number stays, as docs/warm-runners.md says.
        assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_examples_of_autoscalers_are_as_careful_as_the_chart() -> None:
    """A lost series removes no runner with KEDA, and the adapter of an HPA does not add the operators up."""
    page = (ROOT / "docs" / "warm-runners.md").read_text(encoding="utf-8")
    examples = [text.removeprefix("yaml\n") for text in page.split("```")[1::2]]
    (keda,) = [text for text in examples if "kind: ScaledObject" in text]
    (trigger,) = yaml.safe_load(keda)["spec"]["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    (adapter,) = [text for text in examples if "externalRules" in text]
    (rule,) = yaml.safe_load(adapter)["externalRules"]
    assert rule["seriesQuery"] == "cordboard_slots_wanted"
    assert rule["metricsQuery"].startswith("max(")


def test_versions_are_those_of_the_cluster() -> None:
    """The chart asks the cluster which versions of its API it has."""

    def versions(version: str) -> dict[str, str]:
        found = render(ALL, version=version)
        return {item["kind"]: item["apiVersion"] for item in found}

    new = versions(NEWEST)
    assert new["HorizontalPodAutoscaler"] == "autoscaling/v2"
    assert new["PodDisruptionBudget"] == "policy/v1"
    old = versions("1.20.2")
    assert old["HorizontalPodAutoscaler"] == "autoscaling/v2beta2"
    assert old["PodDisruptionBudget"] == "policy/v1beta1"


def test_budgets_let_one_pod_go_and_a_tenth_of_the_runners(
    everything: list[dict[str, Any]],
) -> None:
    """A drain never takes all pods of a component."""
    budgets = {
        item["metadata"]["name"].removeprefix("cordboard-"): item["spec"]["maxUnavailable"]
        for item in of_kind(everything, "PodDisruptionBudget")
    }
    assert budgets == {**dict.fromkeys(COMPONENTS, 1), "runner": "10%"}


def test_public_addresses_follow_from_the_hosts(everything: list[dict[str, Any]]) -> None:
    """Interface and edge know the address at which they are reached."""
    assert (
        variables_of(everything, "interface")["CORDBOARD_INTERFACE_URL"]
        == "https://voice.example.org"
    )
    assert variables_of(everything, "edge")["CORDBOARD_PUBLIC_URL"] == "https://phone.example.org"
    routes = {(item["kind"], *hosts(item)) for item in of_kind(everything, "Ingress", "HTTPRoute")}
    assert routes == {
        (kind, host)
        for kind in ("Ingress", "HTTPRoute")
        for host in ("voice.example.org", "phone.example.org")
    }


def hosts(item: dict[str, Any]) -> list[str]:
    """Return the host names of a door."""
    spec = item["spec"]
    found: list[str] = spec.get("hostnames") or [rule["host"] for rule in spec["rules"]]
    return found


def test_doors_have_the_path_prefix() -> None:
    """Below a prefix, a door forwards that path alone."""
    settings = {"root_path": "/voice", "public_url": "https://phone.example.org/bots"}
    found = render(ALL, {"settings": settings})
    paths = {
        item["metadata"]["name"]: item["spec"]["rules"][0]["http"]["paths"][0]["path"]
        for item in of_kind(found, "Ingress")
    }
    assert paths == {"cordboard-interface": "/voice", "cordboard-edge": "/bots"}


def test_monitors_select_every_pod_and_use_the_scrape_secret(
    everything: list[dict[str, Any]],
) -> None:
    """Prometheus gets the scrape secret, which is good for metrics alone, and finds cold runners as well."""
    monitors = of_kind(everything, "PodMonitor")
    assert len(monitors) == 2
    for item in monitors:
        (endpoint,) = item["spec"]["podMetricsEndpoints"]
        assert endpoint["authorization"]["credentials"]["key"] == "CORDBOARD_SCRAPE_SECRET"
    labels = [item["spec"]["selector"]["matchLabels"] for item in monitors]
    launch = Launch("call-7", "webrtc:demo", epoch=1)
    job = job_manifest(launch, Template(image="bots"))["spec"]["template"]["metadata"]["labels"]
    pods = [
        job,
        *(
            named(everything, "Deployment", f"cordboard-{name}")["spec"]["template"]["metadata"]["labels"]
            for name in COMPONENTS
        ),
    ]  # fmt: skip
    assert all(any(want.items() <= has.items() for want in labels) for has in pods)


def test_alarms_and_dashboard_are_the_files_of_deploy(everything: list[dict[str, Any]]) -> None:
    """The chart and those who copy the files have the same."""
    (rule,) = of_kind(everything, "PrometheusRule")
    expected = yaml.safe_load((ROOT / "deploy" / "alarms.yaml").read_text())
    for group in expected["groups"]:
        for alarm in group["rules"]:
            alarm["expr"] = of_namespace(alarm["expr"], "bots")
    assert rule["spec"] == expected
    (board,) = named(everything, "ConfigMap", "cordboard-dashboard")["data"].values()
    assert json.loads(board) == json.loads((ROOT / "deploy" / "grafana-plane.json").read_text())


def of_namespace(expression: str, namespace: str) -> str:
    """Return an expression of PromQL that asks for the series of one namespace."""
    label = f'namespace="{namespace}"'
    return re.sub(
        r"(cordboard_\w+)(\{)?",
        lambda found: f"{found[1]}{{{label}" + ("," if found[2] else "}"),
        expression,
    )


def test_scraped_series_have_the_cell() -> None:
    """The namespace comes from the Prometheus operator; a cell may be one of several clusters."""
    for values, expected in ({}, None), ({"settings": {"cell": "eu-1"}}, "eu-1"):
        for item in of_kind(render(ALL, values), "PodMonitor"):
            (endpoint,) = item["spec"]["podMetricsEndpoints"]
            rules = {rule["targetLabel"]: rule["replacement"] for rule in endpoint.get("relabelings", [])}  # fmt: skip
            assert rules.get("cell") == expected


def test_job_template_is_one_that_the_operator_accepts(everything: list[dict[str, Any]]) -> None:
    """A Job has the chart's security, the user's parts, and what Cordboard sets."""
    mine = {"spec": {"template": {"spec": {"nodeSelector": {"pool": "bots"}}}}}
    found = render(ALL, {"coldRunners": {"template": mine}})
    base = yaml.safe_load(named(found, "ConfigMap", "cordboard-job")["data"]["job.yaml"])
    launch = Launch("call-7", "webrtc:demo", epoch=1)
    pod = job_manifest(launch, Template(image="bots", base=base))["spec"]["template"]["spec"]
    (runner,) = pod["containers"]
    assert runner["name"] == CONTAINER
    assert runner["command"] == ["cordboard"]
    assert runner["args"][0] == "runner"
    assert runner["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["nodeSelector"] == {"pool": "bots"}
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_names_of_components_are_their_ports(everything: list[dict[str, Any]]) -> None:
    """Each component listens on the port that its Service and its policies name."""
    for component, port in PORTS.items():
        (container,) = pod_of(everything, component)["containers"]
        assert container["args"][0] == component
        assert f"--port={port}" in container["args"]
        assert [item["containerPort"] for item in container["ports"]] == [port]
    services = {
        item["metadata"]["name"].removeprefix("cordboard-"): item["spec"]["ports"][0]["port"]
        for item in of_kind(everything, "Service")
    }
    assert services == {name: PORTS[name] for name in ("gateway", "interface", "edge")}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_least_values_render(version: str) -> None:
    """Without interface, edge and cold runners, the chart needs nothing but a Redis."""
    kinds = sorted(item["kind"] for item in render(REDIS, version=version))
    assert kinds.count("Deployment") == 3
    assert "Ingress" not in kinds
