"""Directories as real systems leave them: packed, damaged, growing, renamed, truncated, closed."""

import errno
import gzip
import os
import random
from bisect import bisect_left
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import CordboardError, NotFoundError, SettingsError
from cordboard.logs import gaps, stream
from cordboard.logs import reader as reading
from cordboard.logs.blocks import FileByteReader, blocks
from cordboard.logs.environments import local_sources, sources_of
from cordboard.logs.filters import prefilter
from cordboard.logs.formats import Formats
from cordboard.logs.formats.packed import PackedByteReader
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.scan import Scan
from cordboard.logs.sources.directory import Directory
from cordboard.logs.stream import Track
from logs.logs_support import START, ask, at, encoded, record, write_lines, zstd_compress

LINES = [encoded(record(n, seq=n)) for n in range(1, 41)]


def test_all_kinds_of_files(tmp_path: Path) -> None:
    """Rotated, packed and nested files, empty ones and hidden ones, in any case each line once."""
    write_lines(tmp_path / "gateway.2.jsonl.gz", LINES[:10])
    write_lines(tmp_path / "gateway.1.jsonl.zst", LINES[10:20])
    write_lines(tmp_path / "deep" / "er" / "gateway.jsonl", LINES[20:30], end=b"\r\n")
    (tmp_path / "last.jsonl").write_bytes(b"\n".join(LINES[30:]))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    write_lines(tmp_path / ".hidden", LINES)
    os.link(tmp_path / "last.jsonl", tmp_path / "same.jsonl")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "last.jsonl")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert answer.coverage.complete


def test_several_members(tmp_path: Path) -> None:
    """Packed files that were appended to are read to their end."""
    for packer, name in ((gzip.compress, "a.gz"), (zstd_compress, "b.zst")):
        (tmp_path / name).write_bytes(b"".join(packer(line + b"\n") for line in LINES))
        assert ask(tmp_path / name).raws == LINES


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_damaged_compression(tmp_path: Path, name: str) -> None:
    """Of a damaged file all that can be had is shown, and the rest is named as missing."""
    write_lines(
        tmp_path / name,
        [encoded(record(n, seq=n, message=os.urandom(40).hex())) for n in range(1, 9000)],
    )
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    answer = ask(tmp_path)
    assert 1000 < len(answer.lines) < 8999
    ((source, reason, detail),) = [s for s in answer.shortfalls if s[1] == "unreadable"]
    assert (source, reason) == (str(path), "unreadable")
    assert "the compressed data is corrupt: unexpected end of file" in detail


@given(
    st.lists(st.binary(max_size=2000), max_size=4),
    st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 3000)), max_size=6),
)
def test_packed_file_equals_the_data(parts: list[bytes], reads: list[tuple[int, int]]) -> None:
    """Reading a packed file anywhere gives what was packed, forwards and backwards."""
    whole = b"".join(parts)
    for packer in (gzip.compress, zstd_compress):
        fd = os.memfd_create("packed")
        try:
            data = b"".join(packer(part) for part in parts) or packer(b"")
            os.write(fd, data)
            byte_reader = PackedByteReader(fd, data[:4])
            for offset, size in [*reads, (0, 10_000)]:
                assert byte_reader.read(offset, size) == whole[offset : offset + size]
            assert byte_reader.damage is None
        finally:
            os.close(fd)


@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=30),
    st.integers(8, 100),
    st.booleans(),
)
def test_blocks_are_all_of_it(lines: list[bytes], size: int, ended: bool) -> None:
    """Blocks, one after the other, are the file; each but the last ends with a line."""
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    fd = os.memfd_create("plain")
    try:
        os.write(fd, data)
        parts = [block.data for block in blocks(FileByteReader(fd, len(data)), size=size)]
    finally:
        os.close(fd)
    assert b"".join(parts) == data
    assert all(part.endswith(b"\n") for part in parts[:-1])


