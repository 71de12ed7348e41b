"""Calls over the deaths of their runners: real processes, and a bot that is never silent.

One call is connected, and is not heard yet, when its runner is killed. Another one is cut off in the middle of a
sound, cut off again, and then handed over by a runner that stops.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from cordboard.call import CallOptions, CallResult, place_call
from cordboard.call.audio import peak_amplitude
from cordboard.call.interruption import Interruption
from cordboard.call.recording import RATE
from plane_support import HEADERS, SECRET, Part, Processes, ask, own_database, ready
from sound_support import LOUD_MIN, TONE_BOT, silence_around
from tests_support import until

RUNNERS = 4  # three of them die
pytestmark = [
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]


@dataclass
class Story:
    """What became of the two calls.

    Attributes:
        result: The call that was cut off three times.
        record: Its recording.
        seen: Its interruptions, as they were reported.
        printed: What the command of the other call has printed.
        lines: The log lines of that command.
        status: Its exit status.
    """

    result: CallResult
    record: Path
    seen: list[Interruption]
    printed: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    status: int


@dataclass
class Plane:
    """The processes behind the calls."""

    processes: Processes
    gateway: Part
    runners: list[Part]
    http: aiohttp.ClientSession

    async def holder(self, session_id: str) -> Part:
        """Return the runner of a session."""
        _, record = await ask(
            self.http, "GET", f"{self.gateway.url}/sessions/{session_id}?runner=true"
        )
        return next(part for part in self.runners if part.url == record["runnerUrl"])

    async def command(self) -> asyncio.subprocess.Process:
        """Start `cordboard call` for the second call."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cordboard", "call", "webrtc:early", "--session", "early"),
            *("--gateway", self.gateway.url, "--seconds", "2", "-o", "json"),
            env=self.processes.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


async def heard_again(record: Path, seen: list[Interruption], times: int) -> None:
    """Wait until the call has resumed so often, and the next bot is in the middle of a sound."""
    await until(lambda: len(seen) == 2 * times, 60)
    wanted = size(record) + 2 * RATE // 2  # half a second of that bot
    await until(lambda: size(record) > wanted and ends_loudly(record), 60)


def size(record: Path) -> int:
    return record.stat().st_size


def ends_loudly(record: Path) -> bool:
    with record.open("rb") as file:
        file.seek(-RATE // 10, os.SEEK_END)
        return peak_amplitude(file.read()) > LOUD_MIN


async def tell(plane: Plane, record: Path) -> Story:
    """Make both calls, and let their runners die."""
    seen: list[Interruption] = []
    options = CallOptions(
        room="webrtc:long",
        gateway_url=plane.gateway.url,
        control_secret=SECRET,
        session_id="long",
        record=record,
        seconds=120,
    )
    reached: list[str] = []
    call = asyncio.create_task(
        place_call(options, lambda stage: reached.append(stage.name), seen.append)
    )
    await until(lambda: "first_audio" in reached, 60)
    command = await plane.command()
    assert command.stdout is not None
    assert command.stderr is not None
    printed = []
    async for line in command.stdout:
        printed.append(json.loads(line))
        if printed[-1].get("stage") == "connected":
            (await plane.holder("early")).kill()
    lines = [json.loads(line) async for line in command.stderr]
    for number, sign in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
        await heard_again(record, seen, number)
        (await plane.holder("long")).signal(sign)
    await heard_again(record, seen, 3)
    await ask(plane.http, "POST", f"{plane.gateway.url}/leave", {"sessionId": "long"})
    return Story(await call, record, seen, printed, lines, await command.wait())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> AsyncIterator[Story]:
    """Run it once."""
    folder = tmp_path_factory.mktemp("story")
    (folder / "tone.py").write_text(TONE_BOT)
    processes = Processes(folder, own_database(redis_url))
    processes.over["CORDBOARD_LEASE_S"] = "60"  # nothing waits for a lease
    gateway = processes.spawn("gateway")
    operator = processes.spawn("operator", "--launcher", "none")
    # The first one gets both calls: it has most free slots.
    runners = [
        processes.spawn("runner", "--bot", "tone.py", "--grace", "0", "--capacity", capacity)
        for capacity in ("20", *("4",) * (RUNNERS - 1))
    ]
    try:
        await ready(gateway, operator, *runners)
        async with aiohttp.ClientSession(headers=HEADERS) as http:
            yield await tell(Plane(processes, gateway, runners, http), folder / "long.wav")
    finally:
        processes.stop()


async def test_call_goes_on_over_three_runners(story: Story) -> None:
    """Killed twice in a row, then handed over: each time a later epoch, and no call that ended."""
    assert story.result.ok, story.result
    # On a busy machine a bot may be silent for a moment and go on, in the same epoch.
    epochs = [
        (one.epoch, one.new_epoch)
        for one in story.result.interruptions
        if one.new_epoch is not None and one.new_epoch != one.epoch
    ]
    # A death during the recovery from another one belongs to the same interruption.
    assert epochs[-1][1] - epochs[0][0] >= 3
    assert [old for old, _ in epochs[1:]] == [new for _, new in epochs[:-1]]
    assert all(new > old for old, new in epochs)
    assert story.seen[1::2] == list(story.result.interruptions)


async def test_recording_is_as_long_as_the_call_and_has_the_silences(story: Story) -> None:
    """What was not heard is silence, at its place."""
    with wave.open(str(story.record)) as file:
        rate, samples = file.getframerate(), file.readframes(file.getnframes())
    assert len(samples) / 2 / rate == pytest.approx(story.result.seconds, abs=0.1)
    connected_ms = story.result.ms("connected") or 0.0
    found = [
        (
            silence_around(samples, rate, (one.ms - connected_ms) / 1000, early_s=0.2, late_s=0.3),
            (one.silence_ms or 0) / 1000,
        )
        for one in story.result.interruptions
    ]
    for (silence, reported_s), (following, _) in itertools.pairwise(found):
        assert silence.end_s < following.start_s
        assert silence.seconds > reported_s - 0.2
    assert found[-1][0].end_s < story.result.seconds


async def test_call_whose_runner_dies_before_the_first_audio_hears_the_next(story: Story) -> None:
    """The command exits with 0, prints the interruption, and logs it with the session's id."""
    assert story.status == 0, story.printed
    summary = story.printed[-1]
    assert summary["ok"] is True
    first = summary["interruptions"][0]
    assert first["newEpoch"] > first["epoch"]
    kinds = [next(iter(one)) for one in story.printed]
    assert kinds.count("interruption") == 2 * len(summary["interruptions"])
    events = [line["event"] for line in story.lines if line["sessionId"] == "early"]
    assert events[:2] == ["call.interrupted", "call.resumed"]
    assert story.lines[1]["meta"]["silence_ms"] == first["silenceMs"]
