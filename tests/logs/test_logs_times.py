"""Durations, moments and keys."""

import contextlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.cli import main
from cordboard.contract.errors import UsageError
from cordboard.logs.timespec import (
    duration_s,
    key_of_epoch,
    key_of_parts,
    moment,
    seconds,
    shifted,
    timestamp,
)
from logs.logs_support import encoded, record, write_lines

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).astimezone()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("600", 600),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d2h3m4s", 93_784),
    ],
)
def test_durations(text: str, expected: int) -> None:
    """Seconds alone, or days, hours, minutes, seconds in this order."""
    assert duration_s(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "1x", "1m1h", "1.5h", "-5m", "+5m", "10 m", "m", "\u0661\u0660m", "1h30", "1w", "5M", "9" * 13,
     "999999999d", " 5m", "5m\n"],
)  # fmt: skip
def test_no_durations(text: str) -> None:
    """Anything else is refused, in words that show what is right."""
    with pytest.raises(UsageError, match=r"Invalid duration .* 90s, 10m, 1h30m or 2d"):
        duration_s(text)


@given(st.text(alphabet="0123456789dhms", max_size=8))
def test_duration_grammar(text: str) -> None:
    """The grammar, and nothing beside it."""
    grammar = re.fullmatch(r"\d+|(?=.)(\d+d)?(\d+h)?(\d+m)?(\d+s)?", text)
    try:
        duration_s(text)
    except UsageError:
        accepted = False
    else:
        accepted = True
    value = sum(int(number) for number in re.findall(r"\d+", text))
    assert accepted == (grammar is not None and value > 0 and _within_a_century(text))


def _within_a_century(text: str) -> bool:
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}
    total = sum(int(n) * units[u] for n, u in re.findall(r"(\d+)([dhms]?)", text))
    return total <= 100 * 365 * 86400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T10:11:12Z", "2026-11-23T10:11:12.000000Z"),
        ("2026-11-23T10:11:12.5+02:00", "2026-11-23T08:11:12.500000Z"),
        ("2026-11-23 10:11:12.123456789Z", "2026-11-23T10:11:12.123456Z"),
        ("2026-11-23T10:11-0130", "2026-11-23T11:41:00.000000Z"),
        ("now", "2026-11-23T12:00:00.000000Z"),
        ("10m", "2026-11-23T11:50:00.000000Z"),
        ("90", "2026-11-23T11:58:30.000000Z"),
    ],
)
def test_moments(text: str, expected: str) -> None:
    """RFC 3339 with its zone, and durations before now."""
    assert timestamp(moment(text, NOW)) == expected


def test_moments_of_this_machine() -> None:
    """Without a zone it is this machine's time; a clock alone is the latest that has passed."""
    local = NOW.replace(tzinfo=None)

    def found(text: str) -> datetime:
        return moment(text, NOW).astimezone().replace(tzinfo=None)

    assert found("2026-11-23 09:30") == datetime(2026, 11, 23, 9, 30)  # noqa: DTZ001
    assert found("2026-11-23") == datetime(2026, 11, 23)  # noqa: DTZ001
    before = local - timedelta(minutes=1)
    assert found(before.strftime("%H:%M")) == before.replace(second=0, microsecond=0)
    after = local + timedelta(minutes=1)
    assert found(after.strftime("%H:%M:%S")) == after - timedelta(days=1)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    assert found("yesterday 14:05") == midnight - timedelta(days=1) + timedelta(hours=14, minutes=5)
    assert found("yesterday") == midnight - timedelta(days=1)
    assert found("today") == midnight


@pytest.mark.parametrize(
    "text", ["", "25:00", "14:60", "2026-13-01", "2026-11-23T10", "tomorrow", "14h05", "yesterday14:05",
             "2026-11-23T10:11:12+25:00", "9" * 12 + "d"],
)  # fmt: skip
def test_no_moments(text: str) -> None:
    """Anything else is refused, in words that show what is right."""
    with pytest.raises(UsageError, match=r"Invalid time.* yesterday 14:05"):
        moment(text, NOW)


@given(st.text(max_size=30))
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    """Nothing but a moment or a usage error ever comes of a text."""
    with contextlib.suppress(UsageError):
        assert moment(text, NOW).tzinfo is not None


moments = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(moments)
def test_keys_of_any_form_are_the_same(at: datetime) -> None:
    """A moment has one key, whatever zone, unit or form it is written in."""
    key = timestamp(at).encode()
    date, clock = key[:10].decode(), key[11:19].decode()
    assert key_of_parts(date, clock, key[20:26].decode(), "Z", utc=False) == key
    assert key_of_parts(date, clock, key[20:26].decode() + "999", None, utc=True) == key
    for zone, minutes in (("+05:30", 330), ("-0800", -480)):
        there = at + timedelta(minutes=minutes)
        assert (
            key_of_parts(
                there.strftime("%Y-%m-%d"), there.strftime("%H:%M:%S"), f"{at.microsecond:06d}", zone,
                utc=True,
            )
            == key
        )  # fmt: skip
    whole = at.replace(microsecond=at.microsecond // 1000 * 1000)
    millis = round(whole.timestamp() * 1000)
    if millis >= 1e11:
        assert key_of_epoch(millis) == timestamp(whole).encode()


@given(moments, st.integers(-10_000, 10_000))
def test_shifting(at: datetime, by: int) -> None:
    """A key shifted by seconds is the key of that moment."""
    key = timestamp(at).encode()
    assert shifted(key, by) == timestamp(at + timedelta(seconds=by)).encode()
    assert seconds(shifted(key, by)) - seconds(key) == pytest.approx(by)


def test_clock_that_does_not_exist_is_no_time() -> None:
    """A leap second is the last moment before it; other minutes and seconds above 59 are no time."""
    expected = b"2016-12-31T23:59:59.999999Z"
    assert key_of_parts("2016-12-31", "23:59:60", "5", "Z", utc=True) == expected
    assert key_of_parts("2016-12-31", "23:59:60", None, "+05:30", utc=True) == (
        b"2016-12-31T18:29:59.999999Z"
    )
    for clock in ("09:99:99", "09:60:00", "09:00:61", "25:00:00"):
        assert key_of_parts("2016-12-31", clock, None, "Z", utc=True) is None
    assert seconds(b"2016-12-31T23:59:60.000000Z") == seconds(expected)


@pytest.mark.parametrize(
    "moment",
    [
        *(
            "2016-12-31T23:59:60",
            "2016-12-31T09:99:99",
            "9999-12-31T23:59:59",
            "0001-01-01T00:00:00",
        ),
        "2016-13-41T23:59:59",
    ],
)
@pytest.mark.parametrize("output", ["pretty", "json"])
def test_sessions_of_lines_with_any_time_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], moment: str, output: str
) -> None:
    """Of other loggers and in our own form; each command prints something for each."""
    own = encoded(
        record(0, session="call-7", event="join.accepted") | {"timestamp": f"{moment}.000000Z"}
    )
    other = f"{moment}Z INFO x session_id=call-7".encode()
    write_lines(tmp_path / "own" / "gateway.jsonl", [own])
    write_lines(tmp_path / "other" / "app.log", [other])
    for folder in ("own", "other"):
        where = ["--dir", str(tmp_path / folder)]
        assert main(["sessions", *where, "-o", output]) in {0, 3}
        for words in (["-o", "pretty"], ["-o", "brief"], ["--report", str(tmp_path / "r.html")]):
            assert main(["logs", *where, "--session", "call-7", *words]) in {0, 3}
        assert main(["why", "call-7", *where]) in {0, 3}
    assert "Traceback" not in "".join(capsys.readouterr())
