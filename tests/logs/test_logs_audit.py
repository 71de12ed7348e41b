"""Two sources with the same lines, nodes and a store: what was lost between them is named, and nothing else."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.logs.audit import _without
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.sources.directory import Directory
from cordboard.logs.sources.loki import open_source
from cordboard.logs.survey import runs_of
from logs.logs_support import (
    START,
    Answered,
    answered,
    at,
    cri,
    encoded,
    lines_of_two_processes,
    reasons,
    record,
    write_lines,
)
from logs.loki_double import SECOND, LokiDouble

T0 = int(START.timestamp()) * SECOND


@pytest.fixture
def store() -> Iterator[LokiDouble]:
    server = LokiDouble()
    yield server
    server.shutdown()
    server.server_close()


def push(server: LokiDouble, lines: list[bytes]) -> None:
    for line in lines:
        seconds = (START.fromisoformat(json.loads(line)["timestamp"]) - START).total_seconds()
        values = [[str(T0 + round(seconds * SECOND)), line.decode()]]
        server.push([{"stream": {"namespace": "voice"}, "values": values}])


def ask_both(server: LokiDouble, folder: Path, lines: list[bytes], **wanted: str) -> Answered:
    """Ask nodes that have all of some lines, behind CRI prefixes, and a store."""
    pieces = [piece for n, line in enumerate(lines) for piece in cri(line, n * 0.5)]
    write_lines(folder / "voice_runner-1_x" / "runner" / "0.log", pieces)
    source = open_source({"url": server.url, "selector": '{namespace="voice"}'})
    return answered(Reader(Query(**wanted), [Directory(folder), source]))  # type: ignore[arg-type]


def losses(answer: Answered) -> list[str]:
    return [note for note in answer.coverage.notes if note.startswith("Lost between")]


SESSION, WINDOW = {"session": "call-7"}, {"since": at(0), "until": at(29)}


@pytest.mark.parametrize("wanted", [SESSION, SESSION | WINDOW, WINDOW])
def test_lines_that_never_reached_the_store_are_named(
    store: LokiDouble, tmp_path: Path, wanted: dict[str, str]
) -> None:
    """With process, numbers and node; the answer has them, and is complete."""
    lines = lines_of_two_processes()
    push(store, [line for n, line in enumerate(lines) if n not in {20, 22, 24, 31}])
    answer = ask_both(store, tmp_path, lines, **wanted)
    first, second = losses(answer)
    assert first.startswith("Lost between node and store: boot 9f31c2aa: seq 11 to 13 of ")
    assert "voice_runner-1_x/runner/0.log" in first
    assert second.startswith("Lost between node and store: boot 0badcafe: seq 16 of ")
    assert reasons(answer) <= {"not_settled"}
    assert len(answer.raws) == len(set(answer.raws)) >= 19


@pytest.mark.parametrize("wanted", [SESSION, WINDOW])
def test_store_that_has_all_lines_is_not_accused(
    store: LokiDouble, tmp_path: Path, wanted: dict[str, str]
) -> None:
    """Nor one that has more than the node, whose log was rotated."""
    lines = lines_of_two_processes()
    push(store, lines)
    assert losses(ask_both(store, tmp_path / "all", lines, **wanted)) == []
    assert losses(ask_both(store, tmp_path / "rotated", lines[30:], **wanted)) == []


def test_process_that_the_store_never_saw_is_named(store: LokiDouble, tmp_path: Path) -> None:
    """No agent ran on that node; a line of another session tells nothing of it."""
    lines = lines_of_two_processes()
    push(store, [line for line in lines if b"0badcafe" not in line])
    (note,) = losses(ask_both(store, tmp_path, lines, **SESSION))
    assert "boot 0badcafe: seq 1 to 29 of" in note


@pytest.mark.parametrize(("age_s", "count"), [(3, 0), (400, 1)])
def test_line_that_may_still_arrive_is_no_loss(
    store: LokiDouble, tmp_path: Path, age_s: float, count: int
) -> None:
    """An agent holds lines back for a while; older ones are lost, also in a window that ends now."""
    now = time.time() - START.timestamp()
    ages = (age_s + 5, age_s, max(0, age_s - 2))
    lines = [bytes(encoded(record(now - age, seq=seq))) for seq, age in enumerate(ages, 1)]
    push(store, [lines[0], lines[2]])
    answer = ask_both(store, tmp_path, lines, since=at(now - 1000))
    assert len(losses(answer)) == count
    assert reasons(answer) == ({"not_settled"} if age_s < 90 else set())


def test_store_that_fails_proves_nothing(store: LokiDouble, tmp_path: Path) -> None:
    """Its own reason is named; lines that it did not return are no losses."""
    push(store, lines_of_two_processes()[:30])
    store.cut = True
    answer = ask_both(store, tmp_path, lines_of_two_processes(), **SESSION)
    assert losses(answer) == []
    assert not answer.coverage.complete


def test_lines_at_the_edges_of_the_window_are_no_losses(store: LokiDouble, tmp_path: Path) -> None:
    """The node's blocks reach beyond the window, the store's answer does not; numbers there may be out of order."""
    lines = lines_of_two_processes()
    late = json.loads(lines[20])
    late["timestamp"] = at(60)
    lines[20] = json.dumps(late, separators=(",", ":")).encode()
    push(store, lines)
    assert losses(ask_both(store, tmp_path, lines, since=at(0), until=at(29))) == []


NUMBERS = st.sets(st.integers(1, 40))


@given(NUMBERS, NUMBERS)
def test_what_is_left_of_runs_is_what_no_other_run_holds(some: set[int], held: set[int]) -> None:
    """Number by number."""
    left = list(_without(runs_of(sorted(some)), runs_of(sorted(held))))
    assert {n for first, last in left for n in range(first, last + 1)} == some - held
    assert len(left) == len(runs_of(sorted({n for a, b in left for n in range(a, b + 1)})))
