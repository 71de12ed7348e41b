"""A bot file sees what it sees under ``python bot.py``, in its process as well as at import."""

import asyncio
import http.server
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cordboard.store import RedisStore, SessionRecord
from plane_support import Part, Processes, ask, ready
from runner.runner_support import client, processes
from tests_support import until

pytestmark = pytest.mark.timeout(90)

# The end of each bot file: it writes what `report()` returns.
REPORT = """
import json as _json
from pathlib import Path as _Path

async def bot(args):
    found = report()
    _Path(args.body["file"]).write_text(_json.dumps(await found if hasattr(found, "__await__") else found))
"""

MAIN = """
import inspect, logging, multiprocessing, os, pickle, signal, sys
from dotenv import load_dotenv
from loguru import logger

logger.remove(0)  # a second bot that does this has a logger of its own
os.environ["REDIS_URL"] = "redis://memory.example:6379/3"
received = []
at_import = {*sys.modules}
signal.signal(signal.SIGUSR1, lambda *_: received.append("SIGUSR1"))
print("a word at import")

def report():
    late = [name for name in sys.modules if name not in at_import]
    import prompts  # beside this file, and first imported here
    main = sys.modules["__main__"]
    load_dotenv()
    os.kill(os.getpid(), signal.SIGUSR1)
    logging.getLogger(__name__).warning("a line of the bot file")
    return {
        "file": [__file__, main.__file__, sys.argv[0], inspect.getsourcefile(report)],
        "is_main": main.report is report,
        "late": late,  # what Cordboard itself imports after the fork
        "argv": len(sys.argv),
        "path": sys.path[0],
        "prompt": prompts.TEXT,
        "key": os.getenv("SPEECH_KEY"),
        "redis": os.getenv("REDIS_URL"),
        "ours": [name for name in os.environ if "PRELOAD" in name or "SECRET" in name],
        "pickled": pickle.loads(pickle.dumps(report)) is report,
        "process": [multiprocessing.current_process().name, multiprocessing.parent_process()],
        "signals": received,
    }
"""
GUARDED = """
if __name__ == "__main__":
    raise SystemExit("Pipecat's runner was started")
"""
OTHER = """
import os
from loguru import logger
logger.remove(0)
from prompts import TEXT

def report():
    return [TEXT, "REDIS_URL" in os.environ]
"""
PACKAGED = """
from . import tools
from ..common import NAME

def report():
    from .later import LATE
    return [tools.TEXT, NAME, LATE, __package__]
"""
WRAPPED = """
import functools

def logged(function):
    @functools.wraps(function)
    def call(*words):
        return function(*words)
    return call

bot = logged(bot)
def report():
    return "called"
"""
INSTANCE = """
class Bot:
    def __init__(self, function):
        self._function = function
    async def __call__(self, args):
        await self._function(args)

bot = Bot(bot)
def report():
    return "called"
"""
PARTIAL = """
import functools

async def with_option(function, option, args):
    await function(args)

bot = functools.partial(with_option, bot, "option")
def report():
    return "called"
"""
FUTURE = """
import asyncio
inner = bot

def bot(args):
    return asyncio.ensure_future(inner(args))

def report():
    return "called"
"""
POOLS = """
import asyncio, functools, multiprocessing, os
from concurrent.futures import ProcessPoolExecutor

def double(number):
    return number * 2, os.getpid()

async def report():
    loop, results, pids = asyncio.get_running_loop(), [], set()
    for method in ("spawn", "forkserver", "fork"):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            number, pid = await loop.run_in_executor(pool, double, 21)
        results.append(number)
        pids.add(pid)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        results.append((await asyncio.to_thread(pool.map, double, [4]))[0][0])
    return results, len(pids - {os.getpid()})
"""
PACKAGED_POOL = """
import asyncio, multiprocessing
from .tools import TEXT

def shout(words):
    return TEXT + words

async def report():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return (await asyncio.to_thread(pool.map, shout, ["!"]))[0]
"""
LINKED = """
import os
from dotenv import load_dotenv
load_dotenv()
def report():
    import prompts
    return [__file__, os.environ["SPEECH_KEY"], prompts.TEXT]
"""
KEPT = """
import asyncio, atexit, logging, subprocess, sys, urllib.request
import numpy
from pathlib import Path

LOG = open("kept.log", "a")
LOG.write("once\\n")  # in a buffer, which no other process may write again
logging.basicConfig(filename="kept-too.log")
CHILD = subprocess.Popen(["sleep", "600"])
with urllib.request.urlopen(os.environ["SVC"]) as answer:
    answer.read()
asyncio.run(asyncio.sleep(0))  # a loop that is closed again
NUMBER = numpy.random.random()

def at_exit():
    print("exit handler of the import")

atexit.register(at_exit)

def report():
    LOG.flush()
    assert "zombie" not in Path(f"/proc/{CHILD.pid}/status").read_text()
    return [CHILD.pid, NUMBER, numpy.random.random(), AT_IMPORT == os.getpid()]
"""
POLICY = """
import asyncio, uvloop
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

async def report():
    process = await asyncio.create_subprocess_exec("true")
    return [type(asyncio.get_running_loop()).__module__, await process.wait()]
"""

