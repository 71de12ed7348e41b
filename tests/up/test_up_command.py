"""`cordboard up` by its command line: what it starts, prints, survives and leaves behind."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests_support import until
from up_support import Up, environment, listens, pid_of, processes_of, ready, started

pytestmark = pytest.mark.timeout(120)
COMPONENTS = ("gateway", "runner", "operator", "interface", "edge")


def left_behind(state: Path) -> list[str]:
    """Return what `up` should have removed: processes, its state file, Valkey's data."""
    folder = state / "cordboard"
    names = ("up.json", "up.sock", "redis")
    files = [str(folder / name) for name in names if (folder / name).exists()]
    return processes_of(state) + files


async def end_of(running: Up) -> tuple[int, str]:
    """Wait until it ends by itself; return the exit status and its output."""
    status = await asyncio.wait_for(running.process.wait(), 60)
    assert running.reader is not None
    await running.reader
    return status, "".join(running.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_all_components_answer_and_a_signal_stops_them(
    tmp_path: Path, number: signal.Signals
) -> None:
    """All components answer at `up.ready`; a signal stops them and frees ports and files.

    Each component logs one line with its address, and one when it has stopped.
    """
    async with ready(tmp_path) as up:
        assert {*COMPONENTS, "redis", "logs"} == set(up.addresses)
        urls = [url for name, url in up.addresses.items() if name != "logs"]
        assert all(listens(url) for url in urls)
        assert await up.stop(number) == 0
        assert not any(listens(url) for url in urls)
    assert left_behind(tmp_path) == []
    assert "All components have stopped" in up.lines[-1]
    assert [r for r in up.records if r["tag"] == "uvicorn"] == []
    states = sorted(
        (r["service"], r["message"], r["meta"]["url"])
        for r in up.records
        if r["message"] in {"Listening", "Stopped"}
    )
    assert states == sorted(
        (p, s, up.addresses[p]) for p in COMPONENTS for s in ("Listening", "Stopped")
    )
    of_redis = lines_of(up, "redis.jsonl")
    assert {r["service"] for r in of_redis} == {"redis"}
    assert not [r for r in of_redis if str(r["meta"]["pid"]) in r["message"].partition(" ")[0]]
    assert "bye bye" in of_redis[-1]["message"]


@pytest.mark.parametrize("after_s", [0, 0.3, 0.8, 1.5, 2.5])
async def test_ctrl_c_during_the_start_leaves_nothing(tmp_path: Path, after_s: float) -> None:
    """An interrupted start prints no traceback, and leaves no process and no file."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    async with started(tmp_path, TMPDIR=str(temporary)) as up:
        # Before this file exists, Python may still be starting, and prints a traceback itself.
        await until((tmp_path / "cordboard" / "up.json").exists)
        await asyncio.sleep(after_s)
        up.process.send_signal(signal.SIGINT)
        _, output = await end_of(up)
    assert "Traceback" not in output
    assert left_behind(tmp_path) == []
    assert list(temporary.iterdir()) == []


async def test_a_signal_delivered_twice_counts_once(tmp_path: Path) -> None:
    """A signal from both make and the terminal stops the components in order."""
    async with ready(tmp_path) as up:
        # Both arrive while the process is stopped, so they are handled together on any machine.
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            up.process.send_signal(number)
        assert await up.stop(signal.SIGCONT) == 0
    assert not any("Stopping at once" in line for line in up.lines)
    assert left_behind(tmp_path) == []


async def test_a_second_ctrl_c_ends_everything_at_once(tmp_path: Path) -> None:
    """A second Ctrl-C kills the components; still nothing is left behind."""
    async with ready(tmp_path) as up:
        up.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.5)
        await up.stop(signal.SIGINT)
        await until(lambda: not processes_of(tmp_path))
    assert any("Stopping at once" in line for line in up.lines)
    assert left_behind(tmp_path) == []


async def test_ctrl_c_ends_the_live_sessions(tmp_path: Path) -> None:
    """The reason of each session is `left`, not that its runner was lost. Valkey may have a port."""
    secret = "the test's"
    async with ready(tmp_path, "--redis-port", "0", BOT_CONTROL_SHARED_SECRET=secret) as up:
        assert up.addresses["redis"].startswith("redis://127.0.0.1:")
        assert listens(up.addresses["redis"])
        client = aiohttp.ClientSession(headers={"X-Bot-Secret": secret})
        async with client:
            for session in ("one", "two"):
                body = {"room_url": f"webrtc:{session}", "sessionId": session}
                url = f"{up.addresses['gateway']}/join?wait=30"
                async with client.post(url, json=body) as answer:
                    assert (await answer.json())["status"] == "running"
        assert await up.stop(signal.SIGINT) == 0
    ended = [r for r in up.records if r.get("event") == "session.ended"]
    assert sorted((r["sessionId"], r["meta"]["reason"]) for r in ended) == [
        ("one", "left"),
        ("two", "left"),
    ]
    assert left_behind(tmp_path) == []


async def test_second_runner_takes_the_session_of_a_killed_one(tmp_path: Path) -> None:
    """Before the killed one has loaded its bots again; the lines of both are in one file.

    `up` is ready before the second one is started.
    """
    secret = "the test's"
    async with (
        ready(tmp_path, "--runners", "2", BOT_CONTROL_SHARED_SECRET=secret) as up,
        aiohttp.ClientSession(headers={"X-Bot-Secret": secret}) as client,
    ):
        assert "runner-2" not in up.addresses
        gateway = up.addresses["gateway"]
        (further,) = await until(lambda: lines_with(up, "A further runner is ready"), 60)
        body = {"room_url": "webrtc:a", "sessionId": "a"}
        async with client.post(f"{gateway}/join?wait=30", json=body) as answer:
            assert (await answer.json())["status"] == "running"

        async def record() -> dict[str, Any]:
            async with client.get(f"{gateway}/sessions/a?runner=true") as answer:
                return dict(await answer.json())

        async def next_record() -> dict[str, Any] | None:
            now = await record()
            return now if (now["status"], now["attempt"]) == ("running", 2) else None

        first = await record()
        await until(lambda: bot_starts(up))  # the store confirms before the runner logs
        pids = {line["meta"]["url"]: line["meta"]["pid"] for line in lines_with(up, "Listening")}
        os.kill(pids[first["runnerUrl"]], signal.SIGKILL)
        second = await until(next_record, 30)
        runners = {up.addresses["runner"], further["meta"]["url"]}
        assert {first["runnerUrl"], second["runnerUrl"]} == runners
        assert await up.stop(signal.SIGINT) == 0
    assert len(bot_starts(up)) == 2
    assert left_behind(tmp_path) == []


async def test_further_runner_that_cannot_start_ends_nothing(tmp_path: Path) -> None:
    """A bot file that can be loaded only once, because it takes something for itself, runs in the first runner."""
    bot = tmp_path / "once.py"
    bot.write_text(
        "from pathlib import Path\n"
        f"Path({str(tmp_path / 'taken')!r}).touch(exist_ok=False)\n"
        "async def bot(arguments): ...\n"
    )
    async with ready(tmp_path, "--runners", "2", "--bot", str(bot)) as up:
        (line,) = await until(lambda: lines_with(up, "A further runner is given up"), 60)
        assert "FileExistsError" in json.dumps(line)
        assert all(listens(up.addresses[name]) for name in COMPONENTS)
        assert await up.stop() == 0
    assert left_behind(tmp_path) == []


async def test_sigkill_ends_the_components_too(tmp_path: Path) -> None:
    """SIGKILL leaves no process and no temporary file, and the next `up` starts normally."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    async with ready(tmp_path, TMPDIR=str(temporary)) as up:
        up.process.kill()
        await up.process.wait()
        await until(lambda: not processes_of(tmp_path))
    assert list(temporary.iterdir()) == []
    async with ready(tmp_path) as again:
        assert again.addresses["gateway"]


async def test_second_up_names_the_running_one(tmp_path: Path) -> None:
    """It exits with the process and addresses of the first one, and how to stop that."""
    async with ready(tmp_path) as up:
        async with started(tmp_path) as second:
            status, output = await end_of(second)
        assert status == 1
        assert f"process {up.process.pid}" in output
        assert up.addresses["interface"] in output
        assert f"kill {up.process.pid}" in output
        assert listens(up.addresses["gateway"])


async def test_port_in_use_is_named(tmp_path: Path) -> None:
    """The error names port, component and the option to change it; nothing was started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with started(tmp_path, ["--gateway-port", str(port)]) as up:
            status, output = await end_of(up)
    assert status == 1
    assert f"Port {port} (--gateway-port) is in use." in output
    assert "--gateway-port" in output
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("port", "words"),
    [
        ("99999", ["Port 99999 (--runner-port) cannot be used: ports are 0 to 65535."]),
        ("5555", ["--gateway-port and --runner-port cannot both be 5555."]),
    ],
)
async def test_invalid_port_is_a_usage_error(tmp_path: Path, port: str, words: list[str]) -> None:
    """A number out of range, or one for two components, is refused before anything starts."""
    async with started(tmp_path, ["--gateway-port", "5555", "--runner-port", port]) as up:
        status, output = await end_of(up)
    assert status == 2
    assert all(word in output for word in words)
    assert left_behind(tmp_path) == []


async def test_redis_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """The user's own Redis is checked before anything starts."""
    async with started(tmp_path, REDIS_URL="redis://127.0.0.1:1") as up:
        status, output = await end_of(up)
    assert status == 1
    assert "Redis at redis://127.0.0.1:1 does not answer" in output
    assert "REDIS_URL" in output
    assert "Traceback" not in output
    assert left_behind(tmp_path) == []


async def test_server_that_is_not_redis_is_reported(tmp_path: Path) -> None:
    """An HTTP server at REDIS_URL is an error of the protocol."""

    async def web(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with started(tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}") as up:
            status, output = await end_of(up)
    assert status == 1
    assert f"Redis at redis://127.0.0.1:{port} does not answer: Protocol Error" in output
    assert "Traceback" not in output


async def test_unwritable_state_directory_is_named(tmp_path: Path) -> None:
    """The error names the directory, the reason, and how to choose another one."""
    file = tmp_path / "file"
    file.touch()
    async with started(file) as up:
        status, output = await end_of(up)
    assert status == 1
    assert f"Cannot write to the state directory {file}/cordboard: Not a directory." in output
    assert "XDG_STATE_HOME" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no such file"),
        ("import nothing_of_this_name\n", "line 1, cannot be imported: ModuleNotFoundError"),
        ("def bot(args):\n    pass\n", "has no `async def bot(runner_args)`"),
        ("async def bot(:\n", "line 1, cannot be imported: SyntaxError"),
        ("import os\nos._exit(0)\n", "fork server ended before it had loaded the bot"),
    ],
)
async def test_bot_file_that_cannot_be_loaded_ends_up(
    tmp_path: Path, text: str | None, words: str
) -> None:
    """The error names the file, the line and the reason."""
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    async with started(tmp_path, ["--bot", str(file)]) as up:
        status, output = await end_of(up)
    assert status == 1
    assert str(file) in output
    assert words in output
    assert "Traceback" not in output
    assert left_behind(tmp_path) == []


