"""What ``configure`` takes from the environment, and what it does with printed text."""

import subprocess
import sys
import textwrap
from typing import Any

import msgspec
import pytest

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SESSION = {
    "BOT_SESSION_ID": "call-7",
    "BOT_SESSION_USER_ID": "u-1",
    "BOT_SESSION_USER_NAME": "Zo\u00eb",
    "BOT_ROOM_URL": "webrtc:standup",
    "BOT_SESSION_EPOCH": "3",
    "TRACEPARENT": TRACE,
}


def run(code: str, environment: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Run a program in an environment of its own; return its records."""
    done = subprocess.run(
        [sys.executable, "-c", "from cordboard import emit\n" + textwrap.dedent(code)],
        env={"LOG_FORMAT": "json", "PYTHONUTF8": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def test_session_in_the_environment_is_bound_to_the_process() -> None:
    """A process that a bot starts logs with the bot's session, in every thread."""
    records = run(
        """
        import threading
        emit.configure("tool")
        emit.get_logger("tool").info("Here")
        thread = threading.Thread(target=emit.get_logger("tool").info, args=("There",))
        thread.start(); thread.join()
        """,
        SESSION,
    )
    for record in records:
        assert record["sessionId"] == "call-7"
        assert (record["userId"], record["userName"]) == ("u-1", "Zo\u00eb")
        assert (record["room"], record["epoch"]) == ("webrtc:standup", 3)
        assert record["traceId"] == TRACE.split("-")[1]
    assert [record["message"] for record in records] == ["Here", "There"]


def test_session_in_the_environment_is_bound_without_configure() -> None:
    """The first line configures the logger, and binds the session."""
    (record,) = run('emit.get_logger("tool").info("Here")', SESSION)
    assert (record["service"], record["sessionId"]) == ("app", "call-7")


@pytest.mark.parametrize(
    ("code", "session"),
    [
        ('emit.configure("x", session_from_environment=False)', None),
        ('emit.bind_process(emit.Context(session_id="own")); emit.configure("x")', "own"),
        ('emit.configure("x"); emit.bind_process(emit.Context(session_id="own"))', "own"),
    ],
)
def test_program_can_override_the_environment(code: str, session: str | None) -> None:
    """A keyword, or a binding of the program, takes precedence over the environment."""
    (record,) = run(f'{code}\nemit.get_logger("x").info("Here")', SESSION)
    assert record["sessionId"].startswith("server:") if session is None else session == "own"
    assert record["userId"] is None


def test_block_takes_precedence_over_the_environment() -> None:
    """Within session_context a line has the session of the block."""
    (record,) = run(
        'emit.configure("x")\n'
        'with emit.session_context(session_id="block"): emit.get_logger("x").info("Here")',
        SESSION,
    )
    assert record["sessionId"] == "block"


@pytest.mark.parametrize(
    "name",
    [
        "BOT_SESSION_ID",
        "BOT_SESSION_USER_ID",
        "BOT_SESSION_USER_NAME",
        "BOT_SESSION_EPOCH",
        "TRACEPARENT",
    ],
)
def test_malformed_variable_is_ignored_with_a_warning(name: str) -> None:
    """It is named once, without its value."""
    code = 'emit.configure("x")\nemit.get_logger("x").info("Here")'
    warning, record = run(code, {**SESSION, name: "bad\nvalue \x9b" * 40})
    assert (warning["level"], warning["meta"]) == ("warn", {"variables": [name]})
    assert "bad" not in str(warning)
    known = record["sessionId"] == "call-7"
    assert known is (name != "BOT_SESSION_ID")
    assert record["userName"] == (
        None if name == "BOT_SESSION_USER_NAME" or not known else "Zo\u00eb"
    )


def test_other_variables_without_a_session_bind_nothing() -> None:
    """The name of a user or a trace alone is no session."""
    companions = {name: SESSION[name] for name in SESSION if name != "BOT_SESSION_ID"}
    (record,) = run('emit.configure("x")\nemit.get_logger("x").info("Here")', companions)
    assert record["sessionId"].startswith("server:")
    assert record["userId"] is None
    assert "traceId" not in record


def test_configure_does_not_change_print() -> None:
    """A plain ``configure`` leaves sys.stdout as it is."""
    done = subprocess.run(
        [sys.executable, "-c", "from cordboard import emit; emit.configure('x'); print('plain')"],
        stdout=subprocess.PIPE, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == b"plain\n"


def test_capture_print_turns_text_into_raw_lines() -> None:
    """Each printed line is a record with the session that is bound at the time."""
    records = run(
        """
        import sys
        emit.configure("shop", capture_print=True)
        with emit.session_context(session_id="call-7"):
            print("One", 2, end=" ")
            print("three\\nFour")
            print("warned", file=sys.stderr)
            sys.stdout.buffer.write(b"bytes \\xff\\n")
            sys.stdout.write("rest")
        """
    )
    assert [(r["message"], r["tag"], r["level"]) for r in records] == [
        ("One 2 three", "stdout", "info"),
        ("Four", "stdout", "info"),
        ("warned", "stderr", "warn"),
        ("bytes \ufffd", "stdout", "info"),
        ("rest", "stdout", "info"),
    ]
    assert all(record["raw"] and record["service"] == "shop" for record in records)
    assert [record["sessionId"] for record in records[:4]] == ["call-7"] * 4


def test_texts_of_two_threads_are_separate_lines() -> None:
    """Pieces that two threads print in turns make two lines, each with its own session."""
    records = run(
        """
        import threading
        emit.configure("shop", capture_print=True)
        turn = threading.Barrier(2)
        def work(name):
            with emit.session_context(session_id=name):
                for piece in range(50):
                    turn.wait(); print(name, end="")
                print()
        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    assert sorted((r["sessionId"], r["message"]) for r in records) == [
        ("a", "a" * 50), ("b", "b" * 50),
    ]  # fmt: skip


FAILS = """
import sys
from cordboard import emit
emit.configure("x", capture_print=True, format="json")
emit.configure("x", capture_print=True, format="json")
print("once")
assert sys.stdout.fileno() == 1
sys.stdout.reconfigure()
1 / 0
"""


def test_traceback_of_the_interpreter_becomes_raw_lines() -> None:
    """A second ``configure`` does not wrap the streams again."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FAILS,
        ],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    messages = [msgspec.json.decode(line)["message"] for line in done.stdout.splitlines()]
    assert messages[0] == "once"
    assert messages[-1] == "ZeroDivisionError: division by zero"
    assert done.stderr == b""


def test_forked_child_drops_the_parents_incomplete_line() -> None:
    """Text without a newline at the fork is written by the parent only."""
    records = run(
        """
        import os
        emit.configure("shop", capture_print=True)
        print("parent", end=" ")
        pid = os.fork()
        if pid == 0:
            print("child"); emit.flush(); os._exit(0)
        os.waitpid(pid, 0)
        print("again")
        """
    )
    assert sorted(record["message"] for record in records) == ["child", "parent again"]


def test_lines_have_the_cell_of_the_process() -> None:
    """Lines with and without a session; a process without a cell has no such key."""
    code = """
        emit.configure("tool")
        log = emit.get_logger("tool")
        log.info("Before")
        from cordboard.emit.setup import name_cell
        name_cell("us-1")
        log.info("After")
        with emit.session_context(session_id="call-8"):
            log.info("In a session")
        """
    assert [record.get("cell") for record in run(code)] == [None, "us-1", "us-1"]
    named = run(code, {"CORDBOARD_CELL": "eu-1"})
    assert [record.get("cell") for record in named] == ["eu-1", "us-1", "us-1"]
