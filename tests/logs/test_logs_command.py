"""`cordboard logs` as a user meets it: words, forms, exit statuses, terminal and pipe."""

import itertools
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest

from cordboard.cli import COMMANDS, _logs_output, main
from cordboard.cli._logs_output import EXIT_COMPLETE, EXIT_INCOMPLETE, print_status
from cordboard.logs.blocks import FileByteReader
from logs.logs_support import at, encoded, record, write_lines

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "cordboard", "logs")
USAGE = 2
INTERRUPTED = 130

pytestmark = pytest.mark.usefixtures("alone")

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local log directory with a call in it."""
    logs = tmp_path / "logs"
    monkeypatch.setenv("CORDBOARD_LOG_DIR", str(logs))
    lines = [
        record(1, seq=1, session="call-7", event="join.received", room="webrtc:demo", userId="u-1"),
        record(
            2,
            seq=2,
            session="call-7",
            event="join.refused",
            level="warn",
            meta={"reason": "queue_full"},
        ),
        record(3, seq=3, session="call-8", message="Other", level="error"),
    ]
    write_lines(logs / "gateway.jsonl", [encoded(line) for line in lines])
    return logs


def run(*words: str) -> int:
    return main(["logs", *words])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "seqs", "status"),
    [
        ((), [1, 2, 3], EXIT_COMPLETE),
        (("--local", "--session", "call-7"), [1, 2], EXIT_COMPLETE),
        (("--session", "call-7", "--level", "warn"), [2], EXIT_COMPLETE),
        (("--level", "warn"), [2, 3], EXIT_COMPLETE),
        (("--user", "u-1"), [1], EXIT_COMPLETE),
        (("--room", "webrtc:demo/"), [1], EXIT_COMPLETE),
        (("--service", "gateway"), [1, 2, 3], EXIT_COMPLETE),
        (("--service", "gateway", "--level", "debug", "--grep", "no"), [], EXIT_COMPLETE),
        (("--service", "gateway,runner"), [1, 2, 3], EXIT_INCOMPLETE),
        (("--service", "runner", "--service", "bot"), [], EXIT_INCOMPLETE),
        (("--service", "gatway"), [], EXIT_INCOMPLETE),
        (("--until", at(0)), [], EXIT_INCOMPLETE),
        (("--since", at(9)), [], EXIT_COMPLETE),
        (("--grep", "^Oth.r$"), [3], EXIT_COMPLETE),
        (("--where", "meta.reason = queue_full"), [2], EXIT_COMPLETE),
        (("--since", at(2)), [2, 3], EXIT_COMPLETE),
        (("--since", at(1), "--until", at(3)), [1, 2], EXIT_COMPLETE),
        (("--around", at(2), "-t", "1s"), [1, 2], EXIT_COMPLETE),
        (("--limit", "2"), [1, 2], EXIT_INCOMPLETE),
        (("--limit", "3"), [1, 2, 3], EXIT_COMPLETE),
        (("--session", "nobody"), [], EXIT_INCOMPLETE),
        (("--exact", "--since", at(2)), [2, 3], EXIT_COMPLETE),
    ],
)
def test_what_is_asked_for(
    words: tuple[str, ...], seqs: list[int], status: int, capsys: Captured
) -> None:
    """Filters combine; lines go to stdout as JSON in a pipe; the status says whether all is there."""
    assert run(*words) == status
    said = capsys.readouterr()
    assert [json.loads(line)["seq"] for line in said.out.splitlines()] == seqs
    assert said.err.startswith(f"coverage: {'complete' if status == 0 else 'incomplete'}, ")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-t", "1x"), "Invalid duration '1x'."),
        (("-t", "10m", "--since", "14:05"), "-t and --since both set the start of the window."),
        (("--since", "25:00"), "Invalid time '25:00'."),
        (("--since", at(2), "--until", at(1)), "The window ends"),
        (("--around", "14:05", "--since", "14:00"), "--around cannot be combined with --since"),
        (("--grep", "a("), "--grep: invalid regular expression at column 2"),
        (("--where", "level >"), "--where, column 8: "),
        (("--session", "no id"), "Invalid sessionId 'no id'."),
        (("--session", ""), "Invalid sessionId ''."),
        (("--room", "demo"), "Invalid room_url 'demo'"),
        (("--limit", "0"), "--limit 0: expected a number above 0."),
        (("--limit", "x"), "--limit x: expected a number above 0."),
        (("--mentions",), "--mentions needs --session ID."),
        (("--fix-skew",), "--fix-skew needs --session ID."),
        (("-f", "--until", "14:05"), "-f cannot be combined with --until."),
        (("-f", "--report", "a.html"), "-f does not end, and files are written at the end."),
        (("--env", "stg"), "Unknown environment 'stg'"),
        (("--prod",), "Unknown environment 'prod'"),
        (("--report", "a.pdf"), "--report a.pdf: "),
        (("--coverage", "no/where.json"), "--coverage no/where.json: no is not a directory."),
        (("--coverage", "-"), "--coverage -: expected a name; stdout is for the lines."),
        (("--report", "-"), "--report -: expected a name; stdout is for the lines."),
        (("--coverage", "."), "--coverage .: expected a file, got a directory."),
        (("--dir", ""), "--dir '': expected a name."),
        (("--env", ""), "--env '': expected a name."),
        (("--user", ""), "--user '': expected a name."),
        (("--service", "gateway", "--service", ","), "--service '': expected a name."),
        (("--config", "no.toml"), "Cannot read no.toml"),
    ],
)  # fmt: skip
def test_words_that_are_wrong(
    words: tuple[str, ...], error: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is said before anything is read or written; the status is 2."""
    monkeypatch.setattr(os, "preadv", None)
    monkeypatch.setattr(Path, "write_bytes", None)
    assert run(*words) == USAGE
    said = capsys.readouterr()
    assert said.err.startswith(f"cordboard: {error}")
    assert said.out == ""


