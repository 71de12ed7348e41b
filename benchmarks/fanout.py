"""What grows with the number of gateways, pages and runners: state changes, event streams, connections to Redis.

python benchmarks/fanout.py [changes] [streams] [connections]

Processor time and memory are those of single processes, so another load of the machine changes them little.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from _table import show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cordboard.contract.launch import Launch
from cordboard.store import Holder, RedisStore, Registration
from cordboard.up.embedded import EmbeddedServer
from plane_support import HEADERS, Part, Processes, ask, ready
from redis_support import primaries
from tests_support import until

JOINS = 3000
CHANGES = 4  # of a session: accepted, assigned, running, ended
AT_ONCE = 32
STREAMS = 400  # below the limit of a gateway
HOLDER = Holder("r1", "http://127.0.0.1:9", "warm", 42)
TICKS_S = os.sysconf("SC_CLK_TCK")
KB = 1024


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def private_kb(pid: int) -> int:
    """Return the memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


async def redis_s(store: RedisStore) -> float:
    """Return the processor time that the server has used, in seconds."""
    used = await store.connection.client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


async def live_through(store: RedisStore, name: str) -> None:
    """Let a session pass all its states."""
    await store.accept(Launch(name, f"webrtc:{name}", epoch=1), queue_max=10**6)
    await store.placement.assign(name, 1)
    await store.confirm_running(name, 1, HOLDER)
    await store.finish(name, 1, "left")


async def burst(store: RedisStore, prefix: str, count: int) -> None:
    """Let many sessions pass all their states, some at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turns:
            await live_through(store, f"{prefix}-{number}")

    await store.register(Registration("r1", HOLDER.runner_url, capacity=10**6))
    await asyncio.gather(*(one(number) for number in range(count)))


@contextlib.asynccontextmanager
async def plane(count: int) -> AsyncIterator[tuple[list[Part], RedisStore]]:
    """Start a Redis and some gateways."""
    server = EmbeddedServer()
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder), server.url)
        try:
            gateways = [processes.spawn("gateway") for _ in range(count)]
            await ready(*gateways)
            async with RedisStore(server.url) as store:
                yield gateways, store
        finally:
            processes.stop()
            server.stop()


async def changes() -> None:
    """Print what one change costs each gateway, and Redis for each gateway."""
    rows = []
    for count in (1, 4):
        async with plane(count) as (gateways, store):
            await burst(store, "warm", JOINS // 10)
            before, redis = [processor_s(item.pid) for item in gateways], await redis_s(store)
            await burst(store, "burst", JOINS)
            spent = await redis_s(store) - redis
            await asyncio.sleep(1)  # until they have read the last ones
            used = [processor_s(item.pid) - was for item, was in zip(gateways, before, strict=True)]
            told = JOINS * CHANGES
            rows.append([count, told, sum(used) / count / told * 1e6, spent / told * 1e6])
    show(
        "State changes, µs of processor time for each",
        ["gateways", "changes", "each gateway", "Redis, with the scripts"],
        rows,
    )


async def streams() -> None:
    """Print what an open event stream costs a gateway, and an event that it sends."""
    async with plane(1) as ((gateway,), store):
        names = [f"s-{number}" for number in range(STREAMS)]
        await burst(store, "warm", 50)
        for name in names:
            await store.accept(Launch(name, f"webrtc:{name}", epoch=1), queue_max=10**6)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as client:
            url = f"{gateway.url}/sessions/{{}}/events"
            await _first_bytes(await client.get(url.format(names[0])))
            memory, files = private_kb(gateway.pid), _descriptors(gateway.pid)
            opened = [await client.get(url.format(name)) for name in names[1:]]
            for answer in opened:
                await _first_bytes(answer)
            memory = private_kb(gateway.pid) - memory
            files = _descriptors(gateway.pid) - files
            used = processor_s(gateway.pid)
            for name in names:
                await store.finish(name, 1, "cancelled")
            for answer in opened:
                await answer.read()  # a stream ends with the final state
            used = processor_s(gateway.pid) - used
    show(
        "Event streams of one gateway",
        ["streams", "KB of memory each", "descriptors each", "µs to send an event and end"],
        [[len(opened), memory / len(opened), files / len(opened), used / len(opened) * 1e6]],
    )


async def _first_bytes(answer: aiohttp.ClientResponse) -> None:
    assert answer.status == 200, await answer.text()
    await answer.content.readany()


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def connections() -> None:
    """Print how many connections each component keeps to each primary of a cluster, and what they cost it."""
    rows = []
    with primaries() as cluster, tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder), cluster.url)
        processes.over["CORDBOARD_SHARDS"] = "3"
        try:
            gateway = processes.spawn("gateway")
            await ready(gateway)
            figures = [_clients(node) for node in cluster.nodes]
            for name in ("operator", "runner"):
                await ready(processes.spawn(name))
                await asyncio.sleep(12)  # two heartbeats, and looks at all shards
                now = [_clients(node) for node in cluster.nodes]
                rows.append([name, *_more(figures, now)])
                figures = now
            async with aiohttp.ClientSession(headers=HEADERS) as client:
                await asyncio.gather(*(_join(client, gateway, n) for n in range(100)))
            rows.append(
                ["all, 100 joins at once", *_more(figures, [_clients(n) for n in cluster.nodes])]
            )
        finally:
            processes.stop()
    header = ["further connections of", "least to a primary", "most", "KB of a connection"]
    show("Connections to the three primaries of a cluster", header, rows)


async def _join(client: aiohttp.ClientSession, gateway: Part, number: int) -> None:
    body = {"room_url": f"webrtc:room-{number}"}
    await until(lambda: _accepted(client, gateway, body))


async def _accepted(client: aiohttp.ClientSession, gateway: Part, body: dict[str, Any]) -> bool:
    return (await ask(client, "POST", f"{gateway.url}/join", body))[0] < 300


def _clients(node: Any) -> tuple[int, float]:
    with node.client() as client:
        listed = client.client_list()
    memory = [int(item.get("tot-mem", 0)) for item in listed]
    return len(listed), sum(memory) / len(memory) / KB


def _more(before: list[tuple[int, float]], now: list[tuple[int, float]]) -> list[object]:
    counts = [new[0] - old[0] for old, new in zip(before, now, strict=True)]
    return [min(counts), max(counts), sum(item[1] for item in now) / len(now)]


MEASURES = {"changes": changes, "streams": streams, "connections": connections}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *MEASURES])
    for name in parser.parse_args().names or MEASURES:
        asyncio.run(MEASURES[name]())


if __name__ == "__main__":
    main()
