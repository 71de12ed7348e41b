"""Lines of other loggers among ours: what is read of them at once is what is read of them one by one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard.logs import scan as scanning
from cordboard.logs import survey
from cordboard.logs.blocks import Block
from cordboard.logs.coverage import Shortfall
from cordboard.logs.entries import summary_of
from cordboard.logs.filters import Prefilter
from cordboard.logs.formats import Formats
from cordboard.logs.merge import Lane, Whole, merged
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.scan import Scan, Watch
from cordboard.logs.sequence import SequenceIndex
from cordboard.logs.sources.directory import Directory
from cordboard.logs.statistics import Statistics
from cordboard.logs.stream import Track
from cordboard.logs.timespec import HIGHEST, LOWEST
from logs.logs_support import (
    ask,
    at,
    bare,
    cri,
    docker,
    encoded,
    only_compiled,
    record,
    write_lines,
)

WATCHED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


@pytest.fixture(params=["python", pytest.param("compiled", marks=only_compiled)])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(survey, "native", None)


Carrier = Callable[[bytes, float], list[bytes]]


class Held:
    """Bytes that are read as a file is."""

    damage: Shortfall | None = None
    can_seek = True

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]

    def read_into(self, buffer: bytearray, offset: int, size: int) -> int:
        found = self.read(offset, size)
        buffer[: len(found)] = found
        return len(found)

    def passed(self, offset: int, end: int, parts: tuple[bytes, ...]) -> int:
        return offset


def ours(second: int, seq: int, level: str = "info") -> bytes:
    return encoded(record(second / 4, seq=seq, boot="a" * 8, level=level, message=f"é {seq}"))


def others(second: int) -> list[bytes]:
    """Lines that are not plainly ours, around a moment."""
    own = ours(second, 3)
    moment = at(second / 4)
    return [
        b'INFO:     10.0.0.5:5021 - "GET /healthz HTTP/1.1" 200 OK',
        f"{moment[:19]}Z | INFO | to the second".encode(),
        f"{moment} ERROR it failed".encode(),
        b"Traceback (most recent call last):",
        b'  File "x.py", line 1, in f',
        b"ValueError: no",
        b'{"level":"info","time":"%s","msg":"JSON"}' % moment.encode(),
        b'{"level":"info","msg":"without a time"}',
        b"",
        own[:20],
        own[:60],
        own[:60] + own,
        own + b"\r",
        own + b" ",
        b"\0\0\0" + own,
        own.replace(b"2026-11-23", b"2026-02-30"),
        own.replace(b'"seq"', b'"number"'),
        own.replace(b'"tag"', b'"meta":{"timestamp":"2026"},"tag"'),
        f"{moment[:-1]}789Z stdout F ".encode() + own,
        f"{moment[:-1]}789Z stderr P one ".encode(),
        f"{moment[:-1]}789Z stderr F two".encode(),
        b'"tag":"x' + own[-35:],
    ]


line = st.one_of(
    st.builds(ours, st.integers(0, 9), st.integers(1, 5), st.sampled_from(["info", "error"])),
    st.integers(0, 9).map(others).flatmap(st.sampled_from),
)
damage = st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=3)), max_size=2)
ends = st.sampled_from([b"\n", b""])


def joined(lines: Sequence[bytes], faults: Sequence[tuple[int, bytes]], end: bytes) -> bytes:
    data = b"\n".join(lines) + end
    for place, what in faults:
        data = data[:place] + what + data[place + len(what) :]
    return data


def scan(data: bytes, size: int = 1 << 20, note: Watch | None = None) -> Scan:
    track = Track("a.log", "file", Held(data), Formats())
    return Scan(track, Prefilter(), LOWEST, HIGHEST, exact=True, size=size, watch=note)


@pytest.mark.usefixtures("_way")
@WATCHED
@given(
    st.lists(line, max_size=40),
    st.sampled_from([bare, bare, cri, docker]),
    damage,
    ends,
    st.sampled_from([300, 1 << 20]),
)
def test_a_block_is_its_lines(
    lines: list[bytes], carrier: Carrier, faults: list[tuple[int, bytes]], end: bytes, size: int
) -> None:
    """The entries of each block are those that are found line by line, in the order of time."""
    data = joined([part for line in lines for part in carrier(line, 1)], faults, end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "without_carrier", lambda block: block)
        singly = [(entry.key, entry.raw) for entry in scan(data, size).entries()]
    found = []
    for batch in scan(data, size).batches():
        keys = batch.lines.keys
        told = summary_of(batch.lines)
        assert told is None or told.lines <= len(batch.lines)
        assert keys == sorted(keys) or not batch.ordered
        found.append(list(zip(keys, batch.lines.raws, strict=True)))
        here, singly = singly[: len(keys)], singly[len(keys) :]
        assert found[-1] == (sorted(here, key=lambda pair: pair[0]) if batch.ordered else here)
    assert not singly


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("more", [[], [b"2026-11-23T10:00:00.000000789Z stderr P one"]])
def test_a_number_before_white_space(more: list[bytes]) -> None:
    """It counts, whether or not lines in pieces stand beside its line."""
    noted = SequenceIndex()
    data = joined([ours(1, 3) + b" ", *more], [], b"\n")
    for _ in scan(data, note=noted.note).batches():
        pass
    assert {boot: list(runs) for boot, runs in noted.runs.items()} == {b"aaaaaaaa": [(3, 3)]}


@pytest.mark.usefixtures("_way")
@WATCHED
@given(st.lists(line, max_size=40), damage, ends)
def test_the_numbers_of_a_block(
    lines: list[bytes], faults: list[tuple[int, bytes]], end: bytes
) -> None:
    """They are noted whatever the lines beside them are."""
    data = joined(lines, faults, end)
    noted, seen = SequenceIndex(), SequenceIndex()
    for _ in scan(data, note=noted.note).batches():
        pass
    seen.note(Block(data, len(data), 0))  # without a look at its lines
    assert noted.runs.keys() == seen.runs.keys()
    for boot, runs in seen.runs.items():
        assert survey.joined(noted.runs[boot]) == survey.joined(runs)


@pytest.mark.usefixtures("_way")
@WATCHED
@given(st.lists(st.lists(line, max_size=25), min_size=1, max_size=3), st.sampled_from([300, 9000]))
def test_streams_are_merged_as_if_none_was_ours(streams: list[list[bytes]], size: int) -> None:
    """Handed on whole or singly: the same entries in the same order, each once, and counted alike."""
    answers = []
    for whole in (True, False):
        statistics = Statistics()
        lanes = [
            Lane(n, scan(joined(lines, [], b"\n"), size).batches())
            for n, lines in enumerate(streams)
        ]
        raws: list[bytes] = []
        for found in merged(lanes, statistics, whole=whole):
            if not isinstance(found, Whole):
                raws += [raw for _, raw, _, _ in found]
                continue
            done = 0
            for place, (_, raw, _, _) in [*found.between, (len(found.data), (b"", b"", 0, False))]:
                raws += found.data[done:place].splitlines()
                raws += [raw] if raw else []
                done = place
        answers.append((raws, statistics.counts))
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("_way")
def test_anothers_time_is_not_our_services(tmp_path: Path) -> None:
    """A service's first and last line are its own, and all lines are counted once."""
    lines = [encoded(record(n, seq=n, session="call-7")) for n in range(2, 9)]
    early, late = (f"{at(n)} INFO of another".encode() for n in (1, 20))
    write_lines(tmp_path / "voice.log", [early, *lines[:3], late, *lines[3:]])
    reader = Reader(Query(), [Directory(tmp_path)])
    assert len(b"".join(reader.encoded("json")).splitlines()) == 9
    coverage = reader.coverage()
    reader.close()
    heard = {answer.name: answer for answer in coverage.answers if answer.kind == "service"}
    assert (heard["gateway"].lines, heard["voice"].lines) == (7, 2)
    assert (heard["gateway"].first, heard["gateway"].last) == (at(2), at(8))
    assert coverage.attribution == {"explicit": 7, "absent": 2}


@pytest.mark.usefixtures("_way")
def test_a_time_to_come_makes_no_line_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another line speaks of tells nothing of how far a stream has been read."""
    monkeypatch.setattr("cordboard.logs.reader._SORTED_WHOLE_BYTES", 0)
    lines = [encoded(record(n, seq=n)) for n in range(1, 200)]
    lines.insert(50, b"2031-01-01 00:00:00 the certificate ends")
    write_lines(tmp_path / "gateway.log", lines)
    answer = ask(tmp_path, 2000)
    assert answer.raws == [*lines[:50], *lines[51:], lines[50]]
    assert not answer.coverage.counts
