"""Lines of other loggers that a collector delivered late: no number proves where they are."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cordboard.logs import late
from logs.logs_support import START, ask, at, encoded, record, write_lines

Form = Callable[[datetime, int], bytes]

_STEP_S = 5
_COUNT = 3_000
_LATE = range(1_200, 1_224)
_DELIVERED = 2_600
_PAD = "x" * 150


def _zoned(moment: datetime, n: int) -> bytes:
    local = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    return f"{local.isoformat(timespec='milliseconds')} INFO joined the room {n} {_PAD}".encode()


FORMS: dict[str, Form] = {
    "iso": lambda t, n: (
        f'{{"time":"{t:%Y-%m-%dT%H:%M:%S}.000Z","msg":"joined {n} {_PAD}"}}'.encode()
    ),
    "zone": _zoned,
    "epoch ms": lambda t, n: (
        f'{{"ts":{int(t.timestamp() * 1000)},"msg":"joined {n} {_PAD}"}}'.encode()
    ),
    "nginx": lambda t, n: (
        f'10.0.0.1 - - [{t:%d/%b/%Y:%H:%M:%S} +0000] "GET /{n}" 200 {_PAD}'.encode()
    ),
    "basic": lambda t, n: f"{t:%Y%m%dT%H%M%S}Z joined the room {n} {_PAD}".encode(),
}


def _lines(form: Form, count: int = _COUNT) -> list[bytes]:
    """Lines five seconds apart, of which some of two minutes stand half an hour behind their place."""
    lines = [form(START + timedelta(seconds=n * _STEP_S), n) for n in range(count)]
    delayed = lines[_LATE.start : _LATE.stop]
    return [*lines[: _LATE.start], *lines[_LATE.stop : _DELIVERED], *delayed, *lines[_DELIVERED:]]


def _window(begin: int, end: int) -> dict[str, Any]:
    return {"since": at(begin * _STEP_S), "until": at(end * _STEP_S)}


@pytest.mark.parametrize(
    ("name", "margin"),
    [*((name, 3) for name in FORMS), ("iso", 200), ("iso", 420), ("epoch ms", 420)],
)
def test_a_batch_that_was_delivered_late_is_found(tmp_path: Path, name: str, margin: int) -> None:
    """A window has the lines of its time, in whatever spelling, wherever behind it they stand."""
    form = FORMS[name]
    lines = [form(START + timedelta(seconds=n * _STEP_S), n) for n in range(_COUNT)]
    write_lines(tmp_path / "app.log", _lines(form))
    begin, end = _LATE.start - margin, _LATE.stop + margin
    answer = ask(tmp_path, **_window(begin, end))
    assert answer.raws == lines[begin:end]
    assert answer.coverage.complete


@pytest.mark.parametrize("sorted_whole", [0, 8 << 20])
def test_late_lines_are_put_in_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sorted_whole: int
) -> None:
    """They come in the order of time, also where a file is too large to be sorted as a whole."""
    monkeypatch.setattr("cordboard.logs.reader._SORTED_WHOLE_BYTES", sorted_whole)
    write_lines(tmp_path / "app.log", _lines(FORMS["iso"]))
    answer = ask(tmp_path, block_bytes=16 << 10, **_window(1_100, 1_300))
    times = [line.record["timestamp"] for line in answer.lines]
    assert times == sorted(times)
    assert len(times) == 200
    assert "late" not in answer.coverage.counts


def test_what_is_too_much_to_be_searched_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose rest is not searched is not called complete, unless all of it is read."""
    monkeypatch.setattr(late, "_SEARCHED_MAX_BYTES", 1000)
    monkeypatch.setattr(late, "_DECODED_MAX_BYTES", 1000)
    write_lines(tmp_path / "app.log", _lines(FORMS["iso"]))
    answer = ask(tmp_path, **_window(1_100, 1_150))
    ((name, reason, _),) = answer.shortfalls
    assert (name, reason) == (str(tmp_path / "app.log"), "unproved")
    assert ask(tmp_path, exact=True, **_window(1_100, 1_150)).coverage.complete


def test_lines_that_look_alike_are_not_searched_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many lines with the bytes of the window's times, but of other days, end the search."""
    monkeypatch.setattr(late, "_LOOKED_AT_MAX", 10)
    write_lines(tmp_path / "app.log", _lines(FORMS["nginx"], 20_000))
    answer = ask(tmp_path, **_window(1_100, 1_150))
    assert [reason for _, reason, _ in answer.shortfalls] == ["unproved"]


def test_times_that_no_bytes_tell_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a window is longer than a day, or has no beginning, a small rest is read line by line."""
    lines = [FORMS["iso"](START + timedelta(seconds=n * _STEP_S), n) for n in range(_COUNT)]
    write_lines(tmp_path / "app.log", _lines(FORMS["iso"]))
    answer = ask(tmp_path, until=at(_LATE.stop * _STEP_S))
    assert answer.raws == lines[: _LATE.stop]
    monkeypatch.setattr(late, "_DECODED_MAX_BYTES", 1000)
    assert not ask(tmp_path, until=at(_LATE.stop * _STEP_S)).coverage.complete


def test_numbered_lines_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numbers prove that nothing is missing, nothing behind the window is read."""
    monkeypatch.setattr(late, "_terms", None)
    write_lines(tmp_path / "app.log", [encoded(record(n * 5, seq=n + 1)) for n in range(_COUNT)])
    assert ask(tmp_path, **_window(1_100, 1_150)).coverage.complete


@pytest.mark.parametrize("name", [*FORMS])
@pytest.mark.parametrize("every", [0, 3])
def test_a_late_batch_beside_numbered_lines_is_found(tmp_path: Path, name: str, every: int) -> None:
    """The numbers of some lines prove nothing of other loggers' lines in the same file."""
    form = FORMS[name]
    mixed = [encoded(record(-1, seq=1))]
    seq = count(2)
    for n, line in enumerate(_lines(form)):
        mixed.append(line)
        if every and n % every == 0:
            mixed.append(encoded(record(n * _STEP_S, seq=next(seq), message="x" * 150)))
    write_lines(tmp_path / "app.log", mixed)
    answer = ask(tmp_path, **_window(_LATE.start - 3, _LATE.stop + 3))
    others = [raw for raw in answer.raws if b'"boot"' not in raw]
    assert others == [
        form(START + timedelta(seconds=n * _STEP_S), n)
        for n in range(_LATE.start - 3, _LATE.stop + 3)
    ]
    assert answer.coverage.complete


def test_our_lines_of_other_days_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date in front of the clock tells the lines of a window from those of the next day."""
    monkeypatch.setattr(late, "_LOOKED_AT_MAX", 10)
    form = FORMS["iso"]
    ours = [encoded(record(n * 30, seq=n + 1, message="x" * 150)) for n in range(10_000)]
    others = [form(START + timedelta(seconds=n * 30 + 1), n) for n in range(10_000)]
    mixed = [line for pair in zip(ours, others, strict=True) for line in pair]
    write_lines(tmp_path / "app.log", mixed)
    answer = ask(tmp_path, since=at(3_000), until=at(6_000))
    assert answer.coverage.complete
    assert len(answer.lines) == 200