@pytest.mark.parametrize(
    "words", [("--local", "--stg"), ("--level", "loud"), ("--nope",), ("-o", "xml"), ("x",)]
)
def test_words_that_the_parser_refuses(words: tuple[str, ...]) -> None:
    """An unknown or contradicting option is a usage error, too."""
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == USAGE


def test_help(capsys: Captured) -> None:
    """--help has examples that work, the grammars, the statuses."""
    with pytest.raises(SystemExit) as caught:
        run("--help")
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for words in (
        "examples:",
        "--session ID",
        "1h30m",
        "yesterday 14:05",
        "Exit status:",
        "[[environments.stg]]",
    ):
        assert words in said


def test_no_logs_yet(capsys: Captured) -> None:
    """Without a log directory the command fails and says what would make one."""
    assert run("--local") == 1
    said = capsys.readouterr().err
    assert "No logs found: " in said
    assert "`cordboard up` writes its logs there" in said


def test_forms(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """raw: the bytes as they were; json: a record of the contract; pretty: for people."""
    foreign = b'{"time":"2026-11-23T10:00:05Z","level":40,"msg":"Slow","session_id":"call-7"}'
    write_lines(folder / "app.log", [foreign])
    ours = (folder / "gateway.jsonl").read_bytes().splitlines()
    assert run("-o", "raw", "-q") == 0
    assert capfdbinary.readouterr().out.splitlines() == [*ours, foreign]
    assert run("-o", "json", "-q") == 0
    found = capfdbinary.readouterr().out.splitlines()
    assert found[:3] == ours
    assert json.loads(found[3])["message"] == "Slow"
    assert json.loads(found[3])["level"] == "warn"
    assert run("-o", "pretty", "--session", "call-7") == 0
    said = capfdbinary.readouterr()
    assert b"Slow" in said.out
    assert b"reason=queue_full" in said.out
    assert b"\x1b" not in said.out + said.err


def test_files(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    """Report, collection, bundle and coverage are written; an older collection stays."""
    out = tmp_path / "out"
    words = (
        "--session", "call-7", "--report", f"{out}.html", "--collect", str(out),
        "--bundle", f"{out}.zip", "--coverage", f"{out}.json",
    )  # fmt: skip
    assert run(*words) == 0
    assert capsys.readouterr().out == ""
    assert "call-7" in (tmp_path / "out.html").read_text()
    assert (out / "gateway.jsonl").read_bytes().count(b"call-7") == 2
    assert (tmp_path / "out.zip").stat().st_size > 1000
    coverage = json.loads((tmp_path / "out.json").read_text())
    assert coverage["complete"] is True
    assert run(*words) == USAGE
    assert folder.exists()


def test_a_report_in_place_of_an_older_file_is_told(
    folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    """A report replaces the file of its name, and the command says which one it has replaced."""
    words = ("--dir", str(folder), "--session", "call-7")
    first, second = str(tmp_path / "a.html"), str(tmp_path / "b.txt")
    run(*words, "--report", first)
    assert f"{first}: written\n" in capsys.readouterr().err
    run(*words, "--report", first, "--report", second)
    said = capsys.readouterr().err
    assert f"{first}: replaced an older file\n" in said
    assert f"{second}: written\n" in said


def everything(out: Path) -> tuple[tuple[str, ...], ...]:
    """The words for each thing that can be made of one query."""
    return (
        ("--collect", str(out / "lines")),
        ("--report", str(out / "call.html")),
        ("--bundle", str(out / "call.zip")),
        ("-o", "raw"),
    )


def contents(out: Path) -> dict[str, str]:
    """What was written, whenever it was made."""
    found = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    texts = {name: path.read_bytes() for name, path in found.items() if path.suffix != ".zip"}
    for name, path in found.items():
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as packed:
                texts |= {f"{name}/{inner}": packed.read(inner) for inner in packed.namelist()}
    made = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|Command: .*")
    return {name: made.sub("", text.decode()) for name, text in texts.items()}


def test_all_is_made_of_one_reading(
    folder: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Files and stdout are served by one pass over the sources, and are what each is alone."""
    read: list[int] = []
    real = FileByteReader.read_into

    def counted(self: FileByteReader, buffer: bytearray, offset: int, size: int) -> int:
        read.append(real(self, buffer, offset, size))
        return read[-1]

    monkeypatch.setattr(FileByteReader, "read_into", counted)
    monkeypatch.setattr(sys, "argv", ["cordboard", "logs"])
    together, apart = tmp_path / "together", tmp_path / "apart"
    together.mkdir()
    apart.mkdir()
    asked = [("--session", "call-7"), ("--since", at(0))]
    for words in asked:
        for out in (together, apart):
            shutil.rmtree(out)
            out.mkdir()
        one_by_one, shown = [], b""
        for wanted in everything(apart):
            read.clear()
            assert run(*words, *wanted) == EXIT_COMPLETE
            one_by_one.append(sum(read))
            shown += capfdbinary.readouterr().out
        read.clear()
        assert run(*words, *itertools.chain(*everything(together))) == EXIT_COMPLETE
        assert sum(read) == max(one_by_one)
        said = capfdbinary.readouterr()
        assert said.out == shown
        assert said.err.count(b"coverage:") == 1
        assert said.err.count(b": written") == 3
        assert contents(together) == contents(apart)
    assert folder.exists()


def test_files_are_whole_when_the_reader_of_stdout_goes(folder: Path, tmp_path: Path) -> None:
    """`-o json | head -1` beside --collect: the collection holds all lines."""
    lines = [encoded(record(n, seq=n, boot="bbbbbbbb")) for n in range(1, 9000)]
    write_lines(folder / "big.jsonl", lines)
    done = subprocess.run(
        f"{sys.executable} -m cordboard logs -o raw --collect {tmp_path}/all | head -1",
        shell=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "all" / "big.jsonl").read_bytes().splitlines() == lines


def test_coverage_in_full(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    """What is missing stands in the table and, with its parts, in the coverage file."""
    lines = (folder / "gateway.jsonl").read_bytes().splitlines()
    write_lines(folder / "gateway.jsonl", [lines[0], lines[2]])
    assert run("--coverage", "c.json", "-o", "raw") == EXIT_INCOMPLETE
    said = capsys.readouterr().err
    assert "coverage: incomplete, 2 lines (2 explicit)" in said
    assert (
        f"gap: lines are missing: the sequence numbers have a gap (boot aaaaaaaa: seq 2, between {at(1)} and {at(3)})"
        in said
    )
    answers = json.loads((tmp_path / "c.json").read_text())["answers"]
    assert [a["name"] for a in answers if a["shortfalls"]] == ["gateway"]


def test_explain(folder: Path, capsys: Captured) -> None:
    """--explain prints each source's own command, and reads nothing."""
    assert run("--explain", "--session", "call-7") == 0
    assert capsys.readouterr().out == f"# {folder}\ngrep -rhF -- call-7 {folder} | sort\n"


def test_an_environment(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    """--env reads the sources that cordboard.toml names."""
    (tmp_path / "cordboard.toml").write_text(
        '[[environments.stg]]\ntype = "directory"\npath = "logs"\n'
        '[logs.keys]\nsessionId = ["callId"]\n'
    )
    write_lines(
        folder / "app.log", [b'{"callId":"call-9","msg":"Hello","time":"2026-11-23T10:00:00Z"}']
    )
    assert run("--stg", "--session", "call-9", "-q") == 0
    assert json.loads(capsys.readouterr().out)["message"] == "Hello"


def test_hostile_lines(folder: Path, capsys: Captured) -> None:
    """No line steers the terminal, whichever of its values tries to."""
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\b"
    line = record(
        9, session=f"s{evil}", message=evil, service=evil, event=evil, level="error",
        meta={evil: evil, "n": {"x": evil}}, error={"type": evil, "message": evil, "stack": f"a\n{evil}"},
    )  # fmt: skip
    (folder / f"x{evil[:5]}.jsonl").write_bytes(
        json.dumps(line).encode() + b"\n" + b"\x1b[2Jtext \x1b[0m\n"
    )
    assert run("-o", "pretty") == 0
    said = capsys.readouterr()
    for forbidden in "\x1b\x07\x9b\u202e\r\b":
        assert forbidden not in said.out + said.err
    assert "\\x1b]0;owned\\x07" in said.out


def test_sessions_from_files(folder: Path, capsys: Captured) -> None:
    """`cordboard sessions --local` lists what the files tell, and shows one."""
    assert main(["sessions", "--local"]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split()[:3] == ["SESSION", "STATE", "REASON"]
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["call-8", "call-7"]
    assert main(["sessions", "--local", "call-7"]) == 0
    assert "join.refused" in capsys.readouterr().out
    assert main(["sessions", "--local", "-o", "json", "--user", "u-1"]) == 0
    assert json.loads(capsys.readouterr().out)["sessionId"] == "call-7"
    assert main(["sessions", "--local", "nobody"]) == 1
    assert "Session nobody was not found in the logs." in capsys.readouterr().err
    assert main(["sessions", "-t", "1h", "--gateway", "http://127.0.0.1:9"]) == 1
    assert capsys.readouterr().out == ""
    assert main(["sessions", "--dir", str(folder), "call-7"]) == 0
    shown = capsys.readouterr()
    assert f"Its lines: cordboard logs --dir {folder} --session call-7\n" in shown.out
    assert shown.err == ""


def test_sessions_of_which_lines_are_missing(folder: Path, capsys: Captured) -> None:
    """A list with status 3 says why; in JSON a list of none is no line."""
    lines = (folder / "gateway.jsonl").read_bytes().splitlines()
    write_lines(folder / "gateway.jsonl", [lines[0], lines[2]])
    assert main(["sessions", "--local"]) == EXIT_INCOMPLETE
    shown = capsys.readouterr()
    assert "up to 1 line" in shown.out
    assert "gap: lines are missing" in shown.err
    assert main(["sessions", "--local", "-o", "json", "--state", "failed"]) == EXIT_INCOMPLETE
    assert capsys.readouterr().out == ""


def test_the_script_takes_the_same_words(folder: Path, tmp_path: Path) -> None:
    """scripts/get-logs.sh is the same command, from any directory and by any link."""
    link = tmp_path / "get-logs"
    link.symlink_to(ROOT / "scripts" / "get-logs.sh")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [link, "--session", "call-7", "-o", "raw", "-q"], capture_output=True, check=False,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.splitlines() == (folder / "gateway.jsonl").read_bytes().splitlines()[:2]
    assert subprocess.run([link, "-t", "x"], capture_output=True, check=False).returncode == USAGE


# --- terminal


def heed_ctrl_c() -> None:
    """Undo what a shell does to its background jobs, the tests among them: SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def at_a_terminal(
    *words: str, pager: str = "cat", until: bytes = b"", **more: str
) -> tuple[bytes, int]:
    """Run the command with its output on a terminal; return what it showed, and its status."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "PAGER": pager, "TERM": "xterm", **more},
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no other thread is there
    )
    os.close(follower)
    shown = b""
    deadline = time.monotonic() + 40
    try:
        while time.monotonic() < deadline:
            if select.select([leader], [], [], 0.1)[0]:
                try:
                    shown += os.read(leader, 65536)
                except OSError:  # nobody has it open any more
                    break
            if until and until in shown:
                process.send_signal(signal.SIGINT)
                until = b""
        return shown, process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(leader)


@pytest.mark.usefixtures("folder")
def test_colors_at_a_terminal_alone() -> None:
    """At a terminal lines are for people and in colours; NO_COLOR is respected."""
    shown, status = at_a_terminal("--session", "call-7")
    assert status == 0
    assert b"\x1b[34mgateway/gateway" in shown
    assert b"\x1b[32mcoverage: complete" in shown
    shown, _ = at_a_terminal("--session", "call-7", NO_COLOR="1")
    assert b"gateway/gateway" in shown
    assert b"\x1b[3" not in shown


@pytest.mark.usefixtures("folder")
def test_a_pager_at_a_terminal() -> None:
    """At a terminal lines go through the user's pager; --no-pager goes without."""
    shown, status = at_a_terminal(pager="sed s/^/paged:/")
    assert status == 0
    assert shown.count(b"paged:") >= 3
    shown, _ = at_a_terminal("--no-pager", pager="sed s/^/paged:/")
    assert b"paged:" not in shown
    shown, status = at_a_terminal(pager="head -1")
    assert (status, shown.count(b"gateway/gateway")) == (0, 0)
    assert b"coverage: complete" in shown


@pytest.mark.usefixtures("folder")
def test_ctrl_c_ends_following_at_once() -> None:
    """Ctrl-C ends the command with the shell's status for it, without a traceback."""
    shown, status = at_a_terminal("-f", "--since", at(0), until=b"Other")
    assert status == INTERRUPTED, shown
    assert b"Traceback" not in shown


STUCK = """
import os, time
from cordboard.cli import _logs_query, main
from cordboard.logs.reader import Reader
from cordboard.logs.sources import Source, Stream

class Stuck(Source, Stream):
    name = kind = "stuck"
    def read(self, *, follow=False):
        os.write(1, b"reading\\n")  # as no thread of ours does, through Python's stdout
        time.sleep(60)
        yield b""
    def streams(self, query):
        return [self, self, self]
    def answers(self):
        return []
    def shortfalls(self):
        return []
    def close(self):
        pass

_logs_query.open_reader = lambda args, query, **_: Reader(query, [Stuck()])
raise SystemExit(main(["logs"]))
"""


def test_ctrl_c_ends_a_query_at_once() -> None:
    """Nothing that hangs, such as a cluster that does not answer, keeps Ctrl-C from its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no other thread is there
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == INTERRUPTED
    assert b"Traceback" not in said


def test_a_reader_that_has_gone(folder: Path) -> None:
    """A pipe whose reader ends (head) is no reason for a traceback."""
    write_lines(
        folder / "big.jsonl", [encoded(record(n, seq=n, boot="bbbbbbbb")) for n in range(1, 20_000)]
    )
    done = subprocess.run(
        f"{sys.executable} -m cordboard logs -o raw | head -1", shell=True, capture_output=True, check=False
    )  # fmt: skip
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["-o raw", "-o raw --collect all"])
def test_a_disk_that_is_full(folder: Path, tmp_path: Path, words: str) -> None:
    """Where stdout cannot be written, the reason is said; files beside it are whole."""
    lines = [encoded(record(n, seq=n, boot="bbbbbbbb")) for n in range(1, 2000)]
    write_lines(folder / "big.jsonl", lines)
    done = subprocess.run(
        f"{sys.executable} -m cordboard logs {words} >/dev/full",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.endswith("cordboard: Cannot write the output: No space left on device.\n")
    assert "Traceback" not in done.stderr
    if "--collect" in words:
        assert (tmp_path / "all" / "big.jsonl").read_bytes().splitlines() == lines


@pytest.mark.parametrize("words", ["logs -o raw -q", "logs --explain", "completion bash", "doctor"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.usefixtures("folder")
def test_streams_that_are_closed(words: str, closed: str) -> None:
    """What a shell has closed leads nowhere; the exit status is as ever, and nothing breaks."""
    command = f"{sys.executable} -m cordboard {words}"
    ran = [
        subprocess.run(f"{command} {more}", shell=True, capture_output=True, check=False)
        for more in ("", closed)
    ]
    assert ran[1].returncode == ran[0].returncode
    assert b"Traceback" not in ran[1].stderr
    if "2>" not in closed:
        assert ran[1].stderr == ran[0].stderr
    if ">&-" not in closed.replace("2>&-", ""):
        assert ran[1].stdout == ran[0].stdout


@pytest.mark.parametrize("words", ["logs --explain", "completion bash", "sessions --local"])
@pytest.mark.usefixtures("folder")
def test_whatever_cannot_be_written(words: str) -> None:
    """Each command says why, and fails."""
    done = subprocess.run(
        f"env -u PYTHONUNBUFFERED {sys.executable} -m cordboard {words} >/dev/full",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "cordboard: Cannot write the output: No space left on device.\n"


def humble() -> list[str]:
    """The words before a command that take root's right to read everything away."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may read everything")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", "--bounding-set", rights, "--inh-caps", rights, "--no-new-privs"]


@pytest.mark.parametrize("place", ["logs/closed", "logs/closed/deeper", "logs/closed/a.jsonl"])
def test_a_closed_folder(folder: Path, place: str) -> None:
    """What this user may not look into is named as such, wherever it is named itself."""
    closed = folder / "closed"
    closed.mkdir()
    write_lines(closed / "a.jsonl", [encoded(record(1))])
    closed.chmod(0)
    try:
        done = subprocess.run(
            [*humble(), *COMMAND, "--dir", place], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (EXIT_INCOMPLETE, "")
        assert "forbidden: this user is not allowed to read it (Permission denied)" in done.stderr
        for words in (
            ("--coverage", "logs/closed/c.json"), ("--report", "logs/closed/deeper/c.html"),
            ("--collect", "logs/closed/deeper/c"), ("--bundle", "logs/closed/c.zip"),
        ):  # fmt: skip
            done = subprocess.run(
                [*humble(), *COMMAND, *words], capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stdout) == (USAGE, ""), done.stderr
    finally:
        closed.chmod(0o700)


@pytest.mark.usefixtures("folder")
def test_a_window_in_the_future(capsys: Captured) -> None:
    """A window that has not come yet is told of."""
    assert run("--since", "2999-01-01") == EXIT_COMPLETE
    assert "The window begins in the future; the time is now 20" in capsys.readouterr().err


def test_places_without_text(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    """What holds no lines at all is no complete answer, and why is said."""
    (tmp_path / "x.bin").write_bytes(b"\1\0" * 100)
    for place, why in (
        ("/dev/null", "not a regular file"),
        ("x.bin", "contains no text"),
    ):
        assert run("--dir", place) == EXIT_INCOMPLETE
        assert f"no_source: there is no source for it ({why})" in capsys.readouterr().err
    (folder / "x.bin").write_bytes(b"\1\0" * 100)
    assert run() == EXIT_COMPLETE


@pytest.mark.usefixtures("folder")
def test_following_up_to_a_limit(capsys: Captured) -> None:
    """A limit that was reached says so, following too."""
    assert run("-f", "--since", at(0), "--limit", "1") == EXIT_INCOMPLETE
    assert "the limit of 1 was reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("gatway", "No lines of gatway so far; did you mean gateway?\n"),
        ("billing", "No lines of billing so far; services found: gateway.\n"),
        ("gateway", ""),
    ],
)
@pytest.mark.usefixtures("folder")
def test_following_somebody_who_is_unknown(service: str, said: str) -> None:
    """Who waits for a misspelt service is told before the waiting begins."""
    process = subprocess.Popen(
        [*COMMAND, "-f", "--service", service], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        ready = select.select([process.stderr], [], [], 20 if said else 1.5)[0]
        assert (os.read(process.stderr.fileno(), 1000) if ready else b"").decode() == said
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_half_written_is_taken_away(tmp_path: Path, number: int) -> None:
    """Ended by a signal while its reader waits, a query leaves no file of those that it was writing."""
    lines = [encoded(record(n, seq=n, message="x" * 500)) for n in range(1, 5000)]
    write_lines(tmp_path / "logs" / "gateway.jsonl", lines)
    words = ["--dir", str(tmp_path / "logs"), "-o", "raw", "--report", "report.html"]
    words += ["--collect", "lines", "--bundle", "all.zip"]
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no other thread is there
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.read(1)  # it has begun, and soon the pipe is full
        assert [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
        process.send_signal(number)
        assert process.wait(20) in {128 + number, -number}
        assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    finally:
        process.kill()
        process.communicate()


def test_only_what_is_needed_is_imported(folder: Path) -> None:
    """A query over a directory imports none of the large libraries; a report as text no templates."""
    code = (
        "import sys; from cordboard.cli import main; main(['logs', '-q', '-o', 'raw']);"
        "heavy = {'asyncio', 'pydantic', 'redis', 'lightkube', 'aiohttp', 'fastapi', 'jinja2', 'multiprocessing',"
        " 'concurrent.futures', 'cordboard.emit', 'cordboard.store', 'cordboard.logs.report', 'cordboard.logs.follow',"
        " 'cordboard.logs.around', 'cordboard.logs.late', 'cordboard.logs.why', 'cordboard.cli._logs_special'};"
        "found = heavy & sys.modules.keys();"
        "main(['logs', '-q', '--report', 'call.txt']); found |= {'jinja2'} & sys.modules.keys();"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert folder.exists()
    assert "logs" in COMMANDS


def test_progress_is_written_by_one_thread(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others count: one that held stderr when the interpreter ends would abort it."""
    progress = _logs_output.Progress(shown=True, after_s=0.0, every_s=0.0)
    other = threading.Thread(target=progress, args=(5_000_000,))
    other.start()
    other.join()
    assert capsys.readouterr().err == ""
    progress(5_000_000)
    assert "reading: 10 MB" in capsys.readouterr().err


def test_status_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """What a store or a program has said stands on one line, without control characters."""
    print_status(Namespace(quiet=False), "store: unreachable: \x1b[2Jgone\nline 2\x9b0m")
    told = capsys.readouterr().err
    assert told.endswith("\n")
    assert told.count("\n") == 1
    assert not {"\x1b", "\x9b"} & set(told)
