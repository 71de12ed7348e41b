"""What a WebRTC connection is watched for: its figures, and warnings when media stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from cordboard import media_watch
from cordboard.call.audio import Microphone
from cordboard.contract.call_events import CALL_META, MEDIA_PATHS
from cordboard.media_watch import MediaWatch
from tests_support import until


class Written(list[tuple[str, dict[str, Any]]]):
    """The records that were written: event and ``meta``."""

    def write(self, _message: str, event: str, *, is_bad: bool = False, **meta: Any) -> None:
        """Keep a record; check its members."""
        assert set(meta) <= set(CALL_META[event])
        assert is_bad == (meta["state"] == "raised")
        self.append((event, {name: value for name, value in meta.items() if value is not None}))

    def of(self, event: str) -> list[dict[str, Any]]:
        """The ``meta`` of the records of one event."""
        return [meta for name, meta in self if name == event]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[RTCPeerConnection, RTCPeerConnection, Microphone]]:
    """Two peers that send each other sound; the second one's microphone."""
    here, there = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    microphone = Microphone()
    here.addTrack(Microphone())
    there.addTrack(microphone)
    await here.setLocalDescription(await here.createOffer())
    await there.setRemoteDescription(here.localDescription)
    await there.setLocalDescription(await there.createAnswer())
    await here.setRemoteDescription(there.localDescription)
    try:
        yield here, there, microphone
    finally:
        await asyncio.gather(here.close(), there.close())


@pytest.fixture(autouse=True)
def short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the time between samples and between figures."""
    monkeypatch.setattr(media_watch, "SAMPLE_S", 0.1)
    monkeypatch.setattr(media_watch, "STATS_S", 0.5)


async def test_figures_come_with_each_state_and_each_period() -> None:
    """Counts are those of the interval; the levels are asked for with each sample."""
    written = Written()
    async with connected() as (here, _, _):
        levels = {"level_in": 0.25, "level_out": 0.5}
        watch = MediaWatch(lambda: here, "call", written.write, lambda: levels)
        watching = asyncio.create_task(watch.run())
        await until(lambda: len([one for one in written.of("media.stats") if one.get("mos")]) >= 3)
        await here.close()
        await until(lambda: written.of("media.stats")[-1]["state"] == "closed")
        count = len(written)
        await asyncio.sleep(0.6)
        assert len(written) == count  # nothing happens in a connection that has ended
        watching.cancel()
    stats = written.of("media.stats")
    states = [one["state"] for one in stats]
    assert states == sorted(states, key=["new", "connecting", "connected", "closed"].index)
    flowing = [one for one in stats if one["state"] == "connected"][1:]
    for one in flowing:
        assert one["end"] == "call"
        assert one["path"] in MEDIA_PATHS
        assert one["packets_sent"] > 0 < one["packets_received"]
        assert one["packets_received"] < 50 * 5  # not the total since the beginning
        assert one.items() >= levels.items()
    assert all(one["interval_ms"] >= 500 for one, after in pairwise(flowing) if after)
    assert any(0 <= one["rtt_ms"] < 1000 for one in flowing if "rtt_ms" in one)


async def test_silence_raises_a_warning_and_sound_clears_it() -> None:
    """The other end sends nothing for a while: sound goes one way."""
    written = Written()
    async with connected() as (here, there, _):
        sender = there.getSenders()[0]
        watching = asyncio.create_task(MediaWatch(lambda: here, "bot", written.write).run())
        await until(lambda: any(one.get("packets_received") for one in written.of("media.stats")))
        sender.replaceTrack(None)

        def has(name: str, state: str) -> bool:
            return any(
                (one["name"], one["state"]) == (name, state) for one in written.of("media.warning")
            )

        await until(lambda: has("no_audio_in", "raised") and has("one_way", "raised"))
        sender.replaceTrack(Microphone())
        await until(lambda: has("no_audio_in", "cleared") and has("one_way", "cleared"))
        watching.cancel()
    assert not has("no_audio_out", "raised")


async def test_connection_that_is_replaced_begins_to_count_anew() -> None:
    """The totals of another connection are smaller; no interval is negative."""
    written = Written()
    async with connected() as (first, _, _), connected() as (second, _, _):
        current = [first]
        watching = asyncio.create_task(MediaWatch(lambda: current[0], "bot", written.write).run())
        await until(lambda: any(one.get("packets_received") for one in written.of("media.stats")))
        current[0] = second
        count = len(written.of("media.stats"))
        await until(lambda: len(written.of("media.stats")) >= count + 3)
        watching.cancel()
    for one in written.of("media.stats"):
        assert one.get("packets_received", 0) >= 0 <= one.get("packets_lost", 0)
