"""Joins as a burst and as a stream through two gateways, two operators, two runners, and kills.

Every join's bot writes down that it was there and ends at once. Callers come back with the same
session id when a gateway is gone or refuses. Nothing may be lost, nothing doubled.

  python benchmarks/plane.py                       1,000 joins each way, with kills; about two minutes
  python benchmarks/plane.py --joins 10000         the figure of docs/reliability.md
  python benchmarks/plane.py --assign --peers      hand-overs a second with runners that do nothing;
                                                   beside it arq and taskiq on the same Redis
  python benchmarks/plane.py --idle 1000           live sessions in which nothing happens
  python benchmarks/plane.py --store --ended 1000000   what Redis spends, before and after so many ends
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import plane_peers
from _table import median, quantile, show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cordboard.contract.launch import Launch
from cordboard.contract.state import TERMINAL
from cordboard.store import Holder, RedisStore, Registration, Renewal
from cordboard.up.embedded import EmbeddedServer
from cordboard.web import serve
from plane_support import HEADERS, Part, Processes, ready

BOT = """
import os, time
FILE = os.open({file!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def bot(args):
    b = args.body
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    os.write(FILE, f"{{b['session_id']}} {{b['epoch']}} {{b['attempt']}} {{now}}\\n".encode())
"""
CALLERS = 200  # at once; a caller waits for its answer
KILL_EVERY_S = 6.0


@dataclass
class Figures:
    """What was measured of one way to send the joins."""

    accept_ms: list[float] = field(default_factory=list)
    assign_ms: list[float] = field(default_factory=list)
    running_ms: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    again: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass
class Plane:
    """The plane's processes, two of each."""

    processes: Processes
    store: RedisStore
    parts: dict[str, Part] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def spawn(self, name: str, port: int | None = None) -> Part:
        role = name.rstrip("12")
        words = {
            "runner": ("--bot", "bot.py", "--capacity", "32"),
            "operator": ("--launcher", "none"),
        }
        return self.processes.spawn(role, *words.get(role, ()), port=port)  # fmt: skip

    async def start(self) -> None:
        for role in ("gateway", "operator", "runner"):
            for number in ("1", "2"):
                self.parts[role + number] = self.spawn(role + number)
        await ready(*self.parts.values())

    @property
    def gateways(self) -> list[str]:
        return [self.parts["gateway1"].url, self.parts["gateway2"].url]

    async def kill_at_random(self, figures: Figures) -> None:
        """Kill one process after another, and start it again as a cluster would."""
        for name in itertools.cycle(self.rng.sample(sorted(self.parts), len(self.parts))):
            await asyncio.sleep(KILL_EVERY_S * self.rng.uniform(0.5, 1.5))
            part = self.parts[name]
            part.kill()
            figures.kills[part.name] += 1
            self.parts[name] = self.spawn(name, int(part.url.rpartition(":")[2]))
            await ready(self.parts[name])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--joins", type=int, default=1000, help="joins each way (default 1000)")
    parser.add_argument("--rate", type=float, default=30.0, help="of the stream, a second")
    parser.add_argument("--no-kills", action="store_true", help="leave all processes alone")
    parser.add_argument("--assign", action="store_true", help="only hand-overs a second")
    parser.add_argument("--peers", action="store_true", help="with --assign: job queues beside it")
    parser.add_argument("--rounds", type=int, default=3, help="of --assign (default 3)")
    parser.add_argument("--idle", type=int, default=0, help="only so many idle sessions")
    parser.add_argument("--store", action="store_true", help="only what Redis spends")
    parser.add_argument("--ended", type=int, default=100_000, help="ended sessions, with --store")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cordboard-plane-") as directory:
        server = EmbeddedServer()
        server.start()
        processes = Processes(Path(directory), server.url)
        try:
            if options.idle:
                asyncio.run(_idle(processes, options.idle))
            elif options.store:
                asyncio.run(_store(processes, options.ended))
            elif options.assign:
                asyncio.run(_hand_overs(processes, options))
            else:
                asyncio.run(_run(processes, options))
        finally:
            processes.stop()
            server.stop()


async def _run(processes: Processes, options: argparse.Namespace) -> None:
    file = processes.directory / "bots"
    file.touch()
    (processes.directory / "bot.py").write_text(BOT.format(file=str(file)))
    columns = {}
    async with RedisStore(processes.redis_url) as store:
        plane = Plane(processes, store)
        await plane.start()
        for way, rate in (("burst", 0.0), ("stream", options.rate)):
            columns[way] = await _measure(plane, file, way, rate, options)
    _tell(columns, options)


async def _measure(
    plane: Plane, file: Path, way: str, rate: float, options: argparse.Namespace
) -> Figures:
    figures = Figures()
    sids = [f"{way}-{i}" for i in range(options.joins)]
    killing = asyncio.create_task(
        plane.kill_at_random(figures) if not options.no_kills else _none()
    )
    began = time.monotonic()
    connector = aiohttp.TCPConnector(limit=CALLERS)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(
        headers=HEADERS, connector=connector, timeout=timeout
    ) as client:
        free = asyncio.Semaphore(CALLERS)
        calls = []
        for i, sid in enumerate(sids):
            if rate:
                await asyncio.sleep(max(0.0, began + i / rate - time.monotonic()))
            calls.append(asyncio.create_task(_join(client, plane, figures, sid, free)))
        await asyncio.gather(*calls)
        records = await _ended(plane.store, sids)
    figures.seconds = time.monotonic() - began
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    _judge(figures, sids, records, file)
    return figures


async def _none() -> None:
    pass


async def _join(
    client: aiohttp.ClientSession, plane: Plane, figures: Figures, sid: str, free: asyncio.Semaphore
) -> None:
    body = {"room_url": f"https://rooms.example/{sid}", "sessionId": sid, "deadlineSeconds": 600}
    async with free:
        for number in itertools.count(hash(sid)):
            began = time.perf_counter()
            wait_s = 0.2
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                url = plane.gateways[number % 2]
                async with client.post(f"{url}/join", json=body) as answer:
                    if answer.status in {200, 202}:
                        figures.accept_ms.append((time.perf_counter() - began) * 1000)
                        return
                    wait_s = float(answer.headers.get("Retry-After", 0.2)) / 5
            figures.again += 1
            await asyncio.sleep(wait_s)


async def _ended(store: RedisStore, sids: list[str]) -> dict[str, Any]:
    """Wait until every session has ended; give up when nothing moves for long."""
    waiting, moved = set(sids), time.monotonic()
    records: dict[str, Any] = {}
    while waiting and time.monotonic() - moved < 120:
        found = await store.reader.get_many(sorted(waiting)[:500])
        done = {sid: record for sid, record in found.items() if record.state in TERMINAL}
        if done:
            moved = time.monotonic()
        records |= done
        waiting -= set(done)
        await asyncio.sleep(0 if done else 0.2)
    return records


def _judge(figures: Figures, sids: list[str], records: dict[str, Any], file: Path) -> None:
    entered: Counter[tuple[str, str]] = Counter()
    bots: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        sid, epoch, _, _ = line.split()
        entered[sid, epoch] += 1
        bots[sid] += 1
    wanted = set(sids)
    for sid in sids:
        record = records.get(sid)
        if record is None or record.reason != "bot_finished" or not bots[sid]:
            figures.lost += 1
        if record is not None:
            figures.states[f"{record.state} {record.reason}"] += 1
            stages = record.stages
            if record.attempt == 1 and "running" in stages:
                figures.assign_ms.append(stages["starting"] - record.created_ms)
                figures.running_ms.append(stages["running"] - record.created_ms)
    # The same grant twice, or two bots for a session of which no runner died: a doubled bot.
    figures.doubled = sum(count > 1 for (sid, _), count in entered.items() if sid in wanted)
    figures.doubled += sum(bots[sid] > 1 for sid, record in records.items() if record.attempt == 1)


def _tell(columns: dict[str, Figures], options: argparse.Namespace) -> None:
    rows: list[tuple[object, ...]] = []

    def row(name: str, value: Callable[[Figures], object]) -> None:
        rows.append((name, *(value(figures) for figures in columns.values())))

    row("joins", lambda f: len(f.accept_ms))
    row("lost", lambda f: f.lost)
    row("doubled", lambda f: f.doubled)
    row("processes killed", lambda f: sum(f.kills.values()))
    row("joins sent again by callers", lambda f: f.again)
    row("seconds", lambda f: f.seconds)
    row("sessions a second", lambda f: len(f.accept_ms) / f.seconds)
    for name, get in (
        ("accept", lambda f: f.accept_ms),
        ("assign", lambda f: f.assign_ms),
        ("running", lambda f: f.running_ms),
    ):
        for share in (0.5, 0.99):
            row(f"{name} p{share * 100:.0f} ms", _of(get, share))
    show(
        f"{options.joins} joins, 2 gateways, 2 operators, 2 runners of 32 slots, "
        f"{'no kills' if options.no_kills else f'a kill every {KILL_EVERY_S:.0f} s'}",
        ("", *columns),
        rows,
    )
    print("  accept: as a caller measures it; assign, running: from the accept, by Redis's clock")
    for way, figures in columns.items():
        print(f"  {way}: {dict(figures.states)}, killed {dict(figures.kills)}")


def _of(get: Callable[[Figures], list[float]], share: float) -> Callable[[Figures], float]:
    return lambda figures: float(quantile(get(figures) or [0.0], share))


async def _hand_overs(processes: Processes, options: argparse.Namespace) -> None:
    """Hand-overs a second, ours and (with --peers) those of job queues, in interleaved rounds."""
    names: list[tuple[str, str, bool]] = [("two operators", "", True)]
    if options.peers:
        missing = plane_peers.install()
        if missing:
            print(f"peers are skipped, as they could not be installed: {missing}")
        else:
            names += [(f"{p}, HTTP hop", p, True) for p in ("arq", "taskiq")]
            names += [(f"{p}, nothing to do", p, False) for p in ("arq", "taskiq")]
    rates: dict[str, list[float]] = {name: [] for name, _, _ in names}
    async with RedisStore(processes.redis_url) as store:
        for _ in range(options.rounds):
            for name, peer, hop in names:
                await store.connection.client.flushall()
                found = await _rate(processes, store, options.joins, peer, hop=hop)
                rates[name].append(found)
    ours = median(rates["two operators"])
    rows = [(name, median(found), f"{ours / median(found):.2f}") for name, found in rates.items()]
    show(
        f"{options.joins} hand-overs by two processes, /start answered at once (goal 1,000 a second)",
        ("", "a second", "ours is so many times"),
        rows,
    )


async def _rate(
    processes: Processes, store: RedisStore, joins: int, peer: str, *, hop: bool
) -> float:
    served: Counter[str] = Counter()
    async with _runners(store, served) as url:
        if not peer:
            return await _our_rate(processes, store, joins, served)
        file = processes.directory / "jobs"
        target = url if hop else None
        return await plane_peers.rate(peer, processes.redis_url, file, joins, target)


async def _our_rate(
    processes: Processes, store: RedisStore, joins: int, served: Counter[str]
) -> float:
    """Queue joins, then let two operators hand them to runners that answer at once."""
    for i in range(joins):
        await store.accept(Launch(f"s{i}", f"webrtc:{i}", epoch=1), queue_max=joins + 1)
    quiet = {"LOG_LEVEL": "warn"}  # as the peers are
    operators = [processes.spawn("operator", "--launcher", "none", env=quiet) for _ in range(2)]
    while not served:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    began, first = time.perf_counter(), served.total()
    while await store.queue.depth():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - began
    for part in operators:
        assert part.alive
        part.kill()
    return (joins - first) / seconds


WATCHED_S = 30.0
SLEEPER = "import asyncio\n\nasync def bot(args):\n    await asyncio.sleep(3600)\n"


async def _idle(processes: Processes, count: int) -> None:
    """What the plane's own processes and the bots' spend while nothing happens."""
    (processes.directory / "bot.py").write_text(SLEEPER)
    parts = [
        processes.spawn("gateway"),
        processes.spawn("operator", "--launcher", "none"),
        processes.spawn("runner", "--bot", "bot.py", "--capacity", str(count)),
    ]
    await ready(*parts)
    before = {part.name: _private_kb(part.pid) for part in parts}
    async with RedisStore(processes.redis_url) as store:
        for i in range(count):
            one = Launch(f"i{i}", f"https://r.example/{i}", epoch=1, deadline_s=600)
            await store.accept(one, queue_max=count + 1)
        while len(pids := await _bot_pids(store, count)) < count:  # noqa: ASYNC110
            await asyncio.sleep(1)
        cpu = {part.name: _cpu_s(part.pid) for part in parts}
        bots, redis = sum(map(_cpu_s, pids)), await _redis_cpu_s(store)
        await asyncio.sleep(WATCHED_S)
        rows: list[tuple[object, ...]] = [
            (
                part.name,
                (_cpu_s(part.pid) - cpu[part.name]) / WATCHED_S / count * 100,
                (_private_kb(part.pid) - before[part.name]) / count,
            )
            for part in parts
        ]
        spent = await _redis_cpu_s(store) - redis
        rows.append(("redis", spent / WATCHED_S / count * 100, "-"))
        spent = sum(map(_cpu_s, pids)) - bots
        private = sum(map(_private_kb, pids)) / count
        rows.append(("the bot's process", spent / WATCHED_S / count * 100, private))
    rows = [(name, f"{cpu:.4f}", memory) for name, cpu, memory in rows]
    show(f"{count} idle sessions, each one's share", ("", "% of a core", "private KB"), rows)


async def _bot_pids(store: RedisStore, count: int) -> list[int]:
    records = await store.reader.get_many([f"i{i}" for i in range(count)])
    return [record.pid for record in records.values() if record.state == "running" and record.pid]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _private_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


SAMPLE = 2000


async def _store(processes: Processes, ended: int) -> None:
    """What one live session costs in Redis, with no history and with much of it."""
    columns: dict[str, dict[str, float]] = {}
    async with RedisStore(processes.redis_url) as store:
        await _spent(store, "warm-up", {})
        for name, history in (("none ended", 0), (f"{ended} ended", ended)):
            if history:
                await _fill(store, history)
            columns[name] = await _spent(store, name.replace(" ", "-"), {})
    rows = [(what, *(column[what] for column in columns.values())) for what in columns[name]]
    show(f"one Redis, {SAMPLE} sessions at a time, one client", ("", *columns), rows)


async def _spent(store: RedisStore, prefix: str, spent: dict[str, float]) -> dict[str, float]:
    launches = [
        Launch(f"{prefix}-{i}", f"https://r.example/{prefix}-{i}", epoch=1) for i in range(SAMPLE)
    ]
    holder = Holder("cold", "http://127.0.0.1:9", "cold", 1)
    before = await _memory(store)

    async def each(name: str, work: Callable[[Launch], Awaitable[Any]]) -> None:
        cpu = await _redis_cpu_s(store)
        for launch in launches:
            await work(launch)
        spent[f"{name}, us of Redis's core"] = (await _redis_cpu_s(store) - cpu) / SAMPLE * 1e6

    await each("accept", lambda one: store.accept(one, queue_max=10_000_000))
    await each("assign", lambda one: store.placement.assign(one.session_id, 1, job_name="job"))
    await each("running", lambda one: store.confirm_running(one.session_id, 1, holder))
    spent["memory of a live session, bytes"] = (await _memory(store) - before) / SAMPLE
    renewals = [Renewal(one.session_id, 1, holder) for one in launches]
    cpu = await _redis_cpu_s(store)
    for _ in range(5):
        await store.renew(renewals)
    spent["renew, us of Redis's core"] = (await _redis_cpu_s(store) - cpu) / SAMPLE / 5 * 1e6
    cpu = await _redis_cpu_s(store)
    for _ in range(50):
        await store.placement.suspect_count(), await store.placement.expire_overdue()
        await store.placement.remove_old_records(), await store.queue.depth()
    spent["an operator's look, us of Redis's core"] = (await _redis_cpu_s(store) - cpu) / 50 * 1e6
    await each("finish", lambda one: store.finish(one.session_id, 1, "left"))
    spent["memory of an ended session, bytes"] = (await _memory(store) - before) / SAMPLE
    return spent


async def _memory(store: RedisStore) -> int:
    return int((await store.connection.client.info("memory"))["used_memory"])


async def _redis_cpu_s(store: RedisStore) -> float:
    info = await store.connection.client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def _fill(store: RedisStore, count: int) -> None:
    """Let so many sessions have ended, by the same scripts."""
    at_once = 32

    async def some(first: int) -> None:
        for i in range(first, count, at_once):
            launch = Launch(f"old-{i}", f"https://r.example/old-{i}", epoch=1)
            await store.accept(launch, queue_max=10_000_000)
            await store.finish(launch.session_id, 1, "cancelled")

    await asyncio.gather(*(some(first) for first in range(at_once)))


# The head of an event stream that stays open, and its first comment; operators send nothing more.
WATCHED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"c\r\n: watching\n\n\r\n"
)


@contextlib.asynccontextmanager
async def _runners(store: RedisStore, served: Counter[str]) -> AsyncIterator[str]:
    """A runner in this process that says yes, by the smallest HTTP there is; no framework's time."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*gone):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /watch"):
                    writer.write(WATCHED)
                    continue
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                await reader.readexactly(length)
                served["start"] += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    listener = serve.bind("127.0.0.1", 0)
    server = await asyncio.start_server(one, sock=listener)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def beat() -> None:
        while True:
            await store.register(Registration("yes", url, capacity=1_000_000))
            await asyncio.sleep(3)

    beating = asyncio.create_task(beat())
    async with server:
        yield url
    beating.cancel()
    os.sync()


if __name__ == "__main__":
    main()
