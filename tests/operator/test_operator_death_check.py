"""Recovery before the lease's end: what a check of a session concludes from its holder's answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from cordboard import emit
from cordboard.contract.launch import Launch
from cordboard.launchers import ColdRunnerEnd, LaunchStatus
from cordboard.operator.death_check import DeathCheck
from cordboard.operator.plan import Action, Sign, decide_early
from cordboard.operator.recovery import Sweeper
from cordboard.operator.runner_client import SessionRunners
from cordboard.store import Holder, RedisStore, Registration, SessionRecord
from cordboard.web import serve
from cordboard.web.http_client import HttpClient
from cordboard.web.runner_client import RunnerClient
from tests_support import StandIn


@dataclass
class OneJob:
    """A launcher that knows the status of every job."""

    state: LaunchStatus
    max_runners: int = 1
    bots: frozenset[str] | None = None

    def job_name(self, launch: Launch) -> str:
        return f"job-{launch.session_id}"

    async def start(self, name: str, launch: Launch) -> None:
        raise NotImplementedError

    async def status(self, name: str) -> LaunchStatus:
        return self.state

    async def next_end(self) -> ColdRunnerEnd:
        raise NotImplementedError

    async def stop(self, name: str) -> None:
        raise NotImplementedError

    async def reserve(self) -> bool:
        return False

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def death_check(
    store: RedisStore, launcher: OneJob | None = None
) -> AsyncIterator[DeathCheck]:
    """A check that waits for nothing."""
    async with aiohttp.ClientSession() as client:
        runners = SessionRunners(RunnerClient(HttpClient(client), lambda: ("s",)))
        sweeper = Sweeper(store, runners, launcher)
        yield DeathCheck(store, sweeper, bots_end_s=0.01, pauses_s=(0.01, 0.01))


@pytest.fixture
async def check(store: RedisStore) -> AsyncIterator[DeathCheck]:
    async with death_check(store) as made:
        yield made


async def hold(
    store: RedisStore, session_id: str, url: str, *, runs: bool = True, job: str | None = None
) -> int:
    """Let a runner hold a session, whose lease lasts; return its epoch."""
    await store.register(Registration("r1", url, 4))
    launch = Launch(session_id, f"webrtc:{session_id}", epoch=1)
    epoch = (await store.accept(launch, queue_max=9)).epoch
    await store.placement.assign(session_id, epoch, job_name=job)
    if runs:
        holder = Holder("c1", url, "cold", 7, job) if job else Holder("r1", url, "warm", 7)
        await store.confirm_running(session_id, epoch, holder)
    return epoch


async def refusing_url() -> str:
    """The URL of a port that nobody listens on."""
    with contextlib.closing(serve.bind("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def states_at_waits(
    store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    least_s: float,
    during: Callable[[float], None] = lambda _delay_s: None,
) -> list[str]:
    """Skip each wait of at least `least_s`; return the list of the states of session ``a`` at these waits."""
    states: list[str] = []
    sleep = asyncio.sleep

    async def sleep_no_longer(delay_s: float) -> None:
        if delay_s >= least_s:
            states.append((await store.session("a")).state)
            during(delay_s)
            delay_s = 0
        await sleep(delay_s)

    monkeypatch.setattr(asyncio, "sleep", sleep_no_longer)
    return states


def is_recovered(record: SessionRecord, epoch: int) -> bool:
    assert record.state in {"starting", "running", "queued"}
    return (record.state, record.recovery) == ("queued", "confirmed") and record.epoch > epoch


class TestOneSession:
    @pytest.mark.parametrize(
        "answer", [(404, {}), (200, {"status": "running", "epoch": 99}), (200, {"status": "ended"})]
    )
    async def test_runner_that_does_not_hold_it_confirms_the_death(
        self, store: RedisStore, stand_in: StandIn, check: DeathCheck, answer: tuple[int, Any]
    ) -> None:
        """A new process on the same port, for example."""
        stand_in.answers["/sessions/a"] = answer
        epoch = await hold(store, "a", stand_in.url)
        with emit.capture() as records:
            await check.check_session("a", epoch)
        record = await store.session("a")
        assert is_recovered(record, epoch)
        assert record.attempt == 2
        (line,) = [r for r in records if r.get("event") == "session.recovered"]
        assert line["meta"]["sign"] == "the runner does not hold the session"
        assert line["meta"]["runner"] == "r1"

    async def test_end_that_is_a_hand_over_ends_no_session(
        self, store: RedisStore, stand_in: StandIn, check: DeathCheck
    ) -> None:
        """A hint may reach the runner between the death of a bot process and the write that the session goes on."""
        epoch = await hold(store, "a", stand_in.url)
        ended = {"status": "ended", "epoch": epoch, "reason": "bot_crashed", "detail": "killed"}
        stand_in.answers["/sessions/a"] = (200, {**ended, "handOver": "bot_died"})
        await check.check_session("a", epoch)
        assert is_recovered(await store.session("a"), epoch)

    async def test_nothing_is_recovered_before_the_bots_must_be_gone(
        self, store: RedisStore, check: DeathCheck, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A bot may outlive its runner for a moment; two must never be in the room."""
        epoch = await hold(store, "a", await refusing_url())
        check.bots_end_s = 600.0
        states = states_at_waits(store, monkeypatch, 300.0)
        await check.check_session("a", epoch)
        assert states == ["running"]
        assert is_recovered(await store.session("a"), epoch)

    async def test_bots_of_a_holder_that_was_silent_have_as_long(
        self,
        store: RedisStore,
        stand_in: StandIn,
        check: DeathCheck,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A holder may die long after the first sign of it, and only just before it is asked again."""
        stand_in.answers["/sessions/a"] = (500, {})
        epoch = await hold(store, "a", stand_in.url)
        check.bots_end_s, check.pauses_s = 600.0, (900.0,)
        passed_s = 0.0

        def die(delay_s: float) -> None:
            nonlocal passed_s
            passed_s += delay_s
            stand_in.answers["/sessions/a"] = (404, {})

        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s)
        monkeypatch.setattr("cordboard.operator.death_check.time", clock)
        states = states_at_waits(store, monkeypatch, 300.0, die)
        await check.check_session("a", epoch)
        assert states == ["running", "running"]  # during the pause, and the bots' time
        assert is_recovered(await store.session("a"), epoch)

    @pytest.mark.parametrize("status", ["starting", "running", "stopping"])
    async def test_holder_that_answers_keeps_it(
        self, store: RedisStore, stand_in: StandIn, check: DeathCheck, status: str
    ) -> None:
        """A hint decides nothing."""
        epoch = await hold(store, "a", stand_in.url)
        stand_in.answers["/sessions/a"] = (200, {"status": status, "epoch": epoch})
        await check.check_session("a", epoch)
        assert (await store.session("a")).epoch == epoch

    async def test_silence_is_no_death(
        self, store: RedisStore, stand_in: StandIn, check: DeathCheck
    ) -> None:
        """A holder that gives no usable answer is asked again, and keeps its session."""
        stand_in.answers["/sessions/a"] = (500, {})
        epoch = await hold(store, "a", stand_in.url)
        await check.check_session("a", epoch)
        assert len([asked for asked in stand_in.asked if asked[1] == "/sessions/a"]) == 3
        assert (await store.session("a")).epoch == epoch

    async def test_session_that_the_runner_has_not_received_yet_stays(
        self, store: RedisStore, stand_in: StandIn, check: DeathCheck
    ) -> None:
        """The hand-over of a starting session may be under way."""
        epoch = await hold(store, "a", stand_in.url, runs=False)
        await check.check_session("a", epoch)
        assert (await store.session("a")).state == "starting"

    async def test_unwritten_end_is_written(
        self, store: RedisStore, stand_in: StandIn, check: DeathCheck
    ) -> None:
        """The bot has ended there: nothing runs again."""
        epoch = await hold(store, "a", stand_in.url)
        end = {"status": "ended", "epoch": epoch, "reason": "bot_finished"}
        stand_in.answers["/sessions/a"] = (200, end)
        await check.check_session("a", epoch)
        record = await store.session("a")
        assert (record.state, record.reason) == ("ended", "bot_finished")

    async def test_other_epoch_and_unknown_session_are_ignored(
        self, store: RedisStore, stand_in: StandIn, check: DeathCheck
    ) -> None:
        """A hint that comes late concerns nobody."""
        epoch = await hold(store, "a", stand_in.url)
        await check.check_session("a", epoch + 1)
        await check.check_session("never", 1)
        assert stand_in.asked == []


class TestRunner:
    async def test_closed_port_confirms_the_death_of_all_its_sessions(
        self, store: RedisStore, check: DeathCheck
    ) -> None:
        """They are recovered, and no join is assigned to the runner any more."""
        url = await refusing_url()
        epochs = {sid: await hold(store, sid, url) for sid in ("a", "b")}
        epochs["c"] = await hold(store, "c", url, runs=False)
        await check.check_runner("r1")
        for sid, epoch in epochs.items():
            assert is_recovered(await store.session(sid), epoch)
        assert await store.runners.slots() == 0

    async def test_hint_about_one_session_finds_the_others(
        self, store: RedisStore, check: DeathCheck
    ) -> None:
        """Their runner is dead, too."""
        url = await refusing_url()
        epochs = {sid: await hold(store, sid, url) for sid in ("a", "b")}
        await check.check_session("a", epochs["a"])
        for sid, epoch in epochs.items():
            assert is_recovered(await store.session(sid), epoch)


class TestColdRunner:
    async def test_end_that_the_launcher_knows_confirms_the_death(
        self, store: RedisStore, stand_in: StandIn
    ) -> None:
        """The runner itself is not asked."""
        epoch = await hold(store, "a", stand_in.url, job="job-a")
        async with death_check(store, OneJob("ended")) as check:
            await check.check_session("a", epoch)
        assert is_recovered(await store.session("a"), epoch)
        assert stand_in.asked == []

    @pytest.mark.parametrize(("status", "recovered"), [("alive", False), ("unknown", True)])
    async def test_launcher_decides_about_a_closed_port(
        self, store: RedisStore, status: LaunchStatus, *, recovered: bool
    ) -> None:
        """The port may belong to a proxy beside a runner that lives."""
        epoch = await hold(store, "a", await refusing_url(), job="job-a")
        async with death_check(store, OneJob(status)) as check:
            await check.check_session("a", epoch)
        assert is_recovered(await store.session("a"), epoch) == recovered

    @pytest.mark.parametrize(("status", "state"), [("alive", "running"), ("unknown", "queued")])
    async def test_launcher_decides_about_a_closed_port_when_the_lease_has_run_out(
        self, store: RedisStore, status: LaunchStatus, state: str
    ) -> None:
        """The same proxy carries the renewals: both signs may have one cause."""
        await hold(store, "a", await refusing_url(), job="job-a")
        await store.connection.client.zadd(store.keys.leases, {"a": 1})
        async with death_check(store, OneJob(status)) as check:
            await check.sweeper.sweep()
        assert (await store.session("a")).state == state


@pytest.mark.parametrize("state", ["starting", "running"])
@pytest.mark.parametrize("sign", Sign)
def test_only_a_confirmed_death_counts_before_the_lease_ends(sign: Sign, state: Any) -> None:
    """Neither silence nor a holder that answers."""
    action = decide_early(sign, state)
    if sign is Sign.OVER:
        assert action is Action.WRITE_END
    elif sign in {Sign.HOLDS, Sign.SILENT} or (sign is Sign.DOES_NOT_HOLD and state == "starting"):
        assert action is Action.WAIT
    else:
        assert action is Action.RECOVER
