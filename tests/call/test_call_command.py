"""``cordboard call`` as a user runs it: what is printed, and the exit status."""

import asyncio
import fcntl
import json
import os
import signal
import sys
import wave
from pathlib import Path

import pytest

from call.call_support import Place, hand_over
from cordboard.call.recording import RATE
from cordboard.up.ports import free_port
from tests_support import until

pytestmark = pytest.mark.media


async def start(*arguments: str, **over: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cordboard", "call", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "BOT_CONTROL_SHARED_SECRET": "s3cret-of-the-test", **over},
    )


async def run(*arguments: str) -> tuple[int | None, str, str]:
    process = await start(*arguments)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def test_stages_are_printed_and_the_log_command_last(
    place: Place, word: Path, tmp_path: Path
) -> None:
    """The session id comes first, each stage with its time, the way to the lines last."""
    wav = tmp_path / "o.wav"
    status, out, err = await run(
        "webrtc:demo", "--gateway", place.url, "--session", "c-1", "--say", str(word),
        "--record", str(wav),
    )  # fmt: skip
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[0] == "session c-1 in webrtc:demo"
    assert [line.split()[3] for line in lines[1:9]] == [
        "joined", "running", "answered", "connected", "first_audio", "spoken", "heard_back", "left",
    ]  # fmt: skip
    assert f"into {wav}" in lines[9]
    assert lines[-1].strip() == "cordboard logs --local --session c-1"
    assert place.headers["authorization"] == "Bearer s3cret-of-the-test"
    assert "s3cret" not in out


async def test_json_is_one_object_a_line(place: Place) -> None:
    """A program reads the stages as they come, and a summary at the end."""
    status, out, _ = await run(
        "webrtc:demo", "--gateway", place.url, "-o", "json", "--seconds", "0.1"
    )
    *stages, summary = map(json.loads, out.splitlines())
    assert status == 0
    assert [stage["stage"] for stage in stages][-1] == "left"
    assert summary["ok"] is True
    assert summary["sessionId"] == place.joins[0]["sessionId"]
    assert summary["stages"]["first_audio"] == stages[4]["ms"]


async def test_a_failure_names_its_stage(place: Place) -> None:
    """Exit status 1, the stage, the reason; control characters from outside are made visible."""
    place.join_answer = (409, {"detail": "No \x1b[2J room."})
    status, out, err = await run("webrtc:demo", "--gateway", place.url)
    assert status == 1
    assert "failed at `joined`: No \\x1b[2J room." in err
    assert "cordboard logs" in out


