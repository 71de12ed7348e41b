"""What breaks around the processes: Redis, the network, clocks, a host; and a crowd of callers."""

import asyncio
import contextlib
import functools
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from cordboard.store import SessionFilter
from cordboard.up.embedded import EmbeddedServer
from faults.faults_support import LEASE_S, Plane, plane_of
from plane_support import HEADERS, Part, Processes, ask, gone_within, ready
from tests_support import until

pytestmark = pytest.mark.timeout(150)
_numbers = itertools.count()

CLOCK_AHEAD = (
    "import time, runpy, sys; real, real_ns = time.time, time.time_ns; "
    "time.time = lambda: real() + 600; time.time_ns = lambda: real_ns() + 600 * 10**9; "
    "sys.argv[0] = 'cordboard'; from cordboard.cli import main; sys.exit(main())"
)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    made = EmbeddedServer()
    made.start()
    yield made
    _signal(made, signal.SIGCONT)
    made.stop()


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory, server: EmbeddedServer
) -> Iterator[Processes]:
    made = Processes(tmp_path_factory.mktemp("world"), server.url)
    made.over["CORDBOARD_LEASE_S"] = str(LEASE_S)
    yield made
    made.stop()


@pytest.fixture
async def plane(processes: Processes) -> AsyncIterator[Plane]:
    async with plane_of(processes) as opened:
        opened.parts = _parts
        yield opened


_parts: dict[str, Any] = {}


def sids(count: int) -> list[str]:
    number = next(_numbers)
    return [f"w{number}-{i}" for i in range(count)]


async def calls(plane: Plane, names: list[str], seconds: float) -> "list[asyncio.Task[None]]":
    """Start calls, and wait until all their bots speak."""
    tasks = [
        asyncio.create_task(plane.call(sid, body={"seconds": seconds}, deadlineSeconds=60))
        for sid in names
    ]
    await until(lambda: all(f'"{sid}"' in plane.file.read_text() for sid in names), 40)
    return tasks


def _of_redis(part: Part) -> list[str]:
    """What a part said of Redis being away, beside what it said of a session."""
    return [
        record["message"]
        for record in list(part.records)
        if record["message"].startswith("Redis is") and record["sessionId"].startswith("server:")
    ]


def _is_over(part: Part) -> bool:
    return _of_redis(part)[-1:] in (
        [],
        ["Redis is available again"],
    )  # who asks nothing meanwhile misses it


def _signal(server: EmbeddedServer, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid, number)


class TestRedis:
    async def test_frozen_redis_ends_no_call(self, plane: Plane, server: EmbeddedServer) -> None:
        """A Redis that is frozen for longer than a lease ends no call; joins get 503; then everything converges."""
        await plane.have("gateway", "operator", "runner")
        names = sids(3)
        tasks = await calls(plane, names, LEASE_S * 5.0)
        _signal(server, signal.SIGSTOP)
        async with plane.client.post(
            f"{plane.gateways[0]}/join", json={"room_url": "https://rooms.example/away"}
        ) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
        await asyncio.sleep(LEASE_S / 2)
        _signal(server, signal.SIGCONT)
        await asyncio.gather(*tasks)
        assert plane.verdict(*names) == []
        assert _reasons(plane, names) == {("bot_finished", 1)}
        after = sids(1)
        await asyncio.gather(*await calls(plane, after, 0.2))
        assert plane.verdict(*after) == []
        for part in plane.processes.parts:
            await until(functools.partial(_is_over, part))
            assert len(_of_redis(part)) in {0, 2}, _of_redis(part)
            assert "Traceback" not in str(part.records)

    @pytest.mark.parametrize("dies", ["runner", "bot"])
    async def test_death_while_redis_is_away_is_recovered_afterwards(
        self, plane: Plane, server: EmbeddedServer, dies: str
    ) -> None:
        """Nobody can write the death down when it is seen; nothing is lost or doubled once Redis is back."""
        await plane.have("gateway", "operator", "runner")
        other = plane.spawn("runner", "--capacity", "20")
        await ready(other)
        names = sids(3)
        tasks = await calls(plane, names, LEASE_S * 1.5)
        pids = [(await plane.store.session(sid)).pid or 0 for sid in names]
        _signal(server, signal.SIGSTOP)
        for pid in [other.pid] if dies == "runner" else pids:
            os.kill(pid, signal.SIGKILL)
        assert all([await asyncio.to_thread(gone_within, pid, 10) for pid in pids])
        await asyncio.sleep(LEASE_S / 2)
        _signal(server, signal.SIGCONT)
        await asyncio.gather(*tasks)
        other.signal(signal.SIGTERM)  # not killed: its registration would get the next test's joins
        await asyncio.to_thread(other.ended)
        assert plane.verdict(*names) == []
        assert _reasons(plane, names) == {("bot_finished", 2)}

    @pytest.mark.parametrize(
        "memory", [pytest.param("kept", marks=pytest.mark.faults_full), "lost"]
    )
    async def test_restarted_redis_ends_no_call(
        self, plane: Plane, server: EmbeddedServer, memory: str
    ) -> None:
        """A Redis that dies and comes back, even empty, ends no call: the holders write their sessions again."""
        await plane.have("gateway", "operator", "runner")
        names = sids(3)
        tasks = await calls(plane, names, LEASE_S * 3.0)
        await asyncio.sleep(1.5)  # the server writes its changes down every second
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        if memory == "lost":
            shutil.rmtree(server._dir / "appendonlydir")
        server.start()

        async def known() -> bool:
            found, _ = await plane.store.sessions(SessionFilter(state="running"))
            return set(names) <= {record.session_id for record in found}

        await until(known)
        records = [await plane.store.session(sid) for sid in names]
        assert {(record.epoch, record.attempt) for record in records} == {(1, 1)}
        await asyncio.gather(*tasks)
        assert plane.verdict(*names) == []
        after = sids(1)
        await asyncio.gather(*await calls(plane, after, 0.2))
        assert plane.verdict(*after) == []


