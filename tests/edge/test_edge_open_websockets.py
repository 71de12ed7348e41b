"""WebSockets without a token."""

import asyncio
import base64
import json
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from twilio.request_validator import RequestValidator

from cordboard.contract.ids import is_session_id
from cordboard.edge.streams.limits import StreamLimits
from edge.phone_support import PUBLIC_URL, TOKEN, phone_settings, sign_exotel
from edge.streams_support import StreamEdge, stream_edge
from edge.test_edge_first_messages import CALL_IDS, STARTS
from edge.test_edge_streams import closed
from lines_support import Lines, lines
from tests_support import until

__all__ = ["lines"]

CONNECTED = json.dumps({"event": "connected"})
EVAL = json.dumps(
    {"label": "rtvi-ai", "type": "client-message", "data": {"t": "eval-connect", "d": {}}}
)


def encoded(body: object) -> str:
    """Return a body for the query."""
    return base64.b64encode(json.dumps(body).encode()).decode()


async def refusal(edge: StreamEdge, path: str, **headers: str) -> tuple[int, str]:
    """Return the status and the code with which the handshake of a WebSocket is refused."""
    url = f"{edge.url.replace('ws', 'http', 1)}{path}"
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    async with edge.client.get(url, headers={**upgrade, **headers}) as response:
        body = await response.json(content_type="application/problem+json")
        return response.status, body["code"]


@pytest.mark.parametrize("carrier", sorted(STARTS))
async def test_call_of_a_static_document_joins_under_its_own_id(
    monkeypatch: Any, carrier: str
) -> None:
    """The bot receives what the edge has read, and then everything else."""
    texts = [CONNECTED, json.dumps(STARTS[carrier]), json.dumps({"event": "mark"})]
    async with stream_edge(monkeypatch) as edge:
        async with await edge.open("/ws?bot=support") as websocket:
            for text in texts:
                await websocket.send_str(text)
            assert [await websocket.receive_str() for _ in range(3)] == texts
        [join] = edge.gateway.joins
        call_id = CALL_IDS[carrier]
        assert (join["sessionId"], join["room_url"]) == (call_id, f"phone:{carrier}:{call_id}")
        assert (join["bot"], join["address"]) == ("support", None)
        assert edge.runner.queries == ["detect=true"]


async def test_second_stream_of_a_call_meets_the_same_session(monkeypatch: Any) -> None:
    """A carrier that connects again gets the bot of its call."""
    start = json.dumps(STARTS["twilio"])
    async with stream_edge(monkeypatch) as edge:
        for _ in range(2):
            async with await edge.open("/ws") as websocket:
                await websocket.send_str(start)
                assert await websocket.receive_str() == start
        assert edge.runner.sessions == ["CA1", "CA1"]


async def test_eval_harness_gets_a_session_after_one_message(monkeypatch: Any) -> None:
    """It sends its next message only after the bot has answered."""
    async with stream_edge(monkeypatch) as edge:
        async with await edge.open("/ws") as websocket:
            await websocket.send_str(EVAL)
            assert await websocket.receive_str() == EVAL
        [join] = edge.gateway.joins
        assert join["room_url"] == f"ws:{join['sessionId']}"
        assert edge.runner.queries == ["detect=true"]


@pytest.mark.parametrize("first", ["no JSON", json.dumps({"event": "other"}), b"binary"])
async def test_other_client_of_the_telephony_path_gets_a_session(
    monkeypatch: Any, first: str | bytes
) -> None:
    """One message is enough if no second one comes in time."""
    limits = StreamLimits(first_message_s=0.2, close_s=0.5)
    async with (
        stream_edge(monkeypatch, limits) as edge,
        await edge.open("/ws") as websocket,
    ):
        if isinstance(first, str):
            await websocket.send_str(first)
            assert await websocket.receive_str() == first
        else:
            await websocket.send_bytes(first)
            assert await websocket.receive_bytes() == first


async def test_client_that_names_no_call_gets_a_session_of_its_own(monkeypatch: Any) -> None:
    """Its address counts for the limits of clients; its query holds bot and body."""
    async with stream_edge(monkeypatch) as edge:
        body = {"prompt": "Ünïcode >>>???"}
        path = f"/ws-client?bot=support&body={encoded(body)}"
        async with await edge.open(path) as websocket:
            await websocket.send_str("a")
            assert await websocket.receive_str() == "a"
        [join] = edge.gateway.joins
        assert is_session_id(join["sessionId"])
        assert join["room_url"] == f"ws:{join['sessionId']}"
        assert (join["bot"], join["body"], join["address"]) == ("support", body, "127.0.0.1")
        assert edge.runner.queries == [""]


