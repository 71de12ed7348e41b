"""No query needs much memory, whatever it reads: long lines, many lines, wide disorder."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cordboard.logs import merge
from cordboard.logs.entries import Listed
from cordboard.logs.merge import Lane, merged
from cordboard.logs.scan import Batch
from cordboard.logs.statistics import Statistics
from logs.logs_support import ask, at, encoded, record, write_lines

MOST_MB = 150
LONG = 150_000_000


MEASURED = """
import sys
from cordboard.cli import main
status = main(["logs", *sys.argv[1:]])
with open("/proc/self/status") as told:
    print(*(line.split()[1] for line in told if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(status)
"""


def peak_mb(*words: str) -> tuple[int, bytes]:
    """Run the command; return its peak of memory and what it printed of the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", MEASURED, "-q", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    last = b""
    with process.stdout, process.stderr:
        while part := process.stdout.read(1 << 20):
            last = (last + part)[-1000:]
        said = process.stderr.read()
    assert process.wait() == 0, said
    return int(said) // 1000, last


@pytest.fixture(scope="module")
def long_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with one line that is longer than all that a query may hold."""
    path = tmp_path_factory.mktemp("long") / "gateway.jsonl"
    write_lines(
        path,
        [
            *(encoded(record(n, seq=n)) for n in range(1, 9)),
            encoded(record(9, seq=9, message="x" * LONG)),
            *(encoded(record(n, seq=n)) for n in range(10, 19)),
        ],
    )
    return path


@pytest.mark.parametrize("words", [("-o", "raw"), ("-o", "pretty"), ("--level", "error")])
def test_a_line_of_any_length(long_line: Path, words: tuple[str, ...]) -> None:
    """A line of 150 MB is read in pieces, and no more than a few of them are held."""
    most, last = peak_mb("--dir", str(long_line), *words)
    assert most < MOST_MB
    assert "error" in words or b"Something happened" in last


def test_a_report_of_long_lines(long_line: Path, tmp_path: Path) -> None:
    """A report shows the beginning of a long text, and says how much more there is."""
    target = tmp_path / "report"
    words = ("--report", f"{target}.txt", "--collect", str(target))
    assert peak_mb("--dir", str(long_line), *words)[0] < MOST_MB
    assert (target / "gateway.jsonl").stat().st_size > LONG
    text = (tmp_path / "report.txt").read_text()
    assert len(text) < 2_000_000
    assert "more characters)" in text


def test_what_is_held_for_the_sake_of_order_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that would have to hold too much gives it out, in order; the rest comes late."""
    monkeypatch.setattr(merge, "HELD_MAX_BYTES", 4000)
    monkeypatch.setattr(merge, "_MANY_ENTRIES", 10)
    moments = [at(1000 + n / 1000).encode() for n in range(400)]
    early = at(1000.0005).encode()
    batches = [
        Batch(Listed(moments[n : n + 20], [b"x" * 100] * 20), moments[n + 19])
        for n in range(0, 400, 20)
    ]
    batches.insert(10, Batch(Listed([early], [b"early"])))
    held: list[int] = []
    statistics = Statistics()
    lane = Lane(0, batches, 3600.0)
    found = []
    for items in merged([lane], statistics):
        held.append(len(items))
        found += [item[0] for item in items]
    assert max(held) <= 60
    assert sorted(found) == sorted([*moments, early])
    assert [key for key in found if key != early] == moments
    assert statistics.counts["late"] == 1


def test_entries_of_one_time_are_not_all_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that holds too much gives it out, also where all of it was said within one millisecond."""
    monkeypatch.setattr(merge, "HELD_MAX_BYTES", 4000)
    monkeypatch.setattr(merge, "_MANY_ENTRIES", 10)
    moment = at(1000.123456).encode()
    read = given = most = 0

    def batches() -> Iterator[Batch]:
        nonlocal read
        for n in range(0, 1000, 20):
            read += 20
            yield Batch(Listed([moment] * 20, [b"%4d" % m * 25 for m in range(n, n + 20)]), moment)

    statistics = Statistics()
    for items in merged([Lane(0, batches(), 3600.0)], statistics):
        most = max(most, read - given)
        given += len(items)
    assert given == 1000
    assert most <= 120
    assert statistics.counts["late"] == 0


def test_long_texts_of_equal_time_are_not_late(tmp_path: Path) -> None:
    """Pieces of one long line come in their order, none of them counted as late."""
    lines = [encoded(record(1, seq=1)), b"y" * (70 << 20), encoded(record(2, seq=2))]
    write_lines(tmp_path / "a.jsonl", lines)
    answer = ask(tmp_path)
    assert b"".join(answer.raws) == b"".join(lines)
    assert answer.coverage.counts == {}
