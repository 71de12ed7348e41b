"""The form for people: readable, and harmless to the terminal."""

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


def test_a_line_for_people() -> None:
    """Time, level, session, service and tag, message, event, meta, and the traceback below."""
    first, *rest = shown().splitlines()
    assert first.split()[1:] == [
        "error", "call-7", "gateway/store", "Join", "failed", "join.refused", "a=1",
        'b="two', 'words"', 'c={"d":null}',
    ]  # fmt: skip
    assert rest == ["    Traceback:", "      line", "    E: m"]


@pytest.mark.parametrize("key", ["message", "tag", "sessionId", "event"])
def test_escape_sequences_are_shown_and_not_obeyed(key: str) -> None:
    """Controls, also of the C1 range and of text direction, are made visible."""
    changes: Any = {key: "a\x1b[2Jb\x9bc\u202ed\re"}
    text = shown(**changes, meta={"x\x07": "\x1b]0;t\x07"})
    assert not any(ord(char) < 32 and char != "\n" for char in text)
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2Jb" in text


def test_a_newline_in_a_message_is_indented() -> None:
    """A message of several lines cannot look like further records."""
    assert "\n    forged" in shown(message="one\nforged")


@pytest.mark.parametrize("key", ["tag", "service", "sessionId", "event", "level", "timestamp"])
def test_a_newline_elsewhere_is_no_line(key: str) -> None:
    """A newline in a name, and in a key or a value of meta, is shown as an escape."""
    changes: Any = {key: "one\n12:00:00 forged", "error": None}
    text = shown(**changes, meta={"a\n12:00:00 forged": "b\n12:00:00", "c": ["d\n12:00:00"]})
    assert text.count("\n") == 1
    assert "\\x0a12:00:00" in text


def test_sessions_have_colours_of_their_own() -> None:
    """The same session has the same colour; without colour there is no escape at all."""
    assert "\x1b[" in shown(color=True)
    assert "\x1b[" not in shown()
    assert shown(color=True) == shown(color=True)


def in_a_terminal(**environment: str) -> str:
    """Run a program whose stdout is a terminal; return what it shows."""
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


def test_pretty_on_a_terminal_json_in_a_pipe() -> None:
    """A terminal gets the form for people, in colour unless NO_COLOR; LOG_FORMAT decides first."""
    assert "\x1b[" in in_a_terminal()
    plain = in_a_terminal(NO_COLOR="1")
    assert "\x1b[" not in plain
    assert plain.split()[-2:] == ["Hello", "n=1"]
    assert msgspec.json.decode(in_a_terminal(LOG_FORMAT="json"))["message"] == "Hello"
