"""The C parts find what Python finds, in whatever they are given; without them nothing is missing."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hatch_build import FLAGS, SOURCES, compile_part
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cordboard.contract.record import KEYS
from cordboard.logs import survey
from cordboard.logs.blocks import Block
from cordboard.logs.entries import Listed, summary_of
from cordboard.logs.scan import _freed
from cordboard.logs.sequence import SequenceIndex
from cordboard.logs.survey import Survey, joined, ordered
from cordboard.logs.timespec import HIGHEST, LOWEST
from logs.logs_support import ask, at, encoded, only_compiled, record, write_lines

if survey.is_compiled():
    from cordboard.logs import _native

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


def by_python(data: bytes) -> Survey | None:
    """What a block tells without the C part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "native", None)
        return survey.survey(data, len(data))


def look(data: bytes) -> Survey | None:
    """What a block tells, as it is asked."""
    block = Block(data, len(data), 0)
    return block.survey()


@ONCE
@given(st.lists(said, min_size=1, max_size=70), damage)
@example([encoded(record(1))], [])
@example([encoded(record(1)), encoded(record(1))], [])
def test_a_look_at_a_block(lines: list[bytes], faults: list[tuple[int, bytes]]) -> None:
    """Lines, order, copies, numbers, disorder and summary are what Python finds; or nothing is said."""
    data = damaged(b"".join(line + b"\n" for line in lines), faults)
    found = look(data)
    if found is None:
        assert faults
        return
    plain = by_python(data)
    assert plain is not None
    assert {boot: joined(runs) for boot, runs in found.runs.items()} == plain.runs
    assert found.others == plain.others
    if found.stretches != plain.stretches:
        assert faults  # Python takes days that are none
        return
    assert Block(data, len(data), 0).is_own or found.stretches
    assert (found.lines.keys, found.lines.raws) == (plain.lines.keys, plain.lines.raws)
    first, second = ordered(found.lines, []), ordered(plain.lines, [])
    assert (first.lines.keys, first.lines.raws) == (second.lines.keys, second.lines.raws)
    assert first.distinct == second.distinct
    assert first.behind_s == pytest.approx(second.behind_s)
    told = summary_of(plain.lines)
    # Python counts what could be a quoted name, and leaves such lines to be looked at singly.
    assert told is None or told == summary_of(found.lines)


@ONCE
@given(st.lists(said, max_size=60), damage, st.sampled_from([b"\n", b"\r\n"]), st.integers(0, 9000))
@example(
    [b'{"userId":null,', b'"boot":"aaaaaaaa","seq":1}', b',"boot":"aaaaaaaa","seq":2}'],
    [],
    b"\n",
    99,
)
def test_numbers_of_lines(
    lines: list[bytes], faults: list[tuple[int, bytes]], end: bytes, size: int
) -> None:
    """They are what Python finds, with the same lines left to be looked at singly."""
    data = damaged(b"".join(line + end for line in lines), faults)
    size = data.rfind(b"\n", 0, size) + 1
    runs, others, own = survey.numbers(data, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "native", None)
        plain, left, as_many = survey.numbers(data, size)
    assert {boot: joined(found) for boot, found in runs.items()} == plain
    assert others == left
    assert own == as_many
    assert survey.numbers(bytearray(data), size)[1] == others


def test_numbers_of_very_many_processes() -> None:
    """Those that C has no room for are left to be read one by one: none is missing."""
    lines = [encoded(record(n, boot=f"{n:08x}", seq=7)) for n in range(700)]
    block = Block(b"\n".join([*lines, b""]), sum(map(len, lines)) + len(lines), 0)
    sequence_index = SequenceIndex()
    sequence_index.note(block)
    assert sequence_index.runs == {f"{n:08x}".encode(): [(7, 7)] for n in range(700)}


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
    found = look(data)
    assert found is not None
    ours = ordered(found.lines, []).lines
    plain = Listed(ours.keys, ours.raws)
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
    assert max(map(len, plain.raws)) <= ours.longest < max(map(len, plain.raws)) + (1 << 16)


