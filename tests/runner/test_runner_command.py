"""``cordboard runner``: unusable bot files, threads at import, kills, drain, cold runners."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cordboard.contract.launch import Launch
from cordboard.processes import children_of
from cordboard.store import RedisStore, SessionRecord
from cordboard.store.keys import Keys
from cordboard.up.ports import free_port
from plane_support import Part, Processes, ask, gone_within, is_running, parent_of, ready
from runner.runner_support import Runner, client, litter_of, processes, write_bot
from tests_support import until

pytestmark = pytest.mark.timeout(90)
_clients: list[aiohttp.ClientSession] = []


def new_client() -> aiohttp.ClientSession:
    """Return a client that is closed after the test."""
    _clients.append(client())
    return _clients[-1]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("command")
    write_bot(directory)
    yield from processes(directory, redis_url)


@pytest.fixture
async def store(plane: Processes) -> AsyncIterator[RedisStore]:
    async with RedisStore(plane.redis_url) as opened:
        await opened.connection.client.flushdb()
        yield opened
    for part in plane.parts:
        part.signal(signal.SIGKILL)
    while _clients:
        await _clients.pop().close()


def environment_of(pid: int) -> bytes:
    """Return the environment of a process; nothing if it may not be read."""
    with contextlib.suppress(PermissionError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def warm(plane: Processes, store: RedisStore, *words: str, **env: str) -> Runner:
    part = plane.spawn("runner", "--bot", "obedient.py", *words, env=env)
    await ready(part)
    return Runner(part, store, new_client())


class TestBotFile:
    async def test_unusable_bot_file_ends_the_runner_with_its_reason(
        self, plane: Processes
    ) -> None:
        """A bot file that is missing, raises or has no bot() ends the runner with a message."""
        cases = {
            "missing.py": (None, "there is no such file"),
            ".": (None, "this is a directory"),
            "raises.py": ("import os\nraise RuntimeError('oh')", "line 2, cannot be imported"),
            "syntax.py": ("def bot(:", "line 1, cannot be imported: SyntaxError"),
            "botless.py": ("x = 1", "has no `async def bot(runner_args)`"),
            "plain.py": ("def bot(args):\n    print(args)", "has no `async def bot(runner_args)`"),
            "value.py": ("bot = 1", "has no `async def bot(runner_args)`"),
            "leaves.py": ("import sys\nsys.exit(4)", "SystemExit: 4"),
        }
        parts = {}
        for name, (text, words) in cases.items():
            if text is not None:
                (plane.directory / name).write_text(text)
            parts[name] = plane.spawn("runner", "--bot", name), words
        for name, (part, words) in parts.items():
            status = await asyncio.to_thread(part.ended, 60)
            said = "".join(part.other) + str(part.records)
            assert (status, name in said, words in said) == (1, True, True), said

    async def test_bot_file_with_threads_is_imported_in_each_process(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A bot file that starts threads is imported in each bot process, with a warning."""
        text = "import threading, time\n"
        text += "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        text += "import os\nat_import = os.getpid()\n"
        text += "async def bot(args):\n    print('mine', at_import == os.getpid())\n"
        (plane.directory / "threads.py").write_text(text)
        part = plane.spawn("runner", "--bot", "threads.py")
        await ready(part)
        runner = Runner(part, store, new_client())
        launch = await runner.run("")
        assert (await runner.end(launch)).reason == "bot_finished"
        await until(lambda: "session.ended" in part.events(launch.session_id))
        assert "mine True" in [r["message"] for r in runner.lines(launch)], part.records
        (warned,) = [r for r in part.records if "must not share" in r["message"]]
        assert warned["meta"]["opened"][0].startswith("1 thread(s) (Thread-1")


