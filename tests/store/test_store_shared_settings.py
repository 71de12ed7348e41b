"""Settings that all processes of a plane share: a process with others is refused when it starts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cordboard.contract.errors import NotReadyError, StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.store import RedisStore, SharedSettings, open_store
from cordboard.store.shared_settings import SettingsMismatchError
from plane_support import Processes, own_database, ready
from redis_support import primaries
from tests_support import until

IMPATIENT = (
    "-c",
    """
import sys
from cordboard.cli import main
from cordboard.store import shared_settings
shared_settings.PATIENCE_S = 1.0
sys.exit(main())
""",
)


@pytest.fixture
async def url(redis_url: str) -> str:
    """A database that no other plane uses."""
    found = own_database(redis_url)
    async with RedisStore(found) as store:
        await store.connection.client.flushdb()
    return found


def part(url: str, name: str = "gateway", shards: int = 1, lease_s: float = 15) -> SharedSettings:
    return SharedSettings(url, name, shards=shards, lease_s=lease_s)


def is_ready(settings: SharedSettings) -> bool:
    try:
        settings.check()
    except NotReadyError:
        return False
    return True


@contextlib.asynccontextmanager
async def running(url: str, name: str = "gateway", **over: Any) -> AsyncIterator[SharedSettings]:
    """A part that runs, and has agreed."""
    async with part(url, name, **over) as found:
        found.check()
        yield found


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cordboard.store.shared_settings.PATIENCE_S", 0.0)


@pytest.mark.usefixtures("_impatient")
class TestStart:
    async def test_processes_with_equal_settings_agree(self, url: str) -> None:
        """Processes with the same settings agree, in whatever order they start."""
        async with running(url), running(url, "operator"), running(url, "runner"):
            await (last := part(url, "runner")).reach()
            await last.leave()

    @pytest.mark.parametrize(
        ("over", "words"),
        [
            ({"shards": 3}, "CORDBOARD_SHARDS is 3 here, but 1 in the running processes (gateway "),
            (
                {"lease_s": 6},
                "CORDBOARD_LEASE_S is 6 here, but 15 in the running processes (gateway ",
            ),
        ],
    )
    async def test_different_settings_are_refused(self, url: str, over: Any, words: str) -> None:
        """Another number of shards, or another lease, is refused: the error has both values, the others, and a hint."""
        async with running(url):
            late = part(url, "operator", **over)
            with pytest.raises(SettingsMismatchError) as caught:
                await late.reach()
            await late.leave()
        assert caught.value.message.startswith(words)
        assert "stop all of them first" in caught.value.hint

    async def test_settings_may_change_after_all_have_ended(self, url: str) -> None:
        """Once the processes have ended, others may start with another value at once."""
        async with running(url):
            pass
        async with running(url, lease_s=6), running(url, "runner", lease_s=6):
            pass

    async def test_killed_process_is_removed_after_its_lease(self, url: str) -> None:
        """A process that was killed no longer counts after its lease."""
        dead = part(url, lease_s=0.3)
        await dead.reach()
        async with part(url, "operator") as late:
            with pytest.raises(NotReadyError):
                late.check()
            await until(lambda: is_ready(late))
        await dead.leave()

    async def test_shards_do_not_change_while_a_session_is_live(self, url: str) -> None:
        """The number of shards does not change while a session is live: it would never end."""
        async with running(url, shards=2), open_store(url, shards=2) as store:
            await store.accept(Launch("a", "webrtc:a", epoch=1), queue_max=9)
        changed = part(url)
        with pytest.raises(SettingsMismatchError, match="1 of their sessions have not ended"):
            await changed.reach()
        async with open_store(url, shards=2) as store:
            await store.leave(session_id="a")
        await changed.reach()
        await changed.leave()

    async def test_lease_may_change_while_sessions_are_live(self, url: str) -> None:
        """Another lease need not wait for sessions: the processes that held them have ended."""
        async with running(url), open_store(url) as store:
            await store.accept(Launch("a", "webrtc:a", epoch=1), queue_max=9)
        async with running(url, lease_s=6):
            pass

    async def test_process_starts_without_redis_and_is_not_ready(self) -> None:
        """Without Redis a process starts, and is not ready until it has compared."""
        async with part("redis://127.0.0.1:1") as late:
            with pytest.raises(StoreUnavailableError):
                await late.reach()
            with pytest.raises(NotReadyError, match="Redis has not been reached yet"):
                late.check()


async def test_reach_waits_for_the_others_to_end(url: str) -> None:
    """A process that starts while the others are about to end waits for them."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running(url))
        late = part(url, "runner", lease_s=6)
        waiting = asyncio.create_task(late.reach())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await stack.aclose()
        await waiting
        await late.leave()


async def test_lost_agreement_is_written_again(url: str) -> None:
    """An agreement that Redis has lost is written again by a running process; one that then differs takes no work."""
    async with running(url, lease_s=0.6) as first, RedisStore(url) as store:
        await store.connection.client.flushdb()
        async with running(url, "runner", lease_s=5):
            await until(lambda: not is_ready(first))
            with pytest.raises(NotReadyError, match=r"CORDBOARD_LEASE_S is 0\.6 here, but 5"):
                first.check()
        await until(lambda: is_ready(first))


async def test_processes_with_different_shards_meet_in_a_cluster() -> None:
    """In a cluster, processes with different numbers of shards meet, too."""
    with primaries() as three:
        async with running(three.url, shards=3), part(three.url, "runner") as late:
            with pytest.raises(NotReadyError, match="CORDBOARD_SHARDS is 1 here, but 3"):
                late.check()


async def test_command_ends_with_the_status_of_a_wrong_setting(url: str, tmp_path: Path) -> None:
    """An operator with another lease reports it, and ends with the status of a wrong setting."""
    processes = Processes(tmp_path, url)
    try:
        await ready(processes.spawn("gateway"))
        env = {"CORDBOARD_LEASE_S": "7"}
        operator = processes.spawn("operator", "--launcher", "none", env=env, before=IMPATIENT)
        status = await asyncio.to_thread(operator.ended, 40)
        said = "\n".join(operator.other)
        assert status == 2, said
        assert "CORDBOARD_LEASE_S is 7 here, but 15 in the running processes (gateway " in said
        assert any(r["message"].startswith("Other processes run with") for r in operator.records)
    finally:
        processes.stop()