# What a bot file opens at import, and how the warning names it.
OPENED = {
    "thread": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True, name='fetcher').start()",
        "thread(s) (fetcher)",
    ),
    "connection": (
        "import socket\nCONNECTION = socket.create_connection(('127.0.0.1', int(os.environ['SVC'].rpartition(':')[2])))",
        "a TCP connection to 127.0.0.1:",
    ),
    "unix": ("import socket\nPAIR = socket.socketpair()", "a socket pair"),
    "udp": (
        "import socket\nDNS = socket.socket(type=socket.SOCK_DGRAM)\nDNS.connect(('127.0.0.1', 53))",
        "a UDP connection to 127.0.0.1:53",
    ),
    "loop": ("import asyncio\nLOOP = asyncio.new_event_loop()", "an event loop"),
    "pipe": (
        "import subprocess\nCHILD = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)",
        "a pipe",
    ),
    "sqlite": (
        "import sqlite3\nDATABASE = sqlite3.connect('calls.db')\nDATABASE.execute('create table if not exists calls (id)')",
        "calls.db, to be read and written",
    ),
    "eventfd": ("EVENT = os.eventfd(0)", "an eventfd"),
}
# Fast in the importer, and then in each bot process until it is killed.
ENDLESS = """
import os, threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
if "BOT_SESSION_ID" in os.environ:
    time.sleep(600)
def report():
    pass
"""
OWN = """
import os
AT_IMPORT = os.getpid()
"""
OPENS = """
def report():
    return AT_IMPORT == os.getpid()
"""


def write_bots(directory: Path) -> dict[str, str]:
    """Write the bot files; return their paths by the bots' names."""
    texts = {
        "main/bot.py": MAIN + REPORT + GUARDED,
        "other/bot.py": OTHER + REPORT,
        "project/server/bot.py": PACKAGED + REPORT,
        "project/server/pooled.py": PACKAGED_POOL + REPORT,
        "wrapped.py": REPORT + WRAPPED,
        "instance.py": REPORT + INSTANCE,
        "partial.py": REPORT + PARTIAL,
        "future.py": REPORT + FUTURE,
        "pools.py": POOLS + REPORT,
        "kept.py": OWN + KEPT + REPORT,
        "policy.py": POLICY + REPORT,
        "slow.py": OWN
        + "import time\n"
        + OPENED["thread"][0]
        + "\ntime.sleep(1.5)\n"
        + OPENS
        + REPORT,
        "endless.py": ENDLESS + REPORT,
        **{f"{kind}.py": OWN + text + OPENS + REPORT for kind, (text, _) in OPENED.items()},
    }
    beside = {
        "main/prompts.py": "TEXT = 'main'",
        "main/.env": "SPEECH_KEY=beside-the-bot\n",
        "other/prompts.py": "TEXT = 'other'",
        "project/common.py": "NAME = 'common'",
        "project/server/tools.py": "TEXT = 'tools'",
        "project/server/later.py": "LATE = 'late'",
    }
    for name, text in (texts | beside).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    bots = {name.removesuffix(".py").replace("/", "-"): str(directory / name) for name in texts}
    return bots | {"linked": str(write_config_map(directory / "configured", "first"))}