def test_old_packed_files_are_passed_over(tmp_path: Path) -> None:
    """A packed file that was last written before the window is not read, and the reader is told."""
    write_lines(tmp_path / "a.1.jsonl.gz", LINES[:20])
    write_lines(tmp_path / "a.jsonl", LINES[20:])
    os.utime(tmp_path / "a.1.jsonl.gz", (START.timestamp() - 7200,) * 2)
    answer = ask(tmp_path, since=at(15))
    assert answer.raws == LINES[20:]
    assert answer.coverage.notes == (
        "1 compressed file that was last written before the window was not read; --exact reads it.",
    )
    assert ask(tmp_path, since=at(15), exact=True).raws == LINES[14:]


def test_binary_files(tmp_path: Path) -> None:
    """What is no text is passed over, and the reader is told; a hole of zeros is no reason."""
    (tmp_path / "dump.rdb").write_bytes(b"REDIS0011\xfa\x00\x01\x00" * 50)
    (tmp_path / "a.jsonl").write_bytes(b"\0" * 9000 + b"\n".join(LINES))
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert any("dump.rdb: skipped, not a text file" in note for note in answer.coverage.notes)
    assert answer.coverage.complete


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_closed_files(tmp_path: Path) -> None:
    """A file that this user may not read is named."""
    write_lines(tmp_path / "a.jsonl", LINES)
    (tmp_path / "a.jsonl").chmod(0)
    assert ask(tmp_path).shortfalls == [
        (str(tmp_path / "a.jsonl"), "forbidden", "Permission denied")
    ]


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What opening and reading say is handed on; all other files are read."""
    write_lines(tmp_path / "a.jsonl", LINES[:20])
    write_lines(tmp_path / "b.jsonl", LINES[20:])
    real = os.open

    def refuse(path: object, flags: int, *more: int) -> int:
        if str(path).endswith("a.jsonl"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    answer = ask(tmp_path)
    assert answer.raws == LINES[20:]
    assert (str(tmp_path / "a.jsonl"), "forbidden", "Permission denied") in answer.shortfalls
    assert not answer.coverage.complete


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("size", [300, 1000, 1 << 20])
def test_blocks_hold_each_line_once(tmp_path: Path, size: int, end: bytes, fresh: bool) -> None:
    """Whatever memory they are read into: what has been read behind a block's end is the next one's."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(LINES[:30]) + end)
    with path.open("rb") as file:
        byte_reader = FileByteReader(file.fileno(), path.stat().st_size)
        found = [
            block.data.removesuffix(b"\n").split(b"\n")
            for block in blocks(byte_reader, size=size, fresh=fresh)
        ]
    assert list(chain.from_iterable(found)) == LINES[:30]
    assert (len(found) > 1) == (size < 1 << 20)


