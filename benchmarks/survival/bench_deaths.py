"""How long a session is without a bot after the death of what runs it, and what the watch connections cost.

A second and a third runner are there. The time runs from the kill until the store confirms the next bot.

  python benchmarks/survival/bench_deaths.py                    50 kills of a warm runner
  python benchmarks/survival/bench_deaths.py --kill bot         50 kills of a bot process
  python benchmarks/survival/bench_deaths.py --kill drain       50 hand-overs by a runner that stops, with no grace period
  python benchmarks/survival/bench_deaths.py --bots 8           how long the bots of a killed runner live on
  python benchmarks/survival/bench_deaths.py --watch 1000       one operator with the watch connections of so many runners
"""

import argparse
import asyncio
import functools
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import quantile, show

from cordboard.operator.runner_watch import RunnerWatches
from cordboard.store import RedisStore, SessionRecord, StateChange
from cordboard.up.embedded import EmbeddedServer
from cordboard.web.http_client import HttpClient, open_connections
from cordboard.web.runner_client import RunnerClient
from plane_support import HEADERS, Part, Processes, ready
from tests_support import until

BOT = """
import asyncio

async def bot(args):
    await asyncio.sleep(3600)
"""
RUNNERS = 3  # one holds the session, one takes it over, one is still starting after the last kill


class Plane:
    """A gateway, an operator and three runners."""

    def __init__(self, processes: Processes, store: RedisStore, grace: str) -> None:
        self.processes, self.store, self.grace = processes, store, grace
        self.runners: list[Part] = []

    async def start(self) -> None:
        self.gateway = self.processes.spawn("gateway")
        operator = self.processes.spawn("operator", "--launcher", "none")
        self.runners = [self.runner() for _ in range(RUNNERS)]
        await ready(self.gateway, operator, *self.runners)

    def runner(self) -> Part:
        return self.processes.spawn(
            "runner", "--bot", "bot.py", "--capacity", "16", "--grace", self.grace
        )

    async def join(self, client: aiohttp.ClientSession, name: str) -> SessionRecord:
        body = {"room_url": f"https://rooms.example/{name}", "sessionId": name}
        async with client.post(f"{self.gateway.url}/join?wait=30", json=body) as answer:
            assert (await answer.json())["status"] == "running", await answer.text()
        return await self.store.session(name)

    def runner_of(self, record: SessionRecord) -> Part:
        return next(part for part in self.runners if part.url == record.runner_url)


async def silences(plane: Plane, kind: str, rounds: int) -> list[float]:
    """Return the seconds until the session runs again, for each kill."""
    seconds = []
    async with (
        aiohttp.ClientSession(headers=HEADERS) as client,
        plane.store.changes() as changes,
    ):
        for number in range(rounds):
            await ready(*plane.runners)
            record = await plane.join(client, f"call-{number}")
            await asyncio.sleep(0.3 + number % 10 * 0.5)  # anywhere in the period of a renewal
            victim = plane.runner_of(record)
            began = time.perf_counter()
            if kind == "bot":
                os.kill(record.pid or 0, signal.SIGKILL)
            else:
                victim.signal(signal.SIGKILL if kind == "runner" else signal.SIGTERM)
            await runs_again(changes, record)
            seconds.append(time.perf_counter() - began)
            if kind != "bot":
                plane.runners.remove(victim)
                plane.runners.append(plane.runner())
            body = {"sessionId": record.session_id}
            async with client.post(f"{plane.gateway.url}/leave", json=body) as answer:
                await answer.read()
            print(f"  {number + 1}: {seconds[-1]:.2f} s", flush=True)
    return seconds


async def runs_again(changes: AsyncIterator[StateChange], record: SessionRecord) -> None:
    async for change in changes:
        if change.session_id == record.session_id and change.epoch > record.epoch:
            if change.state == "running":
                return
            assert change.state in {"queued", "starting"}, change


