"""What commands say of a Redis that cannot serve a plane, or of a URL that cannot be read."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_support import Server, name_of, programs, serving

COMMANDS = {
    "gateway": ["gateway", "--port", "0"],
    "operator": ["operator", "--port", "0", "--launcher", "none"],
    "runner": ["runner", "--port", "0"],
    "up": ["up"],
    "doctor": ["doctor"],
}
PASSWORD = "pass-of-the-tests"


@pytest.fixture(scope="module", params=programs()[:1], ids=name_of)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as running:
        yield running


def run(directory: Path, words: list[str], redis_url: str, **more: str) -> tuple[int, str]:
    """Run a command that is to end by itself; return its status and all that it says."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CORDBOARD_", "BOT_", "LOG_", "PIPECAT_", "PYTEST_"))
    }
    kept |= {"HOME": str(directory), "XDG_STATE_HOME": str(directory), "REDIS_URL": redis_url}
    kept |= more
    done = subprocess.run(
        [sys.executable, "-m", "cordboard", *words],
        cwd=directory,
        env=kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_permission_is_named(tmp_path: Path, server: Server, command: str) -> None:
    """A user without our keys, or without a command: the part ends and says what lacks."""
    rules = ["~write_check:*", "~parts:*", "~agreed_settings:*", "&*", "+@all", "-xautoclaim"]
    server.ask("ACL", "SETUSER", "part", "reset", "on", f">{PASSWORD}", *rules)
    url = f"redis://part:{PASSWORD}@127.0.0.1:{server.port}/0"
    status, said = run(tmp_path, COMMANDS[command], url)
    assert status == 1, said
    assert "XAUTOCLAIM" in said
    assert "~session:*" in said
    assert "Traceback" not in said
    assert PASSWORD not in said


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "url", ["redis://:se/cret@127.0.0.1:6379/0", "rediss+cluster://:se#cret@a:1,b:2"]
)
def test_invalid_url_is_refused_without_its_password(
    tmp_path: Path, command: str, url: str
) -> None:
    """One line with the way out, and no piece of the password."""
    status, said = run(tmp_path, COMMANDS[command], url)
    assert status in {1, 2}, said
    assert "%2F %3F %23" in said
    assert "cret" not in said
    assert "Traceback" not in said


def test_doctor_writes_to_redis(tmp_path: Path, server: Server) -> None:
    """A server that answers and takes no writes is no fine one."""
    url = server.url
    assert "ok    redis          answers, accepts writes" in run(tmp_path, ["doctor"], url)[1]
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        status, said = run(tmp_path, ["doctor"], url)
    finally:
        server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    assert status == 1
    assert "FAIL  redis" in said
    assert "NOREPLICAS" in said


def test_doctor_fails_on_an_evicting_policy(tmp_path: Path, server: Server) -> None:
    """Only noeviction keeps what the plane holds."""
    server.ask("CONFIG", "SET", "maxmemory", "200mb")
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        status, said = run(tmp_path, ["doctor"], server.url)
    finally:
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.ask("CONFIG", "SET", "maxmemory", 0)
    assert status == 1
    assert "allkeys-lru" in said
    assert "noeviction" in said


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (["sessions"], "CORDBOARD_GATEWAY_URL"),
        (["call", "webrtc:x"], "CORDBOARD_GATEWAY_URL"),
        (["interface", "--port", "0"], "CORDBOARD_GATEWAY_URL"),
        (["sessions", "--gateway", "URL"], ""),
        (["runner", "--port", "0", "--url", "URL"], ""),
    ],
)
@pytest.mark.parametrize("url", ["http://u:se/cret@h:1", "http://u:secret@h:1", "http://se:cret"])
def test_error_about_an_http_url_shows_no_password(
    tmp_path: Path,
    server: Server,
    words: list[str],
    variable: str,
    url: str,
) -> None:
    """Where a gateway or a runner is asked for by an address with a password, none of it is shown."""
    named = [url if word == "URL" else word for word in words]
    status, said = run(tmp_path, named, server.url, **({variable: url} if variable else {}))
    assert status == 2, said
    assert "cret" not in said
    assert "Traceback" not in said
