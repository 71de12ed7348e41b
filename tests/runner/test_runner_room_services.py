"""What a bot in a room of Daily or LiveKit gets beside its launch."""

from typing import Any

import pytest
from livekit import api
from pipecat.runner.types import DailyDialinRequest, DailyRunnerArguments, LiveKitRunnerArguments

from cordboard.contract.errors import CordboardError
from cordboard.contract.launch import Launch
from cordboard.runner.bot_arguments import BotConnection, runner_arguments

SECRET = "s" * 40


def arguments(room: str, **fields: Any) -> Any:
    """Return the argument of a bot for a launch."""
    return runner_arguments(Launch("call-7", room, 3, **fields), BotConnection())


@pytest.fixture
def livekit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a runner with a LiveKit server."""
    monkeypatch.setenv("LIVEKIT_URL", "wss://livekit.example.com")
    monkeypatch.setenv("LIVEKIT_API_KEY", "APIkey")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)


@pytest.mark.usefixtures("livekit")
def test_bot_in_a_livekit_room_gets_a_token_as_the_agent_of_its_session() -> None:
    """LiveKit accepts it, and disconnects a bot of an earlier epoch, which has the same identity."""
    first, second = (arguments("livekit:room-1", attempt=attempt) for attempt in (1, 2))
    assert isinstance(first, LiveKitRunnerArguments)
    assert (first.room_name, first.url) == ("room-1", "wss://livekit.example.com")
    claims = [api.TokenVerifier("APIkey", SECRET).verify(item.token) for item in (first, second)]
    assert {item.identity for item in claims} == {"agent-call-7"}
    grants = claims[0].video
    assert grants is not None
    assert (grants.room, grants.agent) == ("room-1", True)


@pytest.mark.usefixtures("livekit")
def test_token_of_the_join_has_precedence() -> None:
    """A caller may know better which grants the bot needs."""
    assert arguments("livekit:room-1", token="of the caller").token == "of the caller"


def test_livekit_room_without_a_server_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session then ends with this text as its detail."""
    monkeypatch.delenv("LIVEKIT_URL", raising=False)
    with pytest.raises(CordboardError, match="LIVEKIT_URL"):
        arguments("livekit:room-1")


def test_bot_of_a_call_through_daily_gets_the_key_of_its_runner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The body is Pipecat's `DailyDialinRequest`; the key has not passed through Redis."""
    monkeypatch.setenv("DAILY_API_KEY", "daily-key")
    monkeypatch.delenv("DAILY_API_URL", raising=False)
    settings = {"call_id": "c", "call_domain": "d", "To": "+1", "From": "+2", "sip_headers": None}
    given = arguments("https://acme.daily.co/r", body={"dialin_settings": settings}, token="t")
    assert isinstance(given, DailyRunnerArguments)
    request = DailyDialinRequest(**given.body)
    assert (request.daily_api_key, request.daily_api_url) == (
        "daily-key",
        "https://api.daily.co/v1",
    )


def test_other_bots_do_not_get_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body is copied into places where a key does not belong."""
    monkeypatch.setenv("DAILY_API_KEY", "daily-key")
    assert "daily_api_key" not in arguments("https://acme.daily.co/r", token="t").body
