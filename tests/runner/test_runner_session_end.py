"""Writing a session's end while the store refuses it."""

from typing import Any

import pytest

from cordboard.contract.errors import StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.runner import session_end
from cordboard.store import RedisStore


async def test_an_end_is_written_when_the_store_takes_it_again(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner retries by itself, with one token, and does not need an operator to ask."""
    tokens: list[str] = []
    finish = store.finish

    async def refusing(*words: Any, **more: Any) -> bool:
        tokens.append(more["by"])
        if len(tokens) < 3:
            raise StoreUnavailableError("NOREPLICAS")
        return await finish(*words, **more)

    monkeypatch.setattr(session_end, "RETRY_S", 0.01)
    monkeypatch.setattr(store, "finish", refusing)
    launch = Launch(session_id="call-1", room_url="webrtc:r", epoch=1)
    await store.accept(launch, queue_max=9)
    await session_end.write_end(store, launch, "bot_finished", None, 0.0)
    assert (len(tokens), len(set(tokens))) == (3, 1)
    record = await store.session("call-1")
    assert (record.state, record.reason) == ("ended", "bot_finished")
