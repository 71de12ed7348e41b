"""What a runner does all the time goes on, whatever the store, the machine or a bot does."""

import asyncio
import errno
from types import SimpleNamespace
from typing import Any

import pytest

from cordboard.contract.errors import BotFileError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.contract.lease import Periods
from cordboard.runner import app
from cordboard.runner.bot_session import BotSession
from cordboard.runner.heartbeat import Heartbeat
from cordboard.store import mapped_errors


class Breaking:
    """A store that fails in the next way, each time that it is asked to renew."""

    periods = Periods()
    shards = ((),)

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)

    async def renew(self, _renewals: Any) -> list[str]:
        if self.failures:
            raise self.failures.pop(0)
        return []


async def test_survives() -> None:
    """No failure of a round ends the beats: without them every bot would end."""
    store: Any = Breaking(RuntimeError("unknown"), StoreUnavailableError("away"), KeyError("x"))
    registry: Any = SimpleNamespace(live=[])
    heartbeat = Heartbeat(store, registry, ())
    assert [await heartbeat.beat() for _ in range(4)] == [False, False, False, True]


def test_a_closed_connection() -> None:
    """What uvloop raises for a connection that has gone means that Redis is away; nothing else does."""
    gone = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
    with pytest.raises(StoreUnavailableError), mapped_errors("redis://h"):
        raise RuntimeError(gone)
    with pytest.raises(RuntimeError), mapped_errors("redis://h"):
        raise RuntimeError("a bug")


async def test_loads_again_whatever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork server that cannot be started for now is started later; a full disk may pass."""
    monkeypatch.setattr(app, "LOAD_RETRY_S", 0.0)
    failures = [OSError(errno.ENOSPC, "no space"), BotFileError("broken"), MemoryError()]

    async def begin_again() -> None:
        if failures:
            raise failures.pop()

    registry: Any = SimpleNamespace(host=SimpleNamespace(fork_server=SimpleNamespace()))
    registry.host.fork_server.begin_again = begin_again
    unused: Any = None
    await app.Runner(unused, registry, unused, 0.0)._load_again()
    assert failures == []


@pytest.mark.parametrize("said", [b"1", b'{"absent":true}', b'{"ended":"left"}', b'{"lag_ms":1}'])
async def test_a_bot_that_floods(said: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """A bot that says one thing without end leaves the loop to others, and fills no log."""
    number, turns = 2000, 0
    reader = asyncio.StreamReader()
    reader.feed_data((said + b"\n") * number)
    reader.feed_eof()
    host: Any = SimpleNamespace()
    child: Any = SimpleNamespace(reader=reader)
    session = BotSession(Launch("s", "webrtc:r", 1), host)

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    await session._listen(child)
    other.cancel()
    assert turns >= number
    assert len(session._tasks) <= 3
    assert len(capfd.readouterr().out.splitlines()) <= 3
    for task in session._tasks:
        task.cancel()
