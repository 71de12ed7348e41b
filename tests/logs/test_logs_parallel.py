"""Two processes that share work: each item once, whatever becomes of the second one."""

import gzip
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from cordboard.logs import parallel, reader
from cordboard.logs.parallel import can_share, shared
from logs.logs_support import ask, encoded, record


@pytest.fixture(autouse=True)
def two_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share on a machine with one processor, too, and beside what other tests have left running."""
    monkeypatch.setattr(parallel, "HANDS", 2)
    monkeypatch.setattr(threading, "active_count", lambda: 1)


def nothing() -> None:
    """What the copy does first."""


def children_of_ours() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_each_item_once_in_order(tmp_path: Path) -> None:
    """Both processes work, no item is done twice, and results stand in their places."""
    done = tmp_path / "done"

    def work(number: int) -> tuple[int, int]:
        with done.open("a") as file:
            file.write(f"{number}\n")
        time.sleep(0.002)  # so that both have their turn
        return number * number, os.getpid()

    before = children_of_ours()
    results = shared(work, 60, nothing)
    assert [square for square, _ in results] == [number * number for number in range(60)]
    assert len({pid for _, pid in results}) == 2
    assert sorted(map(int, done.read_text().split())) == list(range(60))
    assert children_of_ours() == before


def test_only_the_copy_is_told(tmp_path: Path) -> None:
    """It shares a terminal with this process, which alone goes on writing to it."""
    told = tmp_path / "told"
    shared(lambda number: number, 4, lambda: void(told.write_text(str(os.getpid()))))
    assert int(told.read_text()) != os.getpid()


def test_more_items_than_a_pipe_holds() -> None:
    """All are done, however many they are: the list of them never fills the pipe."""
    assert shared(lambda number: number, 50_000, nothing) == list(range(50_000))


def void(_: object) -> None:
    """Throw a result away."""


@pytest.mark.parametrize("how", ["raises", "killed", "cannot say it"])
def test_a_copy_that_fails(how: str) -> None:
    """What it had taken is done by this process: a result is never missing."""
    home = os.getpid()

    def work(number: int) -> object:
        if os.getpid() == home:
            time.sleep(0.01)
            return number
        if how == "raises":
            raise RuntimeError("out of luck")
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return object()

    assert shared(work, 12, nothing) == list(range(12))


def test_an_error_here_ends_both() -> None:
    """It is raised, and the copy is gone."""
    home, before = os.getpid(), children_of_ours()

    def work(_: int) -> None:
        if os.getpid() == home:
            raise KeyboardInterrupt
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        shared(work, 4, nothing)
    assert children_of_ours() == before


def test_no_copy_of_a_process_with_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy has one thread alone: locks that others hold would never be let go.

    Nor is there one on a single processor.
    """
    assert can_share()
    monkeypatch.setattr(parallel, "HANDS", 1)
    assert not can_share()
    monkeypatch.setattr(parallel, "HANDS", 2)
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert not can_share()


def test_what_the_copy_has_seen_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that it found damaged is named, whichever of the two had read it."""
    monkeypatch.setattr(reader, "SHARED_FROM_BYTES", 0)
    line = encoded(record(1, level="error", message="Said " + "x" * 20_000))
    for number in range(40):
        whole = gzip.compress(line + b"\n" + os.urandom(20_000).hex().encode())
        (tmp_path / f"{number:02}.jsonl.gz").write_bytes(whole[:-20])
    named = {Path(name).name for name, reason, _ in ask(tmp_path, level="error").shortfalls
             if reason == "unreadable"}  # fmt: skip
    assert named == {f"{number:02}.jsonl.gz" for number in range(40)}
