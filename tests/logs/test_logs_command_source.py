"""The source ``command``: a program's output, its exit status, and its end."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.logs.query import Query
from cordboard.logs.sources.command import open_source
from logs.logs_support import ask_source, at, encoded, record


def program(text: str) -> list[str]:
    """The words that run a piece of Python."""
    return [sys.executable, "-c", text]


def printing(lines: Sequence[bytes], then: str = "") -> list[str]:
    data = b"".join(line + b"\n" for line in lines)
    return program(f"import sys; sys.stdout.buffer.write({data!r}); {then}")


def own(*numbers: int, session: str = "call-7") -> list[bytes]:
    return [bytes(encoded(record(n, boot="9f31c2aa", seq=n, session=session))) for n in numbers]


def test_what_a_program_prints_is_read(tmp_path: Path) -> None:
    """Its lines are those of a file, in whatever wrapping."""
    lines = own(1, 2, 3)
    wrapped = [json.dumps({"jsonPayload": json.loads(line)}).encode() for line in lines]
    answer = ask_source(open_source({"command": printing(wrapped)}), session="call-7")
    assert answer.raws == lines
    assert answer.shortfalls == []


SHOW_WORDS = "import sys, json; print(json.dumps(sys.argv[1:]))"


def words_of(command: list[Any], query: Query, **options: Any) -> Any:
    source = open_source({"command": [*program(SHOW_WORDS), *command], **options})
    (stream,) = source.streams(query)
    return json.loads(b"".join(stream.read()))


def test_placeholders_have_the_values_of_the_query() -> None:
    """Moments come as text and as Unix time in three units, exact to the microsecond."""
    query = Query(since=at(0.123456), until=at(5), session="call-7")
    words = words_of(
        ["{since}", "{since_s}", "{since_ms}", "{since_ns}", "to={until}", "id={session}"], query
    )
    assert words == [
        "2026-11-23T10:00:00.123456Z",
        "1795428000",
        "1795428000123",
        "1795428000123456000",
        "to=2026-11-23T10:00:05.000000Z",
        "id=call-7",
    ]


def test_optional_words_are_left_out_without_a_value() -> None:
    """A list within the list stands or falls as a whole; braces of another kind stay."""
    command = [["--since", "{since}"], ["--id={session}"], "{}", "{{x}}", '{"a":{"b":1}}']
    assert words_of(command, Query()) == ["{}", "{x}", '{"a":{"b":1}}']
    assert words_of(command, Query(session="a"))[:1] == ["--id=a"]


def test_a_word_with_shell_characters_stays_a_word() -> None:
    """No shell reads the words: a value cannot become a command."""
    assert words_of(["$(id); {session} | cat"], Query(session="a~b")) == ["$(id); a~b | cat"]


def test_a_needed_value_that_is_absent_is_an_error() -> None:
    """The message names the option that gives it."""
    with pytest.raises(SettingsError) as caught:
        words_of(["{session}"], Query())
    assert "--session" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"command": "ls"},
        {"command": []},
        {"command": [["ls"]]},
        {"command": ["ls", 5]},
        {"command": ["ls", ["a", 5]]},
        {"command": ["ls", "{sinse}"]},
        {"command": ["ls"], "shell": True},
        {"command": ["ls"], "selective": "yes"},
        {"command": ["ls"], "settles": "soon"},
        {"command": ["ls"], "name": 5},
    ],
)
def test_a_wrong_description_is_refused(options: dict[str, Any]) -> None:
    """It is refused before anything runs."""
    with pytest.raises(CordboardError) as caught:
        open_source(options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("then", "reason", "detail"),
    [
        ("print('page 2 is lost', file=sys.stderr); sys.exit(3)", "truncated", "page 2 is lost"),
        ("print('no login', file=sys.stderr); sys.exit(1)", "unreachable", "no login"),
        ("import os; os.kill(os.getpid(), 9)", "unreachable", "signal 9"),
    ],
)
def test_an_exit_status_says_what_is_missing(then: str, reason: str, detail: str) -> None:
    """3 is incomplete, any other but 0 is a failure; the last line of stderr is the reason."""
    answer = ask_source(open_source({"command": printing(own(1), then)}), session="call-7")
    assert answer.raws == own(1)
    ((_, found, words),) = answer.shortfalls
    assert (found, detail in words) == (reason, True)


def test_a_program_that_is_not_there_is_unreachable() -> None:
    """The name of the program is in the reason."""
    ((_, reason, detail),) = ask_source(open_source({"command": ["no-such-program"]})).shortfalls
    assert (reason, "no-such-program" in detail) == ("unreachable", True)


def test_much_on_stderr_blocks_nothing() -> None:
    """A program that complains without end is read to its end."""
    then = "[print('x' * 1000, file=sys.stderr) for _ in range(2000)]"
    assert ask_source(open_source({"command": printing(own(1), then)})).raws == own(1)


def test_numbers_missing_from_a_selective_source_are_no_losses() -> None:
    """The lines between are another session's; without the option they are a gap."""
    command = printing(own(1, 5))
    selective = open_source({"command": command, "selective": True})
    assert ask_source(selective, session="call-7").shortfalls == []
    plain = open_source({"command": command})
    assert {reason for _, reason, _ in ask_source(plain, session="call-7").shortfalls} == {"gap"}