async def test_client_may_name_its_session_but_not_open_another_ones(monkeypatch: Any) -> None:
    """A live session is closed to whoever merely knows its id."""
    async with stream_edge(monkeypatch) as edge:
        headers = {"X-Session-Id": "my-call"}
        async with await edge.open("/ws-client", headers=headers) as websocket:
            await websocket.send_str("a")
            await websocket.receive_str()
            other = await edge.open("/ws-client", headers=headers)
            assert await closed(other) == (1008, "The session id is in use.")
        assert edge.runner.sessions == ["my-call"]


@pytest.mark.parametrize(
    "query",
    [
        "bot=a/b",
        "body=%7B%7D",
        f"body={encoded([1])}",
        f"body={encoded({'a': chr(0xD800)})}",
        f"body={encoded({'a': float('nan')})}",
        f"body={encoded({'a': 'x' * 4096})}",
        f"body={quote(base64.b64encode(b'[' * 3000).decode())}",
    ],
)
async def test_invalid_query_is_refused_before_the_handshake(monkeypatch: Any, query: str) -> None:
    """422 with a hint, and no session."""
    async with stream_edge(monkeypatch) as edge:
        assert await refusal(edge, f"/ws-client?{query}") == (422, "invalid")
        assert edge.gateway.joins == []


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        ((429, "queue_full"), 1013),
        ((503, "store_unavailable"), 1013),
        ((409, "session_in_use"), 1008),
        ((422, "invalid"), 1008),
    ],
)
async def test_refused_join_closes_the_websocket(
    monkeypatch: Any, refused: tuple[int, str], code: int
) -> None:
    """A carrier then goes on with its document."""
    async with stream_edge(monkeypatch) as edge:
        edge.gateway.refusal = refused
        websocket = await edge.open("/ws")
        await websocket.send_str(json.dumps(STARTS["plivo"]))
        assert await closed(websocket) == (code, f"Refused: {refused[1]}.")


async def test_telephony_client_that_sends_nothing_is_closed_with_4408(monkeypatch: Any) -> None:
    """And leaves no session."""
    async with stream_edge(monkeypatch, StreamLimits(first_message_s=0.1, close_s=0.5)) as edge:
        assert (await closed(await edge.open("/ws")))[0] == 4408
        assert edge.gateway.joins == []


async def test_large_first_message_and_invalid_call_id_are_refused(monkeypatch: Any) -> None:
    """Nothing of them reaches the gateway."""
    async with stream_edge(monkeypatch) as edge:
        websocket = await edge.open("/ws")
        await websocket.send_str("x" * (64 * 1024 + 1))
        assert (await closed(websocket))[0] == 1009
        websocket = await edge.open("/ws")
        start = {"streamSid": "MZ1", "callSid": "../../leave"}
        await websocket.send_str(json.dumps({"event": "start", "start": start}))
        assert (await closed(websocket))[0] == 1008
        assert edge.gateway.joins == []


async def test_client_that_leaves_before_its_start_message_leaves_nothing(monkeypatch: Any) -> None:
    """No session, no socket."""
    async with stream_edge(monkeypatch) as edge:
        websocket = await edge.open("/ws")
        await websocket.send_str(CONNECTED)
        await websocket.close()
        await asyncio.sleep(0.05)
        assert edge.gateway.joins == []


@pytest.mark.parametrize("path", ["/ws", "/ws-client"])
async def test_edge_beyond_loopback_needs_a_token(
    monkeypatch: Any, lines: Lines, path: str
) -> None:
    """Without a token only if the setting says so."""
    async with stream_edge(monkeypatch, local=False) as edge:
        assert await refusal(edge, path) == (403, "stream_token")
        async with await edge.open(f"{path}/{edge.token()}") as websocket:
            await websocket.send_str("a")
            await websocket.receive_str()
    logged = lines()
    assert [line["meta"]["path"] for line in logged if line.get("event") == "auth.refused"] == [
        path
    ]
    assert [line for line in logged if line["level"] == "error"] == []


