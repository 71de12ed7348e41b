"""One shard against three on a cluster of three primaries: what a join costs each primary's core.

A join is all that the store sends for accept, assign, running and finish of a new session. It is recorded
from the store itself, and sent by a client that is cheaper than the servers: these always have
work, as in a plane that is full, and a primary with less to do does not look dearer for waking up often.
Servers and client share this machine's cores, so joins a second do not grow with primaries here;
what grows is what the busiest primary has left. ``apart`` is the same without the index of ids: three
planes of one shard each, side by side, which is what these cores make of N times one.

  python benchmarks/shards.py --joins 8000 --rounds 3
  python benchmarks/shards.py --client              the store's own client, and whatever load it makes
"""

import argparse
import asyncio
import select
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _table import show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cordboard.contract.launch import Launch
from cordboard.store import Holder, Registration, SessionStore, open_store
from cordboard.store.keys import shard_of
from redis_support import Node, Primaries, primaries

AT_ONCE = 32
A_PRIMARY = 64  # joins at once for each primary: enough that none runs dry
LEASE_S = 600.0  # the runner beats once, before
RUNNER = Registration("r", "http://127.0.0.1:9", capacity=10_000)
HOLDER = Holder("r", "http://127.0.0.1:9", "warm", 1)
ANSWERS: dict[str, Any] = {
    "accept": ["new", 1, 0],
    "assign": ["assigned", "r", "http://127.0.0.1:9", 0],
    "running": ["ok"],
    "finish": 1,
}

Step = tuple[int, bytes]  # a primary's number, and what is sent to it


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--joins", type=int, default=8000, help="joins of each round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which medians are shown")
    parser.add_argument("--client", action="store_true", help="send by the store's own client")
    args = parser.parse_args()
    spend = _by_client if args.client else _by_replay
    kinds = ("1", "3") if args.client else ("1", "3", "3 apart")
    rows: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in kinds}
    with primaries() as cluster:
        for number in range(args.rounds + 1):
            for shards, found in rows.items():
                row = asyncio.run(
                    spend(cluster, shards, args.joins, f"round-{number}-{shards[2:]}")
                )
                if number:  # the first one warms up
                    found.append(row)
    medians = {shards: [statistics.median(one) for one in zip(*of, strict=True)]
               for shards, of in rows.items()}  # fmt: skip
    busiest = {shards: max(row[1:4]) for shards, row in medians.items()}
    header = (
        "shards",
        "joins/s",
        "first, us a join",
        "second",
        "third",
        "busiest",
        "all",
        "carries",
    )
    show(
        f"{args.joins} joins a round, a cluster of three primaries",
        header,
        [(shards, *row, busiest[shards], sum(row[1:]), busiest["1"] / busiest[shards])
         for shards, row in medians.items()],
    )  # fmt: skip


async def _by_replay(cluster: Primaries, kind: str, joins: int, name: str) -> tuple[float, ...]:
    """Return joins a second, and each primary's µs a join."""
    shards = int(kind[0])
    async with open_store(cluster.url, shards=shards, lease_s=LEASE_S) as store:
        await store.register(RUNNER)
        for shard in store.shards:
            node = cluster.of(shard.keys.leases)
            with node.client() as client:
                for source in shard.scripts.sources.values():
                    client.script_load(source)
    recorded = [steps async for steps in _recorded(cluster, shards, joins, name)]
    if kind.endswith("apart"):
        recorded = [[step for step in steps if b"EVALSHA" in step[1]] for steps in recorded]
    before, began = [_cpu_s(node) for node in cluster.nodes], time.perf_counter()
    _replay([node.port for node in cluster.nodes], recorded, A_PRIMARY * shards)
    return _spent(cluster, joins, before, time.perf_counter() - began)


async def _recorded(cluster: Primaries, shards: int, joins: int, name: str) -> Any:
    """Yield what the store sends for each join, by a client that only writes it down."""
    sent: list[Step] = []
    async with open_store("redis+cluster://127.0.0.1:1", shards=shards, lease_s=LEASE_S) as store:
        for shard in store.shards:
            number = cluster.nodes.index(cluster.of(shard.keys.leases))
            recorder: Any = _Recorder(number, sent, shard.scripts.digests)
            shard.connection.client = recorder
        for i in range(joins):
            await _join(store, *_names(name, shards, i))
            yield list(sent)
            sent.clear()


