"""The C parts find what Python finds, in whatever they are given; without them nothing is missing."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hatch_build import FLAGS, SOURCES, compile_part
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cordboard.contract.record import KEYS
from cordboard.logs import compiled, search, tape
from cordboard.logs.glance import summary
from cordboard.logs.ledger import Ledger
from cordboard.logs.lines import Listed, surveyed
from cordboard.logs.scan import _freed
from cordboard.logs.tape import Block, FileTape, arranged
from cordboard.logs.timespec import HIGHEST, LOWEST
from cordboard.logs.track import disorder_s
from logs.logs_support import ask, at, encoded, only_compiled, record, write_lines

if compiled.are_here():
    from cordboard.logs import _lines, _search

pytestmark = only_compiled
ROOT = Path(__file__).parents[2]
ONCE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

# --- lines

said = st.builds(
    lambda second, seq, boot, service, session, message, more: encoded(
        record(
            second / 10,
            boot=boot * 8,
            seq=seq,
            session=session,
            service=service,
            message=message,
            **more,
        )
    ),
    st.integers(0, 900),
    st.sampled_from([1, 2, 3, 4, 9, 10, 11, 99, 100, 10**17]),
    st.sampled_from("ab0"),
    st.sampled_from(["gateway", "gateway", "bot"]),
    st.sampled_from(["call-7", "server:vm", "s"]),
    st.sampled_from(["Said", 'quotes "service":"bot" here', "é", "", '"boot":"aaaaaaaa","seq":7}']),
    st.sampled_from([{}, {}, {}, {"raw": True}]),
)
damage = st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=3)), max_size=2)


def damaged(data: bytes, faults: list[tuple[int, bytes]]) -> bytes:
    for place, what in faults:
        data = data[:place] + what + data[place + len(what) :]
    return data


def by_python(block: Block) -> tuple[Any, ...]:
    """What a block tells without the C part."""
    found = arranged(block.lines)
    ledger = Ledger()
    ledger.note(block)
    told = summary(block, len(block.lines))
    behind_s = disorder_s([line[14:41] for line in block.lines])
    runs = {boot: sorted(runs) for boot, runs in ledger.runs.items()}
    return (found.lines.keys, found.lines.raws, found.distinct, found.last, behind_s, runs, told)


@ONCE
@given(st.lists(said, min_size=1, max_size=70), damage)
@example([encoded(record(1))], [])
@example([encoded(record(1)), encoded(record(1))], [])
def test_a_look_at_a_block(lines: list[bytes], faults: list[tuple[int, bytes]]) -> None:
    """Lines, order, copies, numbers, disorder and summary are what Python finds; or nothing is said."""
    data = damaged(b"".join(line + b"\n" for line in lines), faults)
    block = Block(data, len(data), 0)
    found = surveyed(data, len(data)) if block.is_text else None
    if found is None:
        assert faults
        return
    assert block.is_own
    keys, raws, distinct, last, behind_s, runs, told = by_python(block)
    assert (found.lines.keys, found.lines.raws) == (keys, raws)
    assert (found.distinct, found.last) == (distinct, last)
    assert found.behind_s == pytest.approx(behind_s)
    ledger = Ledger()
    block.arranged = found
    ledger.note(block)
    assert {boot: sorted(found) for boot, found in ledger.runs.items()} == runs
    assert (told and tuple(told)) == found.lines.summary or (
        # Python counts what could be a quoted name, and leaves such lines to be looked at singly.
        told is None and found.lines.summary is not None
    )


def test_the_names_are_those_of_the_contract() -> None:
    """What C spells out is what a record's keys are."""
    for name in ("timestamp", "service", "sessionId", "raw", "truncated", "boot", "seq"):
        assert name in KEYS
        source = "".join((ROOT / name).read_text() for name in SOURCES)
        assert f'\\"{name}\\":' in source


