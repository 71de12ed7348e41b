"""Makes the planted calls: by `cordboard call` in this process, on a plane whose parts are killed and stopped."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from why.evidence import Evidence, Lateness, prefer
from why.impairment import Impairment, impaired
from why.pages import PageLines
from why.plantings import MIXED, Planting

from cordboard.call import CallOptions, place_call
from cordboard.call.options import CallTimeouts
from cordboard.processes import descendants_of
from plane_support import HEADERS, SECRET, Part, Processes, ask, ready
from tests_support import until

HERE = Path(__file__).parent
SPEECH = HERE.parents[1] / "examples" / "hello.wav"
CAPACITY = "12"
TIMEOUTS = CallTimeouts(connected=13.0, audio=12.0, running=70.0)
LEASE_S = "5"  # bots stop 25 s after Redis has gone
LIVE_S = 60.0
BATCH = 5


@dataclass
class Stage:
    """A plane, and the calls that are made on it.

    Attributes:
        processes: Starts the plane.
        redis_pid: The process of its Redis.
        services: Where the doubles answer.
        plans: What the doubles do, by session.
        evidence: What is measured of each call, by session.
        page: Writes lines as a page would.
        at_once: Calls at the same time.
        nice: The nice value of the runners, whose bots must not be late.
    """

    processes: Processes
    redis_pid: int
    services: str
    plans: dict[str, dict[str, Any]]
    evidence: dict[str, Evidence]
    page: PageLines
    at_once: int
    nice: int = 0
    runners: list[Part] = field(default_factory=list)

    async def run(self, calls: Sequence[Planting]) -> None:
        """Make all calls, those of each kind together."""
        for planting in calls:
            self.plans[planting.session] = planting.plan
            planting.impairment = planting.impairment or Impairment()  # which counts packets
        preferring = asyncio.create_task(self._prefer_bots())
        lateness = Lateness()
        try:
            with lateness.measured(self.nice):
                await self._run(calls)
        finally:
            preferring.cancel()
            for planting in calls:
                seen = self.evidence[planting.session]
                if planting.impairment:
                    seen.packets = planting.impairment.measured()
                    seen.arrivals = planting.impairment.arrivals.measured()
                seen.late = lateness.of(seen.began, seen.ended)

    async def _prefer_bots(self) -> None:
        """Give each bot process, which has a kernel session of its own, the nice value of its runner."""
        known: set[int] = set()
        while self.nice:
            for runner in self.runners:
                bots = descendants_of(runner.pid, 1000) if runner.alive else set()
                for pid in bots - known:
                    with contextlib.suppress(OSError):
                        prefer(pid, self.nice)
                known |= bots
            await asyncio.sleep(0.2)

    async def _run(self, calls: Sequence[Planting]) -> None:
        self.gateway = self.processes.spawn("gateway")
        self.operator = self.processes.spawn("operator", "--launcher", "none")
        self.runners = [self._runner() for _ in range(2)]
        await ready(self.gateway, self.operator, *self.runners, timeout_s=180)
        mixed = [one for one in calls if one.cause in MIXED]
        # A lost line may be of any session of its time: these calls are made when the others are over.
        lossy = [one for one in mixed if one.cause == "lines_lost"]
        await self._many([one for one in mixed if one not in lossy], self.one_call)
        await self._many(lossy, self.one_call)
        for cause, make in (
            ("join_refused", self._join_refused),
            ("runner_killed", self._runners_killed),
            ("redis_away", self._redis_away),
            ("start_failed", self._start_failed),
            ("cold_start_slow", self._cold_starts),
            ("queue_full", self._queue_full),
        ):
            own = [one for one in calls if one.cause == cause]
            if own:
                print(f"  {cause}: {len(own)} calls", flush=True)
                began = time.time()
                await make(own)
                for one in own:
                    seen = self.evidence[one.session]
                    seen.began, seen.ended = seen.began or began, seen.ended or time.time()

    def _runner(self, bot: str = "planted_bot.py") -> Part:
        words = ("--capacity", CAPACITY, "--grace", "0", "--bot", str(HERE / bot))
        part = self.processes.spawn("runner", *words)
        prefer(part.pid, self.nice)
        return part

    async def _many(
        self, calls: Sequence[Planting], make: Callable[[Planting], Awaitable[None]]
    ) -> None:
        gate, done = asyncio.Semaphore(self.at_once), 0

        async def one(planting: Planting) -> None:
            nonlocal done
            seen = self.evidence[planting.session]
            async with gate:
                seen.began = time.time()
                await make(planting)
            await self.ended(planting)
            seen.ended = time.time()
            done += 1
            if done % 10 == 0:
                print(f"  {done} of {len(calls)} calls", flush=True)

        await asyncio.gather(*map(one, calls))

    # --- one call

    async def one_call(self, planting: Planting) -> None:
        """Make one call as it is planted."""
        if planting.how == "no offer":
            await self.join(planting)
        else:
            with impaired(planting.impairment):
                await self._place(planting)

    async def _place(self, planting: Planting) -> None:
        connected = asyncio.Event()

        def staged(stage: Any) -> None:
            if stage.name == ("running" if planting.how == "early" else "connected"):
                connected.set()

        speech = None if planting.how in {"mute", "page closed"} else SPEECH
        options = CallOptions(
            room=f"webrtc:{planting.session}",
            gateway_url=self.gateway.url,
            control_secret=SECRET,
            session_id=planting.session,
            user_name="Ada",
            say=speech,
            seconds=planting.seconds or None,
            timeouts=TIMEOUTS,
            measures=True,
        )
        if planting.lines:
            self.page.say(planting.session, "join.clicked")
        call = asyncio.create_task(place_call(options, staged))
        try:
            if planting.lines or planting.how == "early":
                waiting = asyncio.create_task(connected.wait())
                await asyncio.wait({call, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if planting.how == "early":
                    call.cancel()
                await self._page(planting)
            await call
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
        if planting.lines and planting.how != "page closed":
            self.page.say(planting.session, "Call ended")

    async def _page(self, planting: Planting) -> None:
        """Write the lines of the caller's page at their times."""
        before = 0.0
        for at_s, what, meta in planting.lines:
            await asyncio.sleep(at_s - before)
            before = at_s
            self.page.say(planting.session, what, **meta)

    async def join(self, planting: Planting, gateway: Part | None = None, **more: Any) -> int:
        """Send a join alone; return the status of the answer."""
        body = {"room_url": f"webrtc:{planting.session}", "sessionId": planting.session, **more}
        async with aiohttp.ClientSession(headers=HEADERS) as client:
            status, _ = await ask(client, "POST", f"{(gateway or self.gateway).url}/join", body)
        return status

    async def ended(self, planting: Planting, gateway: Part | None = None) -> None:
        """Wait until the session of a call has ended."""
        url = f"{(gateway or self.gateway).url}/sessions/{planting.session}"
        async with aiohttp.ClientSession(headers=HEADERS) as client:

            async def is_over() -> bool:
                await asyncio.sleep(0.25)  # each question is a line of the session's log
                status, record = await ask(client, "GET", url)
                return status != 200 or record.get("status") not in {
                    "queued",
                    "starting",
                    "running",
                }

            await until(is_over, 120)

    # --- what happens to the plane

    async def _join_refused(self, calls: Sequence[Planting]) -> None:
        """Refuse joins of one tenant, whose only session is live."""
        gateway = self.processes.spawn("gateway", env={"CORDBOARD_SESSIONS_PER_TENANT": "1"})
        await ready(gateway)
        holder = Planting("")
        await self.join(holder, gateway, tenantId="t-1")
        for planting in calls:
            status = await self.join(planting, gateway, tenantId="t-1")
            assert status == 429, status
        await self._leave(holder)

    async def _leave(self, planting: Planting) -> None:
        async with aiohttp.ClientSession(headers=HEADERS) as client:
            await ask(client, "POST", f"{self.gateway.url}/leave", {"sessionId": planting.session})

    async def _live(self, calls: Sequence[Planting]) -> list["asyncio.Task[None]"]:
        """Begin calls, and return them once their bots have been heard."""
        running = []
        for planting in calls:
            planting.seconds = LIVE_S
            running.append(asyncio.create_task(self._place(planting)))

        def all_heard() -> bool:
            return all(
                any("bot.first_audio" in part.events(one.session) for part in self.runners)
                for one in calls
            )

        await until(all_heard, 90)
        await asyncio.sleep(1.5)
        return running

    async def _finish(
        self, calls: Sequence[Planting], running: Sequence["asyncio.Task[None]"]
    ) -> None:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for planting in calls:
            await self.ended(planting)

    async def _runners_killed(self, calls: Sequence[Planting]) -> None:
        """Kill the runner of live calls: half of them go on in another one, half have none."""
        half = len(calls) // 2
        for begin in range(0, half, BATCH):
            await self._killed(calls[begin : min(begin + BATCH, half)], spare=True)
        for begin in range(half, len(calls), 2 * BATCH):
            await self._killed(calls[begin : begin + 2 * BATCH], spare=False)

    async def _killed(self, calls: Sequence[Planting], *, spare: bool) -> None:
        for part in self.runners:
            part.stop()
        self.runners = [self._runner()]
        await ready(*self.runners, timeout_s=120)
        running = await self._live(calls)
        if spare:
            self.runners.append(self._runner())
            await ready(self.runners[1], timeout_s=120)
        self.runners[0].kill()
        if spare:
            second = self.runners[1]
            await until(
                lambda: all("bot.first_audio" in second.events(one.session) for one in calls), 90
            )
            await asyncio.sleep(2)
            await self._finish(calls, running)
        else:
            for planting in calls:
                await self.ended(planting)
            await self._finish(calls, running)
        self.runners = [part for part in self.runners if part.alive]

    async def _redis_away(self, calls: Sequence[Planting]) -> None:
        """Stop Redis: joins are refused, and bots end when their leases cannot be renewed."""
        half = len(calls) // 2
        if not self.runners:
            self.runners = [self._runner()]
            await ready(*self.runners, timeout_s=120)
        running = await self._live(calls[:half])
        os.kill(self.redis_pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(3)
            refused = [self.join(planting) for planting in calls[half:]]
            assert set(await asyncio.gather(*refused)) == {503}

            def all_stopped() -> bool:
                return all(
                    any("lease.lost" in part.events(one.session) for part in self.runners)
                    for one in calls[:half]
                )

            await until(all_stopped, 90)
        finally:
            os.kill(self.redis_pid, signal.SIGCONT)
        await self._finish(calls[:half], running)

    async def _start_failed(self, calls: Sequence[Planting]) -> None:
        """Join without any runner, until the deadline."""
        for part in self.runners:
            part.stop()
        self.runners = []
        for planting in calls:
            await self.join(planting, deadlineSeconds=4)
        for planting in calls:
            await self.ended(planting)

    async def _cold_starts(self, calls: Sequence[Planting]) -> None:
        """Join with cold runners only, whose bot takes long to import; the deadline is short for half of them."""
        for part in self.runners:
            part.stop()
        self.runners = []
        self.operator.stop()
        bot = str(HERE / "slow_bot.py")
        # More than calls at the same time: the runners of the calls before still end.
        words = ("--launcher", "process", "--max-cold", "8", "--bot", bot)
        env = {"PYTHONPATH": str(HERE), "IMPORT_S": "8"}
        self.operator = self.processes.spawn("operator", *words, env=env)
        await ready(self.operator)
        self.at_once = 3
        watching = asyncio.create_task(self._watch_cold_runners())

        async def make(planting: Planting) -> None:
            if int(planting.how) % 2:
                await self.join(planting, deadlineSeconds=6)
            else:
                await self.one_call(planting)

        try:
            await self._many(calls, make)
        finally:
            watching.cancel()

    async def _watch_cold_runners(self) -> None:
        """Note the session of each cold runner: a process of the operator's, with the session in its environment."""
        while True:
            for pid in descendants_of(self.operator.pid, 1000):
                if session := _session_of(pid):
                    self.evidence[session].did = ["cold"]
            await asyncio.sleep(0.2)

    async def _queue_full(self, calls: Sequence[Planting]) -> None:
        """Join while nobody takes launches from a short queue."""
        self.operator.stop()
        gateway = self.processes.spawn("gateway", env={"CORDBOARD_QUEUE_MAX": "1"})
        await ready(gateway)
        await self.join(Planting(""), gateway, deadlineSeconds=600)
        for planting in calls:
            with contextlib.suppress(aiohttp.ClientError):
                status = await self.join(planting, gateway)
                assert status == 429, status


def _session_of(pid: int) -> str:
    """Return the session in the environment of a process; empty if it has none."""
    name = b"BOT_SESSION_ID="
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((word.removeprefix(name).decode() for word in words if word.startswith(name)), "")


def write_logs(processes: Processes, folder: Path) -> None:
    """Write what each process has logged, one folder each, as `cordboard logs` reads it."""
    for number, part in enumerate(processes.parts):
        place = folder / str(number)
        place.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(record, separators=(",", ":")) for record in list(part.records))
        (place / f"{part.name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        if part.other:
            sys.stderr.write(f"{part.name}: {part.other[:3]}\n")
