"""The heartbeat goes on, whatever the store does."""

from types import SimpleNamespace
from typing import Any

import pytest

from cordboard.contract.errors import StoreUnavailableError
from cordboard.contract.lease import Periods
from cordboard.runner.heartbeat import Heartbeat
from cordboard.store.refusals import our_errors


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
    with pytest.raises(StoreUnavailableError), our_errors("redis://h"):
        raise RuntimeError(gone)
    with pytest.raises(RuntimeError), our_errors("redis://h"):
        raise RuntimeError("a bug")
