"""A runner that cannot keep up accepts no more sessions until it keeps up again."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cordboard.contract.errors import BusyError
from cordboard.contract.launch import Launch
from cordboard.runner.cpu_usage import CpuUsage
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.overload import WINDOW, OverloadDetector, median_bot_lag_ms
from cordboard.runner.registry import Registry
from cordboard.store import RedisStore
from plane_support import Processes, ask, own_database, ready
from runner.runner_support import Runner, client, write_bot
from tests_support import until


def add_samples(
    detector: OverloadDetector, lag_ms: float, usage: float, samples: int = WINDOW
) -> list[bool]:
    """Add the same sample again and again; return after each whether the decision has changed."""
    return [detector.add_sample(lag_ms, usage) for _ in range(samples)]


class TestDetector:
    @pytest.mark.parametrize(
        ("lag_ms", "busy", "overloaded"),
        [
            (25, 0.95, True),
            (25, 0.5, False),  # a bot's own code blocks its loop
            (5, 1.0, False),  # others use what is left over
            (20, 0.85, True),
            (19, 0.85, False),
        ],
    )
    def test_late_loops_on_busy_processors_are_an_overload(
        self, lag_ms: float, busy: float, overloaded: bool
    ) -> None:
        """Late event loops or busy processors alone are not an overload."""
        detector = OverloadDetector(20)
        add_samples(detector, lag_ms, busy)
        assert detector.is_overloaded is overloaded

    def test_decision_needs_a_whole_window(self) -> None:
        """A moment is not an overload."""
        detector = OverloadDetector(20)
        assert not any(add_samples(detector, 500, 1.0, WINDOW - 1))
        assert add_samples(detector, 500, 1.0, 1) == [True]

    def test_one_hang_neither_overloads_nor_delays_a_decision(self) -> None:
        """However late one second was, it counts a bounded amount."""
        detector = OverloadDetector(20)
        add_samples(detector, 5, 0.95, WINDOW - 1)
        assert detector.add_sample(9000, 0.95) is False
        add_samples(detector, 25, 0.95)
        assert detector.is_overloaded
        detector.start_window()
        add_samples(detector, 1, 0.95, WINDOW - 1)
        assert detector.add_sample(9000, 0.95) is True

    def test_recovery_needs_half_the_lag_or_idle_processors(self) -> None:
        """Between the thresholds a runner stays as it is."""
        for lag_ms, busy, recovers in ((12, 0.9, False), (9, 0.9, True), (25, 0.6, True)):
            detector = OverloadDetector(20)
            add_samples(detector, 25, 0.9)
            detector.start_window()
            assert any(add_samples(detector, lag_ms, busy)) is recovers
            assert detector.is_overloaded is not recovers

    def test_limit_of_zero_never_overloads(self) -> None:
        """A limit of 0 turns the detection off."""
        detector = OverloadDetector(0)
        add_samples(detector, 5000, 1.0)
        assert not detector.is_overloaded

    def test_median_ignores_one_hung_bot(self) -> None:
        """The median counts, so that one bot that hangs is not an overload."""
        bots = [SimpleNamespace(status="running", loop_lag_ms=lag) for lag in (9e9, 3, 2)]
        registry: Any = SimpleNamespace(live=bots)
        assert median_bot_lag_ms(registry) == 3
        registry.live = bots[:2]
        assert median_bot_lag_ms(registry) == 3


class TestCpuUsage:
    def test_limit_of_the_control_group_counts(self, tmp_path: Path) -> None:
        """The use of a container's own share counts if it has less than the machine."""
        (tmp_path / "cpu.max").write_text("50000 100000\n")  # half a processor
        used = tmp_path / "cpu.stat"
        used.write_text("usage_usec 1000000\nuser_usec 1\n")
        times = iter((100.0, 110.0))
        usage = CpuUsage(tmp_path / "none", tmp_path, lambda: next(times))
        used.write_text("usage_usec 5500000\nuser_usec 1\n")  # 4.5 s in 10 s, of 5 s
        assert usage.measure() == pytest.approx(0.9)

    def test_this_machine_is_measured(self) -> None:
        """The files of this machine's kernel can be read."""
        usage = CpuUsage()
        sum(range(3_000_000))
        assert 0 < usage.measure() <= 1


async def test_overloaded_runner_offers_no_slot(store: RedisStore) -> None:
    """An overloaded runner gets no sessions and refuses starts; a recovered one gets them again."""
    host: Any = SimpleNamespace(runner_id="r", url="http://x", pod="")
    registry = Registry(host, 4)
    heartbeat = Heartbeat(store, registry, ("default",))
    await until(heartbeat.beat)  # a busy machine may answer too late once
    assert await store.runners.free_slots() == 4
    registry.is_overloaded = True
    await until(heartbeat.beat)
    assert (await store.runners.free_slots(), registry.free) == (0, 0)
    await store.accept(Launch("a", "webrtc:a", epoch=1), queue_max=9)
    assert (await store.placement.assign("a", 1)).outcome == "none"
    with pytest.raises(BusyError):
        registry.check_free_slot()
    registry.is_overloaded = False
    await until(heartbeat.beat)
    assert (await store.placement.assign("a", 1)).outcome == "assigned"


@pytest.mark.timeout(120)
async def test_overloaded_runner_warns_once_and_recovers(tmp_path: Path, redis_url: str) -> None:
    """Bots that use all processors: one warning, no free slot; when they have gone it takes calls."""
    made = Processes(tmp_path, own_database(redis_url))
    made.over["CORDBOARD_OVERLOAD_LAG_MS"] = "20"
    part = made.spawn("runner", "--bot", write_bot(tmp_path), "--capacity", "40")
    try:
        await ready(part)
        async with RedisStore(made.redis_url) as store, client() as http:
            await overload(Runner(part, store, http))
    finally:
        made.stop()


async def overload(runner: Runner) -> None:
    def said(words: str) -> list[dict[str, Any]]:
        return [r for r in list(runner.part.records) if words in r["message"]]

    async def has_no_free_slot() -> bool:
        return await runner.store.runners.free_slots() == 0

    launches = [await runner.run("spin") for _ in range(2 * (os.cpu_count() or 1))]
    await until(lambda: said("cannot keep up"), 40)
    _, body = await ask(runner.client, "GET", f"{runner.part.url}/sessions")
    assert (body["free"], body["overloaded"]) == (0, True)
    await until(has_no_free_slot)  # the runner logs before it registers again
    for launch in launches:
        await runner.leave(launch)
    await until(lambda: said("keeps up again"), 60)
    await until(runner.store.runners.free_slots)
    assert [r["level"] for r in said("cannot keep up")] == ["warn"]
