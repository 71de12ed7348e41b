"""One shard against three on a cluster of three primaries: what a join costs each primary's core.

Servers and client share this machine's cores, so joins a second do not grow with primaries here; what
grows is what the busiest primary has left. A join is accept, assign, running and finish.

  python benchmarks/shards.py --joins 4000
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from _table import show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cordboard.contract.launch import Launch
from cordboard.store import Holder, RunnerInfo, Store, open_store
from cordboard.store.keys import shard_of
from redis_support import Node, Primaries, primaries

AT_ONCE = 32
RUNNER = RunnerInfo("r", "http://127.0.0.1:9", capacity=1_000_000)
HOLDER = Holder("r", "http://127.0.0.1:9", "warm", 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--joins", type=int, default=4000, help="joins of each round")
    joins = parser.parse_args().joins
    rows = []
    with primaries() as cluster:
        for shards in (1, 3):
            asyncio.run(_round(cluster, shards, joins // 4, "warm-up"))
            rows.append(asyncio.run(_round(cluster, shards, joins, "counted")))
    header = ("shards", "joins/s", "first, us a join", "second", "third", "busiest", "all")
    show(f"{joins} joins, {AT_ONCE} at once, a cluster of three primaries", header, rows)


async def _round(cluster: Primaries, shards: int, joins: int, name: str) -> tuple[str | float, ...]:
    async with open_store(cluster.url, shards=shards) as store:
        await store.register(RUNNER)
        beating = asyncio.create_task(_beat(store))
        before = [_cpu_s(node) for node in cluster.nodes]
        began = time.perf_counter()
        await asyncio.gather(*(_some(store, i, joins, f"{name}-{shards}") for i in range(AT_ONCE)))
        seconds = time.perf_counter() - began
        spent = [
            (_cpu_s(node) - old) / joins * 1e6
            for node, old in zip(cluster.nodes, before, strict=True)
        ]
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await store.unregister("r")
    return (str(shards), joins / seconds, *spent, max(spent), sum(spent))


async def _beat(store: Store) -> None:
    while True:
        await asyncio.sleep(3)
        await store.register(RUNNER)


async def _some(store: Store, first: int, joins: int, name: str) -> None:
    for i in range(first, joins, AT_ONCE):
        sid, room = f"{name}-{i}", f"https://r.example/{name}-{i}"
        shard = store.shards[shard_of(room, len(store.shards))]
        epoch = (await store.accept(Launch(sid, room, epoch=1), queue_max=joins)).epoch
        assert (await shard.assign(sid, epoch)).outcome == "assigned"
        await store.running(sid, epoch, HOLDER, room=room)
        await store.finish(sid, epoch, "left", room=room)


def _cpu_s(node: Node) -> float:
    with node.client() as client:
        info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


if __name__ == "__main__":
    main()
