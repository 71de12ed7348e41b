"""What was said reaches Redis encrypted, and another bot process only with the right key."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.cli import main
from cordboard.context.launch import context_of
from cordboard.contract.errors import StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.runner.context_cipher import ContextCipher, UnreadableContextError
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.kept_messages import CONTEXT_MAX_BYTES
from cordboard.runner.session_context import SessionContext
from cordboard.runner.session_end import EndWriter, SessionEnd
from cordboard.store import Holder, RedisStore, Registration
from lines_support import Lines, lines
from tests_support import until

__all__ = ["lines"]

OLD, NEW, NEWER = "the-old-control-secret", "the-new-control-secret", "the-newer-control-secret"
LAUNCH = Launch("call-7", "webrtc:standup", epoch=1)
SAID = {"v": 1, "workers": {"PipelineWorker#0": [[{"role": "user", "content": "My PIN is 4711."}]]}}


def cipher(*secrets: str) -> ContextCipher:
    return ContextCipher(lambda: secrets)


def context(store: RedisStore, *secrets: str) -> SessionContext:
    return SessionContext(LAUNCH, store, "r1", cipher(*(secrets or (OLD,))))


@pytest.fixture
async def running(store: RedisStore) -> RedisStore:
    """A store with the session, which this runner holds."""
    await store.register(Registration("r1", "http://r1", capacity=4))
    await store.accept(LAUNCH, queue_max=9)
    await store.placement.assign("call-7", 1)
    await store.confirm_running("call-7", 1, Holder("r1", "http://r1", "warm", pid=42))
    return store


@given(data=st.binary(max_size=500), session=st.text(max_size=20), other=st.text(max_size=20))
def test_only_the_same_session_and_secret_decrypt(data: bytes, session: str, other: str) -> None:
    """Also after one rotation of the secret, in either order of the processes."""
    text = cipher(OLD).encrypt(session, data)
    assert cipher(NEW, OLD).decrypt(session, text) == data
    assert cipher(OLD).decrypt(session, text) == data
    with pytest.raises(UnreadableContextError):
        cipher(NEWER, NEW).decrypt(session, text)
    if other != session:
        with pytest.raises(UnreadableContextError):
            cipher(OLD).decrypt(other, text)


@given(place=st.integers(0, 10**6), text=st.text(max_size=30))
def test_changed_text_is_not_decrypted(place: int, text: str) -> None:
    kept = cipher(OLD).encrypt("call-7", b"said")
    place %= len(kept.rstrip("="))
    other = "A" if kept[place] != "A" else "B"
    changes = [kept[:place] + other + kept[place + 1 :], kept[:place], text]
    # The last character before the padding has bits that encode nothing.
    for changed in changes[place == len(kept.rstrip("=")) - 1 :]:
        with pytest.raises(UnreadableContextError):
            cipher(OLD).decrypt("call-7", changed)


async def test_next_process_reads_what_was_said_and_redis_does_not(running: RedisStore) -> None:
    said = context(running)
    said.offer(SAID)
    assert await said.flush()
    kept = await running.kept_context("call-7")
    assert kept is not None
    assert "4711" not in kept
    read = await context(running, NEW, OLD).read()
    assert json.loads(read or b"") == SAID


@pytest.mark.parametrize("secrets", [(NEW,), (OLD,)], ids=["wrong key", "of another session"])
async def test_session_starts_without_what_cannot_be_decrypted(
    running: RedisStore, secrets: tuple[str, ...], lines: Lines
) -> None:
    """One warning says so; it contains nothing of the text."""
    await running.keep_context("call-7", 1, "r1", cipher(OLD).encrypt("call-8", b"4711"))
    assert await context(running, *secrets).read() is None
    (line,) = [line for line in lines() if line["tag"] == "context"]
    assert line["level"] == "warn"
    assert "cannot be decrypted" in line["message"]


async def test_bot_that_keeps_nothing_writes_nothing(running: RedisStore) -> None:
    """Its process may send what it likes."""
    said = SessionContext(LAUNCH, running, "r1", cipher=None)
    said.offer(SAID)
    assert await said.flush()
    assert await running.kept_context("call-7") is None
    assert await said.read() is None


async def test_snapshot_beyond_the_limit_is_refused(running: RedisStore, lines: Lines) -> None:
    """A bot's process writes to the channel itself; the one before stays."""
    said = context(running)
    said.offer(SAID)
    for _ in range(2):
        said.offer({"v": 1, "workers": {"x": "y" * CONTEXT_MAX_BYTES}})
    await said.flush()
    assert json.loads(await said.read() or b"") == SAID
    assert len([line for line in lines() if line["tag"] == "context"]) == 1


