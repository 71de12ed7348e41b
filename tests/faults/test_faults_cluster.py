"""The plane's processes on a cluster of three primaries, and behind a sentinel; primaries die."""

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from cordboard.store.keys import Keys, shard_of, shard_tags
from plane_support import HEADERS, Part, Processes, ask, is_running, ready
from redis_support import Node, Primaries, primaries, wait_for, watched
from tests_support import until

SHARDS = 3
LEASE_S = 4  # a holder gives up after five times as long: room for a slow machine
BOT = """
import asyncio

async def bot(args):
    await asyncio.sleep(args.body.get("seconds", 0.1))
"""
_numbers = itertools.count()


def named(form: str, shard: int) -> str:
    """A room or an id of a shard, another one each time."""
    names = (form.format(next(_numbers)) for _ in itertools.count())
    return next(name for name in names if shard_of(name, SHARDS) == shard)


@dataclass
class Plane:
    """A gateway, an operator and a warm runner."""

    client: aiohttp.ClientSession
    gateway: Part
    operator: Part
    runner: Part

    async def join(self, sid: str, room: str, query: str = "", **body: Any) -> tuple[int, Any]:
        asked = {"sessionId": sid, "room_url": room, "body": body}
        return await ask(self.client, "POST", f"{self.gateway.url}/join{query}", asked)

    async def session(self, sid: str) -> dict[str, Any]:
        return (await ask(self.client, "GET", f"{self.gateway.url}/sessions/{sid}"))[1]

    async def pids(self) -> dict[str, int]:
        """The bots that the runner has, by session."""
        _, answer = await ask(self.client, "GET", f"{self.runner.url}/sessions")
        live = [one for one in answer["sessions"] if one["status"] == "running"]
        return {one["sessionId"]: one["botPid"] for one in live}

    async def pids_with(self, *sids: str) -> dict[str, int]:
        """The same, once the runner says so of `sids`: Redis, and so the gateway, know it a moment before."""

        async def all_run() -> bool:
            return (await self.pids()).keys() >= set(sids)

        await until(all_run)
        return await self.pids()


@pytest.fixture(scope="module")
def three() -> Iterator[Primaries]:
    with primaries() as found:
        yield found


async def started(directory: Any, url: str, shards: int, capacity: int) -> AsyncIterator[Plane]:
    (directory / "bot.py").write_text(BOT)
    over = {"CORDBOARD_LEASE_S": str(LEASE_S), "CORDBOARD_SHARDS": str(shards)}
    processes = Processes(directory, url, over)
    try:
        gateway = processes.spawn("gateway")
        operator = processes.spawn("operator", "--launcher", "none")
        runner = processes.spawn("runner", "--bot", "bot.py", "--capacity", str(capacity))
        await ready(gateway, operator, runner)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(headers=HEADERS, timeout=timeout) as client:
            yield Plane(client, gateway, operator, runner)
    finally:
        processes.stop()


@pytest.fixture
async def plane(three: Primaries, tmp_path: Any) -> AsyncIterator[Plane]:
    async for made in started(tmp_path, three.url, SHARDS, 8):
        yield made


async def test_burst_over_three_primaries_breaks_no_promise(plane: Plane, three: Primaries) -> None:
    """A burst of more joins than there are slots lands on all primaries; each runs, and ends."""
    rooms = {f"burst-{i}": f"https://rooms.example/b{i}" for i in range(40)}
    answers = await asyncio.gather(*(plane.join(sid, room) for sid, room in rooms.items()))
    assert {status for status, _ in answers} == {202}

    async def all_over() -> bool:
        found = [await plane.session(sid) for sid in rooms]
        assert all(one["status"] in {"queued", "starting", "running", "ended"} for one in found)
        return all((one["status"], one.get("reason")) == ("ended", "bot_finished") for one in found)

    await until(all_over, 60)
    for tag in shard_tags(SHARDS):
        keys = Keys(tag)
        with three.of(keys.leases).client() as client:
            held = [sid for sid in rooms if client.exists(keys.session(sid))]
            assert len(held) > 5
    listed = await ask(plane.client, "GET", f"{plane.gateway.url}/sessions?limit=500")
    assert len({one["sessionId"] for one in listed[1]["sessions"]} & set(rooms)) == 40