def test_the_first_lines_tell_how_far_others_are_out_of_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that is seconds out of order where it begins is waited for as long later on."""
    monkeypatch.setattr(reading, "_SORTED_WHOLE_BYTES", 0)
    moments = [n for pair in range(0, 60, 6) for n in (pair + 3, pair)]
    lines = {n: encoded(record(n, seq=n + 1, message="x" * 300)) for n in moments}
    write_lines(tmp_path / "a.jsonl", [lines[n] for n in moments])
    reader = Reader(Query(), [Directory(tmp_path)], block_bytes=len(lines[0]) * 4 + 50)
    found = b"".join(reader.encoded("raw")).splitlines()
    coverage = reader.coverage()
    reader.close()
    assert found == [lines[n] for n in sorted(lines)]
    assert not coverage.counts


def test_a_file_that_opens_and_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file on a bad disk is named, and the others are read."""
    write_lines(tmp_path / "bad.jsonl", LINES[:3])
    write_lines(tmp_path / "good.jsonl", LINES[3:6])
    real, bad = os.pread, (tmp_path / "bad.jsonl").stat().st_ino

    def pread(fd: int, size: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    before = len(list(Path("/proc/self/fd").iterdir()))
    answer = ask(tmp_path)
    assert answer.raws == LINES[3:6]
    assert (str(tmp_path / "bad.jsonl"), "unreadable", "Input/output error") in answer.shortfalls
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_many_files_in_no_order(tmp_path: Path) -> None:
    """However many small files there are, and in whatever order: all of them are put in order, once."""
    lines = [encoded(record(n, seq=n)) for n in range(1, 400)]
    shuffled = random.Random(7).sample(lines, len(lines))
    for number in range(60):
        write_lines(tmp_path / f"a{number}.jsonl", shuffled[number::60])
    write_lines(tmp_path / "copies" / "a.jsonl", shuffled)
    answer = ask(tmp_path)
    assert answer.raws == lines
    assert answer.coverage.counts == {"duplicate": len(lines)}


def test_too_many_files_in_no_order_are_not_held_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory could not hold them: what is late then is counted, and nothing is lost."""
    monkeypatch.setattr(reading, "_SORTED_WHOLE_BYTES", 0)
    monkeypatch.setattr(reading, "_MANY_TRACKS", 2)
    lines = [encoded(record(n * 30, seq=n)) for n in range(1, 100)]
    shuffled = random.Random(7).sample(lines, len(lines))
    for number in range(9):
        write_lines(tmp_path / f"a{number}.jsonl", shuffled[number::9])
    answer = ask(tmp_path)
    assert sorted(answer.raws) == sorted(lines)
    assert answer.coverage.counts["late"] > 0


@pytest.mark.parametrize("spread", [1, 30, 3000])
def test_a_file_in_no_order_among_many(
    tmp_path: Path, spread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where many files are read one after the other, one whose head is not its earliest is no later."""
    monkeypatch.setattr(reading, "_SORTED_WHOLE_BYTES", 0)
    lines = [encoded(record(n * spread, seq=n)) for n in range(1, 421)]
    for number in range(60):
        write_lines(tmp_path / f"a{number:02}.jsonl", lines[number * 7 : number * 7 + 7])
    shuffled = random.Random(7).sample(lines, len(lines))
    write_lines(tmp_path / "copies" / "a.jsonl", shuffled)
    answer = ask(tmp_path)
    assert answer.raws == lines
    assert answer.coverage.counts == {"duplicate": len(lines)}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (".", "a.jsonl"),
        ("./.", "a.jsonl"),
        ("", "a.jsonl"),
        (".//x//y/", "x/y/b.jsonl"),
        ("x/../x/y", "x/../x/y/b.jsonl"),
        ("./a.jsonl", "a.jsonl"),
    ],
)
def test_names_of_files(
    tmp_path: Path, asked: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is named as the folder was, without what means nothing in its path."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a.jsonl", LINES[:1])
    write_lines(tmp_path / "x" / "y" / "b.jsonl", LINES[:1])
    found = {file.name: file for file in Directory(asked).streams(Query())}
    assert named in found
    for file in found.values():
        file.close()
    (whole,) = Directory(tmp_path / "x//./y").streams(Query())
    assert whole.name == f"{tmp_path}/x/y/b.jsonl"
    whole.close()