def test_runner_without_a_secret_does_not_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: Lines,
) -> None:
    """There would be no key; a conversation is never kept in plain text."""
    del lines  # it removes the configuration that the command makes
    monkeypatch.delenv("BOT_CONTROL_SHARED_SECRET", raising=False)
    file = tmp_path / "cordboard.toml"
    file.write_text("[bots.sales]\nfile = 'sales.py'\nkeep_context = true\n")
    assert main(["runner", "--config", str(file)]) == 2
    assert "[bots.sales] keep_context" in capsys.readouterr().err


class Refusing:
    """A store that refuses what is to be kept, so often."""

    def __init__(self, store: RedisStore, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.left, self._keep = times, store.keep_context
        monkeypatch.setattr(store, "keep_context", self.keep_context)

    async def keep_context(self, *arguments: str, **options: str) -> bool:
        if self.left:
            self.left -= 1
            raise StoreUnavailableError("OOM")
        return await self._keep(*arguments, **options)  # type: ignore[arg-type]


async def test_snapshots_are_written_once_redis_takes_them(
    running: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner retries; a later snapshot takes the place of one that waits."""
    Refusing(running, monkeypatch, 1)
    said = context(running)
    writing = asyncio.create_task(said.run())
    said.offer({"v": 1, "workers": {}})
    said.offer(SAID)
    await until(lambda: running.kept_context("call-7"))
    assert json.loads(await said.read() or b"") == SAID
    writing.cancel()


async def test_context_that_redis_has_lost_is_written_again(running: RedisStore) -> None:
    """With the session, which its holder restores at the next renewal."""
    said = context(running)
    said.offer(SAID)
    await said.flush()
    keys = running.keys
    lost = (keys.session("call-7"), keys.kept_context("call-7"), keys.room_active(LAUNCH.room_url))
    await running.connection.client.delete(*lost)
    holder = Holder("r1", "http://r1", "warm", pid=42)
    session: Any = SimpleNamespace(
        launch=LAUNCH,
        holder=holder,
        status="running",
        said=said,
        context=context_of(LAUNCH),
        loop_lag_ms=0.0,
        record_renewal=lambda _at: None,
    )
    registry: Any = SimpleNamespace(live=[session])
    assert await Heartbeat(running, registry, ()).beat()
    assert await said.flush()
    assert json.loads(await said.read() or b"") == SAID


async def test_hand_over_writes_first_and_waits_for_nothing(
    running: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process reads the last state; a Redis that takes no more text ends no call."""
    said = context(running)
    said.offer(SAID)
    end = SessionEnd("runner_lost", hand_over="draining")
    await EndWriter(running, LAUNCH, end, 0.0, "r1", said).run()
    assert json.loads(await said.read() or b"") == SAID
    assert (await running.session("call-7")).state == "queued"


async def test_hand_over_succeeds_while_nothing_can_be_kept(
    running: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Refusing(running, monkeypatch, 99)
    said = context(running)
    said.offer(SAID)
    end = SessionEnd("runner_lost", hand_over="draining")
    await EndWriter(running, LAUNCH, end, 0.0, "r1", said).run()
    assert (await running.session("call-7")).state == "queued"
