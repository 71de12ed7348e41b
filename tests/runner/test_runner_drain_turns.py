"""A runner that stops hands its sessions over a few at a time."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cordboard.context import Context
from cordboard.runner import drain
from cordboard.runner.bot_session import BotSession
from tests_support import until


@dataclass
class Stopping:
    """Stands for a session whose bot is gone when the test says so."""

    context: Context = field(default_factory=Context)
    is_stopping: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def stop(self, *_: Any, **__: Any) -> None:
        self.is_stopping = True
        await self.gone.wait()


def stopping(sessions: list[Stopping]) -> list[int]:
    """Return the numbers of the sessions whose bots are being stopped, or are gone."""
    return [number for number, session in enumerate(sessions) if session.is_stopping]


async def test_others_go_on_until_a_bot_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their callers hear their bots meanwhile."""
    monkeypatch.setattr(drain, "TURN_S", 60.0)
    monkeypatch.setattr(drain, "TURNS_S", 600.0)
    sessions = [Stopping() for _ in range(6)]
    draining = asyncio.create_task(drain._hand_over_in_turns(cast("list[BotSession]", sessions)))
    await until(lambda: len(stopping(sessions)) == drain.HAND_OVERS_AT_ONCE)
    await asyncio.sleep(0)
    assert stopping(sessions) == [0, 1, 2, 3]
    sessions[2].gone.set()
    await until(lambda: len(stopping(sessions)) > drain.HAND_OVERS_AT_ONCE)
    assert stopping(sessions) == [0, 1, 2, 3, 4]
    for session in sessions:
        session.gone.set()
    await draining
    assert stopping(sessions) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [6, 500])
async def test_bots_that_do_not_end_hold_nobody_up(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """All are stopped before the runner is killed, and it waits for each of them."""
    monkeypatch.setattr(drain, "TURNS_S", 0.5)
    sessions = [Stopping() for _ in range(count)]
    draining = asyncio.create_task(drain._hand_over_in_turns(cast("list[BotSession]", sessions)))
    await until(lambda: len(stopping(sessions)) == count)
    assert not draining.done()
    for session in sessions:
        session.gone.set()
    await draining


async def test_runner_without_sessions_ends_at_once() -> None:
    """Nobody has to wait for a turn."""
    await drain._hand_over_in_turns([])