def test_renamed_while_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation between the listing and the opening loses nothing and doubles nothing."""
    write_lines(tmp_path / "gateway.1.jsonl", LINES[:20])
    write_lines(tmp_path / "gateway.jsonl", LINES[20:30])
    real, done = Directory._paths, list[bool]()

    def paths(self: Directory) -> list[str]:
        found = list(real(self))
        if not done:
            done.append(True)
            (tmp_path / "gateway.1.jsonl").rename(tmp_path / "gateway.2.jsonl")
            (tmp_path / "gateway.jsonl").rename(tmp_path / "gateway.1.jsonl")
            write_lines(tmp_path / "gateway.jsonl", LINES[30:])
        return found

    monkeypatch.setattr(Directory, "_paths", paths)
    answer = ask(tmp_path)
    assert answer.raws == LINES
    assert answer.coverage.complete


def test_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows, is renamed or deleted is read as it was; one that is cut is named."""
    monkeypatch.setattr(reading, "_SORTED_WHOLE_BYTES", 0)
    for name in ("grows", "moves", "goes", "cut"):
        write_lines(
            tmp_path / f"{name}.jsonl",
            [
                encoded(
                    record(
                        n, seq=n, boot=f"{len(name) * 256 + ord(name[0]):08x}", message=name * 50
                    )
                )
                for n in range(1, 2000)
            ],
        )
    reader = Reader(Query(), [Directory(tmp_path)], block_bytes=4096)
    items = reader.items()
    begun = next(items)
    with (tmp_path / "grows.jsonl").open("ab") as file:
        file.write(LINES[0] + b"\n")
    (tmp_path / "moves.jsonl").rename(tmp_path / "moved.jsonl")
    (tmp_path / "goes.jsonl").unlink()
    os.truncate(tmp_path / "cut.jsonl", 200_000)
    seen: dict[int, int] = {}
    for found in (begun, *items):
        assert isinstance(found, list)
        for _, _, number, _ in found:
            seen[number] = seen.get(number, 0) + 1
    coverage = reader.coverage()
    reader.close()
    by_name = {Path(item.name).stem: seen[number] for number, item in enumerate(reader.tracks)}
    assert by_name["cut"] < 1000
    assert {by_name[name] for name in ("grows", "moves", "goes")} == {1999}
    (cut,) = [a for a in coverage.answers if a.kind == "file" and a.shortfalls]
    assert (Path(cut.name).name, cut.shortfalls[0].reason) == ("cut.jsonl", "truncated")


def test_no_directory(tmp_path: Path) -> None:
    """A directory that is not there is an error that says so."""
    with pytest.raises(NotFoundError, match=r"No logs found: .*nowhere does not exist"):
        ask(tmp_path / "nowhere")


# --- the window


def spread_lines(path: Path, count: int, step: float, *, mix: float = 0) -> None:
    """A file of lines at even distances; every seventh stands `mix` seconds too late."""
    moments = sorted(
        (n * step + (mix if n % 7 == 0 else 0), n * step, n) for n in range(1, count + 1)
    )
    write_lines(path, [encoded(record(moment, seq=n)) for _, moment, n in moments])


