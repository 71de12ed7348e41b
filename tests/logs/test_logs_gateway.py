"""A gateway among the sources: it tells when a session ran, and other sources are asked for no more."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cordboard.cli import main
from cordboard.logs.environments import located
from cordboard.logs.query import Query, Whereabouts
from cordboard.logs.sources.gateway import open_source
from cordboard.logs.sources.kubernetes import other_runners
from logs.logs_support import at, encoded, record
from logs.loki_double import LokiDouble

SESSION = {
    "sessionId": "call-7", "status": "ended", "epoch": 5, "attempt": 1, "runner": "warm-abc12-7-9f3a",
    "createdAt": "2026-11-23T10:00:00.000Z",
    "stages": {"accepted": "2026-11-23T10:00:00.100Z", "ended": "2026-11-23T10:03:00.000Z"},
}  # fmt: skip


class GatewayDouble(ThreadingHTTPServer):
    """Answers `GET /sessions/ID` with a status and a body.

    Attributes:
        answer: The status and the body.
        asked: The path and the credential of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: tuple[int, Any] = (200, SESSION)
        self.asked: list[tuple[str, str | None]] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: GatewayDouble

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        status, body = self.server.answer
        self.send_response(status)
        data = json.dumps(body).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@pytest.fixture
def gateway() -> Iterator[GatewayDouble]:
    server = GatewayDouble()
    yield server
    server.shutdown()
    server.server_close()


def find(server: GatewayDouble, **options: str) -> tuple[Query, list[str]]:
    return located(Query(session="call-7"), [open_source({"url": server.url, **options})])


def test_session_is_sought_where_and_when_it_ran(
    gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 10 min before the join to 2 min after the end, with the credential of the environment."""
    monkeypatch.setenv("SECRET", "s3cret")
    query, (note,) = find(gateway, token_env="SECRET")
    assert query.ran == Whereabouts(
        "2026-11-23T09:50:00.000000Z", "2026-11-23T10:05:00.000000Z", "warm-abc12-7-9f3a"
    )
    assert (query.since, query.narrowed().since) == (None, "2026-11-23T09:50:00.000000Z")
    assert gateway.asked == [("/sessions/call-7", "Bearer s3cret")]
    assert "warm-abc12" in note
    assert "--exact" in note


def test_session_that_runs_has_no_end_and_a_recovered_one_several_runners(
    gateway: GatewayDouble,
) -> None:
    """The gateway knows only the last one."""
    told = {"status": "running", "attempt": 3}
    gateway.answer = (200, SESSION | told)
    query, _ = find(gateway)
    assert query.ran is not None
    assert (query.ran.until, query.ran.runner) == (None, "")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, {"detail": "no such session"}), "404"),
        ((401, {"detail": "who are you"}), "401"),
        ((200, []), "not a gateway"),
        ((200, {"createdAt": "soon"}), "not a gateway"),
        ((200, {"createdAt": 7, "stages": {}, "status": "ended"}), "not a gateway"),
    ],
)
def test_gateway_that_does_not_know_narrows_nothing(
    gateway: GatewayDouble, answer: tuple[int, Any], words: str
) -> None:
    """All times are read, and a note says why."""
    gateway.answer = answer
    query, (note,) = find(gateway)
    assert query.ran is None
    assert words in note
    assert "all times were read" in note


def test_gateway_that_is_away_narrows_nothing() -> None:
    """It may be down because of what is looked for."""
    query, (note,) = located(
        Query(session="call-7"), [open_source({"url": "http://127.0.0.1:1", "name": "gw"})]
    )
    assert query.ran is None
    assert note.startswith("gw did not tell when the session ran (")


@pytest.fixture
def environment(gateway: GatewayDouble, tmp_path: Path) -> Iterator[tuple[str, LokiDouble]]:
    """A configuration with a gateway and a Loki, and the Loki."""
    loki = LokiDouble()
    lines = [encoded(record(n * 60, seq=n + 1, session="call-7")) for n in range(4)]
    for n, line in enumerate(lines):
        nanosecond = (1795428000 + n * 60) * 10**9
        loki.push([{"stream": {"app": "v"}, "values": [[str(nanosecond), line.decode()]]}])
    config = tmp_path / "cordboard.toml"
    config.write_text(
        f'[[environments.prod]]\ntype = "gateway"\nurl = "{gateway.url}"\n'
        f'[[environments.prod]]\ntype = "loki"\nurl = "{loki.url}"\nselector = \'{{app="v"}}\'\n'
    )
    yield str(config), loki
    loki.shutdown()
    loki.server_close()


def ask(config: str, *words: str) -> int:
    return main(["logs", "--config", config, "--env", "prod", "--session", "call-7", *words])


def test_command_asks_the_gateway_first(
    environment: tuple[str, LokiDouble], gateway: GatewayDouble, capfd: pytest.CaptureFixture[str]
) -> None:
    """The store is asked for minutes instead of a month; with a time, or --exact, the gateway is not asked."""
    config, loki = environment
    ask(config)
    assert capfd.readouterr().out.count("call-7") == 4
    begins = {int(values["start"]) for values in loki.asked}
    assert min(begins) == 1795427400 * 10**9
    assert max(int(values["end"]) for values in loki.asked) == 1795428300 * 10**9
    assert len(gateway.asked) == 1
    ask(config, "--exact")
    ask(config, "--since", at(0))
    assert len(gateway.asked) == 1
    assert capfd.readouterr().out.count("call-7") == 8


def test_explain_shows_the_request_and_sends_none(
    environment: tuple[str, LokiDouble], gateway: GatewayDouble, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is read."""
    config, loki = environment
    ask(config, "--explain")
    assert f"curl -s {gateway.url}/sessions/call-7\n" in capfd.readouterr().out
    assert not gateway.asked
    assert not loki.asked


def pod(name: str, owner: str) -> dict[str, Any]:
    owners = [{"uid": owner}] if owner else []
    return {"metadata": {"name": name, "uid": f"uid-{name}", "ownerReferences": owners}}


def test_other_warm_runners_are_left_out() -> None:
    """Those with the owner of the session's runner; a gateway, and pods without an owner, are kept."""
    pods = [
        pod("warm-abc12", "rs-1"),
        pod("warm-abc1", "rs-1"),
        pod("gateway-x", "rs-2"),
        pod("a", ""),
    ]
    assert other_runners(pods, "warm-abc12-7-9f3a") == {"uid-warm-abc1"}
    assert other_runners(pods, "gone-7-9f3a") == set()
    assert other_runners(pods, "") == set()
