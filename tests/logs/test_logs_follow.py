"""Following: what is written from now on, across rotation, truncation and new files."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cordboard.logs import follow
from cordboard.logs.coverage import Answer, Shortfall
from cordboard.logs.formats import Formats
from cordboard.logs.line import Line
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources.command import open_source
from cordboard.logs.sources.directory import Directory
from cordboard.logs.stream import Track
from cordboard.logs.timespec import timestamp
from logs.logs_support import encoded, record


def now() -> str:
    return timestamp(datetime.now(UTC))


class Writer:
    """A process that logs into a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seq = 0

    def say(self, message: str, file: str = "gateway.jsonl", **more: Any) -> None:
        self.seq += 1
        line = record(0, seq=self.seq, message=message, **more) | {"timestamp": now()}
        with (self.folder / file).open("ab") as out:
            out.write(encoded(line) + b"\n")


class Following(threading.Thread):
    """A reader that follows until it has seen so many lines."""

    def __init__(
        self, folder: Path, count: int, sources: Sequence[Any] = (), **wanted: Any
    ) -> None:
        super().__init__(daemon=True)
        self.lines: list[Line] = []
        self.reader = Reader(
            Query(follow=True, **wanted), [*sources, Directory(folder)], limit=count
        )
        self.count = count
        self.start()
        time.sleep(0.3)

    def run(self) -> None:
        for line in self.reader.lines():
            self.lines.append(line)

    def messages(self) -> list[str]:
        self.join(20)
        self.reader.close()
        return [line.record["message"] for line in self.lines]


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


def test_only_what_is_new(writer: Writer) -> None:
    """Without a window, following begins with what is written from now on."""
    writer.say("old")
    reading = Following(writer.folder, 2)
    writer.say("one")
    writer.say("two")
    assert reading.messages() == ["one", "two"]


def test_history_comes_first(writer: Writer) -> None:
    """With a window, its past comes first, then what is new, each once."""
    since = now()
    writer.say("old")
    reading = Following(writer.folder, 2, since=since)
    writer.say("new")
    assert reading.messages() == ["old", "new"]


def test_across_rotation(writer: Writer) -> None:
    """A file that is renamed is read to its end, its successor from its beginning."""
    writer.say("before")
    reading = Following(writer.folder, 3)
    writer.say("one")
    (writer.folder / "gateway.jsonl").rename(writer.folder / "gateway.1.jsonl")
    writer.say("two", "gateway.1.jsonl")
    writer.say("three")
    assert reading.messages() == ["one", "two", "three"]


