"""The chart on a real API of Kubernetes: installed, upgraded, rolled back, uninstalled, with calls."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from chart.chart_support import run, tool
from chart.network_support import Connection, Peer, denied
from chart.release_support import NAME, Release, ServicePort, plane_values
from cluster_support import close_cluster, open_cluster
from interface.interface_support import an_id
from plane_support import HEADERS, ask, own_database
from tests_support import until

pytestmark = [pytest.mark.cluster_full, pytest.mark.timeout(400)]  # two minutes
TRIAL: dict[str, Any] = {
    "redis": {"url": "redis://127.0.0.1:1/0"},
    "gateway": {"replicas": 0},
    "operator": {"replicas": 0},
    "runner": {"enabled": False},
}
MOUNTED = """
import sys
from cordboard.cli import console
sys.argv[1:] = [word.replace("/etc/cordboard", {folder!r}) for word in sys.argv[1:]]
sys.exit(console())
"""
"""Runs a command with the folder of the test in place of the volume with the configuration."""
PAIRS = {
    ("gateway", "redis"),
    ("operator", "redis"),
    ("runner", "redis"),
    ("cold-runner", "redis"),
    ("operator", "runner"),
    ("operator", "api"),
    ("interface", "gateway"),
    ("edge", "gateway"),
    ("edge", "runner"),
}
"""Which components connect to which."""


@pytest.fixture(scope="module")
def release(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release whose components run; tests of this module come in order."""
    tool("helm")
    folder = tmp_path_factory.mktemp("chart")
    cluster = open_cluster(folder)
    door = ServicePort("gateway")
    url = f"http://127.0.0.1:{door.port}"
    opened = Release(cluster, plane_values(own_database(redis_url), url, folder))
    door.release = opened
    try:
        yield opened
    finally:
        run("helm", "uninstall", NAME, "-n", cluster.namespace, check=False)
        door.close()
        close_cluster(cluster)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the control secret, which keeps cookies of addresses."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(headers=HEADERS, cookie_jar=jar) as opened:
        yield opened


async def test_installed_plane_takes_calls(release: Release, client: aiohttp.ClientSession) -> None:
    """All components get ready; calls come through interface, edge and gateway, to warm and cold runners."""
    await asyncio.to_thread(release.helm, "install", "--wait", "--timeout=180s")
    gateway = release.url("gateway")
    ids = [an_id(name) for name in ("page", "stream", "third")]

    watched = Watched(release)
    # Only root sees the sockets of processes that do not let others inspect them.
    watching = asyncio.create_task(watched.watch()) if os.geteuid() == 0 else None

    interface = release.url("interface")
    # With names, the chart's interface accepts people at their own machine only (kubectl port-forward).
    origin = {"Origin": "http://localhost:3000", "Host": "localhost:3000"}
    async with client.post(f"{interface}/login", data={"name": "Ada"}, headers=origin) as answer:
        assert answer.status == 200
    body = {"sessionId": ids[0], "room": "webrtc:one"}
    async with client.post(f"{interface}/api/sessions", json=body, headers=origin) as answer:
        assert answer.status in {200, 202}, await answer.text()
    status, told = await ask(
        client, "POST", f"{release.url('edge')}/start", {"transport": "websocket"}
    )
    assert status == 200, told
    path = urlsplit(told["wsUrl"]).path
    async with client.ws_connect(f"{release.url('edge')}{path}") as stream:
        await stream.receive(30)
        # Both slots of the warm runner are taken now.
        joined = {"sessionId": ids[2], "room_url": "webrtc:three"}
        status, _ = await ask(client, "POST", f"{gateway}/join", joined)
        assert status == 202

        for session_id in (ids[0], ids[2]):
            await until(partial(is_running, client, f"{gateway}/sessions/{session_id}"), 90)
        assert len(release.cluster.jobs()) == 1
        if watching is not None:
            await until(lambda: watched.pairs >= PAIRS, 60)
    for session_id in (ids[0], ids[2]):
        await ask(client, "POST", f"{gateway}/leave", {"sessionId": session_id})
    if watching is not None:
        watching.cancel()
        check_policies(watched.seen, release.policies())


async def is_running(client: aiohttp.ClientSession, url: str) -> bool:
    """Return whether a session has its bot."""
    _, record = await ask(client, "GET", url)
    return bool(record["status"] == "running")