class TestHosts:
    async def test_sessions_of_a_dead_runner_run_elsewhere(self, plane: Plane) -> None:
        """The sessions of a killed runner run elsewhere: same id, higher epoch, and the log says so."""
        await plane.have("gateway", "operator", "runner")
        other = plane.spawn("runner", "--capacity", "20")
        await ready(other)
        names = sids(3)
        tasks = await calls(plane, names, 3.0)
        other.kill()
        await asyncio.gather(*tasks)
        assert plane.verdict(*names) == []
        assert _reasons(plane, names) == {("bot_finished", 2)}
        told = [r for r in plane.parts["operator"].records if r.get("event") == "session.recovered"]
        assert set(names) <= {r["sessionId"] for r in told}

    @pytest.mark.faults_full
    async def test_thawed_runner_does_not_speak_again(self, plane: Plane) -> None:
        """A host that freezes, bots included, and thaws after others took over: no bot speaks twice."""
        await plane.have("gateway", "operator", "runner")
        other = plane.spawn("runner", "--capacity", "20")
        await ready(other)
        names = sids(2)
        tasks = await calls(plane, names, 4.0)
        pids = [(await plane.store.session(sid)).pid or 0 for sid in names]
        for pid in (other.pid, *pids):
            os.kill(pid, signal.SIGSTOP)
        await until(lambda: plane.entered(*names) == 4, 60)
        for pid in (*pids, other.pid):  # the bots thaw first
            os.kill(pid, signal.SIGCONT)
        assert all([await asyncio.to_thread(gone_within, pid, 10) for pid in pids])
        await asyncio.gather(*tasks)
        other.kill()
        assert plane.verdict(*names) == []
        assert _reasons(plane, names) == {("bot_finished", 2)}

    @pytest.mark.faults_full
    async def test_clocks_that_differ_break_no_promise(self, plane: Plane) -> None:
        """A runner and an operator whose clocks are ten minutes ahead keep every promise."""
        await plane.have("gateway")
        ahead = ("-c", CLOCK_AHEAD)
        parts = [
            plane.processes.spawn("runner", "--bot", "writing.py", before=ahead),
            plane.processes.spawn("operator", "--launcher", "none", before=ahead),
        ]
        await ready(*parts)
        names = sids(3)
        await asyncio.gather(*await calls(plane, names, LEASE_S * 1.5))
        for part in parts:
            await asyncio.to_thread(part.stop)
        assert plane.verdict(*names) == []
        assert _reasons(plane, names) == {("bot_finished", 1)}


