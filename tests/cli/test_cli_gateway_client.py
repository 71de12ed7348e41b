"""What the commands that ask a gateway share."""

import io
import json
import os
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import pytest

from cordboard.cli import _gateway_client, _output, main


def test_columns_are_aligned_for_wide_letters() -> None:
    """A letter that takes two columns of a terminal, or none, counts as what it takes."""
    rows = [("USER", "STATE"), ("漢字", "ended"), ("e\u0301va", "ended"), ("a\x1b[31m", "ended")]
    assert _output.format_table(rows).splitlines() == [
        "USER       STATE",
        "漢字       ended",
        "e\u0301va        ended",
        "a\\x1b[31m  ended",
    ]


def test_long_name_is_truncated() -> None:
    """It is cut where it stands beside others; 32 letters fit."""
    assert _output.truncate_name("n" * 32) == "n" * 32
    assert _output.truncate_name("n" * 1024) == "n" * 31 + "…"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--state", "runing"], "choose from 'queued', 'starting', 'running'"),
        (["--limit", "0"], "--limit 0: expected a number above 0."),
        (["--room", "demo"], "Invalid room_url 'demo'"),
        (["--gateway", "demo"], "--gateway demo: expected http://HOST:PORT"),
        (["-t", "1x"], "Invalid duration '1x'."),
        (["--around", "9", "--since", "8"], "--around cannot be combined with --since"),
        (["--user", "a", "--user", "b"], "--user is given twice: a and b."),
    ],
)
def test_invalid_arguments_of_sessions_send_no_request(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and why, without a gateway."""
    try:
        status = main(["sessions", *words])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("status", "problem", "said"),
    [
        (
            401,
            {"type": "urn:cordboard:problem:unauthorized", "detail": "Wrong.", "hint": "Header"},
            "Wrong. Set BOT_CONTROL_SHARED_SECRET, or ..._FILE, to the secret of that gateway.",
        ),
        (
            404,
            {"type": "about:blank", "detail": "Not Found"},
            "The server at http://here/ answered: Not Found. Is it a gateway? Use --gateway to name another one.",
        ),
        (
            404,
            {"type": "urn:cordboard:problem:not_found", "detail": "No session.", "hint": "Look."},
            "No session. Look.",
        ),
        (502, None, "The gateway answered HTTP 502."),
    ],
)
def test_refusal_has_a_hint_for_users_of_commands(
    status: int, problem: dict[str, str] | None, said: str
) -> None:
    """The gateway's own words, with the way out of a command and not of an HTTP client."""
    body = io.BytesIO(json.dumps(problem).encode() if problem else b"<html>")
    error = urllib.error.HTTPError("http://here/", status, "", Message(), body)
    assert str(_gateway_client.response_error(error)) == said


class Answers:
    """A server on loopback that answers each request as a function says, and notes its headers."""

    def __init__(self, answer: Callable[[str], tuple[int, dict[str, str], object]]) -> None:
        self.asked: list[tuple[str, str | None]] = []
        notes = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                notes.append((self.path, self.headers.get("Authorization")))
                status, headers, content = answer(self.path)
                body = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in which no `up` runs, with a secret in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BOT_CONTROL_SHARED_SECRET", "a-secret-of-the-plane")
    return tmp_path


def test_redirect_gets_no_secret(alone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What answers may not send the secret elsewhere; where it points to is said."""
    with Answers(lambda _: (200, {}, {"sessions": [], "nextCursor": None})) as other:
        location = {"Location": f"{other.url}/sessions"}
        with Answers(lambda _: (302, location, None)) as first:
            assert main(["sessions", "--gateway", first.url]) == 1
            assert len(first.asked) == 1
        assert other.asked == []
    said = capfd.readouterr().err
    assert f"redirects to {other.url}/sessions" in said


def test_many_sessions_are_read_in_pages(alone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A gateway gives 500 at once; --limit may be any number."""
    asked: list[dict[str, list[str]]] = []

    def answer(path: str) -> tuple[int, dict[str, str], object]:
        query = parse_qs(urlsplit(path).query)
        asked.append(query)
        at = int(query.get("cursor", ["0"])[0])
        size = min(int(query["limit"][0]), 1234 - at)
        page = [{"sessionId": f"c-{at + i}"} for i in range(size)]
        return (
            200,
            {},
            {"sessions": page, "nextCursor": str(at + size) if at + size < 1234 else None},
        )

    with Answers(answer) as gateway:
        assert main(["sessions", "--gateway", gateway.url, "--limit", "10000", "-o", "json"]) == 0
        lines = capfd.readouterr().out.splitlines()
        assert [json.loads(line)["sessionId"] for line in lines] == [f"c-{i}" for i in range(1234)]
        assert [query["limit"] for query in asked] == [["500"]] * 3
        asked.clear()
        assert main(["sessions", "--gateway", gateway.url, "--limit", "501", "-o", "json"]) == 0
        assert [query["limit"] for query in asked] == [["500"]] * 2


def test_long_room_is_truncated_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person the other columns stay on the screen; another program gets all of it."""
    room = "webrtc:" + "r" * 1500
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert _output.truncate_room(room) == room
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert _output.truncate_room(room) == room[:47] + "…"
    assert _output.truncate_room(room[:48]) == room[:48]


@pytest.mark.parametrize(
    ("mode_and_owner", "sent"),
    [
        ((0o644, None), True),
        ((0o600, None), True),
        ((0o646, None), False),
        ((0o644, 54321), False),
    ],
)
def test_gateway_of_another_users_file_gets_no_secret(
    alone: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    mode_and_owner: tuple[int, int | None],
    sent: bool,
) -> None:
    """A cordboard.toml that another user may have written names no receiver of the control secret."""
    mode, owner = mode_and_owner
    file = alone / "cordboard.toml"
    file.write_text('gateway_url = "http://gateway.invalid"\n')
    file.chmod(mode)
    if owner is not None:
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(file, owner, -1)
    status = main(["sessions"])
    said = capfd.readouterr().err
    assert ("cannot be reached" in said) == sent
    assert ("the control secret is not sent there" in said) == (not sent)
    assert status == (1 if sent else 2)
    assert "a-secret" not in said
    assert main(["sessions", "--gateway", "http://gateway.invalid"]) == 1
    monkeypatch.delenv("BOT_CONTROL_SHARED_SECRET")
    assert main(["sessions"]) == 1


def test_gateway_on_loopback_may_come_from_any_file(
    alone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On this machine it is the other user who would have to listen there first."""
    with Answers(lambda _: (200, {}, {"sessions": [], "nextCursor": None})) as gateway:
        (alone / "cordboard.toml").write_text(f'gateway_url = "{gateway.url}"\n')
        (alone / "cordboard.toml").chmod(0o666)
        assert main(["sessions"]) == 0
        assert gateway.asked[0][1] == "Bearer a-secret-of-the-plane"


def test_invalid_bot_name_is_refused_at_start(
    alone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its name is refused where it is given, before anything starts."""
    (alone / "b.py").write_text("async def bot(arguments): ...\n")
    for command in ("up", "runner"):
        words = [sys.executable, "-m", "cordboard", command, "--bot", "голос=b.py"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "invalid bot name 'голос'" in done.stderr
    (alone / "cordboard.toml").write_text('[bots]\n"my bot" = "b.py"\n')
    assert main(["doctor"]) == 1
    assert "[bots] 'my bot': invalid bot name." in capfd.readouterr().out