def write_config_map(directory: Path, version: str) -> Path:
    """Write files as a Kubernetes ConfigMap does, with links that are swapped; return that of the bot."""
    data = directory / f"..{version}"
    data.mkdir(parents=True)
    texts = {
        "bot.py": LINKED + REPORT,
        "prompts.py": f"TEXT = {version!r}",
        ".env": f"SPEECH_KEY={version}",
    }
    for name, text in texts.items():
        (data / name).write_text(text)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..swap").symlink_to(data.name)
    (directory / "..swap").rename(directory / "..data")
    return directory / "bot.py"


class Service(http.server.BaseHTTPRequestHandler):
    """Answers each request, and counts connections."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("loading")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        options = [
            word
            for name, file in write_bots(directory).items()
            for word in ("--bot", f"{name}={file}")
        ]
        for made in processes(directory, redis_url):
            env = {"SVC": f"http://127.0.0.1:{service.server_address[1]}"}
            made.spawn("runner", *options, "--capacity", "40", env=env)
            yield made
        service.shutdown()


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs sessions of the bots of one runner."""

    url: str
    store: RedisStore
    client: aiohttp.ClientSession
    directory: Path

    async def __call__(self, bot: str) -> Any:
        """Run a session of a bot; return what the bot reports."""
        status, answer, file = await self.start(bot)
        assert status == 200, answer
        return await self.result(answer, file)

    async def start(self, bot: str) -> tuple[int, dict[str, Any], Path]:
        """Start a session of a bot; return the answer, and the file that the bot writes."""
        file = self.directory / f"{os.urandom(4).hex()}.json"
        room = f"https://rooms.example/{file.stem}"
        body = {"room_url": room, "bot": bot, "body": {"file": str(file)}}
        return *await ask(self.client, "POST", f"{self.url}/start", body), file

    async def leave(self, answer: dict[str, Any]) -> None:
        await ask(self.client, "POST", f"{self.url}/sessions/{answer['sessionId']}/leave")

    async def end(self, answer: dict[str, Any]) -> SessionRecord:
        async def has_ended() -> SessionRecord | None:
            record = await self.store.session(answer["sessionId"])
            return None if record.live else record

        record: SessionRecord = await until(has_ended, 30)
        return record

    async def result(self, answer: dict[str, Any], file: Path) -> Any:
        record = await self.end(answer)
        assert record.reason == "bot_finished", record.detail
        return json.loads(await asyncio.to_thread(file.read_text))


@pytest.fixture
async def runs(plane: Processes, tmp_path: Path) -> AsyncIterator[Runs]:
    (part,) = plane.parts
    await ready(part)
    async with RedisStore(plane.redis_url) as store, client() as http_client:
        yield Runs(part.url, store, http_client, tmp_path)


def warnings_about(part: Part, bot: str) -> list[dict[str, Any]]:
    return [r for r in part.records if r["level"] == "warn" and r.get("meta", {}).get("bot") == bot]


async def test_bot_file_is_the_main_module(plane: Processes, runs: Runs) -> None:
    """Main module, arguments, path, ``.env`` and signal handlers are as under ``python bot.py``.

    All that Cordboard needs is imported before the fork.
    """
    found = await runs("main-bot")
    assert found["late"] == []
    file = plane.directory / "main" / "bot.py"
    assert found["file"] == [str(file)] * 4
    assert (found["is_main"], found["pickled"], found["argv"]) == (True, True, 1)
    assert found["path"] == str(file.parent)
    assert found["key"] == "beside-the-bot"
    assert found["process"] == ["MainProcess", None]
    assert found["signals"] == ["SIGUSR1"]
    assert (found["redis"], found["ours"]) == ("redis://memory.example:6379/3", [])


async def test_bots_share_neither_modules_nor_environment_nor_loggers(runs: Runs) -> None:
    """Each of two bots gets the ``prompts.py`` beside it, and what one sets, the other does not see."""
    assert (await runs("main-bot"))["prompt"] == "main"
    assert await runs("other-bot") == ["other", False]