async def test_dead_primary_stops_its_own_shard_only(plane: Plane, three: Primaries) -> None:
    """Others' joins go on, its own get 503 with Retry-After, live calls go on; it comes back."""
    calls = [(named("live-{}", n), named("https://rooms.example/{}", n)) for n in range(SHARDS)]
    for sid, room in calls:
        status, answer = await plane.join(sid, room, "?wait=20", seconds=60)
        assert (status, answer["status"]) == (202, "running")
    before = await plane.pids_with(*(sid for sid, _ in calls))
    # A hand-over that a busy runner refused was made again under a higher epoch: that is no recovery.
    grants = {sid: await _grant(plane, sid) for sid, _ in calls}
    assert {grant[0::2] for grant in grants.values()} == {("running", 1)}
    primary = three.of(Keys(shard_tags(SHARDS)[0]).leases)
    primary.signal(signal.SIGKILL)
    await until(lambda: _refused(plane))

    for shard in (1, 2):
        sid, room = named("other-{}", shard), named("https://rooms.example/{}", shard)
        status, answer = await plane.join(sid, room, "?wait=20")
        assert (status, answer["status"]) == (202, "running")
    assert (await ask(plane.client, "GET", f"{plane.gateway.url}/readyz"))[0] == 200
    await asyncio.sleep(LEASE_S * 1.5)
    assert all(is_running(before[sid]) for sid, _ in calls)
    for sid, _ in calls[1:]:
        assert await _grant(plane, sid) == grants[sid]

    primary.start()
    await _joins_again(plane, three, 120)
    await asyncio.sleep(LEASE_S)
    assert {sid: pid for sid, pid in (await plane.pids()).items() if sid in before} == before
    for sid, _ in calls:
        assert await _grant(plane, sid) == grants[sid]


async def _grant(plane: Plane, sid: str) -> tuple[str, int, int]:
    record = await plane.session(sid)
    return record["status"], record["epoch"], record["attempt"]


async def _refused(plane: Plane) -> bool:
    body = {"sessionId": named("r-{}", 0), "room_url": named("https://rooms.example/{}", 0)}
    async with plane.client.post(f"{plane.gateway.url}/join", json=body) as answer:
        if answer.status != 503:
            return False
        assert int(answer.headers["Retry-After"]) > 0
        return True


async def _joins_again(plane: Plane, cluster: Primaries, timeout_s: float) -> None:
    """Wait until a join of the shard whose primary was killed runs."""
    answers: list[Any] = []

    async def runs() -> bool:
        sid, room = named("again-{}", 0), named("https://rooms.example/{}", 0)
        answers.append(await plane.join(sid, room, "?wait=20"))
        status, answer = answers[-1]
        return bool(status == 202 and answer["status"] == "running")

    await until(runs, timeout_s, lambda: _told(plane, cluster, answers))


def _told(plane: Plane, cluster: Primaries, answers: list[Any]) -> str:
    """What the gateway last answered, what a node knows of the others, and what the parts of the plane warn of."""
    with cluster.nodes[1].client() as client:
        nodes = str(client.execute_command("CLUSTER NODES"))
    said = [
        f"{part.name}: {record['timestamp']} {record['message']}"
        for part in (plane.gateway, plane.operator, plane.runner)
        for record in part.records
        if record["level"] in {"warning", "error"} or record["message"].startswith("Redis")
    ]
    return "\n".join([*map(str, answers[-3:]), nodes, *said])


@pytest.fixture
def replicated() -> Iterator[Primaries]:
    with primaries(replica=True) as found:
        yield found


@pytest.fixture
async def beside(replicated: Primaries, tmp_path: Any) -> AsyncIterator[Plane]:
    async for made in started(tmp_path, replicated.url, SHARDS, 8):
        yield made


