"""All live sessions are ended before the components stop, however many there are."""

import pytest

from cordboard.contract.errors import CordboardError
from cordboard.contract.launch import Launch
from cordboard.environment import CONTROL_SECRET
from cordboard.gateway.app import create_app
from cordboard.settings import Settings
from cordboard.store import RedisStore
from cordboard.up.shutdown import end_live_sessions
from tests_support import served

SECRET = "s3cret"


async def test_sessions_of_all_pages_are_ended(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session of a full queue is left to end as one that lost its runner."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    for number in range(5):
        launch = Launch(f"call-{number}", f"webrtc:room-{number}", epoch=0)
        await store.accept(launch, queue_max=9)
    async with served(create_app(Settings(), store)) as url:
        assert await end_live_sessions(url, SECRET, page_size=2) == 5
    sessions, _ = await store.sessions()
    assert {(session.state, session.reason) for session in sessions} == {("cancelled", "cancelled")}


async def test_gateway_that_has_ended_is_an_error() -> None:
    """The caller can log it and continue to stop."""
    with pytest.raises(CordboardError, match="did not end the live sessions"):
        await end_live_sessions("http://127.0.0.1:9", SECRET)
