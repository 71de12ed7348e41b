"""The format for people is readable, and contains no control characters."""

import os
import pty
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from cordboard.emit.pretty import pretty_formatter

RECORD = {
    "timestamp": "2026-11-23T10:11:12.123456Z",
    "level": "error",
    "message": "Join failed",
    "service": "gateway",
    "tag": "store",
    "sessionId": "call-7",
    "event": "join.refused",
    "meta": {"a": 1, "b": "two words", "c": {"d": None}},
    "error": {"type": "E", "message": "m", "stack": "Traceback:\n  line\nE: m\n"},
}


def shown(*, color: bool = False, **changes: Any) -> str:
    return pretty_formatter(color=color)(msgspec.json.encode({**RECORD, **changes})).decode()


def test_pretty_line_shows_every_field() -> None:
    """Time, level, session, service and tag, message, event, meta, and the traceback below."""
    first, *rest = shown().splitlines()
    assert first.split()[1:] == [
        "error", "call-7", "gateway/store", "Join", "failed", "join.refused", "a=1",
        'b="two', 'words"', 'c={"d":null}',
    ]  # fmt: skip
    assert rest == ["    Traceback:", "      line", "    E: m"]


@pytest.mark.parametrize("key", ["message", "tag", "sessionId", "event"])
def test_control_characters_are_made_visible(key: str) -> None:
    """So are those of the C1 range and of text direction."""
    changes: Any = {key: "a\x1b[2Jb\x9bc\u202ed\re"}
    text = shown(**changes, meta={"x\x07": "\x1b]0;t\x07"})
    assert not any(ord(char) < 32 and char != "\n" for char in text)
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2Jb" in text


def test_newline_in_a_message_is_indented() -> None:
    """A message of several lines cannot look like further records."""
    assert "\n    forged" in shown(message="one\nforged")


@pytest.mark.parametrize("key", ["tag", "service", "sessionId", "event", "level", "timestamp"])
def test_newline_outside_the_message_is_escaped(key: str) -> None:
    """A newline in a name, or in a key or value of meta, is shown as an escape."""
    changes: Any = {key: "one\n12:00:00 forged", "error": None}
    text = shown(**changes, meta={"a\n12:00:00 forged": "b\n12:00:00", "c": ["d\n12:00:00"]})
    assert text.count("\n") == 1
    assert "\\x0a12:00:00" in text


def test_session_always_has_the_same_colour() -> None:
    """Without colour the output contains no escape sequence."""
    assert "\x1b[" in shown(color=True)
    assert "\x1b[" not in shown()
    assert shown(color=True) == shown(color=True)


def in_a_terminal(**environment: str) -> str:
    """Run a program whose stdout is a terminal; return its output."""
    master, slave = pty.openpty()
    code = (
        "from cordboard import emit; emit.configure('x'); emit.get_logger('t').info('Hello', n=1)"
    )
    base = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "LOG_FORMAT"}}
    subprocess.run(
        [sys.executable, "-c", code],
        stdout=slave,
        env={**base, "TERM": "xterm", **environment},
        timeout=60,
        check=True,
    )
    os.close(slave)
    text = b""
    try:
        while chunk := os.read(master, 4096):
            text += chunk
    except OSError:  # Linux: the other end is closed
        pass
    os.close(master)
    return text.decode()


def test_format_is_pretty_on_a_terminal_and_json_in_a_pipe() -> None:
    """NO_COLOR disables colour, and LOG_FORMAT overrides the default."""
    assert "\x1b[" in in_a_terminal()
    plain = in_a_terminal(NO_COLOR="1")
    assert "\x1b[" not in plain
    assert plain.split()[-2:] == ["Hello", "n=1"]
    assert msgspec.json.decode(in_a_terminal(LOG_FORMAT="json"))["message"] == "Hello"