class Watched:
    """The connections that the plane had since the start, for some connections are short.

    Args:
        release: The plane.

    Attributes:
        seen: The connections.
        pairs: The names of their ends.
    """

    def __init__(self, release: Release) -> None:
        self.seen: set[Connection] = set()
        self.pairs: set[tuple[str, str]] = set()
        self._release = release
        self._port_of = {
            name: urlsplit(url).port or 0
            for name, url in {
                "redis": release.values["redis"]["url"],
                "gateway": release.values["settings"]["gateway_url"],
                "api": str(release.cluster.client.config.cluster.server),
            }.items()
        }

    async def watch(self) -> None:
        """Look again and again."""
        (gateway,) = self._release.pods("gateway")
        labels = tuple(sorted(gateway.metadata.labels.items()))
        ports = self._port_of
        foreign = {
            ports["redis"]: Peer("redis", address="10.1.2.3"),
            ports["api"]: Peer("api", address="10.0.0.1"),
            ports["gateway"]: Peer("gateway", labels),
        }
        # What these ports are in a real cluster.
        real = {ports["api"]: 6443, ports["gateway"]: 4444}
        while True:
            for item in await asyncio.to_thread(self._release.connections, foreign):
                self.seen.add(replace(item, port=real.get(item.port, item.port)))
                self.pairs.add((item.source.name, item.target.name))
            await asyncio.sleep(0.1)


def check_policies(seen: set[Connection], policies: list[dict[str, Any]]) -> None:
    """Every connection is allowed by the policies, and a policy that is taken away is missed."""
    assert [item for item in seen if denied(item, policies)] == []
    for name in ("gateway", "operator", "runner", "cold-runner", "interface", "edge"):
        others = [item for item in policies if item["metadata"]["name"] != f"{NAME}-{name}"]
        assert any(denied(item, others) for item in seen), name


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (
            f"{NAME}-operator",
            {
                "jobs.batch": {"create", "get", "delete"},
                "pods": {"list", "watch", "patch"},
                "events": {"list"},
            },
        ),
        (
            f"{NAME}-log-reader",
            {"pods": {"get", "list", "watch"}, "pods/log": {"get"}, "jobs.batch": {"list"}},
        ),
        (NAME, {}),
    ],
)
def test_accounts_may_do_what_they_need_and_no_more(
    release: Release, account: str, expected: dict[str, set[str]]
) -> None:
    """The API itself says what each account may do."""
    user = f"system:serviceaccount:{release.cluster.namespace}:{account}"
    assert permissions(release, user) == expected


def permissions(release: Release, user: str) -> dict[str, set[str]]:
    """Return the verbs by resource, without those of everybody."""
    table = release.kubectl("auth", "can-i", "--list", "--no-headers", "--as", user)
    found: dict[str, set[str]] = {}
    for line in table.splitlines():
        resource, _, rest = line.partition(" ")
        verbs = set(rest.rpartition("[")[2].rstrip("]").split())
        # Rows of paths, such as /healthz, begin with a space.
        if resource and not resource.startswith("selfsubject"):
            found.setdefault(resource, set()).update(verbs)
    return found