@pytest.mark.parametrize("mix", [0, 3, 30, 300])
def test_disorder_is_found_by_looking(
    tmp_path: Path, mix: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slack around a window grows with the disorder that is seen there."""
    monkeypatch.setattr(stream, "_GRAIN_BYTES", 2048)
    spread_lines(tmp_path / "a.jsonl", 20_000, 1, mix=mix)
    expected = list(range(10_000, 10_060))
    answer = ask(tmp_path, since=at(10_000), until=at(10_060))
    assert [line.record["seq"] for line in answer.lines] == expected


def test_cost_grows_with_the_window(tmp_path: Path) -> None:
    """Of a large file only the neighbourhood of the window is read."""
    spread_lines(tmp_path / "a.jsonl", 50_000, 1)
    count = [0]
    reader = Reader(
        Query(since=at(25_000), until=at(25_010)), [Directory(tmp_path)],
        progress=lambda size: count.__setitem__(0, count[0] + size),
    )  # fmt: skip
    assert len(list(reader.lines())) == 10
    reader.close()
    assert count[0] < (tmp_path / "a.jsonl").stat().st_size / 20


def test_a_file_out_of_order_is_read_whole(tmp_path: Path) -> None:
    """Where a file's parts stand in the wrong order, bisection is not trusted."""
    lines = [encoded(record(n * 10, seq=n)) for n in range(1, 5001)]
    write_lines(tmp_path / "a.jsonl", lines[2500:] + lines[:2500])
    answer = ask(tmp_path, since=at(10_000), until=at(10_100))
    assert [line.record["seq"] for line in answer.lines] == list(range(1000, 1010))


def test_exact_reads_everything(tmp_path: Path) -> None:
    """With `exact` even a single line far away from its time is found, and put in its place."""
    lines = [encoded(record(n, seq=n)) for n in range(1, 60_001)]
    stray = lines.pop(10_000)
    lines.insert(50_000, stray)
    write_lines(tmp_path / "a.jsonl", lines)
    answer = ask(tmp_path, since=at(9_990), until=at(10_010), exact=True)
    assert [line.record["seq"] for line in answer.lines] == list(range(9_990, 10_010))


def test_a_browser_with_a_wrong_clock(tmp_path: Path) -> None:
    """Lines of browsers, whose clocks may be off by hours, do not mislead the bisection."""
    lines = []
    for n in range(1, 20_001):
        lines.append(encoded(record(n, seq=n, service="interface")))
        if n % 3 == 0:
            lines.append(encoded(record(n - 40_000, seq=n, boot="bbbbbbbb", service="browser")))
    write_lines(tmp_path / "interface.jsonl", lines)
    answer = ask(tmp_path, since=at(10_000), until=at(10_010))
    assert [line.record["seq"] for line in answer.lines] == list(range(10_000, 10_010))


def test_one_browser_in_the_way(tmp_path: Path) -> None:
    """A single line with a wrong clock, where bisection happens to look, does not mislead it."""
    lines = [encoded(record(n, seq=n, service="interface")) for n in range(1, 20_001)]
    ends = list(accumulate(len(line) + 1 for line in lines))
    middle = bisect_left(ends, ends[-1] // 2)
    for seq, n in enumerate(range(middle - 20, middle + 20), 1):
        lines[n] = encoded(record(7600, boot="bbbbbbbb", seq=seq, service="browser"))
    write_lines(tmp_path / "interface.jsonl", lines)
    answer = ask(tmp_path, since=at(8_000), until=at(8_010))
    assert [line.record["seq"] for line in answer.lines] == list(range(8_000, 8_010))


# --- terms


@pytest.mark.parametrize(
    ("wanted", "message", "raw"),
    [
        ({"grep": "refused"}, "Join refused", None),
        ({"grep": "INFO done"}, "INFO done", b"2026-11-23T10:00:01Z \x1b[32mINFO\x1b[0m done"),
        ({"grep": "(?i)REFUSED"}, "Join refused", None),
        ({"grep": "a.b|c"}, "xcx", None),
        ({"user": 'Zo\u00eb "Z"'}, "x", b'{"msg":"x","time":"2026-11-23T10:00:01Z","user_id":"Zo\\u00eb \\"Z\\""}'),
        ({"room": "https://acme.daily.co/a"}, "x",
         b'{"msg":"x","time":"2026-11-23T10:00:01Z","room":"https:\\/\\/ACME.daily.co\\/a\\/"}'),
        ({"level": "warn"}, "x", b'{"msg":"x","time":"2026-11-23T10:00:01Z","level":40}'),
        ({"services": ("app",)}, "x", b'{"msg":"x","time":"2026-11-23T10:00:01Z"}'),
        ({"services": ("shop",)}, "x", b'{"timestamp":"2026-11-23T10:00:01.000000Z","msg":"x","app":"shop"}'),
        ({"level": "warn"}, "x", b'{"timestamp":"2026-11-23T10:00:01.000000Z","msg":"x","level":"warning"}'),
    ],
)  # fmt: skip
def test_a_search_by_bytes_misses_nothing(
    tmp_path: Path, wanted: dict[str, Any], message: str, raw: bytes | None
) -> None:
    """However another logger spells what is wanted, the line is found."""
    import re

    line = raw or encoded(record(1, message=message, level="info"))
    write_lines(tmp_path / "app.log", [line, encoded(record(2, message="other", service="x"))])
    query = {**wanted, **({"grep": re.compile(str(wanted["grep"]))} if "grep" in wanted else {})}
    assert ask(tmp_path, **query).messages == [message]


def test_literals_of_expressions() -> None:
    """The longest text that any match must hold is searched for; none where none is sure."""
    import re

    def terms(pattern: str) -> tuple[object, ...]:
        return prefilter(Query(grep=re.compile(pattern))).uncolored

    assert terms("Join accepted") == ((b"Join accepted",),)
    assert terms("Join (accepted|refused) now") == ((b"Join ",),)
    assert terms("x*|abc") == ()
    assert terms("(?i)abc") == ()
    assert terms("ab?cde") == ((b"cde",),)


# --- environments


def test_environments(tmp_path: Path) -> None:
    """An environment is a list of sources; relative paths are relative to their file."""
    write_lines(tmp_path / "one" / "a.jsonl", LINES[:20])
    write_lines(tmp_path / "two.jsonl", LINES[20:])
    table = {
        "stg": [{"type": "directory", "path": "one"}, {"type": "directory", "path": "two.jsonl"}]
    }
    reader = Reader(Query(), sources_of("stg", table, tmp_path))
    assert [line.raw for line in reader.lines()] == LINES
    reader.close()


def test_one_source_of_several_is_away(tmp_path: Path) -> None:
    """Where one of several sources gives nothing at all, the others answer and it is named."""
    write_lines(tmp_path / "a.jsonl", LINES)
    reader = Reader(Query(), [Directory(tmp_path), Directory(tmp_path / "nowhere")])
    assert len(list(reader.lines())) == len(LINES)
    (answer,) = [a for a in reader.coverage().answers if a.kind == "source"]
    assert answer.shortfalls[0].reason == "no_source"
    reader.close()


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        (
            "stg",
            {},
            "Unknown environment 'stg'; known environments: local. Define it in cordboard.toml",
        ),
        (
            "stg",
            {"stg": {}},
            "environments.stg: expected a list of sources; write [[environments.stg]]",
        ),
        (
            "stg",
            {"stg": [{}]},
            "source 1: expected a table with a type. The types are directory, kubernetes, cloudwatch",
        ),
        (
            "stg",
            {"stg": [{"type": "ftp"}]},
            "Unknown type of source 'ftp'. The types are directory, kubernetes, cloudwatch",
        ),
        ("stg", {"stg": [{"type": "directory"}]}, "source 1: directory: path: expected a string."),
        ("stg", {"stg": [{"type": "directory", "path": "x", "pth": 1}]}, "unknown option 'pth'"),
    ],
)
def test_environments_that_are_wrong(name: str, table: dict[str, object], words: str) -> None:
    """What is wrong with an environment is said, with what is right."""
    with pytest.raises(SettingsError) as caught:
        sources_of(name, table, Path())
    assert words in str(caught.value)