async def test_full_disk_ends_the_recording_and_not_the_call(
    place: Place, word: Path, tmp_path: Path
) -> None:
    """The reply is heard; the file holds what was written, and the failure says how much that is."""
    wav = tmp_path / "o.wav"
    command = (sys.executable, "-m", "cordboard", "call", "webrtc:demo", "--gateway", place.url)
    # A file may grow to 4 blocks of 1 KiB, in the middle of a frame of 1,920 bytes.
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", 'ulimit -f 4; exec "$@"', "bash", *command),
        *("--say", str(word), "--record", str(wav), "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    summary = json.loads(out.splitlines()[-1])
    assert (process.returncode, summary["failed"]) == (1, "recorded")
    assert [*summary["stages"]][-2:] == ["heard_back", "left"]
    assert "o.wav could not be written after 0.0 s: File too large." in err.decode()
    assert "Traceback" not in err.decode()
    with wave.open(str(wav)) as read:
        assert 2 * read.getnframes() == len(read.readframes(RATE)) == 4096 - 44
    assert summary["recordedSeconds"] == round((4096 - 44) / 2 / RATE, 2)


async def test_warnings_of_libraries_are_lines_of_the_session(place: Place, tmp_path: Path) -> None:
    """Those of aiortc, which fails in a task of its own, and while it closes a connection."""
    (tmp_path / "sitecustomize.py").write_text(
        """\
import asyncio
import aiortc

async def fail():
    raise ConnectionError("not connected")

async def close(self, own=aiortc.RTCPeerConnection.close):
    asyncio.ensure_future(fail())
    await own(self)
    raise ConnectionError("not closed")

aiortc.RTCPeerConnection.close = close
"""
    )
    process = await start(
        *("webrtc:demo", "--gateway", place.url, "--session", "c-3", "--seconds", "0.1"),
        *("-o", "json"),
        PYTHONPATH=str(tmp_path),
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    lines = [json.loads(line) for line in err.splitlines()]
    assert process.returncode == 0
    assert {line["message"].splitlines()[0] for line in lines} >= {
        "A connection could not be closed properly",
        "Task exception was never retrieved",
    }
    assert {line["sessionId"] for line in lines} == {"c-3"}


async def test_unreachable_gateway_gets_no_log_command() -> None:
    """No command is named that would find nothing."""
    words = ("webrtc:demo", "--gateway", f"http://127.0.0.1:{free_port()}")
    status, out, err = await run(*words)
    assert (status, out) == (1, "")
    assert "cannot be reached: Connection refused." in err
    status, out, _ = await run(*words, "-o", "json")
    assert status == 1
    assert "logs" not in json.loads(out)


async def test_a_wrong_secret_names_the_variable(place: Place) -> None:
    """HTTP's hint names headers; a command's user sets a variable."""
    place.join_answer = (401, {"detail": "The control secret is wrong.", "hint": "Send X."})
    status, _, err = await run("webrtc:demo", "--gateway", place.url)
    assert status == 1
    assert "Set BOT_CONTROL_SHARED_SECRET" in err
    assert "Send X." not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--say", __file__], "not a readable sound file: Invalid data"),
        (["--record", "/nonexistent/x.wav"], "cannot be written: No such file or directory."),
        (["--gateway", "nonsense"], "expected http://HOST:PORT or https://HOST:PORT."),
    ],
)
async def test_invalid_argument_is_the_only_message(
    place: Place, words: list[str], said: str
) -> None:
    """Exit status 2, the reason; nothing of a call that has not been made."""
    status, out, err = await run("webrtc:demo", "--gateway", place.url, *words)
    assert (status, out) == (2, "")
    assert said in err


async def test_a_room_of_another_kind_is_a_usage_error(place: Place) -> None:
    """Only built-in rooms can be entered without a provider."""
    status, _, err = await run("https://a.daily.co/r", "--gateway", place.url)
    assert status == 2
    assert "cordboard call webrtc:NAME" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_leaves_the_call(place: Place, number: signal.Signals) -> None:
    """Ctrl-C ends the session, not only the command."""
    process = await start("webrtc:demo", "--gateway", place.url, "--seconds", "60")
    await until(lambda: "offer" in place.asked)
    process.send_signal(number)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130
    assert "left the call" in err.decode()
    assert "leave" in place.asked


async def test_interruption_is_printed_and_logged_beside_the_lines_of_up(
    place: Place, tmp_path: Path
) -> None:
    """When it begins and when it ends, and again at the end; the log command then finds both lines."""
    state_file = tmp_path / "cordboard" / "up.json"
    state_file.parent.mkdir()
    addresses = {"gateway": place.url, "logs": str(tmp_path)}
    state_file.write_text(json.dumps({"pid": os.getpid(), "addresses": addresses}))
    with state_file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = await start(
            *("webrtc:demo", "--gateway", place.url, "--session", "c-2", "--seconds", "1"),
            XDG_STATE_HOME=str(tmp_path),
        )
        await until(lambda: bool(place.messages))  # it is connected
        hand_over(place)
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err.decode()) == (0, "")
    rows = [line.split() for line in out.decode().splitlines() if " ms " in line]
    names = [row[3] for row in rows]
    times_ms = [int(row[0]) for row in rows]
    after = [max(ms - before, 0) for before, ms in zip([0, *times_ms], times_ms, strict=False)]
    assert [int(row[2]) for row in rows] == [pytest.approx(ms, abs=1) for ms in after]
    assert names.index("connected") < names.index("interrupted") < names.index("resumed")
    assert "s of silence, then another bot (epoch 1, then 2)" in out.decode()
    lines = [json.loads(line) for line in (tmp_path / "call.jsonl").read_text().splitlines()]
    # On a busy machine the call lasts long enough for figures of its media.
    about = [(line["event"], line["sessionId"]) for line in lines if line["event"] != "media.stats"]
    assert about == [("call.interrupted", "c-2"), ("call.resumed", "c-2")]
