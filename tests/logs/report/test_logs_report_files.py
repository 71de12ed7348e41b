"""What is written is whole or not there, for its owner's eyes, and never over older evidence."""

import errno
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cordboard.cli import main
from cordboard.cli._logs_files import check_target
from cordboard.contract.errors import CordboardError, UsageError
from cordboard.logs.coverage import Coverage
from cordboard.logs.line import Line
from cordboard.logs.report import (
    Header,
    bundle,
    hand_over,
)
from cordboard.logs.report.bundle import BUFFERED_MAX_BYTES, file_name
from cordboard.logs.report.entry import clean_raw
from report_support import COMPLETE, HEADER, MISSING, good_call, line, write_report


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


@pytest.mark.parametrize("name", ["call.pdf", "call", "call.html.gz", ".html"])
def test_another_form_is_refused(tmp_path: Path, name: str) -> None:
    """The ending chooses the form; one that is none of ours is a usage error, with the way out."""
    with pytest.raises(UsageError, match=r"ends in \.html or \.txt") as found:
        check_target("--report", str(tmp_path / name))
    assert "--report call.html" in found.value.hint
    with pytest.raises(UsageError, match=r"ends in \.zip"):
        check_target("--bundle", str(tmp_path / name))


@pytest.mark.parametrize("name", ["call.html", "call.TXT"])
def test_the_folder_must_be_there(tmp_path: Path, name: str) -> None:
    """A report into a folder that is not there is a usage error that names the command."""
    with pytest.raises(UsageError, match="is not a directory") as found:
        check_target("--report", str(tmp_path / "away" / name))
    assert found.value.hint == f"Create it: mkdir -p {tmp_path / 'away'}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder that happens to be called call.html is not replaced."""
    (tmp_path / "call.html").mkdir()
    with pytest.raises(UsageError, match="expected a file, got a directory"):
        check_target("--report", str(tmp_path / "call.html"))


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--report", "call.html"),
        ("--report", "call.txt"),
        ("--bundle", "call.zip"),
        ("--collect", "a/b"),
    ],
)
def test_a_folder_without_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str
) -> None:
    """A folder that this user may not write in is told before anything is read."""
    check_target(option, str(tmp_path / name))
    monkeypatch.setattr("cordboard.cli._logs_files.os.access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot write to"):
        check_target(option, str(tmp_path / name))


def test_a_report_is_private_and_replaces_its_older_self(tmp_path: Path) -> None:
    """Lines may hold what only their reader may see; asking again writes the same file anew."""
    path = tmp_path / "call.txt"
    for _ in range(2):
        write_report(str(path), good_call().lines(), COMPLETE, HEADER)
        assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["call.txt"]


def test_coverage_is_asked_when_the_lines_have_ended(tmp_path: Path) -> None:
    """A reader knows what is missing only at the end: it may hand in a function."""
    seen: list[str] = []

    def lines() -> Iterator[Line]:
        yield from good_call().lines()
        seen.append("lines")

    def coverage() -> Coverage:
        seen.append("coverage")
        return MISSING

    write_report(tmp_path / "call.txt", lines(), coverage, HEADER)
    assert seen == ["lines", "coverage"]
    assert "INCOMPLETE" in (tmp_path / "call.txt").read_text()


Write = Callable[[Path, Iterator[Line]], Any]
WRITERS: list[tuple[str, Write]] = [
    ("call.html", lambda path, lines: write_report(path, lines, COMPLETE, HEADER)),
    ("call.zip", lambda path, lines: hand_over(lines, COMPLETE, HEADER, zip_path=path)),
    ("calls", lambda path, lines: hand_over(lines, COMPLETE, HEADER, directory=path)),
]


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_what_fails_leaves_nothing(tmp_path: Path, name: str, write: Write) -> None:
    """When reading fails midway, neither half a file nor a temporary one stays."""

    def lines() -> Iterator[Line]:
        yield from good_call().lines()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / name, lines())
    assert nothing_in(tmp_path)


