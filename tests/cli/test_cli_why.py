"""`cordboard why` as a user meets it: the answer, its forms, exit statuses; files with lost lines."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cordboard.cli import main
from logs.why_support import planted

CAUSE, FAILED, USAGE, INCOMPLETE = 0, 1, 2, 3

pytestmark = pytest.mark.usefixtures("alone")

Captured = pytest.CaptureFixture[str]


def write(folder: Path, records: Iterable[dict[str, Any]]) -> None:
    """Append records to files as the services write them: the bot's to its runner's, the page's to the interface's."""
    folder.mkdir(exist_ok=True)
    hosts = {"bot": "runner", "browser": "interface"}
    for record in sorted(records, key=lambda record: str(record["timestamp"])):
        service = str(record["service"])
        with (folder / f"{hosts.get(service, service)}.jsonl").open("a") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


def of_call(name: str, *, closed: bool = True) -> list[dict[str, Any]]:
    """Return the records of a planted call, whose page says that the call ended."""
    told = planted(name).told
    if closed and any(record.get("event") == "join.clicked" for record in told.records):
        last = max(str(record["timestamp"]) for record in told.records)
        told.say(0, "browser", "Call ended", seconds=31.0)
        told.records[-1]["timestamp"] = last
    return told.records


def why(captured: Captured, *words: str) -> tuple[int, dict[str, Any]]:
    """Run the command in this process; return its exit status and its JSON."""
    status = main(["why", *words, "-o", "json"])
    out = captured.readouterr().out
    return status, json.loads(out) if out else {}


def test_a_cause_with_its_lines_and_what_is_ruled_out(capsys: Captured, tmp_path: Path) -> None:
    """The answer names the lines by boot and number, and the other causes."""
    write(tmp_path / "logs", of_call("packet_loss"))
    status, answer = why(capsys, "--dir", str(tmp_path / "logs"), "call-7")
    assert (status, answer["cause"], answer["effect"]) == (CAUSE, "packet_loss", "disturbed")
    assert {"boot", "seq", "timestamp", "service", "event"} <= answer["lines"][0].keys()
    assert {"jitter", "queue_full", "bot_raised"} <= answer["ruledOut"].keys()
    assert answer["complete"]
    assert answer["missing"] == []
    assert answer["logs"].endswith("--session call-7")


def test_lost_lines_are_named_with_status_3(capsys: Captured, tmp_path: Path) -> None:
    """A gap in the numbers of the page hides whether it was frozen: nothing is blamed."""
    records = of_call("packet_loss")
    lost = [r for r in records if r["service"] == "browser" and r.get("event") == "media.stats"]
    write(tmp_path / "logs", [record for record in records if record not in lost[2:4]])
    status, answer = why(capsys, "--dir", str(tmp_path / "logs"), "call-7")
    assert (status, answer["cause"]) == (INCOMPLETE, "lines_lost")
    assert any("seq" in words for words in answer["missing"])


def test_a_cause_that_needs_no_lost_line_is_told_with_status_3(
    capsys: Captured, tmp_path: Path
) -> None:
    """A bot's exception proves itself, whatever the page has lost."""
    records = of_call("bot_raised")
    lost = [r for r in records if r["service"] == "browser" and r.get("event") == "media.stats"]
    write(tmp_path / "logs", [record for record in records if record not in lost[2:4]])
    status, answer = why(capsys, "--dir", str(tmp_path / "logs"), "call-7")
    assert (status, answer["cause"]) == (INCOMPLETE, "bot_raised")


def test_an_outage_of_redis_is_read_from_its_servers(capsys: Captured, tmp_path: Path) -> None:
    """The line that proves it belongs to no session."""
    call = planted("redis_away")
    write(tmp_path / "logs", [*of_call("redis_away"), *call.servers])
    status, answer = why(capsys, "--dir", str(tmp_path / "logs"), "call-7")
    assert answer["cause"] == "redis_away", answer
    assert any(line["message"].startswith("Redis is") for line in answer["lines"])
    del status  # the hand-made numbers of two boots of the runner have gaps


def test_evidence_that_is_not_enough_has_status_3(capsys: Captured, tmp_path: Path) -> None:
    """Also with complete lines: a script must not take it for a cause."""
    told = planted("healthy").told
    records = [record for record in told.records if record.get("event") != "session.ended"]
    write(tmp_path / "logs", records)
    status, answer = why(capsys, "--dir", str(tmp_path / "logs"), "call-7")
    assert (status, answer["cause"]) == (INCOMPLETE, "unknown")


def test_an_unknown_session_has_status_1(capsys: Captured, tmp_path: Path) -> None:
    """The error names the command that looks for mentions of it."""
    write(tmp_path / "logs", of_call("healthy"))
    assert main(["why", "--dir", str(tmp_path / "logs"), "call-8"]) == FAILED
    assert "--mentions" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--dir", "", "call-7"], ["-t", "never", "call-7"], ["a b"]])
def test_invalid_arguments_have_status_2(capsys: Captured, words: list[str]) -> None:
    """Nothing is read."""
    assert main(["why", *words]) == USAGE
    assert capsys.readouterr().out == ""


def test_the_window_bounds_what_is_read(capsys: Captured, tmp_path: Path) -> None:
    """A session outside of the window is not found."""
    write(tmp_path / "logs", of_call("healthy"))
    words = ["why", "--dir", str(tmp_path / "logs"), "-t", "1m", "call-7"]
    assert main(words) == FAILED
    assert "window" in capsys.readouterr().err


def test_a_page_with_a_wrong_clock_is_answered(capsys: Captured, tmp_path: Path) -> None:
    """A page that was frozen is found, although its clock is two minutes ahead."""
    records = of_call("page_frozen")
    for record in records:
        if record["service"] == "browser":
            stamp = str(record["timestamp"])
            minute = (int(stamp[14:16]) + 2) % 60
            record["timestamp"] = f"{stamp[:14]}{minute:02d}{stamp[16:]}"
    write(tmp_path / "logs", records)
    _, answer = why(capsys, "--dir", str(tmp_path / "logs"), "call-7")
    assert answer["cause"] == "page_frozen", answer["words"]


def test_the_text_is_plain_in_a_pipe(tmp_path: Path) -> None:
    """It names the cause, the lines and the command for all lines; the process ends by itself."""
    write(tmp_path / "logs", of_call("bot_raised"))
    done = subprocess.run(
        [sys.executable, "-m", "cordboard", "why", "--dir", str(tmp_path / "logs"), "call-7"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == CAUSE, done.stderr
    assert done.stdout.startswith("call-7: Bot raised an exception (bot_raised)\n")
    assert "\x1b" not in done.stdout
    for words in ("proved by", "ruled out", "coverage: complete", "ValueError: no order 4711"):
        assert words in done.stdout