async def test_killed_components_are_restarted(tmp_path: Path) -> None:
    """Each restart is logged, the components work again, and no temporary file is left."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    async with ready(tmp_path, TMPDIR=str(temporary)) as up:
        pids = {name: pid_of(up, name) for name in COMPONENTS}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        await until(
            lambda: (
                sum("A component ended unexpectedly" in line for line in up.lines)
                == len(COMPONENTS)
            ),
            timeout_s=30,
        )
        ended = [r["meta"] for r in up.records if r["message"].startswith("A component ended")]
        assert dict.fromkeys(COMPONENTS, "killed by SIGKILL") == {
            meta["component"]: meta["status"] for meta in ended
        }
        assert all(None not in meta.values() for meta in ended)
        await until(lambda: all(listens(up.addresses[name]) for name in COMPONENTS), timeout_s=30)
        called = await asyncio.to_thread(up.cordboard, "sessions", "-o", "json")
        assert called.returncode == 0, called.stderr
    assert list(temporary.iterdir()) == []


async def test_killed_redis_is_restarted_with_its_data(tmp_path: Path) -> None:
    """The restart is logged, and joins work again."""
    async with ready(tmp_path) as up:
        os.kill(pid_of(up, up.addresses["redis"].replace("unix://", "unixsocket:")), signal.SIGKILL)
        await until(lambda: any("embedded Redis ended" in line for line in up.lines))
        await until(lambda: listens(up.addresses["redis"]))

        async def works() -> bool:
            done = await asyncio.to_thread(up.cordboard, "sessions", "-o", "json")
            return done.returncode == 0

        await until(works, timeout_s=20)


async def test_unknown_setting_is_refused_before_the_start(tmp_path: Path) -> None:
    """The error suggests the right name."""
    async with started(tmp_path, CORDBOARD_QUEU_MAX="3") as up:
        status, output = await end_of(up)
    assert status == 2
    assert "Did you mean CORDBOARD_QUEUE_MAX?" in output


def lines_with(up: Up, message: str) -> list[dict[str, Any]]:
    """The records whose message begins so."""
    return [record for record in up.records if record["message"].startswith(message)]


def bot_starts(up: Up) -> list[dict[str, Any]]:
    """The lines with which runners said that a bot runs."""
    return [r for r in lines_of(up, "runner.jsonl") if r.get("event") == "bot.started"]


def lines_of(up: Up, name: str) -> list[dict[str, Any]]:
    file = Path(up.addresses["logs"]) / name
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_module_runs_the_command(tmp_path: Path) -> None:
    """`python -m cordboard` works without the script on the PATH."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cordboard", "--version"),
        env=environment(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert out.startswith(b"cordboard ")