@pytest.mark.parametrize("path", ["/ws", "/ws-client"])
@pytest.mark.parametrize("place", ["query", "header"])
async def test_token_beside_the_path_admits_to_its_session(
    monkeypatch: Any, lines: Lines, path: str, place: str
) -> None:
    """As at Pipecat's own runner, for clients that compose the URL themselves; no line shows it."""
    async with stream_edge(monkeypatch, local=False) as edge:
        token = edge.token("call-1")
        query = f"?token={token}" if place == "query" else ""
        headers = {"Authorization": f"Bearer {token}"} if place == "header" else {}
        async with await edge.open(f"{path}{query}", headers=headers) as websocket:
            await websocket.send_str("a")
            assert await websocket.receive_str() == "a"
        assert (edge.runner.sessions, edge.gateway.joins) == (["call-1"], [])
        await until(lambda: any(line["message"] == "Request served" for line in lines()))
    assert token not in json.dumps(lines())


async def test_wrong_token_in_the_query_is_refused_by_an_open_edge_as_well(
    monkeypatch: Any, lines: Lines
) -> None:
    """A client that has a token expects its own session, and not a new one."""
    async with stream_edge(monkeypatch) as edge:
        wrong = edge.token()[:-1] + "!"
        assert await refusal(edge, f"/ws-client?token={wrong}") == (403, "stream_token")
        assert edge.gateway.joins == []
    assert wrong not in json.dumps(lines())


@pytest.mark.parametrize("query", ["token=", "token=undefined", "token=null"])
async def test_client_that_appends_no_token_is_served(monkeypatch: Any, query: str) -> None:
    """Examples of clients append `?token=` to whatever URL they get, with a token or without."""
    async with stream_edge(monkeypatch) as edge:
        for path in ("/ws-client", f"/ws-client/{edge.token('call-1')}"):
            async with await edge.open(f"{path}?{query}") as websocket:
                await websocket.send_str("a")
                assert await websocket.receive_str() == "a"
        [join] = edge.gateway.joins
        assert edge.runner.sessions == [join["sessionId"], "call-1"]


async def test_credential_for_a_proxy_closes_no_open_websocket(monkeypatch: Any) -> None:
    """A proxy in front of the edge may want a credential of its own."""
    async with (
        stream_edge(monkeypatch) as edge,
        await edge.open("/ws-client", headers={"Authorization": "Bearer a.b"}) as websocket,
    ):
        await websocket.send_str("a")
        assert await websocket.receive_str() == "a"


async def test_open_edge_beyond_loopback_takes_every_client(monkeypatch: Any) -> None:
    """`open_websockets` permits it."""
    async with (
        stream_edge(monkeypatch, local=False, open_websockets=True) as edge,
        await edge.open("/ws-client") as websocket,
    ):
        await websocket.send_str("a")
        assert await websocket.receive_str() == "a"


async def test_plain_request_to_a_websocket_path_shows_no_token(
    monkeypatch: Any, lines: Lines
) -> None:
    """Somebody who pastes the URL into a browser gets an error, and neither it nor a log line has the token."""
    async with stream_edge(monkeypatch) as edge:
        token = edge.token()
        url = edge.url.replace("ws", "http", 1)
        for path in ("ws", "ws-client", "phone/stream", "phone/stream/x"):
            async with edge.client.get(f"{url}/{path}/{token}") as response:
                assert response.status in {404, 422}
                assert token not in await response.text()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await edge.open(f"/phone/stream/{token}/more")
    own = [line for line in lines() if line["tag"] != "aiohttp"]
    assert own
    assert token not in json.dumps(own)


PUBLIC: dict[str, Any] = {"public_url": PUBLIC_URL, "phone": phone_settings(), "local": False}


@pytest.mark.parametrize("scheme", ["wss", "https"])
async def test_handshake_that_twilio_has_signed_needs_no_token(
    monkeypatch: Any, scheme: str
) -> None:
    """A static document then works beyond loopback; the signature is that of Twilio's own library."""
    monkeypatch.setenv("TEST_CARRIER_TOKEN", TOKEN)
    url = f"{PUBLIC_URL.replace('https', scheme)}/ws?bot=support"
    signature = RequestValidator(TOKEN).compute_signature(url, {})
    start = json.dumps(STARTS["twilio"])
    async with stream_edge(monkeypatch, **PUBLIC) as edge:
        headers = {"X-Twilio-Signature": signature}
        async with await edge.open("/ws?bot=support", headers=headers) as websocket:
            await websocket.send_str(start)
            assert await websocket.receive_str() == start
        assert await refusal(edge, "/ws?bot=other", **headers) == (403, "stream_token")
        assert await refusal(edge, "/ws?bot=support") == (403, "stream_token")


