"""What the supervisor makes of signals, without any part."""

import asyncio
import signal
import time

import pytest

from cordboard.contract.errors import CordboardError
from cordboard.runner.bot_file import LOAD_TIMEOUT_S
from cordboard.settings import Settings
from cordboard.up import supervisor
from cordboard.up.supervisor import Options, Supervisor


async def test_two_signals_around_a_pause_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make hands on what its group got: that is one signal, even where we were held up meanwhile."""
    monkeypatch.setattr(supervisor, "SAME_SIGNAL_S", 0.05)
    killed: list[signal.Signals] = []

    class Part:
        def signal(self, number: signal.Signals, *, group: bool) -> None:
            assert group
            killed.append(number)

    up = Supervisor(Settings(), Options(), parts={"runner": Part()})  # type: ignore[dict-item]
    up._signalled(signal.SIGTERM)
    time.sleep(0.1)  # noqa: ASYNC251 - a loop that is held up
    up._signalled(signal.SIGTERM)
    assert killed == []
    await asyncio.sleep(0.1)
    up._signalled(signal.SIGINT)
    assert killed == [signal.SIGKILL]


async def test_only_ctrl_c_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends SIGTERM twice, as supervisors do, kills no live call; a person's Ctrl-C does."""
    monkeypatch.setattr(supervisor, "SAME_SIGNAL_S", 0.0)
    killed: list[signal.Signals] = []

    class Part:
        def signal(self, number: signal.Signals, *, group: bool) -> None:
            killed.append(number)

    up = Supervisor(Settings(), Options(), parts={"runner": Part()})  # type: ignore[dict-item]
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        up._signalled(number)
        await asyncio.sleep(0.01)
    assert killed == []
    up._signalled(signal.SIGINT)
    assert killed == [signal.SIGKILL]


def test_a_bot_file_may_take_as_long_as_its_runner_allows() -> None:
    """The runner ends first, and says why; the other parts import nothing of a user's."""
    up = Supervisor(Settings(), Options())
    up._look_at_time(["runner"], LOAD_TIMEOUT_S + 10)
    with pytest.raises(CordboardError, match="runner did not get ready within 140 s"):
        up._look_at_time(["runner"], 141)
    with pytest.raises(CordboardError, match="gateway, runner did not get ready within 60 s"):
        up._look_at_time(["gateway", "runner"], 61)
