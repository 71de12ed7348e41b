"""What the commands that ask a gateway share."""

import io
import json
import urllib.error
from email.message import Message

import pytest

from cordboard.cli import _ask, main


def test_columns_stay_aligned_whatever_the_letters() -> None:
    """A letter that takes two columns of a terminal, or none, counts as what it takes."""
    rows = [("USER", "STATE"), ("漢字", "ended"), ("e\u0301va", "ended"), ("a\x1b[31m", "ended")]
    assert _ask.table(rows).splitlines() == [
        "USER       STATE",
        "漢字       ended",
        "e\u0301va        ended",
        "a\\x1b[31m  ended",
    ]


def test_a_long_name_leaves_room_for_the_other_columns() -> None:
    """It is cut where it stands beside others; 32 letters fit."""
    assert _ask.shortened("n" * 32) == "n" * 32
    assert _ask.shortened("n" * 1024) == "n" * 31 + "…"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--state", "runing"], "choose from 'queued', 'starting', 'running'"),
        (["--limit", "0"], "--limit 0: a number above 0 is wanted."),
        (["--room", "demo"], "'demo' is not a room"),
        (["--gateway", "demo"], "--gateway demo: expected http://HOST:PORT"),
        (["-t", "1x"], "'1x' is no duration."),
        (["--around", "9", "--since", "8"], "--around goes with -t"),
        (["--user", "a", "--user", "b"], "--user is given twice: a and b."),
    ],
)
def test_unusable_words_of_sessions_ask_nobody(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and why, without a gateway."""
    try:
        status = main(["sessions", *words])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("status", "problem", "said"),
    [
        (
            401,
            {"type": "urn:cordboard:problem:unauthorized", "detail": "Wrong.", "hint": "Header"},
            "Wrong. Set BOT_CONTROL_SHARED_SECRET, or ..._FILE, to the secret of that gateway.",
        ),
        (
            404,
            {"type": "about:blank", "detail": "Not Found"},
            "What answers at http://here/ says Not Found. Is it a gateway? Name another by --gateway.",
        ),
        (
            404,
            {"type": "urn:cordboard:problem:not_found", "detail": "No session.", "hint": "Look."},
            "No session. Look.",
        ),
        (502, None, "The gateway answered HTTP 502."),
    ],
)
def test_a_refusal_says_what_the_user_of_a_command_can_do(
    status: int, problem: dict[str, str] | None, said: str
) -> None:
    """The gateway's own words, with the way out of a command and not of an HTTP client."""
    body = io.BytesIO(json.dumps(problem).encode() if problem else b"<html>")
    error = urllib.error.HTTPError("http://here/", status, "", Message(), body)
    assert str(_ask._refused(error)) == said
