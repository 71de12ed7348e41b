"""Lines that rsyslog and syslog-ng have really carried, where these programs are installed.

`RSYSLOGD` and `SYSLOG_NG` may name the programs; Debian installs only one of the two at a time.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from logs.logs_support import ask, encoded, record, write_lines

LINES = [
    bytes(
        encoded(record(n, seq=n, session=("call-7", "call-8")[n % 2], message=f'é "{n}" \\ %d <b>'))
    )
    for n in range(1, 41)
]
RSYSLOG = """
module(load="imfile" mode="polling" pollingInterval="1")
global(workDirectory="{folder}" maxMessageSize="64k")
input(type="imfile" File="{folder}/in.jsonl" Tag="voice:")
action(type="omfile" file="{folder}/RSYSLOG_TraditionalFileFormat.log" template="RSYSLOG_TraditionalFileFormat")
action(type="omfile" file="{folder}/RSYSLOG_FileFormat.log" template="RSYSLOG_FileFormat")
action(type="omfile" file="{folder}/RSYSLOG_SyslogProtocol23Format.log" template="RSYSLOG_SyslogProtocol23Format")
"""
SYSLOG_NG = """
@version: 3.38
options {{ keep-hostname(yes); log-msg-size(65536); }};
source s {{ file("{folder}/in.jsonl" flags(no-parse) follow-freq(0.5) program-override("voice")); }};
destination a {{ file("{folder}/traditional.log"); }};
destination b {{ file("{folder}/protocol.log" flags(syslog-protocol)); }};
destination c {{ file("{folder}/iso.log" template("$ISODATE $HOST $MSGHDR$MSG\\n")); }};
destination d {{ file("{folder}/json.log" template("$(format-json --scope rfc5424)\\n")); }};
log {{ source(s); destination(a); destination(b); destination(c); destination(d); }};
"""
# Both write at once; the machine may be busy.
WAIT_S = 30


def program(variable: str, name: str) -> str:
    """Return a program's path; skip the test where it is not installed."""
    found = os.environ.get(variable) or shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        pytest.skip(f"{name} is not installed, and {variable} is not set")
    return found


def carry(arguments: list[str], folder: Path, outputs: list[str]) -> None:
    """Let a program carry the lines of `in.jsonl` into its output files, then stop it."""
    write_lines(folder / "in.jsonl", LINES)
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + WAIT_S
        files = [folder / name for name in outputs]
        while not all(
            file.exists() and file.read_bytes().count(b"\n") >= len(LINES) for file in files
        ):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait()


def assert_carried(folder: Path, outputs: list[str]) -> None:
    """Each output alone has the same lines, byte for byte, and a complete session."""
    for name in outputs:
        assert ask(folder / name).raws == LINES, name
        answer = ask(folder / name, session="call-7")
        assert answer.raws == [line for line in LINES if b'"call-7"' in line]
        assert answer.coverage.complete


def test_lines_that_rsyslog_carried_come_out_byte_for_byte(tmp_path: Path) -> None:
    """In its traditional format, its file format and that of RFC 5424."""
    daemon = program("RSYSLOGD", "rsyslogd")
    outputs = [
        "RSYSLOG_TraditionalFileFormat.log",
        "RSYSLOG_FileFormat.log",
        "RSYSLOG_SyslogProtocol23Format.log",
    ]
    (tmp_path / "rsyslog.conf").write_text(RSYSLOG.format(folder=tmp_path))
    pid = str(tmp_path / "rsyslog.pid")
    carry([daemon, "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", pid], tmp_path, outputs)
    assert_carried(tmp_path, outputs)


def test_lines_that_syslog_ng_carried_come_out_byte_for_byte(tmp_path: Path) -> None:
    """In its traditional format, that of RFC 5424, with ISO dates, and as JSON."""
    daemon = program("SYSLOG_NG", "syslog-ng")
    outputs = ["traditional.log", "protocol.log", "iso.log", "json.log"]
    (tmp_path / "syslog-ng.conf").write_text(SYSLOG_NG.format(folder=tmp_path))
    state = {"-f": "syslog-ng.conf", "-R": "persist", "-c": "control", "-p": "pid"}
    options = [word for option, name in state.items() for word in (option, str(tmp_path / name))]
    carry([daemon, "-F", "--no-caps", *options], tmp_path, outputs)
    assert_carried(tmp_path, outputs)
