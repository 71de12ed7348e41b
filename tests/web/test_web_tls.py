"""Gateway, operator and runner over TLS, with the real commands and the test's own authority."""

import argparse
import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from cordboard.cli import _tls_options, operator
from cordboard.cli._gateway_client import GatewayClient
from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.launchers.process import ProcessLauncher
from cordboard.operator.plan import Sign
from cordboard.operator.runner_client import SessionRunners
from cordboard.settings import Settings
from cordboard.store import RedisStore
from cordboard.up.ports import free_port
from cordboard.up.start_plan import STOP_ORDER, Options, component_arguments
from cordboard.web import tls
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.runner_client import RunnerClient
from parts_support import make
from plane_support import SECRET, Part, Processes, own_database
from tests_support import until
from tls_support import Authority, authority

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def plane(tmp_path: Path, redis_url: str) -> AsyncIterator[tuple[Processes, Authority]]:
    ours = authority(tmp_path / "ours")
    processes = Processes(tmp_path, own_database(redis_url))
    processes.over["CORDBOARD_TLS_CA"] = ours.ca
    async with RedisStore(processes.redis_url) as store:
        await store.connection.client.flushdb()
    try:
        yield processes, ours
    finally:
        processes.stop()


async def ask(
    ours: Authority, method: str, url: str, body: object = None
) -> tuple[int, dict[str, object]]:
    headers = {"Authorization": f"Bearer {SECRET}"}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ours.ca))
    async with (
        aiohttp.ClientSession(headers=headers, connector=connector) as client,
        client.request(method, url, json=body) as answer,
    ):
        return answer.status, await answer.json()


async def listens(part: Part) -> None:
    await until(lambda: [r for r in part.records if r["message"] == "Listening"], 60)


async def test_session_over_tls(plane: tuple[Processes, Authority]) -> None:
    """Join, start, read, offer and leave: each hop uses https and verifies the certificate."""
    processes, ours = plane
    words = ("--tls-cert", ours.cert, "--tls-key", ours.key)
    runner = processes.spawn("runner", *words)
    gateway = processes.spawn("gateway", *words)
    operator = processes.spawn("operator", "--launcher", "none", *words)
    for part in (runner, gateway, operator):
        await listens(part)
        (said,) = (r["meta"]["url"] for r in part.records if r["message"] == "Listening")
        assert said == part.url.replace("http:", "https:")
    url = gateway.url.replace("http:", "https:")
    status, answer = await ask(ours, "POST", f"{url}/join?wait=60", {"room_url": "webrtc:tls"})
    assert (status, answer["status"]) == (202, "running")
    path = f"{url}/sessions/{answer['sessionId']}"
    _, record = await ask(ours, "GET", path)
    assert record["status"] == "running"
    status, relayed = await ask(ours, "POST", f"{path}/offer", {"sdp": "v=0", "type": "offer"})
    # The answer of the bot's process, which finds no media in this offer.
    assert (status, relayed["title"]) == (422, "WebRTC signalling")
    status, left = await ask(ours, "POST", f"{url}/leave", {"sessionId": answer["sessionId"]})
    assert (status, left["status"]) == (200, "ended")
    command = await asyncio.to_thread(GatewayClient(url, SECRET, ours.ca).get, "/sessions")
    assert [one["sessionId"] for one in command["sessions"]] == [answer["sessionId"]]
    with pytest.raises(CordboardError, match="cannot be reached"):
        await asyncio.to_thread(GatewayClient(url, SECRET).get, "/sessions")


async def test_certificate_of_another_authority_is_refused(
    plane: tuple[Processes, Authority], tmp_path: Path
) -> None:
    """A runner with such a certificate counts as silent and receives no request."""
    processes, _ = plane
    theirs = authority(tmp_path / "theirs")
    gateway = processes.spawn("gateway", "--tls-cert", theirs.cert, "--tls-key", theirs.key)
    await listens(gateway)
    async with open_connections(str(tmp_path / "ours" / "ca.pem")) as client:
        runners = SessionRunners(RunnerClient(HttpClient(client), lambda: (SECRET,)))
        url = gateway.url.replace("http:", "https:")
        assert (await runners.status(url, "a", 1)).sign is Sign.SILENT
        assert (
            await runners.status(f"https://127.0.0.1:{free_port()}", "a", 1)
        ).sign is Sign.REFUSED
    assert not [r for r in gateway.records if r["message"] == "Request served"]


def test_unusable_certificate_is_a_settings_error(tmp_path: Path) -> None:
    """A missing file, another key or plain text: exit status 2 and a hint."""
    ours, theirs = authority(tmp_path / "ours"), authority(tmp_path / "theirs")
    assert tls.load_certificate(ours.cert, ours.key) == tls.Certificate(ours.cert, ours.key)
    assert tls.load_certificate(None, None) is None
    assert tls.load_certificate("", None) is None
    text = tmp_path / "text"
    text.write_text("no certificate")
    for cert, key in (
        (ours.cert, theirs.key),
        (ours.cert, None),
        (str(text), ours.key),
        (str(tmp_path / "none"), ours.key),
    ):
        with pytest.raises(SettingsError, match="TLS certificate") as caught:
            tls.load_certificate(cert, key)
        assert (caught.value.exit_code, bool(caught.value.hint)) == (2, True)


@pytest.mark.parametrize("part", ["gateway", "operator", "interface"])
async def test_missing_file_of_authorities_is_a_settings_error(
    part: str, store: RedisStore
) -> None:
    """The component does not start."""
    app = make(part, store, tls_ca="/none/ca.pem")
    with pytest.raises(SettingsError, match="CORDBOARD_TLS_CA"):
        async with app.router.lifespan_context(app):
            pass


def test_up_serves_http_on_loopback() -> None:
    """Its parts talk to each other on loopback: a certificate in the settings changes nothing."""
    ports = dict.fromkeys(STOP_ORDER, 0)
    for words in component_arguments(Options(), Settings(), ports).values():
        assert words[words.index("--tls-cert") + 1] == ""
    given = argparse.Namespace(tls_cert="", tls_key=None)
    assert _tls_options.certificate(given, Settings(tls_cert="/c.pem", tls_key="/k.pem")) is None


@pytest.mark.parametrize("words", [[], ["--tls-cert", ""], ["--tls-cert", "/c", "--tls-key", "/k"]])
def test_cold_runner_gets_the_certificate_of_its_operator(words: list[str]) -> None:
    """A cold runner on the same machine gets the operator's certificate, or none as it."""
    parser = argparse.ArgumentParser()
    operator.add_arguments(parser)
    launcher = operator._launcher(parser.parse_args(words), Settings())
    assert isinstance(launcher, ProcessLauncher)
    assert list(launcher._arguments) == words
