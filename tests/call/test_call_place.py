"""A call through a real peer connection: what it needs to succeed, and what a failure says."""

import asyncio
import re
import wave
from pathlib import Path
from typing import Any

import pytest

from call.call_support import Place
from cordboard.call import CallOptions, CallResult, CallTimeouts, place_call
from cordboard.call.audio import peak_amplitude
from cordboard.call.timeline import CallStage
from cordboard.contract.errors import CordboardError, InvalidValueError, UsageError
from tests_support import silent_server, until

pytestmark = pytest.mark.media

WHOLE = [
    "joined",
    "running",
    "answered",
    "connected",
    "first_audio",
    "spoken",
    "heard_back",
    "left",
]


def names(result: CallResult) -> list[str]:
    return [stage.name for stage in result.stages]


async def test_a_spoken_call_passes_every_stage(place: Place, word: Path, tmp_path: Path) -> None:
    """With something to say, success means audio before and after the user's turn, and an end."""
    seen: list[str] = []
    record = tmp_path / "out.wav"
    result = await place_call(
        place.options(say=word, record=record, session_id="call-7", user_name="Ada", seconds=0.1),
        lambda stage: seen.append(stage.name),
    )
    assert result.ok, result
    assert names(result) == seen == WHOLE
    assert [stage.ms for stage in result.stages] == sorted(stage.ms for stage in result.stages)
    assert place.joins == [
        {"room_url": "webrtc:demo", "sessionId": "call-7", "sessionUserName": "Ada"}
    ]
    assert place.headers["x-session-id"] == "call-7"
    assert place.asked == ["join", "offer", "leave"]
    with wave.open(str(record)) as heard:
        assert heard.getframerate() == 48_000
        assert heard.getnframes() / 48_000 == pytest.approx(result.recorded_s)
        samples = heard.readframes(heard.getnframes())
    assert peak_amplitude(samples) > 2000


async def test_without_speech_the_greeting_is_enough(place: Place) -> None:
    """Nothing to say: the bot's first audio is success; a client-ready went to the bot."""
    result = await place_call(place.options())
    assert names(result) == [*WHOLE[:5], "left"]
    assert any("client-ready" in message for message in place.messages)


async def test_silence_fails_at_first_audio(place: Place) -> None:
    """Packets are not audio: a connected bot that is silent is a failure, and the call is left."""
    place.greets = False
    result = await place_call(place.options(timeouts=CallTimeouts(audio=0.5)))
    assert (result.failed, result.ok) == ("first_audio", False)
    assert "nothing was heard" in result.reason
    assert place.asked[-1] == "leave"


async def test_a_bot_that_never_answers_fails_at_heard_back(place: Place, word: Path) -> None:
    """A greeting alone does not pass for an answer."""
    place.answers = False
    result = await place_call(place.options(say=word, timeouts=CallTimeouts(audio=0.5)))
    assert result.failed == "heard_back"
    assert names(result)[-1] == "spoken"


async def test_a_bot_that_does_not_greet_is_spoken_to(place: Place, word: Path) -> None:
    """Some bots wait for the user: with something to say, a missing greeting is no failure."""
    place.greets = False
    result = await place_call(
        place.options(say=word, seconds=0.1, timeouts=CallTimeouts(greeting=0.3))
    )
    assert result.ok
    assert "first_audio" not in names(result)


@pytest.mark.parametrize(("when", "stage"), [("joined", "running"), ("spoken", "heard_back")])
async def test_end_of_the_session_is_reported_at_its_stage(
    place: Place, word: Path, when: str, stage: str
) -> None:
    """The session's end is told at once, with its reason, at the stage it prevented."""
    place.ends_when = when
    result = await place_call(place.options(say=word))
    assert result.failed == stage
    assert "failed (bot_crashed)" in result.reason


async def test_refused_offer_reports_the_crash_behind_it(place: Place) -> None:
    """Why the session ended is told, not how we met its end."""
    place.refuses_offers = True
    result = await place_call(place.options())
    assert result.failed == "answered"
    assert "failed (bot_crashed)" in result.reason


async def test_a_crash_after_the_first_audio_is_a_failure(place: Place) -> None:
    """Whoever stays in the call learns that the bot crashed meanwhile."""

    def crash(stage: CallStage) -> None:
        if stage.name == "first_audio":
            asyncio.get_running_loop().call_later(0.2, place.move, "failed")

    result = await place_call(place.options(seconds=30), crash)
    assert result.failed == "left"
    assert "failed (bot_crashed)" in result.reason


async def test_no_runner_fails_at_running(place: Place) -> None:
    """A join that nobody takes up fails by name, and is withdrawn."""
    place.runs = False
    result = await place_call(place.options(timeouts=CallTimeouts(running=0.3)))
    assert result.failed == "running"
    assert place.asked == ["join", "leave"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, {"sessionId": "other", "status": "running"}), "busy with session other"),
        ((429, {"detail": "The queue is full.", "hint": "Come back."}), "The queue is full."),
        ((500, {}), "HTTP 500"),
    ],
)
async def test_refused_join_ends_no_session(
    place: Place, answer: tuple[int, dict[str, Any]], words: str
) -> None:
    """A join that was refused, or met another's session, fails there, and ends no session."""
    place.join_answer = answer
    result = await place_call(place.options())
    assert result.failed == "joined"
    assert words in result.reason
    assert place.asked == ["join"]


async def test_unreachable_gateway_is_named_with_a_hint() -> None:
    """The way out is named: start one, or name another."""
    result = await place_call(CallOptions(room="webrtc:demo", gateway_url="http://127.0.0.1:9"))
    assert result.failed == "joined"
    assert "http://127.0.0.1:9 cannot be reached: Connection refused." in result.reason
    assert "cordboard up" in result.hint


async def test_silent_gateway_is_reported_with_an_absolute_time() -> None:
    """The command names the time of the fault: the last minutes are others, minutes later."""
    async with silent_server() as url:
        result = await place_call(
            CallOptions(room="webrtc:demo", gateway_url=url, timeouts=CallTimeouts(request=0.2))
        )
    assert "did not answer" in result.reason
    assert re.search(r" --around \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ --service gateway", result.hint)
    assert "-t " not in result.hint


async def test_a_cancelled_call_leaves(place: Place) -> None:
    """Whatever ends the call early, the session is left."""
    reached: list[str] = []
    task = asyncio.create_task(
        place_call(place.options(seconds=60), lambda stage: reached.append(stage.name))
    )
    await until(lambda: "first_audio" in reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert place.asked[-1] == "leave"
    assert place.state == "ended"


@pytest.mark.parametrize(
    ("over", "error", "words"),
    [
        ({"room": "https://acme.daily.co/standup"}, UsageError, "webrtc:NAME"),
        ({"room": "nonsense"}, InvalidValueError, "room"),
        ({"session_id": "a b"}, InvalidValueError, "session"),
        ({"seconds": 0.0}, UsageError, "--seconds"),
        ({"say": Path("/nonexistent.wav")}, UsageError, "No such file"),
        ({"say": Path(__file__)}, UsageError, "not a readable sound file"),
        ({"record": Path("/nonexistent/out.wav")}, UsageError, "cannot be written"),
    ],
)
async def test_invalid_options_send_no_request(
    place: Place, over: dict[str, Any], error: type[CordboardError], words: str
) -> None:
    """What cannot be used is refused before anything is asked of the gateway."""
    with pytest.raises(error) as raised:
        await place_call(place.options(**over))
    assert words in str(raised.value)
    assert place.asked == []
