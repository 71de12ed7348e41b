"""LiveKit: tokens and webhooks, against the verifiers of LiveKit's own package."""

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit import api

from cordboard.contract.errors import SettingsError, UnauthorizedError
from cordboard.contract.livekit import (
    LiveKitServer,
    access_token,
    agent_identity,
    verify_webhook,
)
from cordboard.edge.rooms.start import NotConfiguredError, start_livekit
from cordboard.edge.rooms.webhooks import dispatched_bot, parse_dispatch
from cordboard.edge.start_request import Start
from edge.rooms_support import Edge, encoded, running_edge

SERVER = LiveKitServer("wss://livekit.example.com", "APIkey", "s" * 40)


@pytest.fixture
async def edge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Edge]:
    """An edge with a LiveKit server."""
    for name, value in (
        ("LIVEKIT_URL", SERVER.url),
        ("LIVEKIT_API_KEY", SERVER.api_key),
        ("LIVEKIT_API_SECRET", SERVER.api_secret),
    ):
        monkeypatch.setenv(name, value)
    async with running_edge(monkeypatch, livekit_dispatch=("call-", "call-vip-=vip")) as running:
        yield running


def started(session_id: str, bot: str = "default", **fields: Any) -> Start:
    """Return a client's start of a session."""
    return Start(session_id, bot, "livekit", **fields)


def webhook(event: dict[str, object], **changes: object) -> tuple[bytes, dict[str, str]]:
    """Return a webhook's body and headers, signed by LiveKit's own package."""
    content = encoded(event)
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    token = (
        api.AccessToken(SERVER.api_key, str(changes.get("secret", SERVER.api_secret)))
        .with_sha256(digest)
        .with_ttl(timedelta(minutes=5))
        .to_jwt()
    )
    return content, {"Authorization": token, "Content-Type": "application/webhook+json"}


@given(
    room=st.from_regex(r"[A-Za-z0-9._~:@+-]{1,128}", fullmatch=True),
    name=st.text(max_size=40),
    is_agent=st.booleans(),
)
def test_livekit_accepts_a_token_and_reads_what_it_grants(
    room: str, name: str, *, is_agent: bool
) -> None:
    """LiveKit's own verifier finds the room, the identity and whether it is an agent."""
    token = access_token(
        SERVER,
        room=room,
        identity="u-1",
        name=name,
        now_s=time.time(),
        lifetime_s=600,
        is_agent=is_agent,
    )
    claims = api.TokenVerifier(SERVER.api_key, SERVER.api_secret).verify(token)
    assert (claims.identity, claims.name) == ("u-1", name)
    assert claims.video is not None
    assert (claims.video.room_join, claims.video.room) == (True, room)
    assert bool(claims.video.agent) is is_agent


def test_token_ends_with_its_lifetime() -> None:
    """LiveKit refuses it afterwards."""
    token = access_token(
        SERVER, room="r", identity="u", name="U", now_s=time.time() - 1000, lifetime_s=600
    )
    with pytest.raises(Exception, match="expired"):
        api.TokenVerifier(SERVER.api_key, SERVER.api_secret).verify(token)


def test_identity_of_a_bot_is_that_of_its_session_at_every_epoch() -> None:
    """LiveKit then disconnects the bot of an earlier epoch."""
    assert agent_identity("call-7") == "agent-call-7"


def test_webhook_of_livekits_package_is_accepted_and_any_other_is_not() -> None:
    """The token must be signed with our secret, name this body, and be current."""
    content, headers = webhook({"event": "room_started"})
    token, now = headers["Authorization"], time.time()
    verify_webhook(SERVER, token, content, now)
    verify_webhook(SERVER, f"Bearer {token}", content, now)
    forged, _ = webhook({"event": "room_started"}, secret="t" * 40)
    header, claims, signature = token.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for authorization, body, at in (
        (token, content + b" ", now),
        (token, content, now + 3600),
        ("", content, now),
        ("a.b.c", content, now),
        (f"{unsigned}.{claims}.", content, now),
        (f"{header}.{claims}.{signature[:-2]}", content, now),
        (webhook({"event": "room_started"}, secret="t" * 40)[1]["Authorization"], forged, now),
        ("\udcff.\udcff.\udcff", content, now),
    ):
        with pytest.raises(UnauthorizedError):
            verify_webhook(SERVER, authorization, body, at)


async def test_start_returns_the_way_in_of_the_person(edge: Edge) -> None:
    """The bot's token is not in the join: the runner makes it at each fork."""
    answer = await start_livekit(edge.services, started("call-7", user_id="u-1", user_name="Ada"))
    assert (answer["url"], answer["sessionId"]) == (SERVER.url, "call-7")
    claims = api.TokenVerifier(SERVER.api_key, SERVER.api_secret).verify(answer["token"])
    assert claims.video is not None
    assert (claims.identity, claims.video.room, claims.video.agent) == ("u-1", "call-7", None)
    (join,) = edge.gateway.joins
    assert join["room_url"] == "livekit:call-7"
    assert "token" not in join