@pytest.mark.parametrize("path", ["/phone/stream/{}", "/ws/{}", "/ws?token={}"])
async def test_wrong_signature_of_a_handshake_is_refused_with_a_token_too(
    monkeypatch: Any, path: str
) -> None:
    """Somebody who has learned the URL of a stream cannot sign it; a client that signs nothing needs no signature."""
    monkeypatch.setenv("TEST_CARRIER_TOKEN", TOKEN)
    async with stream_edge(monkeypatch, **PUBLIC) as edge:
        path = path.format(edge.token("CA1", "phone:twilio:CA1"))
        for url, token in ((f"{PUBLIC_URL}{path}x", TOKEN), (f"{PUBLIC_URL}{path}", "another")):
            wrong = {"X-Twilio-Signature": RequestValidator(token).compute_signature(url, {})}
            assert await refusal(edge, path, **wrong) == (403, "stream_token")
        right = RequestValidator(TOKEN).compute_signature(f"{PUBLIC_URL}{path}", {})
        for headers in ({"X-Twilio-Signature": right}, {}):
            async with await edge.open(path, headers=headers) as websocket:
                await websocket.send_json(STARTS["twilio"])
                assert await websocket.receive_json() == STARTS["twilio"]


async def test_wrong_signatures_of_strangers_do_not_fill_the_log(
    monkeypatch: Any, lines: Lines
) -> None:
    """Anybody can send one with each attempt; the first ones are logged."""
    monkeypatch.setenv("TEST_CARRIER_TOKEN", TOKEN)
    async with stream_edge(monkeypatch, **PUBLIC) as edge:
        for _ in range(40):
            assert await refusal(edge, "/ws", **{"X-Twilio-Signature": "x"}) == (
                403,
                "stream_token",
            )
    messages = [line["message"] for line in lines()]
    assert 1 <= sum("does not fit public_url" in message for message in messages) < 40


async def test_handshake_with_the_password_of_exotel_needs_no_token(monkeypatch: Any) -> None:
    """Exotel sends what the console's URL has; other clients may send another header of this name."""
    monkeypatch.setenv("TEST_CARRIER_TOKEN", TOKEN)
    start = json.dumps(STARTS["exotel"])
    async with stream_edge(monkeypatch, **PUBLIC) as edge:
        headers = sign_exotel("", (), b"", 0)
        async with await edge.open("/ws", headers=headers) as websocket:
            await websocket.send_str(start)
            assert await websocket.receive_str() == start
        wrong = {"Authorization": headers["Authorization"] + "x"}
        assert await refusal(edge, "/ws", **wrong) == (403, "stream_token")
        path = f"/ws-client/{edge.token()}"
        async with await edge.open(path, headers={"Authorization": "Bearer x"}) as websocket:
            await websocket.send_str("a")
            assert await websocket.receive_str() == "a"


async def test_text_that_is_not_utf8_closes_the_websocket(monkeypatch: Any) -> None:
    """With the code for it (RFC 6455, section 8.1)."""
    async with stream_edge(monkeypatch) as edge:
        websocket = await edge.open("/ws-client")
        await websocket.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        assert (await closed(websocket))[0] == 1007


@pytest.mark.parametrize("path", ["/ws", "/ws-client"])
async def test_page_of_another_site_opens_no_websocket(monkeypatch: Any, path: str) -> None:
    """Browsers let every page connect to this machine, so the edge looks at the page's origin."""
    async with stream_edge(monkeypatch) as edge:
        assert await refusal(edge, path, Origin="https://evil.example") == (403, "foreign_origin")
        assert await refusal(edge, path, Origin="null") == (403, "foreign_origin")
        async with await edge.open("/ws-client", headers={"Origin": "http://localhost:3000"}):
            pass
        # The token is the proof of a page of any site: it comes from that page's own server.
        headers = {"Origin": "https://app.example"}
        async with await edge.open(f"/ws-client/{edge.token()}", headers=headers):
            pass