@ONCE
@given(st.lists(st.lists(said, min_size=1, max_size=40), min_size=1, max_size=4))
def test_several_become_one(several: list[list[bytes]]) -> None:
    """They come in the order of time, those of one moment in the order given; copies are seen."""
    parts = []
    for lines in several:
        found = look(b"".join(line + b"\n" for line in lines))
        assert found is not None
        parts.append(ordered(found.lines, []).lines)
    plain = survey.merged([(0, Listed(part.keys, part.raws)) for part in parts])
    if len(parts) > 1:
        assert survey.merged([(0, part) for part in parts]) == plain


def test_a_moment_of_many_lines() -> None:
    """Of more lines of one moment than are compared with each other, nobody says that none is a copy."""
    lines = [encoded(record(1, seq=n)) for n in range(1, 200)]
    data = b"".join(line + b"\n" for line in lines)
    found = look(data)
    assert found is not None
    assert not ordered(found.lines, []).distinct
    assert found.lines.raws == lines


@pytest.mark.parametrize(
    "when",
    ["2026-02-29", "2026-13-01", "2026-00-10", "2026-01-00", "2026-04-31", "2100-02-29"],
)
def test_a_day_that_is_none(when: str) -> None:
    """It has no place among numbers; Python compares its bytes."""
    line = encoded(record(1)).replace(b"2026-11-23", when.encode()) + b"\n"
    assert look(line) is None


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
    """Whatever is odd about it is left to Python, and the lines beside it are not."""
    line = encoded(record(1))
    odd = line.replace(part, instead, 1)
    assert odd != line
    whole = odd == line + b"\n"  # it is a line of ours, and an empty one
    for before, after in (([], []), ([line], []), ([], [line]), ([line], [line])):
        data = b"".join(each + b"\n" for each in [*before, odd, *after])
        found = look(data)
        assert (found.lines.raws if found else []) == [*before, *([line] if whole else []), *after]
        left = b"".join(data[a:b] for a, b, _ in found.stretches) if found else data
        assert left == (b"\n" if whole else odd + b"\n")
    assert look(line) is None
    assert look(b"") is None


def test_a_raw_lines_session_is_its_processs() -> None:
    """Such lines have to be looked at singly, as nothing is told of them all."""
    odd: list[dict[str, Any]] = [{"raw": True}, {"raw": True, "truncated": True}]
    for more in odd:
        line = encoded(record(1, session="call-7", **more)) + b"\n"
        found = look(line)
        assert found is not None
        assert summary_of(found.lines) is None


@pytest.mark.parametrize("when", ["2024-02-29", "2000-02-29", "2026-12-31", "2026-01-01"])
def test_a_day_that_is_one(when: str) -> None:
    """Leap days and a year's ends are in order with the days beside them."""
    lines = [encoded(record(n, seq=n)).replace(b"2026-11-23", day.encode()) + b"\n"
             for n, day in enumerate(["2999-12-31", when, "2001-01-01"], 1)]  # fmt: skip
    found = look(b"".join(lines))
    assert found is not None
    assert ordered(found.lines, []).lines.keys == sorted(found.lines.keys)


def test_what_cannot_be_asked() -> None:
    """A wrong call says so."""
    with pytest.raises(TypeError):
        _native.merged([Listed([], [])])  # type: ignore[list-item]  # on purpose
    line = encoded(record(1)) + b"\n"
    found = _native.survey(line, len(line))
    assert found is not None
    places = memoryview(found[0])
    assert _native.merged([(0, line, places, [])]) == (line, [])
    for data in (b"", line[:-1], line[:50]):  # the places are in other bytes
        with pytest.raises(ValueError, match="not in their bytes"):
            _native.merged([(0, data, places, [])])
    with pytest.raises(ValueError, match="invalid time"):
        _native.ordered(line, places, [(0, b"no time", b"raw")])
    with pytest.raises(TypeError):
        _native.ordered(line, places, [7])  # type: ignore[list-item]  # on purpose
    mixed = memoryview(_native.ordered(line, places, [(0, at(1).encode(), b"raw")])[0])
    with pytest.raises(IndexError):
        _native.merged([(0, line, mixed, [])])  # the others are missing
    with pytest.raises(TypeError):
        _native.numbers("text", 4)  # type: ignore[arg-type]  # on purpose
    assert _native.numbers(b"", 5) == ({}, [], 0)
    for parts in ((), (b"a",) * 3, (b"",), (b"a" * 257,)):
        with pytest.raises(ValueError, match="expected"):
            _native.passed(0, 0, 1, parts)
    with pytest.raises(TypeError):
        _native.passed(0, 0, 1, ("text",))  # type: ignore[arg-type]  # on purpose