@ONCE
@given(
    st.lists(said, min_size=1, max_size=50),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from([LOWEST, HIGHEST, b"", b"2026", at(3).encode(), at(45).encode(), b"x" * 40]),
)
def test_places_among_lines(lines: list[bytes], begin: int, end: int, key: bytes) -> None:
    """Looked for by time, cut and joined, they are as lists of them are."""
    data = b"".join(line + b"\n" for line in lines)
    found = surveyed(data, len(data))
    assert found is not None
    ours, plain = found.lines, Listed(found.lines.keys, found.lines.raws)
    assert len(ours) == len(plain)
    for start in (0, begin):
        assert ours.before(key, start) == max(plain.before(key), start)
        assert ours.until(key, start) == max(plain.until(key), start)
    begin, end = min(begin, len(plain)), min(max(begin, end), len(plain))
    part = ours.part(begin, max(begin, end))
    same = plain.part(begin, max(begin, end))
    assert (part.keys, part.raws, part.nbytes) == (same.keys, same.raws, same.nbytes)
    if len(part):
        assert (part.first, part.last) == (same.first, same.last)
        assert part.joined() == same.joined()
    with pytest.raises(IndexError):
        ours.part(0, len(plain) + 1)
    for name in ("first", "last"):
        with pytest.raises(IndexError):
            getattr(ours.part(0, 0), name)
    assert ours.longest == max(map(len, plain.raws))


@ONCE
@given(st.lists(st.lists(said, min_size=1, max_size=40), min_size=1, max_size=4))
def test_several_become_one(several: list[list[bytes]]) -> None:
    """They come in the order of time, those of one moment in the order given; copies are seen."""
    parts = []
    for lines in several:
        data = b"".join(line + b"\n" for line in lines)
        found = surveyed(data, len(data))
        assert found is not None
        parts.append(found.lines)
    all_of_them = arranged([raw for part in parts for raw in part.raws])
    merged = _lines.merged(parts)  # type: ignore[arg-type]  # the C part's own
    if merged is None:
        assert not all_of_them.distinct
    else:
        assert all_of_them.distinct
        assert merged.raws == all_of_them.lines.raws


def test_a_moment_of_many_lines() -> None:
    """Of more lines of one moment than are compared with each other, nobody says that none is a copy."""
    lines = [encoded(record(1, seq=n)) for n in range(1, 200)]
    data = b"".join(line + b"\n" for line in lines)
    found = surveyed(data, len(data))
    assert found is not None
    assert not found.distinct
    assert found.lines.raws == lines


@pytest.mark.parametrize(
    "when",
    ["2026-02-29", "2026-13-01", "2026-00-10", "2026-01-00", "2026-04-31", "2100-02-29"],
)
def test_a_day_that_is_none(when: str) -> None:
    """It has no place among numbers; Python compares its bytes."""
    line = encoded(record(1)).replace(b"2026-11-23", when.encode()) + b"\n"
    assert surveyed(line, len(line)) is None


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b'"seq":1}', b'"seq":1234567890123456789}'),
        (b'"seq":1}', b'"seq":}'),
        (b'"seq":1}', b'"seq":1'),
        (b'"seq":1}', b'"seq":12'),
        (b'"seq":1}', b'"seq":1} '),
        (b'"seq":1}', b'"seq":1}\r'),
        (b'"boot":"a', b'"boot":"A'),
        (b':01.000000Z"', b':60.000000Z"'),
        (b':01.000000Z"', b':0x.000000Z"'),
        (b':01.000000Z"', b':01.00000xZ"'),
        (b':01.000000Z"', b':01.000000X"'),
        (b':01.000000Z"', b":01.000000Z "),
        (b':01.000000Z"', b':01.000Z"'),
        (b"2026-11-23", b"1026-11-23"),
        (b"T10:", b"T24:"),
        (b'"service":', b'"services":'),
        (b'"sessionId":', b'"session":'),
        (b"{", b" {"),
        (b'"seq":1}', b'"seq":1}\n'),
    ],
)
def test_a_line_that_is_not_plainly_ours(part: bytes, instead: bytes) -> None:
    """Whatever is odd about it is left to Python, with its whole block."""
    line = encoded(record(1))
    odd = line.replace(part, instead, 1)
    assert odd != line
    for lines in ([odd], [line, odd], [odd, line]):
        data = b"".join(each + b"\n" for each in lines)
        assert surveyed(data, len(data)) is None
    assert surveyed(line, len(line)) is None
    assert surveyed(b"", 0) is None


