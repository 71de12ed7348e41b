"""What a call does when its bot is not heard any more, with a bot that goes in every way there is."""

import asyncio
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from call.call_support import Place, hand_over, sound_file, tone
from cordboard.call import CallResult, CallTimeouts, place_call, recovery
from cordboard.call.interruption import Interruption
from cordboard.call.timeline import CallStage
from cordboard.emit import capture

pytestmark = pytest.mark.media


def at(stage: str, act: Callable[[], object]) -> Callable[[CallStage], None]:
    """Act once, when a call reaches the stage."""
    acts = [act]

    def on_stage(reached: CallStage) -> None:
        if reached.name == stage and acts:
            acts.pop()()

    return on_stage


def only(result: CallResult) -> Interruption:
    (interruption,) = result.interruptions
    return interruption


async def test_call_goes_on_with_the_next_bot(place: Place, tmp_path: Path) -> None:
    """Also before the first audio: no timeout runs meanwhile. What is lost is reported, logged, and recorded as silence."""
    place.greets, place.greets_after_s = False, 0.3
    seen: list[Interruption] = []
    record = tmp_path / "out.wav"
    with capture() as lines:
        result = await place_call(
            place.options(
                seconds=1.0, record=record, session_id="call-7", timeouts=CallTimeouts(audio=1.0)
            ),
            at("connected", lambda: hand_over(place, 1.3)),
            seen.append,
        )
    assert result.ok, result
    one = only(result)
    assert (one.sign, one.epoch, one.new_epoch) == ("event", 1, 2)
    assert [other.new_epoch for other in seen] == [None, 2]
    assert "suspect" in place.asked
    logged = [(line["event"], line["sessionId"], line["meta"]) for line in lines if "event" in line]
    assert logged == [
        ("call.interrupted", "call-7", {"sign": "event", "epoch": 1}),
        ("call.resumed", "call-7", {"epoch": 2, "silence_ms": one.silence_ms}),
    ]
    assert result.recorded_s == pytest.approx(result.seconds, abs=0.1)
    with wave.open(str(record)) as heard:
        assert heard.getnframes() / 48_000 == pytest.approx(result.recorded_s)


async def test_turn_that_was_cut_off_is_repeated(place: Place, tmp_path: Path) -> None:
    """The next bot hears it from its beginning, after its own greeting, which is no reply to it."""
    place.greets_after_s = 0.2

    def cut() -> None:
        place.on_heard = None
        hand_over(place, 0.0)

    place.on_heard = cut
    reached: list[str] = []
    speech = sound_file(tmp_path, tone(1.2))
    result = await place_call(
        place.options(say=speech, seconds=0.1), lambda stage: reached.append(stage.name)
    )
    assert result.ok, result
    assert reached[-4:] == ["first_audio", "spoken", "heard_back", "left"]
    assert only(result).new_epoch == 2
    assert not place.is_talked_over


async def test_silent_path_is_replaced_to_the_same_bot(place: Place) -> None:
    """No packet arrives, but the session goes on: the call's own address has changed, for example."""
    result = await place_call(place.options(seconds=1.5), at("first_audio", place.lose_bot))
    assert result.ok, result
    one = only(result)
    assert (one.sign, one.epoch, one.new_epoch) == ("silence", 1, 1)
    assert place.asked.count("offer") == 2


async def test_connection_that_works_again_is_kept(place: Place) -> None:
    """A bot that still has its user refuses another connection."""

    def stall() -> None:
        place.offer_answer = 409
        asyncio.get_running_loop().call_later(1.3, place.lose_bot())

    result = await place_call(place.options(seconds=1.5), at("first_audio", stall))
    assert result.ok, result
    assert (only(result).new_epoch, len(place.peers)) == (1, 1)


async def test_bot_that_finishes_interrupts_nothing(place: Place) -> None:
    """It closes its connection a moment before its session ends."""

    def finish() -> None:
        place.tasks.append(asyncio.ensure_future(place.peers[-1].close()))
        asyncio.get_running_loop().call_later(0.4, place.move, "ended")

    result = await place_call(place.options(seconds=30), at("first_audio", finish))
    assert result.ok, result
    assert result.interruptions == ()


async def test_bot_that_does_not_come_back_fails_the_call(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the bound; the stage, the state of the session and the interruption are reported."""
    monkeypatch.setattr(recovery, "RECOVERY_S", 0.3)

    def die() -> None:
        place.lose_bot()
        place.move("queued", 2)

    result = await place_call(place.options(seconds=0.5), at("first_audio", die))
    assert result.failed == "resumed"
    assert "the session is queued" in result.reason
    assert only(result).silence_ms is None
    assert place.asked[-1] == "leave"


async def test_unconfirmed_death_has_a_longer_bound(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reaches the runner, and nobody knows that it is dead: the call waits until the session moves on."""
    monkeypatch.setattr(recovery, "RECOVERY_S", 0.2)
    monkeypatch.setattr(recovery, "RETRY_S", 0.1)
    place.ice_config = {"iceServers": []}

    def freeze() -> None:
        place.lose_network()  # only new connections bring anything
        place.offer_answer = 504
        asyncio.get_running_loop().call_later(1.5, thaw)

    def thaw() -> None:
        monkeypatch.setattr(recovery, "RECOVERY_S", 20.0)
        place.offer_answer = 0
        place.move("running", 2)

    result = await place_call(place.options(seconds=2.0), at("first_audio", freeze))
    assert result.ok, result
    assert (only(result).sign, only(result).new_epoch) == ("silence", 2)


async def test_first_bot_that_dies_before_it_is_connected(place: Place) -> None:
    """Nothing was cut off: the call connects to the next bot."""
    place.offer_answer = 502

    def follow() -> None:
        place.offer_answer = 0
        place.move("running", 2)

    asyncio.get_running_loop().call_later(0.3, follow)
    result = await place_call(place.options(seconds=0.1))
    assert result.ok, result
    assert result.interruptions == ()


async def test_call_offers_nothing_to_a_bot_that_it_does_not_know_of(place: Place) -> None:
    """The gateway gives an offer to the present bot; one to the lost bot would be dropped, and block the next."""

    def replace_silently() -> None:
        place.lose_bot()
        place.epoch, place.reports_after_s = 2, 0.3  # the stream that is open does not tell

    result = await place_call(place.options(seconds=1.0), at("first_audio", replace_silently))
    assert result.ok, result
    assert (only(result).sign, only(result).new_epoch) == ("silence", 2)
    assert place.asked.count("offer") == 2
