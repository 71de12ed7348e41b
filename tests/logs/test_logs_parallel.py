"""Threads that share work: each item once, in its place; an error ends all."""

import gzip
import os
import threading
import time
from pathlib import Path

import pytest

from cordboard.logs import search
from cordboard.logs.parallel import spread
from logs.logs_support import ask, encoded, record


def test_each_item_once_in_order() -> None:
    """All threads work, no item is done twice, and results stand in their places."""
    done: list[int] = []

    def work(number: int) -> tuple[int, int]:
        done.append(number)
        time.sleep(0.002)  # so that each has its turn
        return number * number, threading.get_ident()

    results = spread(work, range(60), 3)
    assert [square for square, _ in results] == [number * number for number in range(60)]
    assert len({thread for _, thread in results}) == 3
    assert sorted(done) == list(range(60))


def test_one_item_needs_no_thread() -> None:
    """A thread takes longer to start than most of what is asked for."""
    assert spread(lambda _: threading.get_ident(), [1], 3) == [threading.get_ident()]
    assert set(spread(lambda _: threading.get_ident(), range(9), 1)) == {threading.get_ident()}


@pytest.mark.parametrize("hands", [1, 3])
def test_an_error_is_raised_and_ends_all(hands: int) -> None:
    """Whoever met it; nothing further is begun."""
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 4:
            raise KeyboardInterrupt
        time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        spread(work, range(1000), hands)
    assert len(begun) < 1000


def test_what_each_thread_has_seen_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is found damaged is named, whichever thread had read it."""
    monkeypatch.setattr(search, "HANDS", 2)
    monkeypatch.setattr(search, "_ALONE_UP_TO_BYTES", 0)
    line = encoded(record(1, session="call-7", message="Said " + "x" * 20_000))
    for number in range(40):
        whole = gzip.compress(line + b"\n" + os.urandom(20_000).hex().encode())
        (tmp_path / f"{number:02}.jsonl.gz").write_bytes(whole[:-20])
    named = {Path(name).name for name, reason, _ in ask(tmp_path, session="call-7").shortfalls
             if reason == "unreadable"}  # fmt: skip
    assert named == {f"{number:02}.jsonl.gz" for number in range(40)}
