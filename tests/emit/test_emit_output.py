"""Lines leave a process whole and soon, and never stop it; each test runs a process of its own."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cordboard.emit.descriptor_writer import DescriptorWriter
from cordboard.emit.output import Output

HEAD = """
import os, sys, time, signal
from cordboard import emit
emit.configure("test", format="json", level="debug")
log = emit.get_logger("test")
"""
PATIENCE_S = 60


def script(body: str) -> list[str]:
    return [sys.executable, "-c", HEAD + textwrap.dedent(body)]


def run(body: str, **options: Any) -> tuple[int, list[dict[str, Any]]]:
    """Run a program whose stdout is a pipe that is read; return its status and its records."""
    done = subprocess.run(
        script(body), stdout=subprocess.PIPE, timeout=PATIENCE_S, check=False, **options
    )
    return done.returncode, [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def assert_no_gaps(records: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Assert that each boot counts from 1 without a gap; return the counts by boot."""
    by_boot: dict[str, list[int]] = defaultdict(list)
    for record in records:
        by_boot[record["boot"]].append(record["seq"])
    for boot, seqs in by_boot.items():
        assert sorted(seqs) == list(range(1, len(seqs) + 1)), boot
    return by_boot


def test_ending_program_loses_no_line() -> None:
    """A program that ends by itself loses nothing, although it never flushes."""
    status, records = run("for i in range(5000): log.info('Line', i=i)")
    assert status == 0
    assert [record["meta"]["i"] for record in records] == list(range(5000))
    assert_no_gaps(records)


def test_line_of_an_atexit_function_is_written() -> None:
    """A function that runs after the library's own can log as well."""
    _, records = run(
        """
        import atexit
        log.info("First")
        class Late:
            def __del__(self): log.info("Late")
        keep = Late()
        """
    )
    assert [record["message"] for record in records] == ["First", "Late"]
    assert_no_gaps(records)


def test_forked_child_has_its_own_boot() -> None:
    """A fork draws a new boot that counts from 1; no line of the parent is written twice."""
    _, records = run(
        """
        for i in range(100): log.info("Parent", i=i)
        pid = os.fork()
        for i in range(100): log.info("Child" if pid == 0 else "Parent again", i=i)
        if pid == 0:
            emit.flush(); os._exit(0)
        os.waitpid(pid, 0)
        """
    )
    assert len(records) == 300
    by_boot = assert_no_gaps(records)
    assert sorted(len(seqs) for seqs in by_boot.values()) == [100, 200]


def test_forked_child_drops_the_parents_queue() -> None:
    """If the pipe was full at the fork, the parent writes its own lines."""
    read, write = os.pipe()
    output = Output(write, lambda _: None)
    output.threaded = False
    os.set_blocking(write, False)
    while True:
        try:
            os.write(write, b"x" * 4096)
        except BlockingIOError:
            break
    output.put(b"line\n")
    assert output.has_unwritten
    output.after_fork()
    assert not output.has_unwritten
    os.close(read)
    os.close(write)


def test_child_forked_during_another_threads_wait_can_write() -> None:
    """A poll object in which another thread waited would refuse the child's calls."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while os.write(write, b"x" * 4096):
            pass
    descriptor = DescriptorWriter(write)
    deadline = time.monotonic() + PATIENCE_S
    waiting = threading.Thread(target=descriptor.write, args=(lambda: b"line\n", deadline))
    waiting.start()
    with suppress(RuntimeError):  # concurrent poll() invocation: now the thread waits
        while not descriptor._poll.poll(0):
            time.sleep(0.001)
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            descriptor.after_fork()
            os._exit(0 if not descriptor.write(lambda: b"child\n", 0.0) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(read)
    waiting.join()
    os.close(write)


FORKS = """
import multiprocessing, threading
stop = threading.Event()
def chat(n):
    i = 0
    while not stop.is_set():
        log.info("Chat", n=n, i=i, pad="x" * (7000 if i % 50 == 0 else 200))
        i += 1
        if i % 20 == 0: time.sleep(0.002)
threads = [threading.Thread(target=chat, args=(n,)) for n in range(6)]
for thread in threads: thread.start()
def child(i):
    try: 1 / 0
    except ZeroDivisionError: log.exception("Child failed", i=i)
    os._exit(0)