def test_lines_that_may_still_arrive_are_named() -> None:
    """A window that ends within the settling time is not complete."""
    source = {"command": printing(own(1)), "settles": "10m"}
    assert [reason for _, reason, _ in ask_source(open_source(source)).shortfalls] == [
        "not_settled"
    ]
    old = ask_source(open_source(source), until=at(100))
    assert old.shortfalls == []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


IGNORES = "import os, pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
CHILD = f"{IGNORES}; pathlib.Path(sys.argv[1]).write_text(f'{{os.getpid()}}.'); time.sleep(600)"
STARTS = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]])"


@pytest.mark.parametrize("then", ["time.sleep(600)", "print('started')"], ids=["stays", "ends"])
def test_a_program_is_stopped_with_all_that_it_started(tmp_path: Path, then: str) -> None:
    """Closing ends the program's group, a child that ignores SIGTERM included, even if the program has ended."""
    noted = tmp_path / "pid"
    source = open_source({"command": [*program(f"{STARTS}; {then}"), CHILD, str(noted)]})
    (stream,) = source.streams(Query())
    reading = threading.Thread(target=lambda: list(stream.read()))
    reading.start()
    while not noted.exists() or not noted.read_text().endswith("."):
        time.sleep(0.01)
    source.close()
    reading.join(20)
    assert not reading.is_alive()
    pid, deadline = int(noted.read_text()[:-1]), time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


def test_following_needs_a_placeholder() -> None:
    """A program that ends cannot be followed; the hint says how one can."""
    with pytest.raises(SettingsError) as caught:
        open_source({"command": ["ls"]}).streams(Query(follow=True))
    assert "{follow}" in caught.value.hint


def test_the_word_for_following_stands_only_while_following() -> None:
    """It is one word, from the option ``follow``."""
    command = ["{follow}", "x"]
    assert words_of(command, Query(), follow="--follow") == ["x"]
    assert words_of(command, Query(follow=True), follow="--follow") == ["--follow", "x"]


def test_an_environment_names_a_command(tmp_path: Path) -> None:
    """``cordboard logs --env`` reads what the program prints, and explains it as a shell's command."""
    script = tmp_path / "store"
    data = b"\n".join(own(1, 2)).decode()
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{data}\nEND\n")
    script.chmod(0o755)
    (tmp_path / "cordboard.toml").write_text(
        f'[[environments.prod]]\ntype = "command"\ncommand = ["{script}", ["--id", "{{session}}"]]\n'
    )
    words = [sys.executable, "-m", "cordboard", "logs", "--env", "prod", "--session", "call-7"]
    ran = subprocess.run(
        [*words, "-o", "raw"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.stdout == data + "\n"
    explained = subprocess.run(
        [*words, "--explain"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f"{script} --id call-7" in explained.stdout + explained.stderr


def test_another_package_may_register_a_type(tmp_path: Path) -> None:
    """An entry point of the group makes a type; an unknown type names all that there are."""
    package = tmp_path / "site"
    (package / "mystore-1.dist-info").mkdir(parents=True)
    (package / "mystore-1.dist-info" / "METADATA").write_text("Name: mystore\nVersion: 1\n")
    (package / "mystore-1.dist-info" / "entry_points.txt").write_text(
        "[cordboard.logs.sources]\nmystore = mystore\n"
    )
    (package / "mystore.py").write_text(
        "from cordboard.logs.sources.command import Command\n"
        f"def open_source(options): return Command({printing(own(1))!r})\n"
    )
    (tmp_path / "cordboard.toml").write_text(
        '[[environments.prod]]\ntype = "mystore"\n[[environments.stg]]\ntype = "yourstore"\n'
    )
    words = [sys.executable, "-m", "cordboard", "logs", "-o", "raw", "--env"]
    environment = {**os.environ, "PYTHONPATH": str(package)}

    def run(name: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*words, name], cwd=tmp_path, env=environment, capture_output=True, check=False
        )

    assert run("prod").stdout == own(1)[0] + b"\n"
    failed = run("stg")
    assert (failed.returncode, b"mystore" in failed.stderr) == (2, True)
