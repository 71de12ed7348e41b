"""What a confined process cannot do, with the Landlock versions of several kernels."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cordboard.runner.landlock import confine, landlock_version

pytestmark = pytest.mark.skipif(not landlock_version(), reason="the kernel has no Landlock")


def in_a_child(act: Callable[[], bool]) -> bool:
    """Return what `act` returns in a forked process."""
    pid = os.fork()
    if not pid:
        done = False
        try:
            done = act()
        finally:
            os._exit(0 if done else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def may(act: Callable[[], object]) -> bool:
    try:
        act()
    except PermissionError:
        return False
    return True


@pytest.mark.parametrize("version", sorted({2, landlock_version()}))
def test_processes_outside_are_out_of_reach(version: int) -> None:
    """A confined process cannot read another's memory and open files, except its children's."""
    outside = os.getpid()

    def reads(pid: int) -> bool:
        return may(lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY)))

    def confined() -> bool:
        assert confine(version)
        assert not may(lambda: Path(f"/proc/{outside}/fd/0").readlink())
        return not reads(outside) and in_a_child(lambda: not reads(outside))

    assert reads(outside)
    assert in_a_child(confined)


@pytest.mark.parametrize("version", sorted({2, landlock_version()}))
def test_files_stay_within_reach(tmp_path: Path, version: int) -> None:
    """A confined process can write files and move them between directories."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()

    def confined() -> bool:
        assert confine(version)
        (one / "file").write_text("kept")
        (one / "file").rename(other / "file")
        os.link(other / "file", one / "link")
        return (one / "link").read_text() == "kept"

    assert in_a_child(confined)


@pytest.mark.skipif(landlock_version() < 6, reason="the kernel does not scope signals")
def test_no_signal_leaves_the_domain() -> None:
    """A confined process can signal only processes that it has started."""
    outside = os.getpid()

    def confined() -> bool:
        assert confine()
        child = os.fork()
        if not child:
            signal.pause()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return not may(lambda: os.kill(outside, 0))

    assert in_a_child(confined)