def test_deleted_files_are_let_go(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was rotated away is not kept open: its space is free, its number another's."""
    monkeypatch.setattr(follow, "_GONE_S", 0.3)
    writer.say("before")
    reading = Following(writer.folder, 3)
    for number in range(3):
        path = writer.folder / f"gateway.{number}.jsonl"
        writer.say(f"line {number}", path.name)
        until = time.monotonic() + 20
        while len(reading.lines) <= number and time.monotonic() < until:
            time.sleep(0.05)
        path.unlink()
        if number == 1:
            while _deleted(writer.folder) and time.monotonic() < until:
                time.sleep(0.05)
            assert _deleted(writer.folder) == []
    assert reading.messages() == [f"line {number}" for number in range(3)]


def _deleted(folder: Path) -> list[str]:
    """The deleted files of a folder that this process holds open."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(str(link.readlink()))
    return [name for name in names if name.startswith(str(folder)) and "(deleted)" in name]


def test_truncated_and_copied(writer: Writer) -> None:
    """A file that is copied and truncated tells nothing twice and loses nothing that follows."""
    for number in range(5):
        writer.say(f"before {number}")
    reading = Following(writer.folder, 2)
    writer.say("one")
    time.sleep(0.3)
    path = writer.folder / "gateway.jsonl"
    (writer.folder / "gateway.1.jsonl").write_bytes(path.read_bytes())
    path.write_bytes(b"")
    time.sleep(1.3)
    writer.say("two")
    assert reading.messages() == ["one", "two"]


def test_file_that_is_filled_beyond_its_old_size_is_read_again(writer: Writer) -> None:
    """Between two looks it was truncated and got more than it had; its size alone does not tell."""
    writer.say("before")
    track = _track_of(writer.folder / "gateway.jsonl")
    tail = follow._Tail(track, 0, offset=track.byte_reader.size)
    assert tail.grown() == b""
    writer.say("read")
    assert b"read" in tail.grown()
    (writer.folder / "gateway.jsonl").write_bytes(b"")
    for number in range(9):
        writer.say(f"anew {number}")
    assert tail.grown().count(b"anew") == 9
    assert track.counts["restarted"] == 1
    writer.say("appended")
    assert tail.grown().count(b"\n") == 1


def test_file_that_is_filled_to_its_old_size_is_read_again(writer: Writer) -> None:
    """Not even the size differs."""
    writer.say("before")
    path = writer.folder / "gateway.jsonl"
    track = _track_of(path)
    tail = follow._Tail(track, 0, offset=track.byte_reader.size)
    tail.grown()
    path.write_bytes(path.read_bytes().replace(b"before", b"behind"))
    os.utime(path, ns=(1, 1))
    assert b"behind" in tail.grown()


def test_writer_that_does_not_append_goes_on_behind_zeros(writer: Writer) -> None:
    """After a truncation its next line stands where it would have stood; the hole before it is no new file."""
    writer.say("before")
    path = writer.folder / "gateway.jsonl"
    track = _track_of(path)
    tail = follow._Tail(track, 0, offset=track.byte_reader.size)
    with path.open("r+b") as out:
        out.truncate(0)
        out.seek(track.byte_reader.size)
        out.write(b"after\n")
    assert tail.grown() == b"after\n"


def _track_of(path: Path) -> Track:
    (stream,) = Directory(path).streams(Query(follow=True))
    assert stream.byte_reader is not None
    return Track(str(path), "file", stream.byte_reader, Formats())


@pytest.mark.parametrize("behind_s", [0, 60, 86_400])
def test_file_that_is_new_is_followed_from_its_beginning(writer: Writer, behind_s: float) -> None:
    """Also if its lines are timed before the start, as its writer's clock is behind."""
    writer.say("old")
    reading = Following(writer.folder, 2)
    for number in (1, 2):
        told = timestamp(datetime.now(UTC) - timedelta(seconds=behind_s))
        line = record(0, boot="bbbbbbbb", seq=number, message=f"new {number}")
        with (writer.folder / "other.jsonl").open("ab") as out:
            out.write(encoded(line | {"timestamp": told}) + b"\n")
    assert reading.messages() == ["new 1", "new 2"]


def test_in_order_of_time(writer: Writer) -> None:
    """A line that was said earlier but arrives a little later is shown earlier."""
    reading = Following(writer.folder, 2)
    earlier = now()
    writer.say("later", "runner.jsonl")
    time.sleep(0.1)
    line = record(0, boot="bbbbbbbb", message="earlier") | {"timestamp": earlier}
    with (writer.folder / "gateway.jsonl").open("ab") as out:
        out.write(encoded(line) + b"\n")
    assert reading.messages() == ["earlier", "later"]


def test_half_a_line_waits(writer: Writer) -> None:
    """A line is shown when its end has been written, and a traceback together with its record."""
    reading = Following(writer.folder, 2)
    with (writer.folder / "app.log").open("ab", buffering=0) as out:
        out.write(f"{now()} ERROR it bro".encode())
        time.sleep(0.3)
        out.write(b"ke\nTraceback (most recent call last):\n")
        out.write(b'  File "x.py", line 1\n')
        out.write(b"ValueError: bad\n")
        time.sleep(0.7)
        out.write(f"{now()} INFO done\n".encode())
    assert reading.messages() == ["ERROR it broke", "INFO done"]
    assert reading.lines[0].record["error"]["type"] == "ValueError"


ENDLESS = """
import sys
line = {line!r} + b"\\n"
while True:
    sys.stdout.buffer.write(line * 100)
"""


def test_stream_that_is_faster_than_its_reader_is_shown(writer: Writer) -> None:
    """Lines are shown while more arrive; whoever brings them waits."""
    line = encoded(record(0, message="again"))
    words = [sys.executable, "-c", ENDLESS.format(line=line), "{follow}"]
    source = open_source({"command": words, "follow": "-f"})
    following = Following(writer.folder, 10, [source])
    assert following.messages() == ["again"] * 10


def test_folder_that_is_made_again_is_followed(writer: Writer) -> None:
    """A folder that was removed meanwhile is looked for until it is there again."""
    folder = writer.folder / "logs"
    folder.mkdir()
    again = Writer(folder)
    again.say("before")
    following = Following(folder, 1)
    shutil.rmtree(folder)
    notes = following.reader.coverage
    while not any("does not exist" in note for note in notes().notes):
        time.sleep(0.05)
    folder.mkdir()
    again.say("after")
    assert following.messages() == ["after"]


def test_filters_hold(writer: Writer) -> None:
    """A session's lines are followed by its id, and its process's lines by its process."""
    reading = Following(writer.folder, 3, session="call-7")
    writer.say("other", session="call-8")
    writer.say("ours", session="call-7", service="bot")
    time.sleep(0.6)
    writer.say("not bound", service="bot")
    writer.say("ours again", session="call-7", service="bot")
    assert reading.messages() == ["ours", "not bound", "ours again"]


class Remote(Source):
    """A remote source whose one stream tells its past, then what comes."""

    name = "remote"

    def __init__(self, history: bytes) -> None:
        self.history = history
        self.go = threading.Event()
        self.later = b""
        self._told = False

    def streams(self, query: Query) -> "list[RemoteStream]":
        new = [] if self._told else [RemoteStream(self)]
        self._told = True
        return new

    def answers(self) -> Sequence[Answer]:
        return []

    def explain(self, query: Query) -> Sequence[str]:
        return []

    def close(self) -> None:
        self.go.set()


class RemoteStream(Stream):
    name = "ns/pod/app"
    kind = "container"

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    def read(self, *, follow: bool = False) -> Iterator[bytes]:
        yield self.remote.history
        if follow:
            self.remote.go.wait(20)
            yield self.remote.later

    def shortfalls(self) -> Sequence[Shortfall]:
        return [Shortfall("rotated", "some")]

    def close(self) -> None:
        self.remote.go.set()


def test_stream_that_fails_is_told_while_following(writer: Writer) -> None:
    """Whoever waits for lines learns at once that none will come, once; a log that was rotated is no news."""
    words = [sys.executable, "-c", "import sys; sys.exit('signed out')", "{follow}"]
    told: list[str] = []
    source = open_source({"command": words, "follow": "-f", "name": "store"})
    reader = Reader(
        Query(follow=True), [source, Remote(b""), Directory(writer.folder)], warn=told.append
    )
    lists = reader.arrivals()
    while not told:
        next(lists)
    next(lists)
    reader.close()
    assert told == ["store: unreachable: it does not respond (exit status 1: signed out)"]


def test_remote_streams_too(writer: Writer) -> None:
    """A remote stream's past is merged with the files', and then it is followed."""
    since = now()
    first = encoded(record(0, boot="cccccccc", message="far") | {"timestamp": now()})
    writer.say("near")
    remote = Remote(first + b"\n")
    reading = Following(writer.folder, 3, [remote], since=since)
    time.sleep(0.5)
    line = record(0, boot="cccccccc", seq=2, message="far again") | {"timestamp": now()}
    remote.later = encoded(line) + b"\n"
    remote.go.set()
    assert reading.messages() == ["far", "near", "far again"]


def test_remote_streams_without_following(writer: Writer) -> None:
    """A remote stream is read like a file, and says itself what it lacks."""
    remote = Remote(encoded(record(1, boot="cccccccc", message="far")) + b"\n")
    reader = Reader(Query(), [remote, Directory(writer.folder)])
    assert [line.record["message"] for line in reader.lines()] == ["far"]
    answer = next(a for a in reader.coverage().answers if a.kind == "container")
    assert answer.lines == 1
    assert answer.shortfalls == (Shortfall("rotated", "some"),)
    reader.close()