@dataclass
class Proxy:
    """Stands between the operator and a runner; loses or delays what it is told to."""

    target: str
    port: int = 0
    lose_answers: int = 0
    delay_s: float = 0.0
    lost: int = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._one, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield f"http://127.0.0.1:{self.port}"

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.removeprefix("http://").partition(":")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            out_reader, out_writer = await asyncio.open_connection(host, int(port))
            asked = asyncio.create_task(_pump(reader, out_writer))
            while chunk := await out_reader.read(65536):
                await asyncio.sleep(self.delay_s)
                if self.lost < self.lose_answers:
                    self.lost += 1
                    break
                writer.write(chunk)
                await writer.drain()
            asked.cancel()
            out_writer.close()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()


class TestNetwork:
    async def test_lost_or_slow_answer_to_start_makes_no_second_bot(self, plane: Plane) -> None:
        """A lost answer to a successful /start makes no second bot; a slow answer is awaited."""
        await plane.have("gateway", "operator")
        proxy = Proxy("")
        async with proxy.serving() as url:
            runner = plane.spawn("runner", "--url", url)
            proxy.target = runner.url
            await ready(runner)
            proxy.lose_answers = 2
            names = sids(2)
            await asyncio.gather(*await calls(plane, names, 1.0))
            assert proxy.lost == 2
            proxy.delay_s = 1.5
            slow = sids(2)
            await asyncio.gather(*await calls(plane, slow, 0.5))
            runner.kill()
        assert plane.verdict(*names, *slow) == []
        assert _reasons(plane, names + slow) == {("bot_finished", 1)}

    async def test_entries_delivered_twice_give_one_bot(self, plane: Plane) -> None:
        """Entries that are delivered again and again, to two operators, give one bot each."""
        await plane.have("gateway", "operator", "runner")
        second = plane.spawn("operator")
        await ready(second)
        names = sids(4)
        tasks = [asyncio.create_task(plane.call(s, body={"seconds": 1.0})) for s in names]
        (shard,) = plane.store.shards

        async def again() -> int:
            found = await shard.connection.client.xrange(shard.keys.launches)
            for _, fields in found:
                for _ in range(3):
                    await shard.connection.client.xadd(shard.keys.launches, fields)
            return len(found)

        for _ in range(20):
            if await again():
                break
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
        second.kill()
        assert plane.verdict(*names) == []
        await until(_empty(plane))

    async def test_thousand_callers_get_one_session_for_each_room(self, plane: Plane) -> None:
        """The rules for joins hold for a thousand callers at once, two gateways and two operators."""
        await plane.have("gateway", "operator", "runner")
        parts = [plane.spawn("gateway"), plane.spawn("operator")]
        await ready(*parts)
        number = next(_numbers)
        rooms, each = 20, 50
        answers: dict[str, list[Any]] = {f"m{number}-{room}": [] for room in range(rooms)}

        async def caller(client: aiohttp.ClientSession, room: int, i: int) -> None:
            sid = f"m{number}-{room}"
            url = (plane.gateways[0], parts[0].url)[i % 2]
            body = {"room_url": f"https://rooms.example/m{number}-{room}", "sessionId": sid,
                    "body": {"seconds": 30}, "deadlineSeconds": 30}  # fmt: skip
            status, answer = await ask(client, "POST", f"{url}/join", body)
            answers[sid].append((status, answer))
            plane.events.append(
                {"kind": "join", "sid": sid, "status": status, "answer": answer, "at": 0.0,
                 "room": body["room_url"], "deadline_s": 30}
            )  # fmt: skip

        connector = aiohttp.TCPConnector(limit=200)
        async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as client:
            await asyncio.gather(
                *(caller(client, room, i) for i in range(each) for room in range(rooms))
            )
            for got in answers.values():
                assert {status for status, _ in got} == {200, 202}, got
                assert sum(status == 202 for status, _ in got) == 1
                assert len({answer["epoch"] for _, answer in got}) == 1
            await asyncio.gather(*(plane.leave(sid) for sid in answers))
            await asyncio.gather(*(plane.end(sid) for sid in answers))
        for part in parts:
            part.kill()
        assert plane.verdict(*answers) == []


def _empty(plane: Plane) -> Any:
    async def empty() -> bool:
        return await plane.store.shards[0].queue.depth() == 0

    return empty


def _reasons(plane: Plane, names: list[str]) -> set[tuple[str, int]]:
    return {
        (event["reason"], event["attempt"])
        for event in plane.events
        if event["kind"] == "end" and event["sid"] in names
    }