class TestStart:
    async def test_sigterm_while_loading_leaves_nothing(
        self, plane: Processes, tmp_path: Path
    ) -> None:
        """SIGTERM before the runner serves ends it and its fork server at once and leaves nothing.

        No handler runs: an exception that it raises can get lost in a callback.
        """
        (plane.directory / "slow.py").write_text(
            "import time\ntime.sleep(60)\nasync def bot(args):\n    pass\n"
        )
        part = plane.spawn("runner", "--bot", "slow.py", env={"TMPDIR": str(tmp_path)})
        await until(lambda: children_of(part.pid))
        helpers = children_of(part.pid)
        part.signal(signal.SIGTERM)
        assert await asyncio.to_thread(part.ended, 10) == -signal.SIGTERM
        await until(lambda: not any(map(is_running, helpers)))
        assert "Traceback" not in "".join(part.other) + str(part.records)
        assert files_in(tmp_path) == []

    async def test_direct_start_counts_for_its_tenant(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A session that was started without a gateway counts for its tenant like any other."""
        runner = await warm(plane, store, CORDBOARD_SESSIONS_PER_TENANT="1")
        asked_for = {"tenantId": "t", "body": {"do": "wait"}}
        status, _ = await runner.ask_start(asked_for | {"room_url": "https://r.example/1"})
        assert status == 200
        status, said = await runner.ask_start(asked_for | {"room_url": "https://r.example/2"})
        assert (status, said["code"]) == (429, "too_many_sessions")


class TestDeath:
    @pytest.mark.parametrize("victim", ["supervisor", "fork server", "its parent", "group"])
    async def test_bots_die_with_their_runner(
        self, plane: Processes, store: RedisStore, victim: str
    ) -> None:
        """Whatever kills the runner, its bots and their processes end within seconds."""
        runner = await warm(plane, store)
        launches = [await runner.run(do) for do in ("wait", "ignore_all", "spin", "litter")]
        pids = [await runner.pid(launch) for launch in launches]
        pids += await litter_of(runner, launches[-1])
        if victim == "supervisor":
            runner.part.kill()
        elif victim == "group":
            os.killpg(runner.part.process.pid, signal.SIGKILL)
        else:
            parent = parent_of(pids[0])
            os.kill(parent if victim == "fork server" else parent_of(parent), signal.SIGKILL)
        assert [gone_within(pid, 3.0) for pid in pids] == [True] * 6

    @pytest.mark.parametrize("generations", [1, 2, 3])
    async def test_killed_fork_server_is_replaced(
        self, plane: Processes, store: RedisStore, generations: int
    ) -> None:
        """A runner whose fork server is killed gives up its sessions and starts another fork server."""
        runner = await warm(plane, store)
        lost = await runner.run("wait")
        parent = await runner.pid(lost)
        for _ in range(generations):
            parent = parent_of(parent)
        os.kill(parent, signal.SIGKILL)
        await until(lambda: [r for r in runner.part.records if "are loaded again" in r["message"]])
        url = f"{runner.part.url}/sessions/{lost.session_id}"
        _, body = await ask(runner.client, "GET", url)
        assert (body["status"], body["reason"]) == ("ended", "runner_lost")
        record = await runner.end(lost)
        assert (record.state, record.recovery) == ("queued", "bot_died")
        await ready(runner.part)
        again = await runner.run("litter")
        left = await litter_of(runner, again)
        await runner.leave(again)
        assert [pid for pid in left if is_running(pid)] == []
        server = parent_of(await runner.pid(await runner.run("wait")))
        assert b"SECRET" not in environment_of(server)

    async def test_killed_runner_leaves_no_file(
        self, plane: Processes, store: RedisStore, tmp_path: Path
    ) -> None:
        """A killed runner leaves no file in TMPDIR, however long its path is."""
        directory = tmp_path / ("long" * 30)
        directory.mkdir()
        runner = await warm(plane, store, TMPDIR=str(directory))
        pid = await runner.pid(await runner.run("wait"))
        runner.part.kill()
        assert gone_within(pid, 3.0)
        assert files_in(directory) == []

    async def test_bot_of_a_frozen_supervisor_kills_itself(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A bot whose runner does not renew the lease ends before the room is granted again."""
        async with RedisStore(plane.redis_url, Keys(lease_s=1)) as short:
            runner = await warm(plane, short, CORDBOARD_LEASE_S="1")
            launch = await runner.run("litter")
            pid = await runner.pid(launch)
            litter = await litter_of(runner, launch)
            await asyncio.sleep(1)
            runner.part.signal(signal.SIGSTOP)
            stopped_at = time.monotonic()
            assert gone_within(pid, short.periods.silence_s)
            assert [gone_within(left, 1.0) for left in litter] == [True, True]
            assert time.monotonic() - stopped_at > short.periods.lease_s
            runner.part.signal(signal.SIGCONT)
            assert (await runner.end(launch)).reason == "lease_lost"

    async def test_frozen_bot_process_is_replaced(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A bot process that does not run for six leases is killed, and its session goes on."""
        async with RedisStore(plane.redis_url, Keys(lease_s=1)) as short:
            runner = await warm(plane, short, CORDBOARD_LEASE_S="1")
            launch = await runner.run("wait", seconds=60)
            pid = await runner.pid(launch)
            os.kill(pid, signal.SIGSTOP)
            assert not gone_within(pid, short.periods.tolerance_s)
            record = await runner.end(launch, short.periods.silence_s + 20)
            assert (record.state, record.recovery) == ("queued", "bot_died")
            assert gone_within(pid, 1.0)

    async def test_blocked_event_loop_is_no_frozen_process(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A bot that blocks its event loop for longer than that, to load a model for example, goes on."""
        async with RedisStore(plane.redis_url, Keys(lease_s=1)) as short:
            runner = await warm(plane, short, CORDBOARD_LEASE_S="1")
            launch = await runner.run("block", seconds=short.periods.silence_s + 3)
            assert (await runner.end(launch)).reason == "bot_finished"

    async def test_silence_of_a_hung_bot_counts_as_lag(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A bot that blocks its event loop reports no lag; its silence counts as lag."""
        async with RedisStore(plane.redis_url, Keys(lease_s=3)) as short:
            runner = await warm(plane, short, CORDBOARD_LEASE_S="3")
            launch = await runner.run("spin")

            def reported_lags() -> list[float]:
                return [
                    record["meta"]["loop_lag_ms"]
                    for record in list(runner.part.records)
                    if record["message"] == "The bot's event loop is late"
                    and record["sessionId"] == launch.session_id
                ]

            assert max(await until(reported_lags)) > 1000
            await runner.leave(launch)

    async def test_thawed_bot_waits_for_its_lease(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """After a freeze of runner and bot, the bot does nothing until the store confirms its lease."""
        ticks = plane.directory / "ticks"
        text = "import asyncio, time\nasync def bot(args):\n"
        text += f"    with open({str(ticks)!r}, 'a', buffering=1) as file:\n"
        text += "        while True:\n            print(time.monotonic(), file=file)\n"
        text += "            await asyncio.sleep(0.005)\n"
        (plane.directory / "ticking.py").write_text(text)
        async with RedisStore(plane.redis_url, Keys(lease_s=1)) as short:
            part = plane.spawn("runner", "--bot", "ticking.py", env={"CORDBOARD_LEASE_S": "1"})
            await ready(part)
            runner = Runner(part, short, new_client())
            launch = await runner.run("")
            pid = await runner.pid(launch)
            await until(lambda: ticks.exists() and ticks.read_text().count("\n") > 3)
            _signal_all((part.pid, pid), signal.SIGSTOP)
            await asyncio.sleep(2.5)
            recovered = await short.placement.recover(launch.session_id, launch.epoch)
            assert recovered.outcome == "queued"
            thawed_at = time.monotonic()
            _signal_all((pid,), signal.SIGCONT)
            await asyncio.sleep(0.5)
            assert is_running(pid)
            _signal_all((part.pid,), signal.SIGCONT)
            assert gone_within(pid, 5)
            spoken = [float(line) for line in ticks.read_text().split()]
            assert max(spoken) < thawed_at
            await until(lambda: "lease.lost" in part.events(launch.session_id))

    async def test_thawed_bot_that_still_holds_the_room_goes_on(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """After a freeze, runner and bot go on if no other session got the room."""
        async with RedisStore(plane.redis_url, Keys(lease_s=1)) as short:
            runner = await warm(plane, short, CORDBOARD_LEASE_S="1")
            launch = await runner.run("wait", seconds=4)
            pid = await runner.pid(launch)
            _signal_all((runner.part.pid, pid), signal.SIGSTOP)
            await asyncio.sleep(2.5)
            _signal_all((pid, runner.part.pid), signal.SIGCONT)
            assert (await runner.end(launch)).reason == "bot_finished"


HELPED = """
import os, subprocess

from obedient import *
from obedient import bot as obedient_bot

SERVER = subprocess.Popen(["sleep", "600"])
script = "sleep 600 >&2 & echo $!"  # its parent goes before it
DAEMON = int(subprocess.run(["setsid", "sh", "-c", script], stdout=subprocess.PIPE).stdout)

async def bot(args):
    print("helpers", SERVER.pid, DAEMON)
    await obedient_bot(args)
"""


class TestOthers:
    """Processes that no session started stay while the runner lives."""

    async def test_process_started_at_import_serves_all_sessions(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A process that a bot file starts at import serves all sessions and ends with the runner."""
        write_bot(plane.directory, HELPED, "helped.py")
        part = plane.spawn("runner", "--bot", "helped.py")
        await ready(part)
        runner = Runner(part, store, new_client())
        helper_pids = []
        for _ in range(3):
            launch = await runner.run("litter", then="finish")
            left = await litter_of(runner, launch)
            await runner.end(launch)
            assert [pid for pid in left if is_running(pid)] == []
            (said,) = [r["message"] for r in runner.lines(launch) if "helpers" in r["message"]]
            helper_pids.append([int(word) for word in said.split()[1:]])
            assert [is_running(pid) for pid in helper_pids[-1]] == [True, True]
        assert helper_pids[0] == helper_pids[1] == helper_pids[2]
        part.stop()
        assert [gone_within(pid, 3.0) for pid in helper_pids[0]] == [True, True]

    @pytest.mark.parametrize("fork_server", ["lives", "is killed"])
    async def test_process_from_before_exec_outlives_sessions(
        self, plane: Processes, store: RedisStore, tmp_path: Path, fork_server: str
    ) -> None:
        """A process from before the runner's ``exec`` outlives each session, with its children."""
        file = tmp_path / "pids"
        script = f"(sh -c 'sleep 600 & echo $!; sleep 600 & wait' & echo $!) > {file}; exec "
        script += f'{sys.executable} "$@"'
        part = plane.spawn("runner", "--bot", "obedient.py", shell=script)
        await ready(part)
        runner = Runner(part, store, new_client())
        pids = [int(line) for line in file.read_text().split()]
        launch = await runner.run("wait")
        if fork_server == "is killed":
            os.kill(parent_of(await runner.pid(launch)), signal.SIGKILL)
            await until(lambda: [r for r in part.records if "are loaded again" in r["message"]])
        else:
            await runner.leave(launch)
        assert [is_running(pid) for pid in pids] == [True] * len(pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


class TestDrain:
    async def test_sigterm_lets_sessions_end(self, plane: Processes, store: RedisStore) -> None:
        """After SIGTERM a runner accepts no session, lets the running ones end, and exits with 0."""
        runner = await warm(plane, store)
        launch = await runner.run("wait", seconds=1.5)
        late = await runner.grant()
        runner.part.signal(signal.SIGTERM)
        await until(lambda: [r for r in runner.part.records if r["message"] == "Draining"])
        for _ in range(2):
            runner.part.signal(signal.SIGTERM)  # as kubelets and supervisors do
        status, answer = await runner.start(late)
        assert (status, answer["code"]) == (503, "not_ready")
        assert (await store.placement.assign("nobody", 1)).outcome == "gone"
        assert await asyncio.to_thread(runner.part.ended) == 0
        assert (await store.session(launch.session_id)).reason == "bot_finished"
        assert await store.connection.client.zcard(store.keys.runners) == 0

    async def test_repeated_sigterm_shortens_nothing(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """Repeated SIGTERM ends no live call within the grace period."""
        runner = await warm(plane, store)
        launch = await runner.run("wait", seconds=3)
        for _ in range(4):
            runner.part.signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
        runner.part.signal(signal.SIGINT)  # the first of its kind
        await asyncio.sleep(0.2)
        assert is_running(await runner.pid(launch))
        assert await asyncio.to_thread(runner.part.ended) == 0
        assert (await store.session(launch.session_id)).reason == "bot_finished"

    async def test_second_sigint_ends_at_once(self, plane: Processes, store: RedisStore) -> None:
        """A second SIGINT ends the runner at once, with its sessions."""
        runner = await warm(plane, store)
        pid = await runner.pid(await runner.run("wait"))
        for _ in range(2):
            runner.part.signal(signal.SIGINT)
            await until(lambda: [r for r in runner.part.records if r["message"] == "Draining"])
        await asyncio.to_thread(runner.part.ended, 10)
        assert gone_within(pid, 3.0)

    async def test_watch_connection_closes_with_the_runner(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """It needs the credential; a runner that stops closes it in order, one that is killed does not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            runner = await warm(plane, store, "--grace", "0")
            url = f"{runner.part.url}/watch"
            async with runner.client.get(url, headers={"Authorization": "Bearer x"}) as answer:
                assert answer.status == 401
            async with runner.client.get(url) as answer:
                assert answer.content_type == "text/event-stream"
                assert await answer.content.readline() == b": watching\n"
                runner.part.signal(number)
                with contextlib.suppress(aiohttp.ClientError):
                    await answer.content.read()
                    assert number == signal.SIGTERM

    async def test_session_is_handed_over_after_the_grace_period(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A session that runs beyond the grace period is queued again, which is no attempt."""
        runner = await warm(plane, store, "--grace", "0.5")
        launch = await runner.run("wait")
        runner.part.signal(signal.SIGTERM)
        assert await asyncio.to_thread(runner.part.ended) == 0
        record = await store.session(launch.session_id)
        assert (record.state, record.attempt, record.recovery) == ("queued", 1, "draining")
        assert record.epoch > launch.epoch

    async def drained(
        self, plane: Processes, store: RedisStore, bot: str, line: str
    ) -> tuple[Launch, SessionRecord]:
        """Run a session of a bot file; stop its runner once the bot has printed `line`."""
        (plane.directory / "draining.py").write_text(bot)
        part = plane.spawn("runner", "--bot", "draining.py", "--grace", "0")
        await ready(part)
        runner = Runner(part, store, new_client())
        launch = await runner.run("")
        await until(lambda: line in str(runner.lines(launch)))
        part.signal(signal.SIGTERM)
        assert await asyncio.to_thread(part.ended, 40) == 0
        return launch, await store.session(launch.session_id)

    @pytest.mark.parametrize("status", [0, 1])
    async def test_session_of_a_bot_that_exits_on_sigterm_is_handed_over(
        self, plane: Processes, store: RedisStore, status: int
    ) -> None:
        """A bot that is blocked does not learn that it is stopped; what it then reports is no end."""
        text = "import signal, sys, time\nasync def bot(args):\n"
        text += f"    signal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))\n"
        text += "    print('blocked', flush=True)\n    while True:\n        time.sleep(0.05)\n"
        _, record = await self.drained(plane, store, text, "blocked")
        assert (record.state, record.recovery) == ("queued", "draining")

    @pytest.mark.parametrize(
        ("end", "reason"),
        [("", "bot_finished"), ("raise ValueError('expected error')", "bot_crashed")],
    )
    async def test_session_whose_bot_has_ended_is_not_handed_over(
        self, plane: Processes, store: RedisStore, end: str, reason: str
    ) -> None:
        """A runner that drains while the bot's exit handlers run leaves nothing to another runner."""
        text = "import atexit, time\natexit.register(time.sleep, 600)\nasync def bot(args):\n"
        text += f"    atexit.register(print, 'exit handlers run', flush=True)\n    {end}\n"
        launch, record = await self.drained(plane, store, text, "exit handlers run")
        assert (record.reason, record.epoch) == (reason, launch.epoch)


class TestCold:
    async def once(
        self, plane: Processes, store: RedisStore, do: str, **over: Any
    ) -> tuple[Part, str]:
        """Start a cold runner for a session whose bot calls the function `do`."""
        sid = f"cold-{do}"
        launch = Launch(
            sid,
            f"https://rooms.example/{do}",
            epoch=1,
            bot=over.get("bot", "default"),
            body={"do": do, "seconds": over.get("seconds", 0)},
        )
        accepted = await store.accept(launch, queue_max=100)
        await store.placement.assign(sid, accepted.epoch, job_name=f"job-{do}")
        env = {
            "BOT_SESSION_ID": sid,
            "BOT_SESSION_EPOCH": str(over.get("epoch", accepted.epoch)),
            "BOT_ROOM_URL": launch.room_url,
            "JOB_ID": f"job-{do}",
        }
        file = over.get("file", "obedient.py")
        return plane.spawn("runner", "--bot", file, "--once", env=env), sid

    async def test_bot_file_with_threads_runs_in_a_cold_runner(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A cold runner runs a session whose process imports the bot file, or reports why it cannot."""
        thread = "import os, threading, time\n"
        thread += "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        bot = "async def bot(args):\n    pass\n"
        (plane.directory / "works.py").write_text(thread + bot)
        second = "if os.path.exists('imported'):\n    raise OSError('no card')\n"
        second += "open('imported', 'w').close()\n"
        (plane.directory / "fails.py").write_text(thread + second + bot)
        works, works_sid = await self.once(plane, store, "works", file="works.py")
        fails, fails_sid = await self.once(plane, store, "fails", file="fails.py")
        assert await asyncio.to_thread(works.ended, 40) == 0
        assert await asyncio.to_thread(fails.ended, 40) == 1
        assert (await store.session(works_sid)).reason == "bot_finished"
        record = await store.session(fails_sid)
        assert (record.state, record.reason) == ("failed", "bot_crashed")
        assert "fails.py, line 4, cannot be imported: OSError: no card" in (record.detail or "")

    async def test_exit_status_tells_a_clean_end_from_a_crash(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A cold runner exits with its session: 0 after a clean end, 1 after a crash."""
        clean, clean_sid = await self.once(plane, store, "wait")
        crashed, crashed_sid = await self.once(plane, store, "crash")
        assert await asyncio.to_thread(clean.ended, 40) == 0
        assert await asyncio.to_thread(crashed.ended, 40) == 1
        record = await store.session(clean_sid)
        assert (record.reason, record.type) == ("bot_finished", "cold")
        assert (await store.session(crashed_sid)).reason == "bot_crashed"

    async def test_repeated_sigterm_shortens_nothing(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """Repeated SIGTERM ends no call of a cold runner within the grace period."""
        part, sid = await self.once(plane, store, "wait", seconds=3)

        async def runs() -> bool:
            return (await store.session(sid)).state == "running"

        await until(runs, 40)
        for _ in range(4):
            part.signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
        assert await asyncio.to_thread(part.ended) == 0
        assert (await store.session(sid)).reason == "bot_finished"

    async def test_killed_fork_server_hands_the_session_over(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """A cold runner whose fork server is killed exits with 1; another one continues the session."""
        part, sid = await self.once(plane, store, "wait", seconds=600)

        async def runs() -> int | None:
            record = await store.session(sid)
            return record.pid if record.state == "running" else None

        os.kill(parent_of(await until(runs, 40)), signal.SIGKILL)
        assert await asyncio.to_thread(part.ended) == 1
        record = await store.session(sid)
        assert (record.state, record.recovery) == ("queued", "bot_died")

    async def test_sigterm_ends_the_wait_for_redis(
        self, plane: Processes, store: RedisStore
    ) -> None:
        """SIGTERM ends a cold runner that waits for Redis."""
        env = {"BOT_SESSION_ID": "waits", "BOT_SESSION_EPOCH": "1", "BOT_ROOM_URL": "webrtc:x"}
        env["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
        part = plane.spawn("runner", "--bot", "obedient.py", "--once", env=env)
        await until(lambda: [r for r in part.records if "retrying until" in r["message"]], 40)
        part.signal(signal.SIGTERM)
        assert await asyncio.to_thread(part.ended, 15) == 1

    async def test_stale_epoch_starts_no_bot(self, plane: Processes, store: RedisStore) -> None:
        """A cold runner whose session has been granted again or has ended exits with 0."""
        stale, sid = await self.once(plane, store, "speak", epoch=7)
        assert await asyncio.to_thread(stale.ended, 40) == 0
        assert "bot.started" not in stale.events(sid)

    async def test_unknown_bot_ends_the_session(self, plane: Processes, store: RedisStore) -> None:
        """An unknown bot ends the session before anything runs; the detail names the known bots."""
        part, sid = await self.once(plane, store, "wait", bot="nosuch")
        assert await asyncio.to_thread(part.ended, 40) == 1
        record = await store.session(sid)
        assert (record.state, record.reason) == ("failed", "launch_failed")
        assert record.detail == "This runner has no bot 'nosuch'; its bots are: default."
        assert not {"bot.forked", "bot.started"} & set(part.events(sid))

    async def test_environment_without_a_session_is_a_usage_error(self, plane: Processes) -> None:
        """Without a session in the environment, --once is a usage error that names the missing variable."""
        part = plane.spawn("runner", "--bot", "obedient.py", "--once")
        assert await asyncio.to_thread(part.ended, 40) == 2
        assert "BOT_SESSION_ID" in "".join(part.other)

    async def test_leave_ends_a_cold_session(self, plane: Processes, store: RedisStore) -> None:
        """A leave request stops the bot of a cold runner like that of a warm one."""
        part, sid = await self.once(plane, store, "ignore_cancellation")

        async def runs() -> str | None:
            record = await store.session(sid)
            return record.runner_url if record.state == "running" else None

        url = await until(runs, 40)
        async with client() as http:
            status, _ = await ask(http, "POST", f"{url}/sessions/{sid}/leave")
        assert status == 200
        assert await asyncio.to_thread(part.ended) == 0
        assert (await store.session(sid)).reason == "left"


def _signal_all(pids: tuple[int, ...], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)