async def test_start_without_a_server_names_the_variables(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One missing variable is enough to be unconfigured."""
    monkeypatch.delenv("LIVEKIT_API_SECRET")
    with pytest.raises(NotConfiguredError, match="LIVEKIT_API_SECRET"):
        await start_livekit(edge.services, started("call-7"))


async def test_room_that_a_participant_opens_gets_the_bot_of_its_prefix(edge: Edge) -> None:
    """Each of LiveKit's repetitions names the same session."""
    room = {"sid": "RM_abc", "name": "call-vip-7"}
    for event in ("room_started", "participant_joined", "participant_joined"):
        content, headers = webhook({"event": event, "room": room, "participant": {"kind": "SIP"}})
        answer = await edge.client.post("/livekit/webhook", content=content, headers=headers)
        assert answer.json() == {"sessionId": "RM_abc", "status": "queued"}
    assert {(join["room_url"], join["bot"]) for join in edge.gateway.joins} == {
        ("livekit:call-vip-7", "vip")
    }


@pytest.mark.parametrize("sid", ["RM_abc", "an id/with signs"])
async def test_event_after_the_end_of_its_session_brings_no_second_bot(
    edge: Edge, sid: str
) -> None:
    """It is a repetition, or somebody replays it: a room has one session until it is opened again."""
    content, headers = webhook({"event": "room_started", "room": {"sid": sid, "name": "call-7"}})
    answers = []
    for _ in range(3):
        answer = await edge.client.post("/livekit/webhook", content=content, headers=headers)
        answers.append(answer.json())
        edge.gateway.ended = len(answers) > 1
    session_id = answers[0]["sessionId"]
    assert answers[1]["sessionId"] == session_id
    assert answers[2] == {"sessionId": session_id, "status": "ended"}
    assert len(edge.gateway.joins) == 2
    content, headers = webhook({"event": "room_started", "room": {"sid": "RM_2", "name": "call-7"}})
    answer = await edge.client.post("/livekit/webhook", content=content, headers=headers)
    assert answer.json()["sessionId"] == "RM_2"


async def test_event_without_the_id_of_its_room_is_an_error(edge: Edge) -> None:
    """Nothing else tells a repetition from a new room."""
    content, headers = webhook({"event": "room_started", "room": {"name": "call-7"}})
    answer = await edge.client.post("/livekit/webhook", content=content, headers=headers)
    assert answer.status_code == 422
    assert edge.gateway.joins == []


@pytest.mark.parametrize(
    "event",
    [
        {"event": "room_finished", "room": {"sid": "RM_a", "name": "call-7"}},
        {"event": "participant_joined", "room": {"name": "other"}},
        {
            "event": "participant_joined",
            "room": {"name": "call-7"},
            "participant": {"kind": "AGENT"},
        },
        {"event": "participant_joined", "room": {"name": "call-7"}, "participant": {"kind": 4}},
        {"event": "track_published", "room": {"name": "call-7"}},
        {"event": "room_started"},
        {"event": ["room_started"], "room": "call-7"},
    ],
)
async def test_event_that_needs_no_bot_is_ignored(edge: Edge, event: dict[str, object]) -> None:
    """The arrival of a bot brings no second one, and other rooms are not ours."""
    content, headers = webhook(event)
    answer = await edge.client.post("/livekit/webhook", content=content, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"status": "ignored"})
    assert edge.gateway.joins == []


async def test_webhook_without_proof_starts_nothing(edge: Edge) -> None:
    """Anybody can send a request to the edge."""
    content = json.dumps({"event": "room_started", "room": {"name": "call-7"}}).encode()
    answer = await edge.client.post("/livekit/webhook", content=content)
    assert answer.status_code == 401
    assert edge.gateway.joins == []


def test_longest_prefix_chooses_the_bot() -> None:
    """A prefix without a bot means the default one."""
    bots = parse_dispatch(("call-", "call-vip-=vip"))
    rooms = ("call-1", "call-vip-1", "other")
    assert [dispatched_bot(room, bots) for room in rooms] == ["default", "vip", None]


@pytest.mark.parametrize("entries", [("",), ("=bot",), ("a=", "a"), ("a=b c",)])
def test_invalid_dispatch_is_an_error_of_the_settings(entries: tuple[str, ...]) -> None:
    """A mistake ends the start of the edge."""
    with pytest.raises(SettingsError, match="livekit_dispatch"):
        parse_dispatch(entries)