# --- what a file does not hold

READ_BYTES = 256 * 1024  # as in _native.c


@pytest.mark.parametrize("seed", range(40))
def test_passed_is_where_the_first_part_begins(tmp_path: Path, seed: int) -> None:
    """Wherever the parts stand to each other, to what is read at once, and to the ends."""
    chance = random.Random(seed)
    size = chance.choice([0, 1, 40, 5000, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES + 77])
    parts = tuple(
        bytes(chance.choices(b"ab", k=chance.choice([1, 2, 5, 9, 36, 256])))
        for _ in range(chance.randint(1, 2))
    )
    data = bytearray(chance.choices(b"aaacccd", k=size))  # the beginnings of parts, mostly
    for _ in range(chance.choice([0, 1, 3])):
        part = chance.choice(parts)
        edges = [
            0,
            size - len(part),
            READ_BYTES - chance.randrange(300),
            chance.randrange(size + 1),
        ]
        place = chance.choice(edges)
        if 0 <= place <= size - len(part):
            data[place : place + len(part)] = part
    (tmp_path / "file").write_bytes(data)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        for _ in range(20):
            begin = chance.choice([0, chance.randrange(size + 1)])
            end = chance.choice([size, chance.randint(begin, size)])
            found = [data.find(part, begin, end) for part in parts]
            first = min((place for place in found if place >= 0), default=end)
            assert _native.passed(fd, begin, end, parts) == first
    finally:
        os.close(fd)


def test_passed_ends_where_a_file_does(tmp_path: Path) -> None:
    """A file that has become shorter meanwhile is read no further; whoever reads there is told."""
    (tmp_path / "file").write_bytes(b"line\n" * READ_BYTES)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        assert size - 10 < _native.passed(fd, 0, size + 99, (b"wanted", b"w" * 9)) <= size
    finally:
        os.close(fd)


