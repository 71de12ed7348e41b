"""A bot that spies on the plane, and a second user of the machine: what they can learn is nothing.

Each is tried against everything that `cordboard up` runs, by the means that the kernel gives to a
process of the same user: files of ``/proc``, ``ptrace``, sockets, and files on the disk.
"""

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from cordboard.processes import children_of
from cordboard.runner.landlock import landlock_version
from cordboard.settings.running import request_secrets
from tests_support import until
from up_support import Up, ready

pytestmark = pytest.mark.timeout(180)
PARTS = ("gateway", "runner", "operator", "interface", "edge")
SIGNALS_SINCE = 6

SPY = '''
"""Tries to learn what it must not know, and writes down what it has got."""
import asyncio, contextlib, ctypes, json, os, socket, time
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH = 16, 17

def read(name):
    with open(name, "rb") as file:
        return file.read(1)

def attach(pid):
    if libc.ptrace(PTRACE_ATTACH, pid, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0)
    libc.ptrace(PTRACE_DETACH, pid, 0, 0)

def links(pid):
    return [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]

def memory(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))

MEANS = {
    "environ": lambda pid: read(f"/proc/{pid}/environ"),
    "maps": lambda pid: read(f"/proc/{pid}/maps"),
    "mem": memory,
    "fd": links,
    "ptrace": attach,
    "kill": lambda pid: os.kill(pid, 0),
}

def said(path, words=b""):
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(3)
        asked.connect(path)
        with contextlib.suppress(ConnectionError):
            if words:
                asked.sendall(words)
            return asked.recv(4096).decode()
    return ""

def from_a_grandchild(path):
    """What a process hears whose parent has ended."""
    read, write = os.pipe()
    parent = os.fork()
    if not parent:
        us = os.getpid()
        if not os.fork():
            os.setsid()
            while os.getppid() == us:
                time.sleep(0.01)
            os.write(write, said(path).encode() or b"-")
        os._exit(0)
    return os.read(read, 4096).decode()

async def bot(args):
    if "report" not in args.body:
        await asyncio.sleep(600)
    got = {}
    for name, pid in args.body["pids"].items():
        for means, use in MEANS.items():
            with contextlib.suppress(OSError):
                use(pid)
                got.setdefault(means, []).append(name)
    found = {
        "got": got,
        "redis": said(args.body["redis"], b"PING\\r\\n"),
        "up": said(args.body["socket"]),
        "up from a grandchild": from_a_grandchild(args.body["socket"]),
        "environment": sorted(os.environ),
    }
    Path(args.body["report"]).write_text(json.dumps(found))
'''


async def start(up: Up, secret: str, session: str, **body: Any) -> int:
    """Start a bot; return its process."""
    asked = {"room_url": f"https://rooms.example/{session}", "sessionId": session, "body": body}
    headers = {"Authorization": f"Bearer {secret}"}
    async with (
        aiohttp.ClientSession(up.addresses["gateway"], headers=headers) as client,
        client.post("/join?wait=30", json=asked) as answer,
    ):
        assert answer.status in {200, 202}, await answer.text()
    told = await until(
        lambda: [
            r for r in up.records if r.get("event") == "bot.forked" and r["sessionId"] == session
        ]
    )
    pid: int = told[0]["meta"]["pid"]
    return pid


def redis_of(up: Up) -> int:
    """Return the process of the embedded server."""
    return next(pid for pid in children_of(up.process.pid) if "-server" in name_of(pid))


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def processes(up: Up) -> dict[str, int]:
    """Return all processes of `up` by their names."""
    told = [r for r in up.records if r["message"] == "Listening"]
    found = {r["service"]: r["meta"]["pid"] for r in told}
    assert sorted(found) == sorted(PARTS)
    importers = [pid for pid in children_of(found["runner"]) if children_of(pid)]
    servers = {pid for importer in importers for pid in children_of(importer)}
    for kind, pids in (("importer", importers), ("fork server", sorted(servers))):
        found |= {f"{kind} {number}": pid for number, pid in enumerate(pids)}
    assert servers
    return {"up": up.process.pid, "redis": redis_of(up), **found}


def secrets_of(up: Up) -> dict[str, str]:
    return dict(request_secrets(up.state / "cordboard" / "up.sock"))


@contextlib.asynccontextmanager
async def spied(tmp_path: Path, **over: str) -> AsyncIterator[dict[str, Any]]:
    """Run `up` with two bots; yield what the second one could read."""
    bot, report = tmp_path / "spy.py", tmp_path / "report.json"
    bot.write_text(SPY)
    async with ready(tmp_path, "--bot", str(bot), blind=True, **over) as up:
        secret = secrets_of(up)["control_secret"]
        victim = await start(up, secret, "victim")
        pids = processes(up) | {"other bot": victim}
        redis = up.addresses["redis"].removeprefix("unix://")
        own = str(tmp_path / "cordboard" / "up.sock")
        await start(up, secret, "spy", report=str(report), pids=pids, redis=redis, socket=own)
        await until(lambda: report.exists() and report.read_text(), timeout_s=60)
        yield json.loads(report.read_text())


def assert_no_secret_was_told(found: dict[str, Any]) -> None:
    assert found["redis"].startswith("-NOAUTH")
    assert (found["up"], found["up from a grandchild"]) == ("", "-")
    ours = ("SECRET", "REDIS", "PASSWORD")
    assert not [name for name in found["environment"] if any(word in name for word in ours)]