"""


@pytest.mark.parametrize(
    "start",
    [
        "pid = os.fork()\n    if pid == 0: child(i)\n    ends.append(lambda pid=pid: os.waitpid(pid, 0))",
        "p = context.Process(target=child, args=(i,)); p.start(); ends.append(p.join)",
    ],
    ids=["os.fork", "multiprocessing"],
)
def test_child_that_ends_at_once_has_written_its_error(start: str) -> None:
    """A line at error is written before the call returns, also in a child of a busy process."""
    body = textwrap.dedent(FORKS) + (
        "context = multiprocessing.get_context('fork')\nends = []\n"
        f"for i in range(60):\n    {start}\n    time.sleep(0.002)\n"
        "for end in ends: end()\n"
        "stop.set()\n"
        "for thread in threads: thread.join()\n"
    )
    _, records = run(body)
    failed = [record for record in records if record["message"] == "Child failed"]
    assert sorted(record["meta"]["i"] for record in failed) == list(range(60))
    assert {record["error"]["type"] for record in failed} == {"ZeroDivisionError"}
    assert len({record["boot"] for record in failed}) == 60
    assert len(assert_no_gaps(records)) == 61


def test_children_of_multiprocessing_lose_no_line() -> None:
    """A child of the fork server ends without atexit; its last lines are written all the same."""
    _, records = run(
        """
        import multiprocessing, threading
        log.info("Before")
        def work():
            emit.get_logger("child").info("From a child")
        sys.modules["__main__"].work = work
        context = multiprocessing.get_context("fork")
        emit.quiesce()
        assert len(os.listdir("/proc/self/task")) == 1, "a thread is left"
        children = [context.Process(target=work) for _ in range(3)]
        for child in children: child.start()
        for child in children: child.join()
        log.info("After")
        """
    )
    messages = sorted(record["message"] for record in records)
    assert messages == ["After", "Before", "From a child", "From a child", "From a child"]
    assert len(assert_no_gaps(records)) == 4


def test_no_thread_runs_before_the_first_line() -> None:
    """Neither the import nor ``configure`` starts a thread: a fork server may do both."""
    status, _ = run("assert len(os.listdir('/proc/self/task')) == 1")
    assert status == 0


def test_eight_processes_on_one_pipe_mix_no_lines() -> None:
    """Lines of any length from several processes stay whole."""
    _, records = run(
        """
        children = []
        for child in range(8):
            pid = os.fork()
            if pid == 0:
                for i in range(400):
                    log.info("Line", text="x" * (7900 if i % 3 else 10), more="y" * (i * 13 % 7900))
                    if not i % 50: log.error("Written at once", i=i, text="z" * 6000)
                emit.shutdown()
                os._exit(0)
            children.append(pid)
        for pid in children: os.waitpid(pid, 0)
        """
    )
    assert len(assert_no_gaps(records)) == 8
    assert len(records) == 8 * 408


def test_other_program_on_the_pipe_splits_no_line() -> None:
    """Output that another program prints to the same pipe, without a lock, is never within a line."""
    done = subprocess.run(
        script(
            """
            pid = os.fork()
            if pid == 0:
                for i in range(30_000): os.write(1, b"printed\\n")
                os._exit(0)
            for i in range(30_000): log.info("Line", i=i, text="x" * (i % 700))
            emit.flush()
            os.waitpid(pid, 0)
            """
        ),
        stdout=subprocess.PIPE, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines.count(b"printed") == 30_000
    records = [msgspec.json.decode(line) for line in lines if line != b"printed"]
    assert [record["meta"]["i"] for record in records] == list(range(30_000))


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EAGAIN])
def test_older_kernel_writes_in_pieces(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the kernel refuses one call for a whole batch, the batch is written in pieces."""

    def refused(*_: object) -> int:
        raise OSError(error, "refused")

    monkeypatch.setattr(os, "pwritev", refused)
    read, write = os.pipe()
    batch = b"".join(b"%d%s\n" % (i, b"x" * 500) for i in range(30))
    assert DescriptorWriter(write).write(lambda: batch, 0.0)
    assert os.read(read, 65536) == batch
    os.close(read)
    os.close(write)