@pytest.mark.parametrize("form", ["own", "cri", "docker", "own, then cri"])
def test_long_files_are_searched_alike_without(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session in files of several blocks, of which most hold no line; lines in pieces, and a traceback."""
    chance = random.Random(form)
    read = 0
    own = survey.passed

    def passed(fd: int, offset: int, *rest: Any) -> int:
        nonlocal read
        found = own(fd, offset, *rest)
        read += found - offset
        return found

    monkeypatch.setattr("cordboard.logs.blocks.passed", passed)
    ours = "call-7f3a-81c0"
    lines = []
    for n in range(1, 20_001):
        is_ours = n in {1, 7_000, 7_001, 13_000, 19_000, 20_000}
        other = "call-7f3a-9999" if n == 16_000 else "call-8"  # begins alike
        more = {"level": "error"} if n == 4_000 else {}
        line = encoded(
            record(n / 10, seq=n, session=ours if is_ours else other, message="m" * 1000, **more)
        )
        if form == "own" or (form == "own, then cri" and n < 10_000):
            lines.append(line)
            if more:
                lines += [b"Traceback (most recent call last):", f"ValueError: {ours}".encode()]
            continue
        cut = line.find(b"sessionId") + 12 + chance.randrange(1, len(ours))  # in the id
        pieces = [line[:cut], line[cut:]] if is_ours else [line]
        lines += wrapped(pieces, at(n / 10), is_docker=form == "docker")
    write_lines(tmp_path / "a.jsonl", lines)
    found = ask(tmp_path, 4000, session=ours)
    assert read > (tmp_path / "a.jsonl").stat().st_size / 10  # much of it need not come to Python
    monkeypatch.setattr(survey, "native", None)
    plain = ask(tmp_path, 4000, session=ours)
    assert found.raws == plain.raws
    assert found.coverage == plain.coverage
    assert len(found.raws) > 4


def wrapped(pieces: list[bytes], stamp: str, *, is_docker: bool) -> list[bytes]:
    """The pieces of a line as a container runtime writes them."""
    if not is_docker:
        signs = [*"P" * (len(pieces) - 1), "F"]
        both = zip(signs, pieces, strict=True)
        return [f"{stamp} stdout {sign} ".encode() + piece for sign, piece in both]
    texts = [piece.decode() for piece in pieces]
    texts[-1] += "\n"
    return [
        json.dumps({"log": text, "stream": "stdout", "time": stamp}, separators=(",", ":")).encode()
        for text in texts
    ]


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
    monkeypatch.setattr(survey, "native", None)
    plain = ask(tmp_path, 4000, **wanted)
    assert found.raws == plain.raws
    assert found.coverage == plain.coverage
    assert found.shortfalls


def test_few_lines_do_not_keep_their_block() -> None:
    """A part at a window's edge is a copy where it is small; else it is where it stands."""
    lines = [encoded(record(n, seq=n)) + b"\n" for n in range(1, 101)]
    found = look(b"".join(lines))
    assert found is not None
    for few, count in ((True, 3), (False, 60)):
        part = _freed(found.lines.part(0, count), found.lines)
        assert isinstance(part, Listed) == few
        assert part.raws == found.lines.raws[:count]


# --- its making

HAMMER = """
import importlib.util, os, random, sys
spec = importlib.util.spec_from_file_location("_native", f"{sys.argv[1]}/_native.so")
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
chance = random.Random(int(sys.argv[2]))
own = open(sys.argv[3], "rb").read()
surveyed = 0
for turn in range(3000):
    data = bytearray(own)
    for _ in range(chance.choice([0, 0, 1, 2, 5])):
        at = chance.randrange(len(data))
        what = chance.choice([b"", b"\\n", b'"', b"}", b"\\0", b"9" * 30, b'","seq":', b'"boot":"'])
        data[at : at + chance.randrange(40)] = what
    data = bytes(data[chance.choice([0, 0, chance.randrange(len(data) + 1)]) :])
    data = data[: chance.choice([len(data), chance.randrange(len(data) + 1)])]
    found = native.survey(data, chance.choice([len(data), data.rfind(b"\\n") + 1]))
    if found is not None:
        surveyed += 1
        others = [(before, own[14:41], data[a:b]) for a, b, before in found[-1]]
        places = memoryview(native.ordered(data, found[0], others)[0])
        middle = chance.randrange(len(places) // 16 + 1) * 16
        parts = [(1, data, places[:middle], others), (1, data, places[middle:], others)]
        apart, whole = native.merged(parts), native.merged([(1, data, places, others)])
        assert apart is None or apart[0] == whole[0]
        native.merged([(0, data, places, others), (1, data, places, others)])
    for held in (data, bytearray(data)):
        native.numbers(held, chance.choice([len(data), chance.randrange(len(data) + 2)]))
    fd = os.memfd_create("data")
    os.write(fd, data)
    parts = (b"call-1", data[: chance.randrange(256)] + b"x")[: chance.choice([1, 2])]
    native.passed(fd, chance.randrange(len(data) + 2), len(data), parts)
    os.close(fd)
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
    words = [str(tmp_path), str(seed), str(tmp_path / "own")]
    ran = subprocess.run([sys.executable, "-c", HAMMER, *words], env=environment,
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert ran.stdout == "held\n", ran.stderr[-3000:]


def include() -> str:
    import sysconfig

    return sysconfig.get_path("include")


def test_without_a_compiler_it_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation goes on; what an earlier one left is not taken for this one's."""
    target = tmp_path / "_native.abi3.so"
    target.write_bytes(b"old")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "")
    assert compile_part(ROOT / SOURCES[0], target) == "there is no C compiler"
    assert not target.exists()


def test_what_does_not_compile_is_left_out(tmp_path: Path) -> None:
    """Nor is anything left of it; the reason is the compiler's own."""
    for text, words in (("int broken(", "error: "), ("int fine;", "PyInit__native")):
        source = tmp_path / "_native.c"
        source.write_text(text)
        why = compile_part(source, tmp_path / "_native.abi3.so")
        assert why is not None
        assert words in why
        assert [path.name for path in tmp_path.iterdir()] == ["_native.c"]
