"""The start and the exit of a bot process: failing set-up, exit handlers."""

import asyncio
import http.server
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from cordboard.store import RedisStore
from plane_support import Processes, ready
from runner.runner_support import Runner, client, processes, write_bot
from tests_support import until

pytestmark = pytest.mark.timeout(90)

ENDING = '''
"""Registers exit handlers, as exporters do; then calls the function that body["do"] names."""
import asyncio, atexit, os, queue, subprocess, sys, threading, time, urllib.request

def tell(line):
    print(line, flush=True)

atexit.register(tell, "exit: of the module")

class Exporter:
    """Sends in batches from a thread, and the rest at exit, like OpenTelemetry's exporters."""

    def __init__(self, url):
        self.url, self.spans = url, queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()
        atexit.register(self.flush)

    def work(self):
        while True:
            time.sleep(60)
            self.flush()

    def flush(self):
        names = []
        while not self.spans.empty():
            names.append(self.spans.get())
        urllib.request.urlopen(self.url, data=" ".join(names).encode()).read()

async def bot(args):
    atexit.register(tell, "exit: of the bot")
    await globals()[args.body["do"]](args)

async def export(args):
    exporter = Exporter(args.body["url"])
    exporter.spans.put("turn:" + args.session_id)
    exporter.spans.put("conversation:" + args.session_id)

async def wait(args):
    tell("waiting")
    await asyncio.sleep(600)

async def crash(args):
    raise ValueError("expected error")

async def leave_threads(args):
    threading.Thread(target=time.sleep, args=(600,)).start()
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)

async def hang(args):
    atexit.register(time.sleep, 600)

async def hang_in_c(args):
    """Holds the global interpreter lock, so that no thread of this process can end it."""
    import ctypes
    atexit.register(ctypes.PyDLL(None).sleep, 600)

async def fail_at_exit(args):
    atexit.register(int, "no number")
'''


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("ends")
    for made in processes(directory, redis_url):
        made.spawn("runner", "--bot", write_bot(directory, ENDING, "ending.py"), "--capacity", "9")
        yield made


@pytest.fixture
async def store(plane: Processes) -> AsyncIterator[RedisStore]:
    async with RedisStore(plane.redis_url) as opened:
        await opened.connection.client.flushdb()
        yield opened


@pytest.fixture
async def runner(plane: Processes, store: RedisStore) -> AsyncIterator[Runner]:
    part = plane.parts[0]
    await ready(part)
    async with client() as http_client:
        runner = Runner(part, store, http_client)
        await until(
            lambda: store.connection.client.zcard(store.keys.runners)
        )  # again, in an empty store
        yield runner


@pytest.fixture
def collector() -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server and the list of what it has received."""
    collected: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            collected.extend(self.rfile.read(length).decode().split())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", collected
    server.shutdown()
    server.server_close()


class TestExit:
    async def test_exporter_flushes_at_the_end_of_each_session(
        self, runner: Runner, collector: tuple[str, list[str]]
    ) -> None:
        """An exporter sends the rest of its data once, at the end of each session."""
        url, collected = collector
        launches = [await runner.run("export", url=url) for _ in range(3)]
        for launch in launches:
            assert (await runner.end(launch)).reason == "bot_finished"
        spans = [
            f"{name}:{one.session_id}" for one in launches for name in ("turn", "conversation")
        ]
        assert sorted(collected) == sorted(spans)

    @pytest.mark.parametrize(
        ("do", "reason"),
        [
            ("wait", "left"),
            ("crash", "bot_crashed"),
            ("leave_threads", "bot_finished"),
            ("fail_at_exit", "bot_finished"),
        ],
    )
    async def test_exit_handlers_run_once(self, runner: Runner, do: str, reason: str) -> None:
        """Exit handlers of the module and of the bot run once, however the bot ends."""
        launch = await runner.run(do)
        if do == "wait":
            await until(lambda: "waiting" in str(runner.lines(launch)))
            await runner.leave(launch)
        assert (await runner.end(launch)).reason == reason
        await until(lambda: "session.ended" in runner.part.events(launch.session_id))
        said = [r["message"] for r in runner.lines(launch) if r["message"].startswith("exit:")]
        assert said == ["exit: of the bot", "exit: of the module"]

    @pytest.mark.parametrize("do", ["hang", "hang_in_c"])
    async def test_exit_handler_that_hangs_is_ended(self, runner: Runner, do: str) -> None:
        """An exit handler that hangs is ended and does not change the session's reason."""
        launch = await runner.run(do)
        record = await runner.end(launch, 40)
        assert (record.state, record.reason) == ("ended", "bot_finished")