async def test_interface_shows_lines_by_its_account(
    release: Release, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """An operator sees the lines of a session out of the pods' logs; without the account, why there are none."""
    tables = f"""
        [[environments.prod]]
        type = "kubernetes"
        namespaces = ["{release.cluster.namespace}"]
        """
    (tmp_path / "cordboard.toml").write_text(tables)
    # Nodes of the tests ignore volumes: the file of the ConfigMap is read from elsewhere.
    (tmp_path / "mounted.py").write_text(MOUNTED.format(folder=str(tmp_path)))
    over: dict[str, Any] = {
        "command": [sys.executable, str(tmp_path / "mounted.py")],
        "config": tables,
        "settings": {"interface_logs": "prod", "interface_operators": ["Ada"]},
        "interface": {"serviceAccount": f"{NAME}-log-reader"},
    }
    session_id = an_id("lines")
    url = f"/sessions/{session_id}/report.txt"
    origin = {"Origin": "http://localhost:3000", "Host": "localhost:3000"}

    async def report(expected: int) -> str:
        interface = release.url("interface")
        async with client.post(
            f"{interface}/login", data={"name": "Ada"}, headers=origin
        ) as answer:
            assert answer.status == 200
        async with client.get(f"{interface}{url}", headers=origin) as answer:
            text = await answer.text()
            assert answer.status == expected, text
            return text

    await asyncio.to_thread(release.helm, "upgrade", "--wait", "--timeout=180s", **over)
    joined = {"sessionId": session_id, "room_url": "webrtc:lines"}
    status, _ = await ask(client, "POST", f"{release.url('gateway')}/join", joined)
    assert status == 202
    record = f"{release.url('gateway')}/sessions/{session_id}"
    await until(partial(is_running, client, record), 90)
    await ask(client, "POST", f"{release.url('gateway')}/leave", {"sessionId": session_id})
    text = await report(200)
    assert "Bot started" in text, text

    over["interface"]["serviceAccount"] = ""
    await asyncio.to_thread(release.helm, "upgrade", "--wait", "--timeout=180s", **over)
    assert "This user is not allowed to list pods" in await report(503)
    await asyncio.to_thread(
        run, "helm", "rollback", NAME, "1", "-n", release.cluster.namespace, "--wait"
    )


def test_upgrade_and_rollback_replace_the_pods(release: Release) -> None:
    """An upgrade rolls what has changed and nothing else; a rollback brings the former back."""
    before = {name: pod_names(release, name) for name in ("gateway", "operator", "runner")}
    release.helm("upgrade", "--wait", gateway={"podAnnotations": {"example.org/build": "2"}})
    after = {name: pod_names(release, name) for name in before}
    assert not before["gateway"] & after["gateway"]
    assert (before["operator"], before["runner"]) == (after["operator"], after["runner"])
    run("helm", "rollback", NAME, "1", "-n", release.cluster.namespace, "--wait")
    (pod,) = release.pods("gateway")
    assert "example.org/build" not in pod.metadata.annotations


def pod_names(release: Release, component: str) -> set[str]:
    """Return the names of a component's ready pods."""
    return {pod.metadata.name for pod in release.pods(component)}


@pytest.mark.parametrize("setting", ["shards", "lease_s", "record_kept_hours"])
def test_upgrade_refuses_a_change_of_shared_settings(release: Release, setting: str) -> None:
    """Components with different values would not run side by side."""
    settings = {setting: 7}
    done = release.helm("upgrade", "--dry-run=server", check=False, settings=settings)
    assert done.returncode != 0
    assert f"settings.{setting}" in done.stderr
    assert "allowSharedChange=true" in done.stderr
    allowed = release.helm(
        "upgrade", "--dry-run=server", settings=settings, allowSharedChange=True
    ).stdout
    assert allowed.count("type: Recreate") == 3


def test_settings_that_stay_are_no_change(release: Release) -> None:
    """A value that is written out and equals the default is none, either."""
    release.helm("upgrade", "--dry-run=server", settings={"lease_s": 15, "queue_max": 7})


def test_uninstall_leaves_the_secret_alone(release: Release) -> None:
    """Nothing of the release stays but the Secret, for a later installation."""
    run("helm", "uninstall", NAME, "-n", release.cluster.namespace, "--wait", "--timeout=90s")
    kinds = "deployments,services,poddisruptionbudgets,networkpolicies,roles,rolebindings,serviceaccounts"
    left = release.kubectl("get", kinds, "-o", "name").split()
    assert left == ["serviceaccount/default"]
    assert "REDIS_URL" in release.secret()


def test_created_secret_is_created_once(tmp_path: Path) -> None:
    """Upgrades, and an installation after an uninstallation, keep the values; only the URL follows."""
    tool("helm")
    cluster = open_cluster(tmp_path)
    try:
        trial = Release(cluster, TRIAL)
        trial.helm("install")
        first = trial.secret()
        assert len(first["BOT_CONTROL_SHARED_SECRET"]) > 30
        trial.helm("upgrade", redis={"url": "redis://127.0.0.1:2/0"})
        second = trial.secret()
        assert {name for name in first if first[name] != second[name]} == {"REDIS_URL"}
        run("helm", "uninstall", NAME, "-n", cluster.namespace, "--wait")
        trial.helm("install")
        assert trial.secret() == first
    finally:
        close_cluster(cluster)
