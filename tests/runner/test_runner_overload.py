"""A runner that cannot keep up says so and takes no more, until it keeps up again."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cordboard.contract.errors import BusyError
from cordboard.contract.launch import Launch
from cordboard.runner import overload
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.overload import WINDOW, Load, Processors, lag_of_bots
from cordboard.runner.registry import Registry
from cordboard.store import RedisStore
from plane_support import Processes, ask, ready
from runner.runner_support import Runner, client, write_bot
from tests_support import until


def fed(load: Load, lag_ms: float, busy: float, samples: int = WINDOW) -> list[bool]:
    """Give a load the same sample again and again; return after each whether it changed."""
    return [load.sample(lag_ms, busy) for _ in range(samples)]


class TestLoad:
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
    def test_both(self, lag_ms: float, busy: float, overloaded: bool) -> None:
        """Late loops on busy processors are an overload; either alone is none."""
        load = Load(20)
        fed(load, lag_ms, busy)
        assert load.overloaded is overloaded

    def test_one_late_second(self) -> None:
        """It takes a whole window: a moment is no overload."""
        load = Load(20)
        assert not any(fed(load, 500, 1.0, WINDOW - 1))
        assert fed(load, 500, 1.0, 1) == [True]

    def test_one_hang(self) -> None:
        """One late second counts for what it is, however late it was: no overload, and no delay."""
        load = Load(20)
        fed(load, 5, 0.95, WINDOW - 1)
        assert load.sample(9000, 0.95) is False
        fed(load, 25, 0.95)
        assert load.overloaded
        load.begin_window()
        fed(load, 1, 0.95, WINDOW - 1)
        assert load.sample(9000, 0.95) is True

    def test_hysteresis(self) -> None:
        """It recovers at half the lag or on idle processors, and not between."""
        for lag_ms, busy, recovers in ((12, 0.9, False), (9, 0.9, True), (25, 0.6, True)):
            load = Load(20)
            fed(load, 25, 0.9)
            load.begin_window()
            assert any(fed(load, lag_ms, busy)) is recovers
            assert load.overloaded is not recovers

    def test_off(self) -> None:
        """Without a limit nothing is one."""
        load = Load(0)
        fed(load, 5000, 1.0)
        assert not load.overloaded

    def test_one_hung_bot(self) -> None:
        """The bot in the middle counts: one that hangs by itself is no overload."""
        bots = [SimpleNamespace(status="running", loop_lag_ms=lag) for lag in (9e9, 3, 2)]
        registry: Any = SimpleNamespace(live=bots)
        assert lag_of_bots(registry) == 3
        assert lag_of_bots(SimpleNamespace(live=bots[:2])) == 3  # type: ignore[arg-type]

    def test_processors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The use of a container's own share counts where it has less than the machine."""
        (tmp_path / "cpu.max").write_text("50000 100000\n")  # half a processor
        used = tmp_path / "cpu.stat"
        used.write_text("usage_usec 1000000\nuser_usec 1\n")
        monkeypatch.setattr(overload, "_cgroup", lambda: tmp_path)
        monkeypatch.setattr(overload, "_of_machine", lambda: (0.0, 0.0))
        monkeypatch.setattr("cordboard.runner.overload.time.monotonic", lambda: 100.0)
        processors = Processors()
        used.write_text("usage_usec 5500000\nuser_usec 1\n")  # 4.5 s in 10 s, of 5 s
        monkeypatch.setattr("cordboard.runner.overload.time.monotonic", lambda: 110.0)
        assert processors.busy() == pytest.approx(0.9)

    def test_this_machine(self) -> None:
        """What the kernel of this machine tells is read."""
        processors = Processors()
        sum(range(3_000_000))
        assert 0 < processors.busy() <= 1


async def test_offers_nothing(store: RedisStore) -> None:
    """While it is overloaded the store gives it nothing, and a start is refused; then it does again."""
    host: Any = SimpleNamespace(runner_id="r", url="http://x")
    registry = Registry(host, 4)
    heartbeat = Heartbeat(store, registry, ("default",))
    await heartbeat.beat()
    assert await store.runners.free_slots() == 4
    registry.overloaded = True
    await heartbeat.beat()
    assert (await store.runners.free_slots(), registry.free) == (0, 0)
    await store.accept(Launch("a", "webrtc:a", epoch=1), queue_max=9)
    assert (await store.placement.assign("a", 1)).outcome == "none"
    with pytest.raises(BusyError):
        registry.check_room()
    registry.overloaded = False
    await heartbeat.beat()
    assert (await store.placement.assign("a", 1)).outcome == "assigned"


@pytest.mark.timeout(120)
async def test_a_runner_that_cannot_keep_up(tmp_path: Path, redis_url: str) -> None:
    """Bots that use all processors: one warning, no free slot; when they have gone it takes calls."""
    made = Processes(tmp_path, f"{redis_url.removesuffix('/0')}/6")
    made.over["CORDBOARD_OVERLOAD_LAG_MS"] = "20"
    part = made.spawn("runner", "--bot", write_bot(tmp_path), "--capacity", "40")
    try:
        await ready(part)
        async with RedisStore(made.redis_url) as store, client() as http:
            await make_overloaded(Runner(part, store, http))
    finally:
        made.stop()


async def make_overloaded(runner: Runner) -> None:
    def said(words: str) -> list[dict[str, Any]]:
        return [r for r in list(runner.part.records) if words in r["message"]]

    launches = [await runner.run("spin") for _ in range(2 * (os.cpu_count() or 1))]
    await until(lambda: said("cannot keep up"), 40)
    _, told = await ask(runner.client, "GET", f"{runner.part.url}/sessions")
    assert (told["free"], told["overloaded"]) == (0, True)
    assert await runner.store.runners.free_slots() == 0
    for launch in launches:
        await runner.leave(launch)
    await until(lambda: said("keeps up again"), 60)
    await until(runner.store.runners.free_slots)
    assert [r["level"] for r in said("cannot keep up")] == ["warn"]