LARGE = """
HELD = bytearray(300 * 1024 * 1024)
async def bot(args):
    print("entered")
"""
LOADS = """
import threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
async def bot(args):
    print("entered")
"""
UNFIT = """
import os
def setsid():
    raise OSError("expected error")
os.setsid = setsid
async def bot(args):
    print("entered")
"""
HANGS = UNFIT.replace('raise OSError("expected error")', "import time; time.sleep(600)")
IMPATIENT = """
import functools, sys
from cordboard.cli import main
from cordboard.runner import forkserver
forkserver.ForkServer = functools.partial(forkserver.ForkServer, forked_timeout_s=2.0)
sys.exit(main())
"""
EXPLODES = (
    LOADS
    + """
import os
if "BOT_SESSION_ID" in os.environ:
    held = [bytearray(64 * 1024 * 1024) for _ in range(64)]
"""
)


@pytest.fixture
def alone(tmp_path: Path, redis_url: str) -> Iterator[Processes]:
    for made in processes(tmp_path, redis_url):
        with redis.Redis.from_url(made.redis_url) as database:
            database.flushdb()
        yield made


class TestStartup:
    async def failed(
        self, plane: Processes, text: str, before: Sequence[str] = (), **env: str
    ) -> str:
        """Run a session of a bot file; return the detail with which it failed."""
        file = write_bot(plane.directory, text)
        part = plane.spawn("runner", "--bot", file, env=env, before=before)
        await ready(part)
        async with RedisStore(plane.redis_url) as store, client() as http_client:
            runner = Runner(part, store, http_client)
            launch = await runner.grant()
            await runner.start(launch)
            record = await runner.end(launch, 30)
        assert (record.state, record.reason) == ("failed", "bot_crashed")
        await until(lambda: "bot.crashed" in part.events(launch.session_id))
        assert "entered" not in str(part.records)
        return record.detail or ""

    async def test_bot_file_over_the_memory_limit_ends_the_runner(self, alone: Processes) -> None:
        """Each of its sessions would fail; the message names the limit."""
        file = write_bot(alone.directory, LARGE)
        part = alone.spawn("runner", "--bot", file, env={"CORDBOARD_BOT_MEMORY_MB": "400"})
        assert await asyncio.to_thread(part.ended, 60) == 1
        said = "".join(part.other) + str(part.records)
        assert "Bot 'default' cannot run: The bot file uses" in said
        assert "(CORDBOARD_BOT_MEMORY_MB) is 400 MB" in said

    async def test_import_over_the_memory_limit_fails_each_session(self, alone: Processes) -> None:
        """Where each bot process imports the file, only it knows."""
        detail = await self.failed(alone, LARGE + LOADS, CORDBOARD_BOT_MEMORY_MB="400")
        assert "(CORDBOARD_BOT_MEMORY_MB) is 400 MB" in detail

    async def test_import_that_exhausts_memory_fails_the_session(self, alone: Processes) -> None:
        """An import in the bot process that reaches the memory limit fails the session."""
        detail = await self.failed(alone, EXPLODES, CORDBOARD_BOT_MEMORY_MB="900")
        assert "MemoryError" in detail
        assert "(CORDBOARD_BOT_MEMORY_MB) is 900 MB" in detail

    async def test_failing_set_up_is_reported(self, alone: Processes) -> None:
        """A failure before bot() reaches the session record."""
        detail = await self.failed(alone, UNFIT)
        assert detail == "The bot process failed: OSError: expected error"

    async def test_process_that_never_calls_its_bot_is_killed(self, alone: Processes) -> None:
        """A process that hangs before bot() is killed, with a detail."""
        detail = await self.failed(alone, HANGS, ("-c", IMPATIENT))
        assert detail == "The bot process did not load its bot within 2 s."
