"""The background tasks of a runner go on after any failure."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from cordboard.contract.errors import BotFileError, StoreUnavailableError
from cordboard.contract.lease import Periods
from cordboard.runner.forkserver_watch import ForkServerWatch
from cordboard.runner.heartbeat import Heartbeat
from cordboard.store import mapped_errors


class Breaking:
    """A store whose renewals fail with the given errors, one after another."""

    periods = Periods()
    shards = ((),)

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)

    async def renew(self, _renewals: Any) -> list[str]:
        if self.failures:
            raise self.failures.pop(0)
        return []


async def test_heartbeats_go_on_after_any_failure() -> None:
    """No failure of a heartbeat ends the heartbeats: without them every bot would be killed."""
    store: Any = Breaking(RuntimeError("unknown"), StoreUnavailableError("away"), KeyError("x"))
    registry: Any = SimpleNamespace(live=[])
    heartbeat = Heartbeat(store, registry, ())
    assert [await heartbeat.beat() for _ in range(4)] == [False, False, False, True]


def test_closed_connection_of_uvloop_means_redis_is_away() -> None:
    """Uvloop's error for a closed connection means that Redis is not reachable; no other does."""
    gone = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
    with pytest.raises(StoreUnavailableError), mapped_errors("redis://h"):
        raise RuntimeError(gone)
    with pytest.raises(RuntimeError), mapped_errors("redis://h"):
        raise RuntimeError("a bug")


async def test_fork_server_is_restarted_until_it_loads_the_bots() -> None:
    """A fork server that cannot be started for now is started later; a full disk may pass."""
    failures = [OSError(errno.ENOSPC, "no space"), BotFileError("broken"), MemoryError()]

    async def restart() -> None:
        if failures:
            raise failures.pop()

    registry: Any = SimpleNamespace(
        host=SimpleNamespace(fork_server=SimpleNamespace(restart=restart))
    )
    unused: Any = None
    await ForkServerWatch(registry, unused, retry_s=0.0).restart()
    assert failures == []
