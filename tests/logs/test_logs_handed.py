"""What is handed on to a terminal, to a file, to somebody else; options that would lose something."""

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cordboard.cli import main
from cordboard.logs.formats.codec import escaped
from logs.logs_support import at, encoded, record, write_lines

USAGE = 2
STEERING = "csi \x9b31m, next line \x85, separators \u2028 and \u2029, \u202eright to left"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one call of Ada, at fifteen past ten."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / "logs"
    who: dict[str, Any] = {"userId": "u-1", "userName": "Ada", "session": "call-7"}
    steps = [("join.accepted", {}), ("bot.started", {}), ("session.ended", {"state": "ended"})]
    write_lines(
        logs / "gateway.jsonl",
        [
            encoded(record(900 + n, seq=n + 1, event=event, meta=meta, **who))
            for n, (event, meta) in enumerate(steps)
        ],
    )
    return logs


def on_a_terminal(*words: str) -> str:
    """Run the command on a terminal; return what it shows there."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cordboard", *words],
        stdin=there, stdout=there, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(there)
    shown = b""
    try:
        while select.select([here], [], [], 30)[0]:
            shown += os.read(here, 65536)
    except OSError:
        pass
    finally:
        process.wait(30)
        os.close(here)
    return shown.decode().replace("\r\n", "\n")


# --- what could steer a terminal


@pytest.mark.parametrize("limit", [(), ("--limit", "9")])
def test_json_holds_no_controls(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes], limit: tuple[str, ...]
) -> None:
    """C1 controls and separators of lines are escapes in JSON, wherever it goes; it says the same."""
    odd: dict[str, Any] = {STEERING: 1}
    line = record(1, message=STEERING, **odd)
    write_lines(folder / "gateway.jsonl", [encoded(line)])
    assert main(["logs", "--dir", str(folder), "-o", "json", *limit]) == 0
    printed = capfdbinary.readouterr().out
    assert json.loads(printed) == line
    text = printed.decode()
    assert not re.search("[\x80-\x9f\u2028\u2029]", text)
    assert "\\u009b31m" in text


def test_texts_that_only_look_alike_stay() -> None:
    """Letters whose bytes are near are left alone."""
    for text in ("\xa0\xe9 ©", "‧ …", "plain", "漢字"):
        data = json.dumps(text, ensure_ascii=False).encode()
        assert escaped(data) == data


@pytest.mark.parametrize("form", ["json", "raw", "pretty"])
def test_a_terminal_is_not_steered(folder: Path, form: str) -> None:
    """On a terminal every control is visible, in each form."""
    line = f"2026-11-23T10:00:00Z \x1b]0;title\x07 {STEERING}".encode()
    write_lines(folder / "web.log", [line, b"2026-11-23T10:00:01Z bytes \x9b31m"])
    write_lines(folder / "gateway.jsonl", [encoded(record(1, message=STEERING))])
    shown = on_a_terminal("logs", "--dir", str(folder), "-o", form, "--no-pager", "-q")
    assert "title" in shown
    ours = shown.replace("\x1b[", "") if form == "pretty" else shown  # its own colours
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]", ours)
    if form == "json":
        assert all(json.loads(line) for line in shown.splitlines())


# --- links


@pytest.fixture
def linked(folder: Path, tmp_path: Path) -> Path:
    """The folder with a link that leads out of it, one that stays inside, and the folder behind a link."""
    outside = tmp_path / "private" / "key.log"
    write_lines(outside, [b"2026-11-23T10:00:00Z secret of this machine"])
    (folder / "out.jsonl").symlink_to(outside)
    (folder / "in.jsonl").symlink_to(folder / "gateway.jsonl")
    link = tmp_path / "link"
    link.symlink_to(folder)
    return link


@pytest.mark.parametrize("option", ["--collect", "--bundle"])
def test_what_a_link_leads_to_is_not_handed_over(
    linked: Path, tmp_path: Path, option: str, capfd: Captured
) -> None:
    """With `--collect` and `--bundle` a link out of the folder is left out, and named."""
    target = tmp_path / ("c" if option == "--collect" else "b.zip")
    assert main(["logs", "--dir", str(linked), option, str(target), "-o", "json"]) == 3
    captured = capfd.readouterr()
    assert "secret of this machine" not in captured.out
    assert len(captured.out.splitlines()) == 3
    assert "out.jsonl" in captured.err
    assert "left_out" in captured.err
    assert "private/key.log" in captured.err


def test_a_link_is_read_where_nothing_is_handed_over(linked: Path, capfd: Captured) -> None:
    """Whoever only looks sees what the link leads to."""
    assert main(["logs", "--dir", str(linked), "-o", "json"]) == 0
    assert "secret of this machine" in capfd.readouterr().out


# --- options that are given twice


def test_several_reports(folder: Path, capfd: Captured) -> None:
    """Each `--report` is written."""
    words = ["--report", "a.html", "--report", "b.txt", "--report", "a.html"]
    assert main(["logs", "--dir", str(folder), *words]) == 0
    assert Path("a.html").read_text().lower().startswith("<!doctype html>")
    assert Path("b.txt").read_text().startswith("CORDBOARD REPORT")
    assert capfd.readouterr().err.count("written") == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--collect", "a", "--collect", "b"),
        ("--bundle", "a.zip", "--bundle", "b.zip"),
        ("--coverage", "a", "--coverage", "b"),
        ("-o", "json", "--output", "raw"),
        ("--session", "a", "--session", "b"),
        ("--user", "a", "--user", "b"),
        ("--room", "webrtc:a", "--room", "webrtc:b"),
        ("--grep", "a", "--grep", "b"),
        ("--where", "a", "--where", "b"),
        ("--level", "warn", "--level", "error"),
        ("-t", "1m", "--time", "2m"),
        ("--since", "1m", "--since", "2m"),
        ("--until", "1m", "--until", "2m"),
        ("--around", "1m", "--around", "2m"),
        ("--limit", "1", "--limit", "2"),
        ("--dir", "logs", "--dir", "other"),
        ("--config", "a", "--config", "b"),
    ],
    ids=" ".join,
)
def test_a_second_value_is_refused(folder: Path, words: tuple[str, ...], capfd: Captured) -> None:
    """Of two values for one option none is dropped without a word; the same one twice is no harm."""
    where = () if "--dir" in words else ("--dir", str(folder))
    assert main(["logs", *where, *words]) == USAGE
    said = capfd.readouterr().err
    assert f"{words[2]} is given twice: {words[1]} and {words[3]}." in said
    assert not list(folder.parent.glob("a*"))
    assert main(["logs", "--dir", str(folder), "--user", "a", "--user", "a"]) == 0


@pytest.mark.parametrize("words", [("--grep", "-i", "bot"), ("--grep", "bot", "-i")])
def test_grep_without_case(folder: Path, words: tuple[str, ...], capfd: Captured) -> None:
    """Whoever writes `-i`, as for grep, is told what does it here."""
    with pytest.raises(SystemExit, match="2"):
        main(["logs", "--dir", str(folder), *words])
    assert "--grep '(?i)PATTERN'" in capfd.readouterr().err
    assert main(["logs", "--dir", str(folder), "--grep", "(?i)SOMETHING", "-o", "json"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 3


# --- from a name and a time to the answer


def test_from_a_name_and_a_time_to_the_lines(folder: Path, capfd: Captured) -> None:
    """The sessions of a person around a time, by name or id, and the command that shows one's lines."""
    words = ["sessions", "--dir", str(folder), "--around", at(900), "-t", "30m", "-o", "json"]
    for user, found in (("Ada", ["call-7"]), ("u-1", ["call-7"]), ("ada", []), ("u-2", [])):
        main([*words, "--user", user])
        sessions = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert [session["sessionId"] for session in sessions] == found
    main([*words[:3], "--around", at(9000), "-o", "json"])
    assert capfd.readouterr().out == ""


def test_an_opened_page_is_shown_as_such(folder: Path, capfd: Captured) -> None:
    """A session of which a page was merely opened is neither queued nor blank."""
    opened = record(1, service="browser", session="call-9", event="page.opened", boot="99999999")
    following = record(1, service="browser", session="call-10", boot="99999998")  # after a call
    write_lines(folder / "interface.jsonl", [encoded(opened), encoded(following)])
    main(["sessions", "--dir", str(folder), "-o", "json"])
    states = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    found = {state["sessionId"]: state["state"] for state in states}
    assert found == {"call-7": "ended", "call-9": "opened", "call-10": "opened"}


def test_a_window_names_the_command_that_shows_all(folder: Path, capfd: Captured) -> None:
    """The command has the place and the session, and no window."""
    words = ["logs", "--dir", str(folder), "--session", "call-7", "-t", "10m", "-o", "json"]
    assert main(words) == 0
    captured = capfd.readouterr()
    assert captured.out == ""
    command = f"cordboard logs --dir {folder} --session call-7"
    assert f"3 lines of this session are outside the window. All lines: {command}" in captured.err
    assert main(["sessions", "--dir", str(folder), "-t", "10m", "call-7"]) != 0
    assert command in capfd.readouterr().err