async def test_a_bot_reads_no_process(tmp_path: Path) -> None:
    """A bot reads no environment, memory, map or open file of any process of ours, nor traces one.

    Without Landlock, so by what the processes have asked for alone. It can send signals.
    """
    async with spied(tmp_path, CORDBOARD_BOT_LANDLOCK="off") as found:
        assert list(found["got"]) == ["kill"], found["got"]
        assert_no_secret_was_told(found)


@pytest.mark.skipif(not landlock_version(), reason="the kernel has no Landlock")
async def test_landlock_alone_keeps_a_bot_from_every_process(tmp_path: Path) -> None:
    """The same holds where processes may be inspected, as after an exec; signals are refused, too."""
    async with spied(tmp_path, CORDBOARD_DUMPABLE="1") as found:
        allowed = [] if landlock_version() >= SIGNALS_SINCE else ["kill"]
        assert list(found["got"]) == allowed, found["got"]
        assert_no_secret_was_told(found)


def of_process(pid: int, what: str) -> bytes:
    return Path(f"/proc/{pid}/{what}").read_bytes()


def descriptors(pid: int) -> set[str]:
    return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}


async def test_no_secret_is_on_the_disk_or_on_a_command_line(tmp_path: Path) -> None:
    """No file that `up` writes, and no command line, contains one of its secrets."""
    async with ready(tmp_path) as up:
        told = secrets_of(up)
        password = urlsplit(told["redis_url"]).password
        assert password
        assert len(told["control_secret"]) > 30
        texts = [of_file(path) for path in below(tmp_path) if not path.endswith(".sock")]
        texts += [of_process(pid, "cmdline") for pid in processes(up).values()]
        texts += [line.encode() for line in up.lines]
        for secret in (told["control_secret"], password):
            assert not [text for text in texts if secret.encode() in text]


async def test_each_component_has_only_the_secrets_it_needs(tmp_path: Path) -> None:
    """Only the interface has the secret for logins, it cannot use Redis, and no other process has any secret."""
    names = (
        "BOT_CONTROL_SHARED_SECRET",
        "REDIS_URL",
        "CORDBOARD_SESSION_SECRET",
        "CORDBOARD_TURN_SECRET",
        "PIPECAT_ICE_SERVERS",
    )
    async with ready(
        tmp_path,
        CORDBOARD_SESSION_SECRET_PREV="p" * 40,
        CORDBOARD_TURN_SECRET="t" * 40,
        PIPECAT_ICE_SERVERS="turn:turn.invalid",
    ) as up:
        has = {
            process: [name for name in names if name.encode() in of_process(pid, "environ")]
            for process, pid in (processes(up) | helpers(up)).items()
            if process != "up"
        }
    assert has.pop("interface") == ["BOT_CONTROL_SHARED_SECRET", "CORDBOARD_SESSION_SECRET"]
    for part in ("gateway", "operator", "runner"):
        assert has.pop(part) == [name for name in names if name != "CORDBOARD_SESSION_SECRET"]
    assert has.pop("edge", None) in (None, ["BOT_CONTROL_SHARED_SECRET"])
    assert len(has) >= 4
    assert not any(has.values()), has


def helpers(up: Up) -> dict[str, int]:
    """Return the processes that a runner has started besides its bots."""
    runner = next(
        r["meta"]["pid"]
        for r in up.records
        if r["service"] == "runner" and r["message"] == "Listening"
    )
    return {f"child {pid} of the runner": pid for pid in children_of(runner)}


def as_another_user(act: Callable[[], Any]) -> Any:
    """Call a function as another user of this machine; return its result."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.setgroups([])
        os.setgid(54322)
        os.setuid(54322)
        os.write(write, json.dumps(act()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found = json.load(answer)
    os.waitpid(pid, 0)
    return found


def of_file(path: str) -> bytes:
    return Path(path).read_bytes()


def below(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if not path.is_dir()]


def opened(paths: list[str]) -> list[str]:
    """Return the files and sockets that can be opened."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            if path.endswith(".sock"):
                with socket.socket(socket.AF_UNIX) as asked:
                    asked.connect(path)
            else:
                os.close(os.open(path, os.O_RDONLY))
            found.append(path)
    return found


def listening_inodes() -> set[str]:
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
async def test_second_user_of_the_machine_gets_nothing(tmp_path: Path) -> None:
    """Another user can open no file and no socket, and each port requires a secret or a login."""
    with tempfile.TemporaryDirectory(prefix="home-") as home:
        os.chmod(home, 0o755)  # noqa: PTH101 - pathlib is not for asynchronous functions
        async with ready(Path(home)) as up:
            paths = below(Path(home))
            assert {"up.sock", "redis.sock", "up.json"} <= {Path(path).name for path in paths}
            assert await asyncio.to_thread(as_another_user, lambda: opened(paths)) == []
            assert not descriptors(redis_of(up)) & listening_inodes()
            async with aiohttp.ClientSession() as client:
                for part in ("gateway", "runner", "operator"):
                    path = "/metrics" if part == "operator" else "/sessions"
                    async with client.get(up.addresses[part] + path) as answer:
                        assert answer.status == 401, part
