"""A real Prometheus scrapes a plane with the scrape secret, and evaluates the alarms on what it finds."""

import asyncio
import functools
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from cordboard.kube import load_yaml
from cordboard.processes import die_with_parent
from cordboard.up.ports import free_port
from plane_support import HEADERS, Part, Processes, ask, own_database, ready
from tests_support import until

ALARMS = Path(__file__).parents[2] / "deploy" / "alarms.yaml"
SCRAPE_SECRET = "scrape-s3cret-of-tests"
SERIES = re.compile(r"cordboard_[a-z_]+(?:\{[^}]*\})?")
EITHER = re.compile(r'(\w+)=~"([^"]+)"')
EACH_S = "1s"


@dataclass(frozen=True)
class Scraped:
    """A plane, and the Prometheus that scrapes it."""

    gateway: Part
    url: str


@pytest.fixture(scope="module")
def scraped(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """All components with alarms of their own, and a Prometheus that has their alarms."""
    program = _prometheus()
    folder = tmp_path_factory.mktemp("plane")
    processes = Processes(folder, own_database(redis_url))
    processes.over["CORDBOARD_SCRAPE_SECRET"] = SCRAPE_SECRET
    server = None
    try:
        parts = [processes.spawn(name) for name in ("gateway", "operator", "runner", "edge")]
        port = free_port()
        server = _start(program, folder, port, parts)
        asyncio.run(ready(*parts, timeout_s=120))
        yield Scraped(parts[0], f"http://127.0.0.1:{port}")
    finally:
        if server is not None:
            server.kill()
            server.wait()
        processes.stop()


def _prometheus() -> str:
    """Return the program, which Debian installs together with promtool; skip the test without it."""
    promtool = Path(os.environ.get("PROMTOOL", "promtool"))
    program = shutil.which(promtool.with_name("prometheus"))
    if program is None:
        pytest.skip("no Prometheus: install it (apt-get install prometheus)")
    return program


def _start(program: str, folder: Path, port: int, parts: list[Part]) -> "subprocess.Popen[bytes]":
    """Start it with two jobs: one has the scrape secret, the other one has no secret."""
    (folder / "secret").write_text(SCRAPE_SECRET)
    targets = [{"targets": [part.url.removeprefix("http://") for part in parts]}]
    config = {
        "global": {"scrape_interval": EACH_S, "scrape_timeout": EACH_S, "evaluation_interval": EACH_S},
        "rule_files": [str(ALARMS)],
        "scrape_configs": [
            {
                "job_name": "cordboard",
                "authorization": {"credentials_file": str(folder / "secret")},
                "static_configs": targets,
            },
            {"job_name": "stranger", "static_configs": targets},
        ],
    }  # fmt: skip
    file = folder / "prometheus.yaml"  # JSON is YAML
    file.write_bytes(msgspec.json.encode(config))
    words = (
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with (folder / "prometheus.log").open("wb") as log:
        return subprocess.Popen(
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509
        )


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the control secret."""
    async with aiohttp.ClientSession(headers=HEADERS) as opened:
        yield opened


async def find(client: aiohttp.ClientSession, scraped: Scraped, expression: str) -> list[Any]:
    """Return the series of an expression; none while Prometheus starts."""
    try:
        query = {"query": expression}
        async with client.get(f"{scraped.url}/api/v1/query", params=query) as answer:
            found: list[Any] = (await answer.json())["data"]["result"] if answer.ok else []
            return found
    except (aiohttp.ClientError, OSError):
        return []


async def test_scrape_secret_opens_the_metrics_of_each_component(
    client: aiohttp.ClientSession, scraped: Scraped
) -> None:
    """Prometheus reads all of them with it, and none without."""
    await until(lambda: find(client, scraped, 'count(up{job="cordboard"} == 1) == 4'), 60)
    await until(lambda: find(client, scraped, 'count(up{job="stranger"} == 0) == 4'), 60)


async def test_alarms_find_every_series_that_they_ask_for(
    client: aiohttp.ClientSession, scraped: Scraped
) -> None:
    """Before anything has happened, so that the first time that it happens is an increase."""
    groups = load_yaml(ALARMS.read_text(encoding="utf-8"))["groups"]
    rules = {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}
    asked = {
        series
        for expression in rules.values()
        for several in SERIES.findall(expression)
        for series in each_of(several)
    }
    assert len(asked) > len(rules)
    for series in sorted(asked):
        await until(functools.partial(find, client, scraped, f"count({series})"), 60)


def each_of(series: str) -> list[str]:
    """Return the selectors of single values in place of one with `=~"a|b"`."""
    either = EITHER.search(series)
    if either is None:
        return [series]
    return [series.replace(either[0], f'{either[1]}="{value}"') for value in either[2].split("|")]


async def test_first_session_that_expires_raises_its_alarm(
    client: aiohttp.ClientSession, scraped: Scraped
) -> None:
    """From a join that no runner can take to the alarm; the others stay silent."""
    await until(lambda: find(client, scraped, "cordboard_expiries_total == 0"), 60)
    body = {"room_url": "webrtc:alarm", "bot": "nobody-has-it", "deadlineSeconds": 1}
    assert (await ask(client, "POST", f"{scraped.gateway.url}/join", body))[0] == 202
    firing = 'ALERTS{alertstate="firing"}'
    raised = await until(lambda: find(client, scraped, firing), 60)
    assert {item["metric"]["alertname"] for item in raised} == {"CordboardSessionsExpired"}