def test_local_without_a_cluster(tmp_path: Path) -> None:
    """Without a kubeconfig that names a context, local means the directory alone."""
    empty = tmp_path / "config"
    empty.write_text('apiVersion: v1\ncurrent-context: ""\n')
    for files in ([], [empty], [tmp_path / "gone"]):
        sources, notes = local_sources(tmp_path, files)
        assert ([source.name for source in sources], notes) == ([str(tmp_path)], [])


def test_local_with_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that cannot be opened is left out, with a note that names the way out."""
    config = tmp_path / "config"
    config.write_text("apiVersion: v1\ncurrent-context: kind\n")

    def refuse(kind: str, options: object) -> None:
        raise CordboardError(f"Reading from {kind} needs lightkube.", hint="pip install it")

    monkeypatch.setattr("cordboard.logs.environments.open_type", refuse)
    sources, notes = local_sources(tmp_path, [config])
    assert len(sources) == 1
    assert notes == [
        "Skipped the Kubernetes context: Reading from kubernetes needs lightkube. pip install it"
    ]


def test_names_of_services() -> None:
    """A stream's name tells its service, whatever stands around it."""
    from cordboard.logs.stream import service_of

    assert service_of("/var/log/gateway.1.jsonl.gz") == "gateway"
    assert service_of("ns/pod-x/runner (previous)") == "runner"
    assert service_of("redis.log") == "redis"
    assert service_of("/var/log/pods/ns_pod_uid/runner/0.log") == "runner"
    assert service_of("0.log") == "0"
    assert service_of("http://loki:3100") == "loki"
    assert service_of("https://…@logs.example:443/a.b/c") == "logs.example"
    assert service_of("http://[::1]:3100") == "::1"
    assert service_of("https://…@[fd00::7]/a") == "fd00::7"
    assert service_of("http://127.0.0.1:3100: pods bot-call-7-*") == "127.0.0.1"
    assert Track("a/bot.jsonl", "file", FileByteReader(-1, 0), Formats()).service == "bot"


