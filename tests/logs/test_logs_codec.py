"""Lines decode alike, whichever library does it; and no query loads what it does not need."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cordboard.logs.formats.codec import Decoder

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
DAMAGE = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=3)


def outcome(decode: Any, text: bytes) -> str:
    """What comes out, its kind included; an error is an error, whatever its words."""
    try:
        return repr(decode(text))
    except (ValueError, RecursionError, msgspec.DecodeError):
        return "error"


@given(VALUES, st.booleans(), DAMAGE)
@example({"a": "\ud83d"}, True, [])
@example(float("nan"), True, [])
@example(10**400, True, [])
@example("", True, [(0, b"\xff")])
def test_both_decoders_agree(value: Any, ascii_only: bool, damage: list[tuple[int, bytes]]) -> None:
    """A line means the same as the first of a query and as its millionth, damaged ones included."""
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    for at, what in damage:
        text = text[:at] + what + text[at + len(what) :]
    assert outcome(Decoder(), text) == outcome(Decoder(few=0), text)


@pytest.mark.parametrize(
    "text",
    [b"1e999", b"-1e999", b'"\\uD800"', b"[" * 2000 + b"]" * 2000, b"01", b'"\x01"', b"9" * 5000],
)
def test_both_refuse_and_take_the_same(text: bytes) -> None:
    """Numbers out of range, halves of characters and deep nesting are no exceptions to that."""
    assert outcome(Decoder(), text) == outcome(Decoder(few=0), text)


def test_the_first_lines_and_the_others(tmp_path: Path) -> None:
    """After the first few the faster library takes over; nobody sees where."""
    decode = Decoder(few=2)
    assert [decode(b'{"a":1.5}') for _ in range(4)] == [{"a": 1.5}] * 4
    with pytest.raises(ValueError, match="truncated"):
        decode(b"{")


NEEDLESS = (
    *("asyncio", "boto3", "dataclasses", "inspect", "lightkube", "msgspec", "pathlib"),
    *("redis", "shutil", "threading"),
)


def test_a_query_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    """Of one session in lines of ours, that is: the time to start is a third of such a query's."""
    line = (
        '{"timestamp":"2026-11-23T10:11:12.123456Z","level":"info","message":"Said","service":"bot",'
        '"tag":"t","sessionId":"call-7","userId":null,"userName":null,"boot":"9f31c2aa","seq":1}\n'
    )
    (tmp_path / "bot.jsonl").write_text(line)
    words = ["logs", "--dir", str(tmp_path), "--session", "call-7", "-t", "100d", "-o", "raw"]
    program = (
        "import sys; from cordboard.cli import main; main(sys.argv[1:]);"
        f"print([name for name in {NEEDLESS!r} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-E", "-c", program, *words], capture_output=True, text=True, check=True
    )
    assert ran.stdout == line
    assert ran.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("content", "loaded"),
    [('[[environments.a]]\ntype = "directory"\npath = "."\n', False), ("queue_max = 5\n", True)],
)
def test_a_query_loads_all_settings_only_to_check_some(
    tmp_path: Path, content: str, loaded: bool
) -> None:
    """A file with tables alone needs no validation of settings; one with a setting does."""
    (tmp_path / "cordboard.toml").write_text(content)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "bot.jsonl").write_text("")
    program = (
        "import sys; from cordboard.cli import main; main(['logs', '--dir', 'logs', '-q']);"
        "print('cordboard.settings' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(loaded)