async def bots_live_on(plane: Plane, bots: int, rounds: int) -> list[float]:
    """Return for each kill of a runner the milliseconds after which the last of its bots was gone."""
    last = []
    async with aiohttp.ClientSession(headers=HEADERS) as client:
        for number in range(rounds):
            await ready(*plane.runners)
            # Three times as many sessions, spread over the runners.
            records = [
                await plane.join(client, f"c{number}-{one}") for one in range(bots * RUNNERS)
            ]
            victim = plane.runner_of(records[0])
            pids = [item.pid or 0 for item in records if item.runner_url == victim.url]
            began = time.perf_counter()
            victim.signal(signal.SIGKILL)
            await until(functools.partial(are_gone, pids))
            last.append((time.perf_counter() - began) * 1000)
            plane.runners.remove(victim)
            plane.runners.append(plane.runner())
            for record in records:
                body = {"sessionId": record.session_id}
                async with client.post(f"{plane.gateway.url}/leave", json=body) as answer:
                    await answer.read()
            print(f"  {number + 1}: {len(pids)} bots, {last[-1]:.0f} ms", flush=True)
    return last


def are_gone(pids: list[int]) -> bool:
    return not any(map(lives, pids))


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


RUNNER_STAND_IN = """
import asyncio, sys

HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"

async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(HEAD)
    while not writer.is_closing():
        writer.write(b"c\\r\\n: watching\\n\\n\\r\\n")
        await asyncio.sleep(5)

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
WATCHED_S = 30.0


async def watch_cost(runners: int) -> None:
    """Hold the watch connections of so many runners, and print what they cost the operator."""
    stand_in = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUNNER_STAND_IN, stdout=asyncio.subprocess.PIPE
    )
    assert stand_in.stdout is not None
    url = f"http://127.0.0.1:{int(await stand_in.stdout.readline())}"
    closed: list[str] = []

    async def report(runner_id: str) -> None:
        closed.append(runner_id)

    async with open_connections(None, limit=0) as connections:
        watches = RunnerWatches(RunnerClient(HttpClient(connections), lambda: ("s" * 16,)), report)
        before_kb, began, cpu = memory_kb(), time.perf_counter(), time.process_time()
        watches.refresh({f"r{number}": url for number in range(runners)})
        await until(lambda: descriptors() >= runners, 60)
        await asyncio.sleep(1)
        opened = [time.perf_counter() - began - 1, (time.process_time() - cpu) * 1000]
        held_kb, cpu = memory_kb() - before_kb, time.process_time()
        await asyncio.sleep(WATCHED_S)
        share = (time.process_time() - cpu) / WATCHED_S * 100
        await watches.close()
    stand_in.kill()
    await stand_in.wait()
    show(
        f"Watch connections of {runners} runners at one operator",
        ["opened, s", "CPU of that, ms", "CPU, % of a core", "memory of each, KB", "closed"],
        [
            [
                f"{opened[0]:.2f}",
                f"{opened[1]:.0f}",
                f"{share:.2f}",
                f"{held_kb / runners:.1f}",
                len(closed),
            ]
        ],
    )


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def memory_kb() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0])


async def _run(processes: Processes, options: argparse.Namespace) -> None:
    store = RedisStore(processes.redis_url)
    plane = Plane(processes, store, grace="0" if options.kill == "drain" else "30")
    await plane.start()
    header = ["", "rounds", "p50", "p99", "worst"]
    if options.bots:
        values = await bots_live_on(plane, options.bots, options.rounds)
        title, unit = f"Until the last of {options.bots} bots of a killed runner is gone", "ms"
    else:
        values = await silences(plane, options.kill, options.rounds)
        title, unit = "From the death until the next bot runs", "s"
    row = [quantile(values, 0.5), quantile(values, 0.99), max(values)]
    show(title, header, [[f"{options.kill}, {unit}", len(values), *(f"{v:.2f}" for v in row)]])
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kill", choices=["runner", "bot", "drain"], default="runner")
    parser.add_argument("--rounds", type=int, default=50, help="kills (default 50)")
    parser.add_argument("--bots", type=int, default=0, help="only how long so many bots live on")
    parser.add_argument("--watch", type=int, default=0, help="only the cost of so many watches")
    options = parser.parse_args()
    if options.watch:
        asyncio.run(watch_cost(options.watch))
        return
    with tempfile.TemporaryDirectory(prefix="cordboard-survival-") as directory:
        Path(directory, "bot.py").write_text(BOT)
        server = EmbeddedServer()
        server.start()
        processes = Processes(Path(directory), server.url)
        try:
            asyncio.run(_run(processes, options))
        finally:
            processes.stop()
            server.stop()


if __name__ == "__main__":
    main()