class _Recorder:
    """A client that writes down what it is to send, and answers as for a new session."""

    def __init__(self, number: int, sent: list[Step], shas: dict[str, str]) -> None:
        self._number, self._sent = number, sent
        self._names = {sha: name for name, sha in shas.items()}

    async def evalsha(self, sha: str, *args: bytes | str | float) -> Any:
        self._sent.append((self._number, _packed("EVALSHA", sha, *args)))
        return ANSWERS[self._names[sha]]

    async def execute_command(self, *command: bytes | str | float) -> bool:
        self._sent.append((self._number, _packed(*command)))
        return True

    async def aclose(self) -> None:
        """Nothing is open."""


def _packed(*words: bytes | str | float) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    lines = [b"*%d" % len(parts), *(b"$%d\r\n%b" % (len(part), part) for part in parts), b""]
    return b"\r\n".join(lines)


def _replay(ports: Sequence[int], recorded: Sequence[list[Step]], at_once: int) -> None:
    """Send all joins, so many at once, each one's steps one after another."""
    joins, poll = iter(recorded), select.epoll()
    callers = [_Caller(ports, joins, poll) for _ in range(at_once)]
    of_file = {file: caller for caller in callers for file in caller.files}
    active = sum(caller.go_on() for caller in callers)
    while active:
        for file, _ in poll.poll():
            active -= not of_file[file].answered(file)
    for caller in callers:
        caller.close()
    poll.close()


class _Caller:
    """Sends one join after another, on a connection to each primary."""

    def __init__(self, ports: Sequence[int], joins: Iterator[list[Step]], poll: Any) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for port in ports]
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(one.fileno(), select.EPOLLIN)
        self._of_file = {one.fileno(): one for one in self._sockets}
        self._joins, self._steps = joins, iter(())  # type: Iterator[list[Step]], Iterator[Step]

    @property
    def files(self) -> list[int]:
        return list(self._of_file)

    def go_on(self) -> bool:
        """Send the next step; False when there is none any more."""
        step = next(self._steps, None)
        while step is None:
            join = next(self._joins, None)
            if join is None:
                return False
            self._steps = iter(join)
            step = next(self._steps, None)
        self._sockets[step[0]].sendall(step[1])
        return True

    def answered(self, file: int) -> bool:
        answer = self._of_file[file].recv(4096)
        assert answer.endswith(b"\r\n"), answer
        assert not answer.startswith((b"-", b"$-1")), answer
        return self.go_on()

    def close(self) -> None:
        for one in self._sockets:
            one.close()


async def _by_client(cluster: Primaries, kind: str, joins: int, name: str) -> tuple[float, ...]:
    shards = int(kind[0])

    async def some(first: int) -> None:
        for i in range(first, joins, AT_ONCE):
            await _join(store, *_names(name, shards, i))

    async with open_store(cluster.url, shards=shards, lease_s=LEASE_S) as store:
        await store.register(RUNNER)
        before, began = [_cpu_s(node) for node in cluster.nodes], time.perf_counter()
        await asyncio.gather(*map(some, range(AT_ONCE)))
        return _spent(cluster, joins, before, time.perf_counter() - began)


def _names(name: str, shards: int, number: int) -> tuple[str, str]:
    return f"{name}-{shards}-{number}", f"https://r.example/{name}-{shards}-{number}"


async def _join(store: SessionStore, sid: str, room: str) -> None:
    shard = store.shards[shard_of(room, len(store.shards))]
    epoch = (await store.accept(Launch(sid, room, epoch=1), queue_max=1_000_000)).epoch
    assert (await shard.placement.assign(sid, epoch)).outcome == "assigned"
    await store.confirm_running(sid, epoch, HOLDER, room=room)
    await store.finish(sid, epoch, "left", room=room)


def _spent(
    cluster: Primaries, joins: int, before: Sequence[float], seconds: float
) -> tuple[float, ...]:
    used = [_cpu_s(node) - old for node, old in zip(cluster.nodes, before, strict=True)]
    return (joins / seconds, *(one / joins * 1e6 for one in used))


def _cpu_s(node: Node) -> float:
    with node.client() as client:
        info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


if __name__ == "__main__":
    main()
