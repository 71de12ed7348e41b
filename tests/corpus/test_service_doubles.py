"""The doubles refuse what the real services refuse: a wrong key, missing fields, an unknown message, a wrong order."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from corpus.doubles_common import ANSWER, GREETING, KEY, QUESTION, tone
from corpus.service_doubles import Doubles

BEARER = {"Authorization": f"Bearer {KEY}"}
TOKEN = {"Authorization": f"Token {KEY}"}
CARTESIA = {"X-API-Key": KEY, "Cartesia-Version": "2026-03-01"}
FLUX = "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000"
FLUX_SPEAK = "/v2/speak?model=flux-cole-en&encoding=linear16&sample_rate=16000"
INK = "model=ink-2&encoding=pcm_s16le&sample_rate=16000"
REQUEST = {"model": "gpt-4.1", "input": [{"role": "user", "content": QUESTION}]}
SPEECH = tone(16_000, 1.0) + bytes(16_000 * 2)


@pytest.fixture
def doubles() -> Doubles:
    """Return doubles that nobody has asked for anything."""
    return Doubles()


@pytest.fixture
def client(doubles: Doubles) -> TestClient:
    """Return a client of them."""
    return TestClient(doubles.app())


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("/v1/responses", {}),
        ("/v1/realtime", TOKEN),
        (FLUX, BEARER),
        (FLUX.replace("general-en", "unknown"), TOKEN),
        (FLUX + "&eot_threshold=0.2", TOKEN),
        (FLUX + "&language_hint=en", TOKEN),
        (FLUX_SPEAK.replace("flux-cole-en", "aura-2-helena-en"), TOKEN),
        (FLUX_SPEAK.replace("16000", "12345"), TOKEN),
        (f"/stt/websocket?{INK}", {"X-API-Key": KEY}),
        ("/stt/websocket?model=ink-2&encoding=pcm_s16le", CARTESIA),
        (f"/stt/turns/websocket?{INK.replace('ink-2', 'ink-whisper')}", CARTESIA),
    ],
)
def test_connection_with_a_wrong_key_or_parameter_is_refused(
    doubles: Doubles, client: TestClient, url: str, headers: dict[str, str]
) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(url, headers=headers):
        pass
    assert len(doubles.faults) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"model": ""},
        {"input": []},
        {"messages": []},
        {"temperature": 3},
        {"tools": [{"type": "function"}]},
        {"previous_response_id": "resp_9"},
        {"input": [{"role": "tool", "content": "x"}]},
        {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
        {"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]},
    ],
)
def test_response_of_a_wrong_form_is_refused(
    doubles: Doubles, client: TestClient, change: dict[str, Any]
) -> None:
    assert client.post("/v1/responses", json=REQUEST | change, headers=BEARER).status_code == 400
    assert len(doubles.faults) == 1


def test_response_over_a_websocket_continues_one_of_its_connection(
    doubles: Doubles, client: TestClient
) -> None:
    """The first hears of Germany; the next names it only in what the connection remembers."""
    with client.websocket_connect("/v1/responses", headers=BEARER) as socket:
        socket.send_json({"type": "response.create", **REQUEST})
        first = _until(socket.receive_json, "response.completed")["response"]
        more = {"model": "gpt-4.1", "input": [{"role": "user", "content": "Again?"}]}
        again = {"type": "response.create", **more, "previous_response_id": first["id"]}
        socket.send_json(again)
        second = _until(socket.receive_json, "response.completed")["response"]
        assert second["output"][0]["content"][0]["text"] == ANSWER
    with client.websocket_connect("/v1/responses", headers=BEARER) as socket:
        socket.send_json(again)
        assert socket.receive_json()["error"]["code"] == "previous_response_not_found"


def test_realtime_session_speaks_and_refuses_what_has_no_place(
    doubles: Doubles, client: TestClient
) -> None:
    with client.websocket_connect("/v1/realtime?model=gpt-realtime", headers=BEARER) as socket:
        socket.send_json({"type": "response.create"})
        assert _until(socket.receive_json, "error")["error"]["code"] == "no_session"
        socket.send_json({"type": "session.update", "session": {"type": "realtime"}})
        for audio in (tone(24_000, 1.0), bytes(48_000)):
            encoded = base64.b64encode(audio).decode()
            socket.send_json({"type": "input_audio_buffer.append", "audio": encoded})
        item = _until(socket.receive_json, "response.done")["response"]["output"][0]
        assert item["content"][0]["transcript"] == ANSWER
        cut = {"item_id": item["id"], "content_index": 0, "audio_end_ms": 5_000}
        for refused in (
            {"type": "conversation.item.truncate", **cut},
            {"type": "input_audio_buffer.commit"},
            {"type": "conversation.item.create", "item": {"type": "message"}},
            {"type": "session.update", "session": {"type": "transcription"}},
        ):
            socket.send_json(refused)
            _until(socket.receive_json, "error")
    assert len(doubles.faults) == 5


@pytest.mark.parametrize(
    ("url", "headers", "transcribed"),
    [
        (FLUX, TOKEN, ["Connected", "TurnInfo", "TurnInfo", "TurnInfo"]),
        (
            f"/stt/turns/websocket?{INK}",
            CARTESIA,
            ["connected", "turn.start", "turn.update", "turn.end"],
        ),
    ],
)
def test_turn_is_told_from_its_start_to_its_end(
    doubles: Doubles, client: TestClient, url: str, headers: dict[str, str], transcribed: list[str]
) -> None:
    with client.websocket_connect(url, headers=headers) as socket:
        socket.send_bytes(SPEECH[:32_000])
        socket.send_bytes(SPEECH[32_000:])
        told = [socket.receive_json() for _ in transcribed]
        socket.send_json({"type": "unknown"})
        socket.send_json({"type": "CloseStream" if url == FLUX else "close"})
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()
    assert [message["type"] for message in told] == transcribed
    assert told[-1]["transcript"] == QUESTION
    assert len(doubles.faults) == 1


def test_cartesia_transcribes_when_the_client_finalizes(
    doubles: Doubles, client: TestClient
) -> None:
    with client.websocket_connect(f"/stt/websocket?{INK}", headers=CARTESIA) as socket:
        socket.send_text("finalize")
        assert socket.receive_json()["type"] == "flush_done"
        socket.send_bytes(SPEECH)
        socket.send_text("unknown")
        socket.send_text("finalize")
        assert socket.receive_json()["text"] == QUESTION
        assert socket.receive_json()["type"] == "flush_done"
    assert len(doubles.faults) == 1


def test_flux_speaks_a_turn_when_the_client_flushes_it(
    doubles: Doubles, client: TestClient
) -> None:
    with client.websocket_connect(FLUX_SPEAK, headers=TOKEN) as socket:
        socket.send_json({"type": "Interrupt"})
        socket.send_json({"type": "Speak", "text": GREETING})
        socket.send_json({"type": "Flush"})
        kinds = [socket.receive_json()["type"] for _ in range(4)]
        assert kinds == ["Connected", "Warning", "SpeechStarted", "Flushed"]
        assert socket.receive_bytes() == tone(16_000)
        assert socket.receive_json()["type"] == "SpeechMetadata"
        socket.send_json({"type": "Speak"})
        socket.send_json({"type": "Close"})
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()
    assert len(doubles.faults) == 1


def _until(receive: Callable[[], Any], kind: str) -> dict[str, Any]:
    """Return the first message of a type."""
    while (message := receive())["type"] != kind:
        assert message["type"] != "error", json.dumps(message)
    return dict(message)