def test_a_raw_lines_session_is_its_processs() -> None:
    """Such lines have to be looked at singly, as nothing is told of them all."""
    odd: list[dict[str, Any]] = [{"raw": True}, {"raw": True, "truncated": True}]
    for more in odd:
        line = encoded(record(1, session="call-7", **more)) + b"\n"
        found = surveyed(line, len(line))
        assert found is not None
        assert found.lines.summary is None


@pytest.mark.parametrize("when", ["2024-02-29", "2000-02-29", "2026-12-31", "2026-01-01"])
def test_a_day_that_is_one(when: str) -> None:
    """Leap days and a year's ends are in order with the days beside them."""
    lines = [encoded(record(n, seq=n)).replace(b"2026-11-23", day.encode()) + b"\n"
             for n, day in enumerate(["2999-12-31", when, "2001-01-01"], 1)]  # fmt: skip
    found = surveyed(b"".join(lines), sum(map(len, lines)))
    assert found is not None
    assert found.lines.keys == sorted(found.lines.keys)


# --- files


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Callable[[bytes], int]]:
    """Makes files, and closes them."""
    opened: list[int] = []

    def make(data: bytes) -> int:
        path = tmp_path / str(len(opened))
        path.write_bytes(data)
        opened.append(os.open(path, os.O_RDWR))
        return opened[-1]

    yield make
    for fd in opened:
        os.close(fd)


def every(data: bytes, needle: bytes) -> list[int]:
    return [found.start() for found in re.finditer(b"(?=" + re.escape(needle) + b")", data)]


@ONCE
@given(
    st.lists(st.sampled_from([b"ab", b"a", b"b", b"\n", b"abab", b"\0", b"xyz" * 30]), max_size=60),
    st.sampled_from([b"ab", b"aa", b"aba", b"\n\n", b"zx" * 20, b"xyz" * 30]),
    st.integers(1, 3),
    st.integers(0, 300),
    st.integers(0, 3000),
)
def test_places_in_a_file(
    file: Callable[[bytes], int],
    parts: list[bytes],
    needle: bytes,
    hands: int,
    begin: int,
    end: int,
) -> None:
    """All of them are found, those that lie over each other too, in any part of a file."""
    data = b"".join(parts) * 5
    fd = file(data)
    begin, end = min(begin, len(data)), min(end, len(data))
    whole, part = _search.places([(fd, 0, len(data)), (fd, begin, end)], needle, hands, None)
    assert whole == every(data, needle)
    assert part == [begin + n for n in every(data[begin : max(begin, end)], needle)]


