"""The whole path by the real commands: `up`, a spoken call from the terminal, the lines of it."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests_support import until
from up_support import Up, environment, ready, write_parrot

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "examples" / "hello.wav"

pytestmark = [
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """Everything, on free ports."""
    state = tmp_path_factory.mktemp("state")
    async with ready(state, "--bot", write_parrot(state)) as running:
        yield running


async def run(up: Up, *words: str) -> tuple[int, str, str]:
    done = await asyncio.to_thread(up.cordboard, *words)
    return done.returncode, done.stdout, done.stderr


async def lines_of(up: Up, session: str) -> list[dict[str, Any]]:
    status, out, err = await run(
        up, "logs", "--local", "-t", "10m", "--session", session, "-o", "json"
    )
    assert status == 0, err
    return [json.loads(line) for line in out.splitlines()]


def contiguous(lines: list[dict[str, Any]]) -> bool:
    """Whether the numbers of each boot have no gap among lines of one session's own processes."""
    numbers = defaultdict(list)
    for line in lines:
        if line["service"] in {"bot", "browser"}:
            numbers[line["boot"]].append(line["seq"])
    return bool(numbers) and all(
        sorted(found) == list(range(min(found), min(found) + len(found)))
        for found in numbers.values()
    )


async def test_terminal_call_is_logged_by_all_services_under_one_id(up: Up, tmp_path: Path) -> None:
    """Audio comes back; one command returns the lines of all services, in time order; none warns."""
    wav = tmp_path / "answer.wav"
    status, out, err = await run(
        up, "call", "webrtc:demo", "--session", "e2e:call-1", "--user", "Ada Łovelace",
        "--say", str(HELLO), "--record", str(wav),
    )  # fmt: skip
    assert status == 0, err
    assert "cordboard logs --local --session e2e:call-1" in out
    assert wav.stat().st_size > 48_000
    lines = await lines_of(up, "e2e:call-1")
    assert {line["sessionId"] for line in lines} == {"e2e:call-1"}
    assert {line["service"] for line in lines} == {"call", "gateway", "operator", "runner", "bot"}
    assert {line["userName"] for line in lines} == {"Ada Łovelace"}
    stamps = [line["timestamp"] for line in lines]
    assert stamps == sorted(stamps)
    assert contiguous(lines)
    # A busy machine delays its own packets.
    bad = [line for line in lines if line["level"] in {"warn", "error"}]
    assert [line for line in bad if line.get("event") != "media.warning"] == []
    events = [line["event"] for line in lines if "event" in line]
    # The operator may have the join before the gateway has said that it is accepted.
    wanted = [
        "join.received", "launch.claimed", "start.received", "bot.forked", "bot.started",
        "bot.connected", "bot.first_audio", "turn.ended", "bot.finished", "session.ended",
    ]  # fmt: skip
    assert sorted(wanted, key=events.index) == wanted
    assert {"join.accepted", "pipeline.started", "speech.started"} <= {*events}
    (heard,) = [line["meta"] for line in lines if line.get("event") == "turn.heard"]
    assert heard["heard_ms"] > 0
    measured = [line["meta"] for line in lines if line.get("event") == "media.stats"]
    assert {one["end"] for one in measured} == {"bot", "call"}
    for end in ("bot", "call"):
        mine = [one for one in measured if one["end"] == end]
        assert any(one["state"] == "connected" for one in mine)
        assert sum(one.get("packets_received", 0) for one in mine) > 0
        assert any("level_in" in one for one in mine)
    (ended,) = [line["meta"] for line in lines if line.get("event") == "session.ended"]
    (started,) = [line["meta"] for line in lines if line.get("event") == "bot.started"]
    assert {"bot", "package", "pipecat", "cordboard"} == {*started["build"]}
    assert ended["build"] == started["build"]
    assert ended["turns"] == events.count("turn.ended") > 0
    assert ended["lines_dropped"] == ended["recoveries"] == 0
    greeting = next(line for line in lines if line.get("event") == "turn.ended")
    assert greeting["meta"]["interrupted"] is False  # the greeting had been heard out


async def test_print_of_a_custom_bot_is_a_line_of_its_session(tmp_path: Path) -> None:
    """`up --bot` runs the example, and its bare print is a line of the session."""
    async with ready(tmp_path, "--bot", str(ROOT / "examples" / "echo.py")) as up:
        status, _, err = await run(
            up, "call", "webrtc:demo", "--session", "mine", "--say", str(HELLO)
        )
        lines = await lines_of(up, "mine")
    printed = [line for line in lines if line.get("raw")]
    assert status == 0, err
    assert [line["message"] for line in printed if "Echo" in line["message"]] == [
        "Echo is here for mine"
    ]


async def test_bot_that_raises_at_start_fails_its_session(tmp_path: Path) -> None:
    """The caller is told the stage, the session fails as bot_crashed, the traceback is there."""
    file = tmp_path / "broken.py"
    file.write_text("async def bot(args):\n    raise ValueError('no key for the speech service')\n")
    async with ready(tmp_path, "--bot", str(file)) as up:
        status, _, err = await run(up, "call", "webrtc:demo", "--session", "broken")
        assert status == 1
        assert "bot_crashed" in err
        lines = await lines_of(up, "broken")
    crashed = next(line for line in lines if line.get("event") == "bot.crashed")
    assert (crashed["error"]["type"], crashed["error"]["message"]) == ("ValueError", "")
    assert "broken.py" in crashed["error"]["stack"]
    printed = [line["message"] for line in lines if line.get("raw")]
    assert "ValueError: no key for the speech service" in printed
    ended = [line for line in lines if line.get("event") == "session.ended"]
    assert [line["meta"]["reason"] for line in ended] == ["bot_crashed"]


async def test_session_of_a_killed_caller_ends(up: Up) -> None:
    """A killed caller leaves no bot behind: the session ends by itself, with its reason."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cordboard", "call", "webrtc:demo", "--session", "gone"),
        *("--seconds", "120"),
        env=environment(up.state),
        stdout=asyncio.subprocess.PIPE,
    )
    await until(lambda: "bot.first_audio" in up.events("gone"), 30)
    process.kill()
    await process.wait()
    await until(lambda: "session.ended" in up.events("gone"), 60)