async def test_output_of_the_import_is_not_repeated(plane: Processes, runs: Runs) -> None:
    """What a bot file prints at import is one line, of no session."""
    await runs("main-bot")
    await runs("main-bot")
    (part,) = plane.parts
    (line,) = [r for r in part.records if r["message"] == "a word at import"]
    assert line["sessionId"].startswith("server:")
    assert {r["tag"] for r in part.records if r["message"] == "a line of the bot file"} == {
        "__main__"
    }


async def test_relative_imports_work_as_with_python_m(runs: Runs) -> None:
    """A bot file in a package imports its siblings and those of the package above."""
    assert await runs("project-server-bot") == ["tools", "common", "late", "project.server"]


@pytest.mark.parametrize("bot", ["wrapped", "instance", "partial", "future"])
async def test_any_callable_with_an_awaitable_result_is_a_bot(runs: Runs, bot: str) -> None:
    assert await runs(bot) == "called"


async def test_pools_of_processes_run_functions_of_the_bot_file(runs: Runs) -> None:
    """Each start method of ``multiprocessing`` works in a bot process."""
    results, pids = await runs("pools")
    assert (results, pids) == ([42, 42, 42, 8], 3)


async def test_pools_work_in_a_package(runs: Runs) -> None:
    """A function of a bot file with relative imports can be sent to a process as well."""
    assert await runs("project-server-pooled") == "tools!"


async def test_file_behind_swapped_links_keeps_its_name(plane: Processes, runs: Runs) -> None:
    """The named path is the bot's file, and modules that it imports later are the present ones."""
    directory = plane.directory / "configured"
    assert await runs("linked") == [str(directory / "bot.py"), "first", "first"]
    write_config_map(directory, "second")
    assert await runs("linked") == [str(directory / "bot.py"), "first", "second"]


async def test_what_processes_may_share_is_opened_once(plane: Processes, runs: Runs) -> None:
    """Appended files, closed connections and children of the import are shared; random numbers are not."""
    (part,) = plane.parts
    first, second = await runs("kept"), await runs("kept")
    assert first[:2] == second[:2]
    assert first[2] != second[2]
    assert first[3] is False
    assert warnings_about(part, "kept") == []
    assert (plane.directory / "kept.log").read_text() == "once\n"

    def handlers() -> int:
        return sum(r["message"] == "exit handler of the import" for r in list(part.records))

    await until(lambda: handlers() == 2)  # the last one runs after the bot has answered


async def test_session_runs_only_after_a_slow_import(plane: Processes, runs: Runs) -> None:
    """While a process imports its bot file, the session is ``starting``, so that no offer waits for it."""
    status, answer, file = await runs.start("slow")
    assert (status, answer["status"]) == (200, "starting")
    assert (await runs.store.session(answer["sessionId"])).state == "starting"
    assert await runs.result(answer, file) is True
    (part,) = plane.parts

    def events() -> list[str]:
        return [e for e in part.events(answer["sessionId"]) if e.startswith("bot.")]

    await until(lambda: events() == ["bot.forked", "bot.started", "bot.finished"])


async def test_leave_ends_a_session_during_the_import(runs: Runs) -> None:
    """A leave during the import ends the session as left, and ``bot()`` is never called."""
    _, answer, file = await runs.start("endless")
    await runs.leave(answer)
    assert (await runs.end(answer)).reason == "left"
    assert not file.exists()


@pytest.mark.parametrize("kind", OPENED)
async def test_what_processes_must_not_share_is_opened_in_each(
    plane: Processes, runs: Runs, kind: str
) -> None:
    """The bot file is imported in each process, and one warning names the reason."""
    (part,) = plane.parts
    assert await runs(kind) is True
    (warning,) = warnings_about(part, kind)
    assert OPENED[kind][1] in str(warning["meta"]["opened"])
    assert warning["meta"]["seconds"] >= 0
    assert warning["meta"]["file"].endswith(f"{kind}.py")


async def test_installed_event_loop_policy_is_named_and_not_used(
    plane: Processes, runs: Runs
) -> None:
    """``bot()`` runs in asyncio's own loop, where it can start processes."""
    assert await runs("policy") == ["cordboard.runner.bot_process", 0]
    (warning,) = warnings_about(plane.parts[0], "policy")
    assert warning["meta"]["policy"] == "uvloop.EventLoopPolicy"