@pytest.mark.parametrize("hands", [1, 2, 5])
def test_places_over_the_seams(file: Callable[[bytes], int], hands: int) -> None:
    """What a thread takes ends somewhere: what lies over that is found, once."""
    size = 40 << 20
    seams = [16 << 20, 32 << 20, 1 << 20, 3 << 20, 4096, size]
    data = bytearray(b"{}\n" * (size // 3 + 1))[:size]
    expected = set()
    for seam in seams:
        for start in (seam - 300, seam - 5, seam - 22, seam + 700):
            if start + 5 <= size:
                data[start : start + 5] = b"THERE"
                expected.add(start)
        if seam < size:  # over it
            data[seam - 5 : seam + 5] = b"}\nTHERE{}\n"
            expected ^= {seam - 5, seam - 3}
    told: list[int] = []
    (found,) = _search.places([(file(bytes(data)), 0, size)], b"THERE", hands, told.append)
    assert found == sorted(expected)
    assert sum(told) == size


def test_lines_that_may_be_in_pieces(file: Callable[[bytes], int]) -> None:
    """A range whose lines a container runtime wrapped is in doubt; the others are not."""
    own = encoded(record(1)) + b"\n"
    cri = b"2026-11-23T10:11:12.1Z stdout P " + own
    docker = b'{"log":"' + own
    for lines in (
        (own, own),
        (own, b"  text 7\n"),
        (cri, own),
        (own, cri),
        (docker,),
        (own, docker),
    ):
        data = b"".join(lines)
        (found,) = _search.places([(file(data), 0, len(data))], b"gateway", 2, None)
        assert (found is None) == (cri in lines or docker in lines)


@ONCE
@given(st.lists(said, max_size=60), damage, st.integers(1, 3))
def test_numbers_in_a_file(
    file: Callable[[bytes], int], lines: list[bytes], faults: list[tuple[int, bytes]], hands: int
) -> None:
    """Every number of the processes that are asked for is told, and no other."""
    data = damaged(b"".join(line + b"\n" for line in lines), faults)
    boots = [b"aaaaaaaa", b"00000000"]
    expected = {
        (boot, int(number))
        for boot in boots
        for number in re.findall(rb'"boot":"' + boot + rb'","seq":(\d{1,18})\}', data)
    }
    (found,) = _search.numbers([(file(data), 0, len(data))], b"".join(boots), hands, None)
    if found is not None:
        told = {(boot, n) for boot, (a, b) in found for n in range(a, b + 1)}
        assert told == expected


def test_numbers_of_processes_that_take_turns(file: Callable[[bytes], int]) -> None:
    """They are told as one run each, however many lines; over the seams too."""
    lines = [encoded(record(1, boot="ab"[n % 2] * 8, seq=n // 2)) for n in range(2, 160_000)]
    data = b"".join(line + b"\n" for line in lines)
    assert len(data) > 32 << 20
    for hands in (1, 2):
        (found,) = _search.numbers([(file(data), 0, len(data))], b"b" * 8 + b"a" * 8, hands, None)
        assert found is not None
        assert len(found) <= 6
        numbers = {boot: sorted(r for b, r in found if b == boot) for boot, _ in found}
        for runs in numbers.values():
            assert (runs[0][0], runs[-1][1]) == (1, 79_999)
            assert all(one[1] + 1 == other[0] for one, other in pairwise(runs))


@pytest.mark.parametrize("before", range(0, 36, 5))
def test_a_number_over_a_seam(file: Callable[[bytes], int], before: int) -> None:
    """It is read whole, wherever what a thread takes ends."""
    line = b'"boot":"aaaaaaaa","seq":123456}\n'
    begin = (16 << 20) - before
    data = b"{}\n" * (begin // 3) + b" " * (begin % 3) + line
    fd = file(data)
    assert _search.numbers([(fd, 0, len(data))], b"aaaaaaaa", 2, None) == [
        [(b"aaaaaaaa", (123456, 123456))]
    ]


@pytest.mark.parametrize("end", [b"", b"7", b"7,", b"1234567890123456789}", b"}", b'7"}'])
def test_what_is_no_number(file: Callable[[bytes], int], end: bytes) -> None:
    """A line that is cut, or goes on, has none."""
    data = b'{"timestamp":"x","boot":"aaaaaaaa","seq":' + end
    assert _search.numbers([(file(data), 0, len(data))], b"aaaaaaaa", 1, None) == [[]]


def test_the_time_at_the_beginning(file: Callable[[bytes], int]) -> None:
    """Only behind an offset the rest of a line is passed over; a line has to be there to its end."""
    lines = [encoded(record(n)) + b"\n" for n in range(3)]
    data = b"".join(lines)
    fd = file(data)
    size = len(lines[0])
    for offset, limit, second in (
        (0, len(data), 0),
        (1, len(data), 1),
        (size - 1, len(data), 1),
        (size, len(data), 2),
        (0, size, 0),
        (0, size - 1, None),
        (1, 2 * size - 1, None),
        (5 * size, len(data), None),
    ):
        expected = None if second is None else at(second).encode()
        assert _search.key_behind(fd, offset, limit) == expected


@ONCE
@given(
    st.lists(said, min_size=1, max_size=20),
    damage,
    st.sampled_from([0, 0, 1, 200, 700]) | st.integers(0, 6000),
    st.integers(0, 500),
)
def test_the_time_behind_a_place(
    file: Callable[[bytes], int],
    lines: list[bytes],
    faults: list[tuple[int, bytes]],
    offset: int,
    more: int,
) -> None:
    """It is the one that Python reads there, or is left to it."""
    data = damaged(b"".join(line + b"\n" for line in lines), faults)
    limit = min(offset + more, len(data))
    found = _search.key_behind(file(data), offset, limit)
    if found is not None:
        rest = data[offset:limit]
        line = rest.split(b"\n")[1 if offset else 0]
        assert tape.key_of_own(line) == found
        assert b"\n" in rest[rest.index(line) :]


def test_a_file_that_is_cut_while_it_is_searched(file: Callable[[bytes], int]) -> None:
    """It ends the range, not the process: the mapped bytes are no more there."""
    whole = (encoded(record(1)) + b"\n") * 60_000
    fds = [file(whole), file(whole)]
    os.ftruncate(fds[0], len(whole) // 2)
    ranges = [(fd, 0, len(whole)) for fd in fds]
    for hands in (1, 2):
        assert _search.places(ranges, b"nowhere", hands, None) == [None, []]
        assert _search.numbers(ranges, b"aaaaaaaa", hands, None)[0] is None


def test_a_file_that_is_cut_within_its_last_page(file: Callable[[bytes], int]) -> None:
    """No signal tells of that: what is no more there reads as zeros."""
    whole = (encoded(record(1)) + b"\n") * 59
    fd = file(whole)
    assert 8192 < len(whole) < 12288
    os.ftruncate(fd, 9000)
    assert _search.places([(fd, 0, len(whole))], b"nowhere", 2, None) == [None]
    assert _search.numbers([(fd, 0, len(whole))], b"aaaaaaaa", 1, None) == [None]
    assert _search.key_behind(fd, 8900, len(whole)) is None
    (found,) = _search.places([(fd, 0, 9000)], b"nowhere", 2, None)
    assert found == []


def test_the_signal_is_somebody_elses_before_and_after(tmp_path: Path) -> None:
    """What else reads behind a mapped file's end dies of it, as it did before."""
    program = """
import mmap, os, sys
from cordboard.logs import _search
fd = os.open(sys.argv[1], os.O_RDWR)
assert _search.places([(fd, 0, 9000)], b"xx", 2, None) == [None]
os.ftruncate(fd, 5000)
held = mmap.mmap(fd, 5000)
os.ftruncate(fd, 0)
print("here", flush=True)
held[0]
"""
    path = tmp_path / "file"
    path.write_bytes(b"x\n")
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, check=False
    )
    assert ran.stdout == b"here\n", ran.stderr
    assert ran.returncode == -signal.SIGBUS


def test_who_is_told_of_progress_may_end_it(file: Callable[[bytes], int]) -> None:
    """As Ctrl-C does."""
    data = b"{}\n" * (12 << 20)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _search.places([(file(data), 0, len(data))], b"there", 2, stop)


def test_what_cannot_be_asked(file: Callable[[bytes], int]) -> None:
    """A wrong call says so."""
    fd = file(b"x")
    for needle, hands in ((b"x", 1), (b"x" * 1025, 1), (b"xx", 0), (b"xx", 9)):
        with pytest.raises(ValueError, match="2 to 1024 bytes"):
            _search.places([(fd, 0, 1)], needle, hands, None)
    with pytest.raises(TypeError):
        _search.places([(fd, 0)], b"xx", 1, None)  # type: ignore[list-item]  # on purpose
    assert _search.places([(-1, 0, 10)], b"xx", 1, None) == [None]
    with pytest.raises(TypeError):
        _lines.merged([Listed([], [])])  # type: ignore[list-item]  # on purpose


# --- the whole, with and without


@pytest.mark.parametrize("wanted", [{}, {"session": "call-7"}, {"level": "error"}])
def test_the_same_answer_without(
    tmp_path: Path, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines, counts, attribution and what is missing are the same where nothing was compiled."""
    chance = random.Random(7)
    for service in ("gateway", "runner", "bot"):
        said = [
            encoded(
                record(
                    n / 10 + chance.random(),
                    seq=n,
                    boot=service[:1].replace("g", "a").replace("r", "c") * 8,
                    service=service,
                    session=chance.choice(["call-7", "call-8", "server:vm"]),
                    level=chance.choice(["info", "error"]),
                )
            )
            for n in range(1, 400)
            if n not in {50, 51, 300}
        ]
        write_lines(tmp_path / f"{service}.jsonl", said)
    found = ask(tmp_path, 4000, **wanted)
    monkeypatch.setattr(compiled, "lines", None)
    monkeypatch.setattr(compiled, "search", None)
    plain = ask(tmp_path, 4000, **wanted)
    assert found.raws == plain.raws
    assert found.coverage == plain.coverage
    assert found.shortfalls


def test_what_is_kept_is_bounded_for_all_files_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each of them: there may be hundreds."""
    most = 20_000
    monkeypatch.setattr(search, "_KEPT_MAX_BYTES", most)
    held: list[int] = []
    real = search.Search._found_by_places

    def found(self: search.Search) -> Any:
        told = real(self)
        held.append(
            sum(len(entry[1]) for parts in told.values() for part in parts for entry in part or ())
        )
        return told

    monkeypatch.setattr(search.Search, "_found_by_places", found)
    lines = []
    for number in range(20):
        said = [
            encoded(record(n, seq=n, boot=f"{number:08}", session="call-7", message="x" * 1000))
            for n in range(1, 10)
        ]
        write_lines(tmp_path / f"{number:02}.jsonl", said)
        lines += said
    assert sorted(ask(tmp_path, session="call-7").raws) == sorted(lines)
    assert 0 < held[0] <= most


def test_few_lines_do_not_keep_their_block() -> None:
    """A part at a window's edge is a copy where it is small; else it is where it stands."""
    lines = [encoded(record(n, seq=n)) + b"\n" for n in range(1, 101)]
    found = surveyed(b"".join(lines), sum(map(len, lines)))
    assert found is not None
    for few, count in ((True, 3), (False, 60)):
        part = _freed(found.lines.part(0, count), found.lines)
        assert isinstance(part, Listed) == few
        assert part.raws == found.lines.raws[:count]


# --- its making

HAMMER = """
import importlib.util, os, random, sys
def load(name):
    spec = importlib.util.spec_from_file_location(name, f"{sys.argv[1]}/{name}.so")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
lines, search = load("_lines"), load("_search")
chance = random.Random(int(sys.argv[2]))
own = open(sys.argv[3], "rb").read()
fd = os.open(sys.argv[4], os.O_RDWR | os.O_CREAT)
surveyed = 0
for turn in range(3000):
    data = bytearray(own)
    for _ in range(chance.choice([0, 0, 1, 2, 5])):
        at = chance.randrange(len(data))
        what = chance.choice([b"", b"\\n", b'"', b"}", b"\\0", b"9" * 30, b'","seq":', b'"boot":"'])
        data[at : at + chance.randrange(40)] = what
    data = bytes(data[chance.choice([0, 0, chance.randrange(len(data) + 1)]) :])
    data = data[: chance.choice([len(data), chance.randrange(len(data) + 1)])]
    found = lines.survey(data, chance.choice([len(data), data.rfind(b"\\n") + 1]))
    if found is not None:
        surveyed += 1
        held = found[0]
        middle = held.before(chance.choice([b"", held.last, b"2026-11-23T10:00:0"]))
        parts = [held.part(0, middle), held.part(middle, len(held)), held]
        del held, found
        merged = lines.merged(parts[:2])
        [(p.keys, p.raws, p.joined(), p.summary, p.nbytes) for p in parts]
        merged is None or merged.joined()
    os.ftruncate(fd, 0)
    os.pwrite(fd, data, 0)
    end = chance.choice([len(data), len(data), len(data) + 5000])
    begin = chance.choice([0, chance.randrange(len(data) + 1)])
    for hands in (1, 2):
        search.places([(fd, begin, end)], chance.choice([b"gateway", b'"}', b"x" * 900]), hands, None)
        search.numbers([(fd, begin, end), (fd, 0, end)], b"aaaaaaaabbbbbbbb", hands, None)
    search.key_behind(fd, chance.randrange(len(data) + 2), chance.randrange(len(data) + 2))
assert surveyed > 500, surveyed
print("held")
"""


def sanitizer() -> str | None:
    """The library that has to be loaded first, where the compiler has one."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    words = [compiler, "-print-file-name=libasan.so"]
    path = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    return path if path.startswith("/") else None


@pytest.mark.parametrize("seed", [1, 2])
def test_no_byte_is_touched_that_is_not_theirs(tmp_path: Path, seed: int) -> None:
    """Thousands of damaged blocks and files, under the compiler's own watch over memory."""
    library = sanitizer()
    if library is None:
        pytest.skip("the address sanitizer is not here")
    watched = (*FLAGS, "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
               "-Wno-missing-field-initializers", "-fno-omit-frame-pointer",
               "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")  # fmt: skip
    for name in SOURCES:
        source = ROOT / name
        command = [shutil.which("gcc") or "", *watched, f"-I{include()}", str(source), "-o"]
        subprocess.run([*command, str(tmp_path / f"{source.stem}.so")], check=True)
    lines = [
        encoded(record(n / 7 % 3, seq=n, boot="ab"[n % 2] * 8, session=f"call-{n % 3}"))
        for n in range(1, 90)
    ]
    write_lines(tmp_path / "own", lines)
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0:allow_user_segv_handler=1:handle_sigbus=0",
        "PYTHONMALLOC": "malloc",
    }
    words = [str(tmp_path), str(seed), str(tmp_path / "own"), str(tmp_path / "file")]
    ran = subprocess.run([sys.executable, "-c", HAMMER, *words], env=environment,
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert ran.stdout == "held\n", ran.stderr[-3000:]


def include() -> str:
    import sysconfig

    return sysconfig.get_path("include")


def test_without_a_compiler_it_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation goes on; what an earlier one left is not taken for this one's."""
    target = tmp_path / "_lines.abi3.so"
    target.write_bytes(b"old")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "")
    assert compile_part(ROOT / SOURCES[0], target) == "there is no C compiler"
    assert not target.exists()


def test_what_does_not_compile_is_left_out(tmp_path: Path) -> None:
    """Nor is anything left of it; the reason is the compiler's own."""
    for text, words in (("int broken(", "error: "), ("int fine;", "PyInit__lines")):
        source = tmp_path / "_lines.c"
        source.write_text(text)
        why = compile_part(source, tmp_path / "_lines.abi3.so")
        assert why is not None
        assert words in why
        assert [path.name for path in tmp_path.iterdir()] == ["_lines.c"]


def test_a_tape_that_is_no_file_is_read() -> None:
    """Places are asked of plain files alone."""
    with tempfile.TemporaryFile() as opened:
        assert FileTape(opened.fileno(), 0).key_behind(0, 0) is None