async def test_replica_that_takes_over_keeps_the_calls(
    beside: Plane, replicated: Primaries
) -> None:
    """Asked to, or as its primary has died: calls go on, are followed, and end once; joins go on."""
    plane, cluster, replica = beside, replicated, replicated.replica
    assert replica
    calls = [(named("l-{}", n), named("https://rooms.example/{}", n)) for n in range(SHARDS)]
    for sid, room in calls:
        _, answer = await plane.join(sid, room, "?wait=20", seconds=90)
        assert answer["status"] == "running"
    before = await plane.pids_with(*(sid for sid, _ in calls))
    grants = {sid: await _grant(plane, sid) for sid, _ in calls}
    following = [asyncio.create_task(_followed(plane, sid)) for sid, _ in calls]

    _take_over(cluster.nodes[0], replica)
    await _joins_again(plane, cluster, 30)
    assert await _followed_join(plane)
    _in_sync(replica, cluster.nodes[0])

    replica.signal(signal.SIGKILL)  # the primary by now
    await until(lambda: _refused(plane))
    other = named("o-{}", 1), named("https://rooms.example/{}", 1)
    assert (await plane.join(*other, "?wait=20"))[0] == 202
    await _joins_again(plane, cluster, 60)
    assert await _followed_join(plane)

    await asyncio.sleep(LEASE_S * 1.5)
    assert {sid: pid for sid, pid in (await plane.pids()).items() if sid in before} == before
    for sid, _ in calls:
        assert await _grant(plane, sid) == grants[sid]
        left = {"sessionId": sid}
        await ask(plane.client, "POST", f"{plane.gateway.url}/leave", left)
    for told in await asyncio.wait_for(asyncio.gather(*following), 30):
        assert told[-1] == "ended"


def _take_over(primary: Node, replica: Node) -> None:
    """Ask a replica to become the primary, as before a rollout of the servers."""
    with replica.client() as client:
        client.execute_command("CLUSTER FAILOVER")
        wait_for(lambda: client.info("replication")["role"] == "master")
    with primary.client() as client:
        wait_for(lambda: client.info("replication").get("master_link_status") == "up")


async def _followed(plane: Plane, sid: str) -> list[str]:
    """Return the states that a session's stream of events tells, to its end."""
    async with plane.client.get(
        f"{plane.gateway.url}/sessions/{sid}/events", timeout=aiohttp.ClientTimeout(total=120)
    ) as answer:
        lines = [line async for line in answer.content]
    return [json.loads(line[6:])["status"] for line in lines if line.startswith(b"data: ")]


async def _followed_join(plane: Plane) -> bool:
    """A call in the shard whose primary has changed is told of as it happens, to its end."""
    sid, room = named("f-{}", 0), named("https://rooms.example/{}", 0)
    await plane.join(sid, room, "?wait=20", seconds=1)
    told = await asyncio.wait_for(_followed(plane, sid), 30)
    return told[-1] == "ended"


async def test_failover_by_sentinel_keeps_the_calls(tmp_path: Any) -> None:
    """When the master dies its replica takes over: a repeated join is the same call, of one bot."""
    with watched() as redis:
        async for plane in started(tmp_path, redis.url, 1, 4):
            status, answer = await plane.join(
                "a", "https://rooms.example/s", "?wait=20", seconds=60
            )
            assert (status, answer["status"]) == (202, "running")
            before = await plane.pids_with("a")
            _in_sync(redis.master, redis.replica)
            redis.master.signal(signal.SIGKILL)
            assert (await plane.join("a", "https://rooms.example/s"))[0] == 503

            async def again(plane: Plane = plane) -> bool:
                status, answer = await plane.join("a", "https://rooms.example/s")
                return status == 200 and bool(answer["status"] == "running")

            await until(again, 30)
            assert (await plane.join("b", "https://rooms.example/t", "?wait=20"))[1]["status"] in {
                "running", "ended"
            }  # fmt: skip
            await asyncio.sleep(LEASE_S * 1.5)
            record = await plane.session("a")
            told = (record, plane.runner.events("a"))  # what became of the call, if it is not there
            assert (await plane.pids()).get("a") == before["a"], told
            assert (record["status"], record["epoch"], record["attempt"]) == ("running", 1, 1)


def _in_sync(master: Node, replica: Node) -> None:
    with master.client() as client:
        # WAIT waits for the writes of its own connection, and so for all before them.
        client.set("in-sync", "1")
        assert client.execute_command("WAIT", 1, 5000) == 1
    assert replica.pid
