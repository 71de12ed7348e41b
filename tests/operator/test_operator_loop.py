"""The operator's loops against a real store, with a stand-in for the runner."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest

from cordboard import emit
from cordboard.contract.credential import runner_credential
from cordboard.contract.errors import LaunchError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.launchers import ColdRunnerEnd, LaunchStatus
from cordboard.operator.loop import Loop, LoopTimes
from cordboard.operator.placement import Placer
from cordboard.operator.plan import DEFAULT_THRESHOLDS, Thresholds
from cordboard.operator.recovery import Sweeper
from cordboard.operator.runner_client import SessionRunners
from cordboard.operator.transfer import launcher_suffix
from cordboard.store import Holder, Placement, RedisStore, Registration, SessionRecord
from cordboard.web.http_client import HttpClient
from cordboard.web.runner_client import RunnerClient
from tests_support import StandIn, until


@dataclass
class RecordingLauncher:
    """Records the starts that are requested; fails on demand."""

    capacity: int = 9
    fails: bool = False
    states: dict[str, LaunchStatus] = field(default_factory=dict)
    bots: frozenset[str] | None = None
    max_runners: int = 9
    ends: "asyncio.Queue[ColdRunnerEnd]" = field(default_factory=asyncio.Queue)

    def job_name(self, launch: Launch) -> str:
        return f"cold-{launch.session_id}-{launch.epoch}"

    async def start(self, name: str, launch: Launch) -> None:
        if self.fails:
            raise LaunchError("No more processes.")
        self.states[name] = "alive"

    async def status(self, name: str) -> LaunchStatus:
        return self.states.get(name, "unknown")

    async def next_end(self) -> ColdRunnerEnd:
        return await self.ends.get()

    async def stop(self, name: str) -> None:
        self.states[name] = "ended"

    async def reserve(self) -> bool:
        return len(self.states) < self.capacity

    async def close(self) -> None:
        pass


TIMES = LoopTimes(read_block_ms=20, retry_s=0.02, hold_s=0.05, sweep_s=0.05, transfer_wait_s=0.1)


@dataclass
class Plane:
    """Operators and what they work with."""

    store: RedisStore
    stand_in: StandIn
    launcher: RecordingLauncher
    records: list[dict[str, Any]]

    @asynccontextmanager
    async def operator(
        self,
        name: str,
        launcher: RecordingLauncher,
        times: LoopTimes = TIMES,
        thresholds: Thresholds = DEFAULT_THRESHOLDS,
    ) -> AsyncIterator[None]:
        """Run an operator."""
        async with aiohttp.ClientSession() as client:
            runners = SessionRunners(RunnerClient(HttpClient(client), lambda: ("s",)))
            placer = Placer(self.store, runners, launcher)
            sweeper = Sweeper(self.store, runners, launcher, thresholds)
            loop = Loop(name, self.store, placer, sweeper, times)
            task = asyncio.create_task(loop.run())
            yield
            await loop.drain()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def join(self, session_id: str = "a", **over: Any) -> int:
        launch = Launch(session_id, f"webrtc:{session_id}", epoch=1, **over)
        return (await self.store.accept(launch, queue_max=100)).epoch

    async def warm(self, runner_id: str = "r1", capacity: int = 4, url: str | None = None) -> None:
        await self.store.register(Registration(runner_id, url or self.stand_in.url, capacity))

    async def state(self, session_id: str, *wanted: str) -> SessionRecord:
        async def there() -> SessionRecord | None:
            record = await self.store.session(session_id)
            return record if record.state in wanted else None

        found: SessionRecord = await until(there)
        return found

    def events(self, session_id: str) -> list[str]:
        return [r["event"] for r in self.records if r["sessionId"] == session_id and "event" in r]


@pytest.fixture
async def idle_plane(store: RedisStore, stand_in: StandIn) -> AsyncIterator[Plane]:
    """A plane without an operator."""
    stand_in.answers["/start"] = (200, {"status": "running"})
    with emit.capture() as records:
        yield Plane(store, stand_in, RecordingLauncher(capacity=0), records)


@pytest.fixture
async def plane(idle_plane: Plane) -> AsyncIterator[Plane]:
    """A plane with one operator."""
    async with idle_plane.operator("op-1", idle_plane.launcher):
        yield idle_plane


class TestPlacing:
    async def test_join_goes_to_a_warm_runner(self, plane: Plane) -> None:
        """A join goes to a warm runner by /start, and leaves the queue at hand-over."""
        await plane.warm()
        epoch = await plane.join(user_name="Ada", body={"x": 1}, token="t")
        await plane.state("a", "starting")
        await until(lambda: "launch.assigned" in plane.events("a"))
        ((method, path, body, headers),) = plane.stand_in.asked
        assert (method, path) == ("POST", "/start")
        assert body == {
            "sessionId": "a", "epoch": epoch, "room_url": "webrtc:a", "token": "t", "body": {"x": 1},
            "sessionUserName": "Ada", "bot": "default", "attempt": 1, "maxDurationSeconds": 14400,
        }  # fmt: skip
        assert headers["authorization"] == f"Bearer {runner_credential('s', plane.stand_in.url)}"
        assert headers["x-session-id"] == "a"
        assert await plane.store.queue.depth() == 0
        assert plane.events("a") == ["launch.claimed", "launch.assigned"]

    async def test_join_waits_for_a_runner(self, plane: Plane) -> None:
        """A join with no runner waits, and goes to the first one that comes."""
        await plane.join()
        await until(lambda: "launch.claimed" in plane.events("a"))
        assert (await plane.store.session("a")).state == "queued"
        await plane.warm()
        await plane.state("a", "starting")

    async def test_refused_session_goes_to_another_runner(self, plane: Plane) -> None:
        """A runner that refuses is fenced by a higher epoch, and another is asked."""
        plane.stand_in.answers["/start"] = (409, {"code": "busy", "detail": "full"})
        await plane.warm("full", capacity=9)
        await plane.join()
        await until(lambda: "launch.failed" in plane.events("a"))
        plane.stand_in.answers["/start"] = (200, {})
        await plane.warm("free", capacity=1)
        record = await plane.state("a", "starting")
        assert (record.runner_id, record.epoch, record.attempt) == ("free", 2, 1)

    async def test_unreachable_runner_costs_an_epoch(self, plane: Plane) -> None:
        """A runner that cannot be reached costs the session an epoch, not its life."""
        await plane.warm("gone", url="http://127.0.0.1:9", capacity=9)
        await plane.join()
        await until(lambda: "launch.failed" in plane.events("a"))
        await plane.warm("r1", capacity=1)
        assert (await plane.state("a", "starting")).runner_id == "r1"

    async def test_join_without_warm_runner_starts_a_cold_one(self, plane: Plane) -> None:
        """Without a free warm runner a cold one is started."""
        plane.launcher.capacity = 1
        await plane.join()
        record = await plane.state("a", "starting")
        assert (record.type, record.job_name) == ("cold", "cold-a-1")
        await until(lambda: "launch.job_created" in plane.events("a"))
        assert await plane.store.queue.depth() == 0

    async def test_failed_cold_start_is_repeated(self, plane: Plane) -> None:
        """A cold start that fails is taken back, and tried again until the deadline."""
        plane.launcher.capacity, plane.launcher.fails = 1, True
        await plane.join()
        await until(lambda: "launch.failed" in plane.events("a"))
        plane.launcher.fails = False

        async def is_repeated() -> bool:  # the failure is logged before the start is taken back
            record = await plane.store.session("a")
            return record.state == "starting" and record.epoch > 1

        await until(is_repeated)

    async def test_cold_runner_that_dies_is_replaced_twice(self, plane: Plane) -> None:
        """A cold runner that ends before its session runs is replaced, twice, then it has failed."""
        plane.launcher.capacity = 99
        await plane.join()
        await plane.state("a", "starting")

        async def kill_until_failed() -> bool:
            for name in plane.launcher.states:
                plane.launcher.states[name] = "ended"
            return (await plane.store.session("a")).state == "failed"

        await until(kill_until_failed)
        record = await plane.store.session("a")
        assert record.reason == "launch_failed"
        assert len(plane.launcher.states) == 3

    async def test_cancelled_join_is_not_handed_over(self, plane: Plane) -> None:
        """A join that was cancelled is never handed over."""
        await plane.join()
        await until(lambda: "launch.claimed" in plane.events("a"))
        await plane.store.leave(session_id="a")
        await plane.warm()
        await plane.join("b")
        await until(lambda: "launch.assigned" in plane.events("b"))
        assert [body["sessionId"] for _, _, body, _ in plane.stand_in.asked] == ["b"]

    async def test_unreadable_entry_becomes_a_dead_letter(self, plane: Plane) -> None:
        """An entry that cannot be read goes to the dead letters, and one error line tells."""
        await plane.store.connection.client.xadd(plane.store.keys.launches, {"v": "2"})
        await until(lambda: [r for r in plane.records if r["level"] == "error"])
        await until(lambda: plane.store.connection.client.xlen(plane.store.keys.dead_letters))
        assert await plane.store.queue.depth() == 0

    async def test_oldest_join_is_handed_over_first(self, plane: Plane) -> None:
        """Joins that wait are handed over in the order in which they were accepted."""
        names = [f"s{i}" for i in range(20)]
        for name in names:
            await plane.join(name)
        await until(lambda: all("launch.claimed" in plane.events(name) for name in names))
        await plane.warm(capacity=20)
        await until(lambda: len(plane.stand_in.asked) == 20)
        starts = [(await plane.store.session(name)).stages["starting"] for name in names]
        assert starts == sorted(starts)

    async def test_session_of_an_unreadable_entry_fails(self, plane: Plane) -> None:
        """The session of an entry that cannot be read ends at once, with the reason."""
        await plane.store.accept(Launch("a", "webrtc:a", epoch=1, bot="none"), queue_max=9)
        fields = {"v": "1", "session_id": "a", "epoch": "1", "attempt": "1", "launch": '{"v":9}'}
        await plane.store.connection.client.xadd(plane.store.keys.launches, fields)
        record = await plane.state("a", "failed")
        assert record.reason == "launch_failed"
        assert "version 9" in (record.detail or "")

    async def test_entries_of_a_dead_operator_are_taken_over(self, idle_plane: Plane) -> None:
        """An entry that a dead operator had read goes to a runner all the same."""
        await idle_plane.join()
        await idle_plane.store.queue.read("dead", count=10, block_ms=1)
        await idle_plane.warm()
        times = replace(TIMES, abandoned_ms=50)
        async with idle_plane.operator("op-1", idle_plane.launcher, times):
            await idle_plane.state("a", "starting")


class TestBots:
    """Operators whose runners do not have the same bots."""

    async def test_bot_without_cold_runner_waits_for_a_warm_one(self, plane: Plane) -> None:
        """A bot that no runner of this operator has fails no join; a warm runner that has it takes it."""
        plane.launcher.capacity, plane.launcher.bots = 9, frozenset({"default"})
        await plane.join(bot="other")
        await until(lambda: "launch.claimed" in plane.events("a"))
        await asyncio.sleep(0.2)
        assert (await plane.store.session("a")).state == "queued"
        assert plane.launcher.states == {}
        await plane.store.register(Registration("r1", plane.stand_in.url, 4, ("other",)))
        assert (await plane.state("a", "starting")).type == "warm"

    @pytest.mark.parametrize("bots", [frozenset({"other"}), None])
    async def test_join_is_transferred_to_an_operator_that_has_the_bot(
        self, plane: Plane, bots: frozenset[str] | None
    ) -> None:
        """What one operator cannot start goes to one that can, though the first had read it."""
        plane.launcher.capacity, plane.launcher.bots = 9, frozenset({"default"})
        await plane.join(bot="other")
        await until(lambda: "launch.claimed" in plane.events("a"))
        able = RecordingLauncher(bots=bots)
        async with plane.operator("op-2" + launcher_suffix(able), able):
            record = await plane.state("a", "starting")
        assert (record.type, list(able.states)) == ("cold", ["cold-a-1"])
        assert plane.launcher.states == {}

    async def test_join_for_an_unknown_bot_expires_and_says_so(self, plane: Plane) -> None:
        """Where nobody has the bot, the join fails at its deadline and says so."""
        plane.launcher.capacity, plane.launcher.bots = 9, frozenset({"default"})
        await plane.warm()
        await plane.join(bot="other", deadline_s=1)
        record = await plane.state("a", "expired")
        assert (record.reason, record.detail) == (
            "deadline",
            'No warm runner has the bot "other", and no operator started a cold one in time.',
        )

    async def test_join_without_a_slot_expires_without_naming_bots(self, plane: Plane) -> None:
        """Where a runner has the bot, but no slot, the deadline says nothing of bots."""
        await plane.warm(capacity=0)
        await plane.join(deadline_s=1)
        assert not (await plane.state("a", "expired")).detail


class TestSweep:
    async def run(self, plane: Plane, url: str | None = None) -> None:
        await plane.warm(url=url)
        epoch = await plane.join()
        await plane.state("a", "starting")
        holder = Holder("r1", url or plane.stand_in.url, "warm", 42)
        await plane.store.confirm_running("a", epoch, holder)
        await plane.store.connection.client.zadd(plane.store.keys.leases, {"a": 1e13})

    async def overdue(self, plane: Plane, ms: int, *sids: str) -> None:
        """Let leases have run out, all in one moment: no sweep sees some of them alone."""
        seconds, micros = await plane.store.connection.client.time()
        now = seconds * 1000 + micros // 1000
        ended = dict.fromkeys(sids or ("a",), now - ms)
        await plane.store.connection.client.zadd(plane.store.keys.leases, ended)

    @pytest.mark.parametrize(
        "answer",
        [
            (404, {}),
            (200, {"status": "running", "epoch": 99}),
            (200, {"status": "ended", "epoch": 1}),
            (200, {"status": "ended", "epoch": 1, "reason": "lease_lost"}),
            (200, {"status": "ended", "epoch": 1, "reason": "runner_lost"}),
        ],
    )
    async def test_confirmed_death_is_recovered(
        self, plane: Plane, answer: tuple[int, Any]
    ) -> None:
        """A lease has run out and the runner does not hold it: handed on, same id, higher epoch."""
        await self.run(plane)
        plane.stand_in.answers["/sessions/a"] = answer
        await self.overdue(plane, 1)
        await until(lambda: "session.recovered" in plane.events("a"))
        record = await plane.state("a", "starting")
        assert record.epoch > 1
        assert record.attempt == 2
        assert "lease.expired" in plane.events("a")

    async def test_nothing_is_recovered_before_the_bots_must_be_gone(
        self, idle_plane: Plane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A runner may have died just before it is asked; its bot outlives it for a moment."""
        plane = idle_plane
        await plane.warm()
        epoch = await plane.join()
        await plane.store.placement.assign("a", epoch)
        await plane.store.confirm_running("a", epoch, Holder("r1", "http://127.0.0.1:9", "warm", 1))
        await self.overdue(plane, 1)
        states, sleep = [], asyncio.sleep

        async def sleep_no_longer(delay_s: float) -> None:
            if delay_s == 600.0:
                states.append((await plane.store.session("a")).state)
                delay_s = 0
            await sleep(delay_s)

        monkeypatch.setattr(asyncio, "sleep", sleep_no_longer)
        async with aiohttp.ClientSession() as client:
            runners = SessionRunners(RunnerClient(HttpClient(client), lambda: ("s",)))
            await Sweeper(plane.store, runners, None, bots_end_s=600.0).sweep()
        assert states == ["running"]
        assert (await plane.state("a", "queued")).recovery == "died"

    async def test_recovery_keeps_the_trace(self, plane: Plane) -> None:
        """The lines of a recovery belong to the trace of the join, as all others do."""
        trace_id = "0af7651916cd43dd8448eb211c80319c"
        await plane.warm()
        epoch = await plane.join(traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
        await plane.state("a", "starting")
        await plane.store.confirm_running("a", epoch, Holder("r1", plane.stand_in.url, "warm", 42))
        plane.stand_in.answers["/sessions/a"] = (404, {})
        await self.overdue(plane, 1)
        await until(lambda: "session.recovered" in plane.events("a"))
        traces = {r["event"]: r.get("traceId") for r in plane.records if r["sessionId"] == "a"}
        assert traces["lease.expired"] == traces["session.recovered"] == trace_id

    async def test_expired_lease_is_logged_once(
        self, plane: Plane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While Redis takes no writes it is tried at each look, and told of when it is done."""
        tried: list[str] = []
        recover = Placement.recover

        async def refused(self: Placement, session_id: str, *args: Any, **told: Any) -> Any:
            tried.append(session_id)
            if len(tried) < 4:
                raise StoreUnavailableError("Redis takes no writes: NOREPLICAS.")
            return await recover(self, session_id, *args, **told)

        monkeypatch.setattr(Placement, "recover", refused)
        await self.run(plane)
        plane.stand_in.answers["/sessions/a"] = (404, {})
        await self.overdue(plane, 1)
        await until(lambda: "session.recovered" in plane.events("a"))
        assert len(tried) >= 4
        assert plane.events("a").count("lease.expired") == 1

    async def test_unwritten_end_is_written(self, plane: Plane) -> None:
        """A lease has run out and the runner tells an end: that end is written; nothing runs again."""
        await self.run(plane)
        epoch = (await plane.store.session("a")).epoch
        told = {"status": "ended", "epoch": epoch, "reason": "bot_crashed", "detail": "oh"}
        plane.stand_in.answers["/sessions/a"] = (200, told)
        await self.overdue(plane, 1)
        record = await plane.state("a", "failed")
        assert (record.reason, record.detail, record.epoch) == ("bot_crashed", "oh", epoch)
        assert "session.recovered" not in plane.events("a")
        assert plane.events("a").count("session.ended") == 1

    @pytest.mark.parametrize("status", ["starting", "stopping"])
    async def test_holder_that_starts_or_stops_its_bot_keeps_the_session(
        self, plane: Plane, status: str
    ) -> None:
        """A session whose bot is being started or stopped is not taken from its runner."""
        await self.run(plane)
        epoch = (await plane.store.session("a")).epoch
        plane.stand_in.answers["/sessions/a"] = (200, {"status": status, "epoch": epoch})
        await self.overdue(plane, 1000)
        await until(lambda: len([a for a in plane.stand_in.asked if a[1] == "/sessions/a"]) > 2)
        assert (await plane.store.session("a")).state == "running"

    async def test_holder_that_answers_keeps_the_session(self, plane: Plane) -> None:
        """A holder that answers that it holds the session is not reaped on one sign alone."""
        await self.run(plane)
        plane.stand_in.answers["/sessions/a"] = (200, {"status": "running", "epoch": 1})
        await self.overdue(plane, 1000)
        await until(lambda: len([a for a in plane.stand_in.asked if a[1] == "/sessions/a"]) > 2)
        assert (await plane.store.session("a")).state == "running"

    async def test_crowd_of_suspects_is_not_recovered_at_once(self, idle_plane: Plane) -> None:
        """When many sessions look dead at once, one line says so and none is recovered."""
        patient = Thresholds(crowd_wait_s=60)
        async with idle_plane.operator("op-1", idle_plane.launcher, thresholds=patient):
            await self.crowd(idle_plane)

    async def crowd(self, plane: Plane) -> None:
        plane.stand_in.answers["/sessions/a"] = (404, {})
        for sid in ("a", "b", "c"):
            await plane.warm(capacity=9)
            epoch = await plane.join(sid)
            await plane.state(sid, "starting")
            await plane.store.confirm_running(
                sid, epoch, Holder("r1", plane.stand_in.url, "warm", 42)
            )
        await self.overdue(plane, 1, "a", "b", "c")
        await until(lambda: [r for r in plane.records if "look dead at once" in r["message"]])
        await asyncio.sleep(0.2)
        assert "lease.expired" not in plane.events("a")
        for sid in ("b", "c"):  # it was Redis: they renew
            await plane.store.connection.client.zadd(plane.store.keys.leases, {sid: 1e13})
        await until(lambda: "session.recovered" in plane.events("a"))
        assert "lease.expired" not in plane.events("b")
        assert len([r for r in plane.records if "look dead at once" in r["message"]]) == 1

    async def test_silent_holder_is_given_up(self, idle_plane: Plane) -> None:
        """A holder whose death nobody can confirm is given up when it must have stopped."""
        impatient = Thresholds(patience_s=0.2)
        idle_plane.stand_in.answers["/sessions/a"] = (500, {})
        async with idle_plane.operator("op-1", idle_plane.launcher, thresholds=impatient):
            await self.run(idle_plane)
            await self.overdue(idle_plane, 75_000)
            assert (await idle_plane.state("a", "starting")).epoch > 1

    async def test_join_past_its_deadline_expires_once(self, plane: Plane) -> None:
        """What does not run by its deadline ends as expired, told once."""
        await plane.join(deadline_s=1)
        record = await plane.state("a", "expired")
        assert record.reason == "deadline"
        await until(lambda: "session.ended" in plane.events("a"))
        assert plane.events("a").count("session.ended") == 1
        (ended,) = (line for line in plane.records if line.get("event") == "session.ended")
        assert ended["meta"]["recoveries"] == 0