@pytest.mark.parametrize(("name", "write"), WRITERS)
@pytest.mark.parametrize(
    "failure",
    [
        (errno.ENOSPC, "not enough space"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_errors_are_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    write: Write,
    failure: tuple[int, str],
) -> None:
    """A full disk or a forbidden folder is told in words, and nothing is left behind."""
    number, words = failure

    def broken(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    for place in ("os.replace", "os.link", "os.rename", "Path.rename"):
        monkeypatch.setattr(f"cordboard.logs.report.bundle.{place}", broken)
    with pytest.raises(CordboardError, match=words) as found:
        write(tmp_path / name, iter(good_call().lines()))
    monkeypatch.undo()
    assert found.value.exit_code == 1
    assert nothing_in(tmp_path)


def test_a_real_full_disk(tmp_path: Path) -> None:
    """A real device without space gives the same words."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with (
        pytest.raises(CordboardError, match="not enough space"),
        bundle._in_words(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("prod/gateway-7f9c-x2/gateway", "prod-gateway-7f9c-x2-gateway.jsonl"),
        ("prod/runner-0/bot (previous)", "prod-runner-0-bot-previous.jsonl"),
        ("prod/runner-0/setup (init)", "prod-runner-0-setup.jsonl"),
        ("/var/log/cordboard/gateway.jsonl", "gateway.jsonl"),
        ("logs/gateway.1.jsonl.gz", "gateway.1.jsonl"),
        ("/var/log/app.log.zst", "app.log.jsonl"),
        ("../../etc/passwd", "passwd.jsonl"),
        ("/logs/..", "lines.jsonl"),
        ("a/b/c\x00\n;rm -rf.jsonl", "c_rm_-rf.jsonl"),
        ("", "lines.jsonl"),
        ("/x/" + "y" * 500, "y" * 200 + ".jsonl"),
    ],
)
def test_names_of_collected_files(source: str, name: str) -> None:
    """One file a container, named after it; a source cannot name a file outside the folder."""
    assert file_name(source) == name


def test_a_collection_holds_each_line_as_it_was(tmp_path: Path) -> None:
    """Each source's lines are in a file of their own, byte for byte, in their order."""
    lines = [
        Line({}, b"\xff not utf-8", "prod/a/gateway"),
        Line({}, b'{"password":"kept as found"}', "prod/a/runner"),
        Line({}, b"second", "prod/a/gateway"),
        Line({}, b"third", "/logs/gateway.jsonl"),
        Line({}, b"fourth", "/older/gateway.jsonl"),
    ]
    target = tmp_path / "deep" / "calls"
    hand_over(lines, MISSING, HEADER, directory=target)
    assert {path.name: path.read_bytes() for path in target.glob("*.jsonl")} == {
        "prod-a-gateway.jsonl": b"\xff not utf-8\nsecond\n",
        "prod-a-runner.jsonl": b'{"password":"kept as found"}\n',
        "gateway.jsonl": b"third\n",
        "gateway-2.jsonl": b"fourth\n",
    }
    assert target.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in target.glob("*.jsonl"))
    coverage = json.loads((target / "coverage.json").read_bytes())
    assert coverage["complete"] is False
    assert coverage["answers"][2]["shortfalls"] == [
        {"reason": "gap", "detail": "boot 9f31c2aa: seq 17 to 21"}
    ]


def test_a_collection_is_never_overwritten(tmp_path: Path) -> None:
    """Something that has that name is refused before anything is read, and is left as it was."""
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "gateway.jsonl").write_text("older")
    (tmp_path / "file").write_text("older")
    for name in ("calls", "file"):
        with pytest.raises(UsageError, match="never overwritten"):
            check_target("--collect", str(tmp_path / name))


def test_a_folder_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    """Somebody else's collection of that name, made while ours was being read, stays."""
    target = tmp_path / "calls"

    def lines() -> Iterator[Line]:
        yield line({"service": "gateway"})
        target.mkdir()
        (target / "theirs").write_text("older")

    with pytest.raises(CordboardError, match="already exists"):
        hand_over(lines(), COMPLETE, HEADER, directory=target)
    assert [path.name for path in tmp_path.rglob("*")] == ["calls", "theirs"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    """What ``mktemp -d`` gave is new enough."""
    (tmp_path / "new").mkdir()
    check_target("--collect", str(tmp_path / "new"))
    hand_over([line({"service": "gateway"})], COMPLETE, HEADER, directory=tmp_path / "new")
    assert (tmp_path / "new" / "gateway.jsonl").exists()


def test_a_large_collection_is_written_as_it_grows(tmp_path: Path) -> None:
    """More than is buffered keeps its order, and every line."""
    raw = b"x" * (BUFFERED_MAX_BYTES // 8)
    lines = [Line({}, b"%d " % number + raw, f"/logs/{number % 2}.jsonl") for number in range(20)]
    hand_over(lines, COMPLETE, HEADER, directory=tmp_path / "calls")
    kept = (tmp_path / "calls" / "1.jsonl").read_bytes().splitlines()
    assert [item.split()[0] for item in kept] == [b"%d" % number for number in range(1, 20, 2)]


def test_a_bundle_is_complete_and_without_secrets(tmp_path: Path) -> None:
    """Lines, both reports, coverage and versions; a secret in a raw line is redacted again."""
    lines = [
        *good_call().lines(),
        Line(
            {"message": "a"}, b'{"msg":"GET /?token=hunter2","db_password":"hunter2"}', "/l/app.log"
        ),
        Line({"message": "b"}, b"Authorization: Bearer hunter2hunter2", "/l/app.log"),
    ]
    hand_over(lines, MISSING, Header(command="x --token=hunter2"), zip_path=tmp_path / "call.zip")
    assert (tmp_path / "call.zip").stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(tmp_path / "call.zip") as packed:
        assert packed.testzip() is None
        names = packed.namelist()
        contents = {name: packed.read(name) for name in names}
    assert {"README.txt", "report.html", "report.txt", "coverage.json", "versions.json"} < set(
        names
    )
    assert "lines/gateway.jsonl" in names
    assert all(not name.startswith("/") and ".." not in name for name in names)
    assert not [name for name, data in contents.items() if b"hunter2" in data]
    assert json.loads(contents["versions.json"])["cordboard"]
    assert contents["lines/app.log.jsonl"].splitlines()[0] == (
        b'{"msg":"GET /?token=[redacted]","db_password":"[redacted]"}'
    )
    assert [item.name for item in tmp_path.iterdir()] == ["call.zip"]


def test_several_are_written_from_one_reading(tmp_path: Path) -> None:
    """A report, a folder and an archive need the lines once; all are there, or what failed says so."""
    lines = iter(good_call().lines())
    hand_over(
        lines,
        COMPLETE,
        HEADER,
        reports=[tmp_path / "call.html"],
        directory=tmp_path / "calls",
        zip_path=tmp_path / "call.zip",
    )
    assert sorted(item.name for item in tmp_path.iterdir()) == ["call.html", "call.zip", "calls"]
    assert list(lines) == []
    words = ["--report", str(tmp_path / "b.txt"), "--collect", str(tmp_path / "calls")]
    assert main(["logs", "--dir", str(tmp_path / "calls"), *words]) == UsageError.exit_code
    assert not (tmp_path / "b.txt").exists()


def test_a_bundle_is_never_overwritten(tmp_path: Path) -> None:
    """An archive of that name is refused before anything is read, or when it has come meanwhile."""
    (tmp_path / "call.zip").write_text("older")
    with pytest.raises(UsageError, match="never overwritten"):
        check_target("--bundle", str(tmp_path / "call.zip"))

    def lines() -> Iterator[Line]:
        yield line({"service": "gateway"})
        (tmp_path / "new.zip").write_text("theirs")

    with pytest.raises(CordboardError, match="already exists"):
        hand_over(lines(), COMPLETE, HEADER, zip_path=tmp_path / "new.zip")
    assert (tmp_path / "new.zip").read_text() == "theirs"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["call.zip", "new.zip"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1,  "b":[1.50, 1e3]}',
        b"\xff\xfe plain",
        b"",
        b"{not json",
        "日本語".encode(),
        b'{"n":123456789012345678901234567890}',
    ],
)
def test_a_line_without_secrets_is_kept_byte_for_byte(raw: bytes) -> None:
    """Redaction changes only lines that hold something to hide."""
    assert clean_raw(raw) == raw
