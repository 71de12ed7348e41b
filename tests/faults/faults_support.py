"""Drives a whole plane of real processes while one of them is killed or frozen at a named point."""

import asyncio
import contextlib
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from cordboard.contract.errors import NotFoundError, StoreUnavailableError
from cordboard.store import RedisStore, SessionStore, open_store
from faults.history import Event, Violation, judge
from plane_support import HEADERS, Part, Processes, ready
from tests_support import until

LEASE_S = 2
LATE_S = 20.0  # what a machine that is shared with others may need
RECOVERY_S = LEASE_S * 6 + 15.0

BOT = '''
"""Writes down that it is in the room, as long as it is."""
import asyncio, json, os, time

async def bot(args):
    body = args.body
    who = {"sid": body["session_id"], "room": body["room_url"], "epoch": body["epoch"],
           "attempt": body["attempt"], "pid": os.getpid()}
    with open(FILE, "ab", buffering=0) as file:
        def say(kind, **more):
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            file.write(json.dumps({"kind": kind, "at": now, **who, **more}).encode() + b"\\n")
        say("enter")
        try:
            until = time.monotonic() + body.get("seconds", 1.5)
            while time.monotonic() < until:
                say("tick")
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            say("exit", how="cancelled")
            raise
        say("exit", how="finished")
'''

_numbers = itertools.count()


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Plane:
    """A plane under test: the processes that stay healthy, and what everybody writes down."""

    processes: Processes
    store: SessionStore
    client: aiohttp.ClientSession
    file: Path
    gateways: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)

    async def have(self, *names: str) -> None:
        """Make sure that these healthy parts run, and no others."""
        for name, part in list(self.parts.items()):
            if name not in names:
                del self.parts[name]
                await asyncio.to_thread(part.stop if name == "runner" else part.kill)
        for name in names:
            if name not in self.parts or not self.parts[name].alive:
                self.parts[name] = self.spawn(name)
        await ready(*(self.parts[name] for name in names))
        if "gateway" in self.parts:
            self.gateways = [self.parts["gateway"].url]

    def spawn(self, name: str, *words: str, faults: str = "", **over: Any) -> Part:
        more = {"runner": ("--bot", "writing.py"), "operator": ("--launcher", "none")}.get(name, ())
        capacity = ("--capacity", "4") if name == "runner" and not words else ()
        env = {"CORDBOARD_FAULTS": faults} | over.pop("env", {})
        return self.processes.spawn(name, *more, *capacity, *words, env=env, **over)

    async def call(self, sid: str, *, leave: bool = False, **body: Any) -> None:
        """Be a caller: join, come back when refused, perhaps leave, and see the session's end."""
        wanted = {
            "room_url": f"https://rooms.example/{sid}",
            "sessionId": sid,
            "deadlineSeconds": 30,
        }
        await self.join(wanted | body)
        if leave:
            await asyncio.sleep(0.4)
            await self.leave(sid)
        await self.end(sid)

    async def join(self, body: dict[str, Any]) -> dict[str, Any]:
        while True:
            for url in list(self.gateways):
                status, answer = await self._post(f"{url}/join", body)
                self.events.append(
                    {"kind": "join", "sid": body["sessionId"], "room": body["room_url"],
                     "at": now(), "status": status, "answer": answer,
                     "deadline_s": body.get("deadlineSeconds", 60)}
                )  # fmt: skip
                if status in {200, 202}:
                    return answer
            await asyncio.sleep(0.1)

    async def leave(self, sid: str) -> None:
        self.events.append({"kind": "leave", "sid": sid, "at": now()})
        while True:
            for url in list(self.gateways):
                status, _ = await self._post(f"{url}/leave", {"sessionId": sid})
                if status == 200:
                    return
            await asyncio.sleep(0.1)

    async def end(self, sid: str, timeout_s: float = 60) -> None:
        """Wait for the session's end, as its record tells it."""

        async def over() -> Any:
            with contextlib.suppress(StoreUnavailableError, NotFoundError):
                record = await self.store.session(sid)
                return None if record.live else record
            return None

        record = await until(over, timeout_s)
        self.events.append(
            {"kind": "end", "sid": sid, "state": record.state, "reason": record.reason,
             "epoch": record.epoch, "attempt": record.attempt,
             "seconds": (record.stages["ended"] - record.created_ms) / 1000}
        )  # fmt: skip

    async def _post(self, url: str, body: Any) -> tuple[int, dict[str, Any]]:
        try:
            async with self.client.post(url, json=body) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, {}

    async def listen(self) -> None:
        """Write down every change of state that the store tells."""
        await asyncio.gather(*map(self._follow, self.store.shards))

    async def _follow(self, shard: RedisStore) -> None:
        while True:
            with contextlib.suppress(StoreUnavailableError):
                await self._listen(shard)
            await asyncio.sleep(0.1)

    async def _listen(self, shard: RedisStore) -> None:
        async with shard.changes() as changes:
            async for change in changes:
                self.events.append(
                    {"kind": "change", "sid": change.session_id, "state": change.state,
                     "epoch": change.epoch}
                )  # fmt: skip

    def written(self) -> list[Event]:
        """What bots have written down; a line that is being written comes with the next reading."""
        whole, _, _ = self.file.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def entered(self, *sids: str) -> int:
        """How many bots have entered the rooms of these sessions."""
        return sum(event["kind"] == "enter" and event["sid"] in sids for event in self.written())

    def verdict(self, *sids: str, recovery_s: float = RECOVERY_S) -> list[Violation]:
        """Judge what was written about these sessions."""
        ours = [event for event in (*self.events, *self.written()) if event["sid"] in sids]
        return judge(ours, late_s=LATE_S, recovery_s=recovery_s)