def test_error_is_written_before_the_call_returns() -> None:
    """A process that is killed right after it has written the error and all lines before it."""
    status, records = run(
        """
        for i in range(10): log.info("Before", i=i)
        log.error("The last words")
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert status == -signal.SIGKILL
    assert [record["message"] for record in records] == ["Before"] * 10 + ["The last words"]


def test_killed_process_leaves_whole_lines() -> None:
    """After kill -9 all lines are valid, and all but the latest are there."""
    read, write = os.pipe()
    process = subprocess.Popen(
        script(
            f"""
            i = 0
            while True:
                log.info("Line", i=i)
                i += 1
                if i == 2000:
                    time.sleep(1.0)  # far more than the bound of 50 ms
                    os.write({write}, b"go")
                if not i % 50: time.sleep(0.001)
            """
        ),
        stdout=subprocess.PIPE,
        pass_fds=(write,),
    )
    output: list[bytes] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()))  # type: ignore[union-attr]
    reader.start()
    os.read(read, 2)
    process.kill()
    process.wait(PATIENCE_S)
    reader.join(PATIENCE_S)
    process.stdout.close()
    os.close(read)
    os.close(write)
    whole = output[0][: output[0].rfind(b"\n") + 1].splitlines()
    seen = [msgspec.json.decode(line)["meta"]["i"] for line in whole]
    assert seen == list(range(len(seen)))
    assert len(seen) >= 2000


def test_stalled_reader_does_not_stop_the_program() -> None:
    """With a full pipe the program continues; dropped lines are counted, logged, and a gap in seq."""
    read, write = os.pipe()
    done_read, done_write = os.pipe()
    process = subprocess.Popen(
        script(
            f"""
            for i in range(60_000): log.info("Line", i=i, text="x" * 100)
            for i in range(20): log.error("Error", i=i)
            os.write({done_write}, b"done")
            time.sleep(0.2)
            while not emit.flush(): pass
            log.info("Last")
            """
        ),
        stdout=write,
        pass_fds=(done_write,),
    )
    os.close(write)
    assert os.read(done_read, 4) == b"done"
    with os.fdopen(read, "rb") as pipe:
        records = [msgspec.json.decode(line) for line in pipe]
    assert process.wait(PATIENCE_S) == 0
    os.close(done_read)
    os.close(done_write)
    dropped = sum(
        record["meta"]["lines"]
        for record in records
        if record["message"] == "Log lines were dropped"
    )
    assert dropped > 0
    assert records[-1]["message"] == "Last"
    assert max(record["seq"] for record in records) == len(records) + dropped


@pytest.mark.parametrize("before", ["", "signal.signal(signal.SIGPIPE, signal.SIG_DFL)"])
def test_closed_pipe_does_not_kill_the_program(before: str, tmp_path: Path) -> None:
    """Not even if the program has restored the default action of SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        script(
            f"""
            {before}
            for i in range(5000): log.info("Line", i=i)
            log.error("Error")
            open({str(tmp_path / "alive")!r}, "w").close()
            sys.stdout = None  # Python itself would complain about its own stdout
            """
        ),
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")
    assert (tmp_path / "alive").exists()


def test_stdout_closed_at_the_start_writes_to_no_other_file(tmp_path: Path) -> None:
    """The next file that is opened gets the descriptor of a closed stdout; no line goes there."""
    path = tmp_path / "other"
    code = f"""
import os
os.close(1)
from cordboard import emit
emit.configure("test", format="json")
assert os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT) == 1
emit.get_logger("test").error("Lost")
emit.get_logger("test").info("Lost")
emit.shutdown()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == b""


def test_many_threads_write_every_line() -> None:
    """The lines of all threads are there, each whole, and each with its own number."""
    _, records = run(
        """
        import threading
        def work(n):
            for i in range(2000): log.info("Line", n=n, i=i)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    assert len(records) == 16_000
    assert_no_gaps(records)


def test_logging_in_a_signal_handler_does_not_deadlock() -> None:
    """A signal handler may log, whatever the interrupted code was doing."""
    status, records = run(
        """
        count = 0
        def handler(*_):
            global count
            count += 1
            log.error("In a handler", count=count)
            signal.setitimer(signal.ITIMER_REAL, 0.001)  # not before: on a busy machine they would pile up
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        i = 0
        while count < 20:
            log.info("Line", i=i)
            log.error("Line", i=i)
            i += 1
        signal.setitimer(signal.ITIMER_REAL, 0, 0)
        """
    )
    assert status == 0
    assert_no_gaps(records)
