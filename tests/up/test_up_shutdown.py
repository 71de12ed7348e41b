"""Every live session is left before the parts stop, however many there are."""

import pytest

from cordboard.contract.errors import CordboardError
from cordboard.contract.launch import Launch
from cordboard.environment import CONTROL_SECRET
from cordboard.gateway.app import create_app
from cordboard.settings import Settings
from cordboard.store import RedisStore
from cordboard.up import shutdown
from cordboard.up.shutdown import end_live_sessions
from tests_support import served

SECRET = "s3cret"


async def test_more_sessions_than_a_page_holds(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages are asked for: none of a full queue is left to end as a lost one."""
    monkeypatch.setenv(CONTROL_SECRET, SECRET)
    monkeypatch.setattr(shutdown, "_PAGE", 2)
    for number in range(5):
        launch = Launch(f"call-{number}", f"webrtc:room-{number}", epoch=0)
        await store.accept(launch, queue_max=9)
    async with served(create_app(Settings(), store)) as url:
        assert await end_live_sessions(url, SECRET) == 5
    found, _ = await store.sessions()
    assert {(one.state, one.reason) for one in found} == {("cancelled", "cancelled")}


async def test_a_gateway_that_has_gone(store: RedisStore) -> None:
    """It is said in words; whoever stops goes on."""
    with pytest.raises(CordboardError, match="did not end the live sessions"):
        await end_live_sessions("http://127.0.0.1:9", SECRET)