@asynccontextmanager
async def plane_of(
    processes: Processes, *, shards: int = 1, lease_s: float = LEASE_S
) -> AsyncIterator[Plane]:
    """Open what a test needs of the plane."""
    file = processes.directory / "history.jsonl"
    file.touch()
    (processes.directory / "writing.py").write_text(BOT.replace("FILE", repr(str(file))))
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        open_store(processes.redis_url, shards=shards, lease_s=lease_s) as store,
        aiohttp.ClientSession(headers=HEADERS, timeout=timeout) as client,
    ):
        plane = Plane(processes, store, client, file)
        listening = asyncio.create_task(plane.listen())
        yield plane
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


@dataclass(frozen=True)
class Fault:
    """Which process is ended or frozen at which point."""

    role: str
    point: str
    action: str = "kill"

    def __str__(self) -> str:
        return f"{self.role}-{self.point}-{self.action}"


async def run_fault(plane: Plane, fault: Fault) -> tuple[list[Violation], bool]:
    """Run calls through a process that fails at a point; return what was broken, and if it failed."""
    number = next(_numbers)
    sids = [f"f{number}-{i}" for i in range(6)]
    await plane.have(*({"gateway", "operator", "runner"} - {fault.role} | _kept(fault.role)))
    victim = plane.spawn(
        fault.role,
        *(("--capacity", "9") if fault.role == "runner" else ()),
        faults=f"{fault.point}={fault.action}",
    )
    other = None
    if fault.point.startswith("recover"):
        other = plane.spawn("runner", "--capacity", "20")
        await ready(other)
    await _up(victim, fault)
    if fault.role == "gateway":
        plane.gateways.insert(0, victim.url)
    calls = [
        asyncio.create_task(plane.call(sid, leave=i < 2, **_body(fault, i)))
        for i, sid in enumerate(sids)
    ]
    if other is not None:
        await until(lambda: sids[5] in plane.file.read_text())
        other.kill()
    failed = await _failed(victim, fault, calls)
    await _healed(plane, victim, fault)
    await asyncio.wait_for(asyncio.gather(*calls), 90)
    if victim.alive:
        await asyncio.to_thread(victim.stop)
    return plane.verdict(*sids), failed


def _kept(role: str) -> set[str]:
    """A second gateway and a second runner are there from the start; a second operator comes later."""
    return set() if role == "operator" else {role}


def _body(fault: Fault, number: int) -> dict[str, Any]:
    if fault.point.startswith("expire") and number >= 3:
        return {"bot": "nobody", "deadlineSeconds": 1}
    return {"body": {"seconds": 3.0 if fault.point.startswith("recover") else 1.5}}


async def _up(victim: Part, fault: Fault) -> None:
    if fault.point.startswith("register"):
        await until(lambda: not victim.alive, 40)
        return
    await ready(victim)


async def _failed(victim: Part, fault: Fault, calls: list[asyncio.Task[None]]) -> bool:
    """Wait for the fault (or for the end of all calls without it)."""
    while not _has_failed(victim, fault):
        if all(call.done() for call in calls):
            return False
        await asyncio.sleep(0.02)
    return True


def _has_failed(victim: Part, fault: Fault) -> bool:
    if fault.action == "kill":
        return not victim.alive
    try:
        stat = Path(f"/proc/{victim.pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "T"


async def _healed(plane: Plane, victim: Part, fault: Fault) -> None:
    """What a cluster would do: start another; a frozen process thaws after its lease."""
    if fault.role == "operator":
        await plane.have("gateway", "operator", "runner")
    if fault.action == "stop":
        await asyncio.sleep(LEASE_S * 2)
        victim.signal(signal.SIGCONT)
    if fault.role == "gateway":
        plane.gateways.remove(victim.url)
