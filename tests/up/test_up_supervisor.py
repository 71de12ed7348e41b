"""Signals and deadlines of `up`, without any component."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from cordboard.contract.errors import CordboardError
from cordboard.runner.bot_file import LOAD_TIMEOUT_S
from cordboard.settings import Settings
from cordboard.up.component import Component
from cordboard.up.start_plan import Options
from cordboard.up.stop_signals import StopSignals
from cordboard.up.supervisor import Supervisor, check_start_time


async def test_two_signals_in_a_blocked_loop_are_one() -> None:
    """Make passes a signal on: that is one request, even if the event loop was blocked between."""
    kills: list[str] = []
    signals = StopSignals(lambda: kills.append("kill"), same_signal_s=0.05)
    signals.receive(signal.SIGTERM)
    time.sleep(0.1)  # noqa: ASYNC251 - blocks the event loop
    signals.receive(signal.SIGINT)
    assert kills == []
    assert signals.requested.is_set()
    await asyncio.sleep(0.1)
    signals.receive(signal.SIGINT)
    assert kills == ["kill"]


async def test_only_a_second_ctrl_c_kills() -> None:
    """Supervisors send SIGTERM more than once; that does not interrupt live calls."""
    kills: list[str] = []
    signals = StopSignals(lambda: kills.append("kill"), same_signal_s=0.0)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        signals.receive(number)
        await asyncio.sleep(0.01)
    assert kills == []
    assert not signals.is_urgent
    signals.receive(signal.SIGINT)
    assert kills == ["kill"]
    assert signals.is_urgent


def test_runner_may_take_as_long_as_it_allows_a_bot_file(tmp_path: Path) -> None:
    """The runner ends first, with the reason; the other components import no file of a user."""
    check_start_time(["runner"], LOAD_TIMEOUT_S + 10, tmp_path)
    check_start_time([], 1000, tmp_path)
    with pytest.raises(CordboardError, match="runner did not become ready within 140 s"):
        check_start_time(["runner"], 141, tmp_path)
    with pytest.raises(CordboardError, match="gateway, runner did not become ready within 60 s"):
        check_start_time(["gateway", "runner"], 61, tmp_path)


class Started(Component):
    """A component that notes how it was started last, and runs as a test wants."""

    runs = True
    in_background = False
    came_forward = False

    @property
    def is_running(self) -> bool:
        """As the test says."""
        return self.runs

    @property
    def is_in_background(self) -> bool:
        """As the test says, until it came forward."""
        return self.in_background and not self.came_forward

    def come_forward(self) -> None:
        """Note it."""
        self.came_forward = True


@pytest.mark.parametrize(
    ("runs", "in_background", "has_first", "comes_forward"),
    [(True, False, True, False), (True, True, True, True), (False, False, False, False)],
    ids=["takes calls", "still starts", "has ended too"],
)
def test_one_runner_at_least_does_not_start_in_the_background(
    runs: bool, in_background: bool, has_first: bool, comes_forward: bool
) -> None:
    """A restarted runner comes after another one only if there is one, and that one waits for nothing."""
    supervisor = Supervisor(Settings(), Options(runners=2))
    dead, other = (Started(name, (), 1, {}, lambda *_: None) for name in ("runner", "runner-2"))
    dead.runs, other.runs, other.in_background = False, runs, in_background
    gateway = Started("gateway", (), 1, {}, lambda *_: None)
    supervisor.components = {"gateway": gateway, "runner": dead, "runner-2": other}
    assert supervisor._has_first_runner() is has_first
    assert other.came_forward is comes_forward