def test_progress_is_told(tmp_path: Path) -> None:
    """Whoever waits can be told how much has been read."""
    write_lines(tmp_path / "a.jsonl", LINES)
    told: list[int] = []
    file = next(iter(Directory(tmp_path).streams(Query())))
    scan = Scan(
        Track(file.name, "file", file.byte_reader, Formats()), prefilter(Query()), Query().first, Query().end,
        progress=told.append,
    )  # fmt: skip
    list(scan.batches())
    file.close()
    assert sum(told) == (tmp_path / "a.jsonl").stat().st_size


@pytest.mark.parametrize("apart", [0, 20, 900])
def test_two_logs_in_one_file(tmp_path: Path, apart: int) -> None:
    """Where one log stands behind another of about the same time, both are searched."""
    lines = [encoded(record(n, seq=n)) for n in range(1, 3001)]
    others = [encoded(record(n + apart, seq=n, boot="bbbbbbbb")) for n in range(1, 3001)]
    write_lines(tmp_path / "all.jsonl", lines + others)
    answer = ask(tmp_path, since=at(2000), until=at(2010))
    found = [(line.record["boot"], line.record["seq"]) for line in answer.lines]
    ours, theirs = [s for b, s in found if b == "aaaaaaaa"], [s for b, s in found if b > "aaaaaaaa"]
    assert ours == list(range(2000, 2010))
    assert theirs == list(range(2000 - apart, 2010 - apart))


def test_a_stray_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of the window that stands far from its place is no lost one; how to see it is told."""
    lines = [encoded(record(n, seq=n)) for n in range(1, 60_001)]
    del lines[20_002]
    stray = lines.pop(10_000)
    lines.insert(50_000, stray)
    write_lines(tmp_path / "a.jsonl", lines)
    bounds = f"between {at(10_000)} and {at(10_002)}"
    answer = ask(tmp_path, since=at(9_990), until=at(10_010))
    assert answer.shortfalls == [("gateway", "out_of_order", f"boot aaaaaaaa: seq 10001, {bounds}")]
    assert answer.coverage.notes == ()
    monkeypatch.setattr(gaps, "_LOOK_BYTES", 1000)
    answer = ask(tmp_path, since=at(9_990), until=at(10_010))
    assert answer.shortfalls == [("gateway", "gap", f"boot aaaaaaaa: seq 10001, {bounds}")]
    assert any("--exact reads whole files" in note for note in answer.coverage.notes)
    exact = ask(tmp_path, since=at(9_990), until=at(10_010), exact=True)
    assert exact.coverage.complete
    exact = ask(tmp_path, since=at(19_990), until=at(20_010), exact=True)
    assert [why for _, why, _ in exact.shortfalls] == ["gap"]
    assert exact.coverage.notes == ()


def test_numbers_that_follow_another_order_than_time(tmp_path: Path) -> None:
    """A number that is not in the window's part of a file, and whose line is of another time, is not lost."""
    lines = [encoded(record(n, seq=n)) for n in range(1, 20_001)]
    later = [encoded(record(15_000 + n / 100, seq=n)) for n in range(5_001, 5_011)]
    write_lines(tmp_path / "a.jsonl", lines[:5000] + lines[5010:15_000] + later + lines[15_000:])
    assert ask(tmp_path, since=at(4_990), until=at(5_100)).coverage.complete
