"""`cordboard doctor --env`: whether each source of an environment can be read, as whom, and by which clock."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.cli import main
from cordboard.logs.source_check import check_source
from cordboard.logs.sources._http import clock_fact, skew_s
from cordboard.logs.sources.directory import Directory
from cordboard.logs.sources.loki import open_source
from logs.logs_support import encoded, record
from logs.loki_double import SECOND, LokiDouble


@pytest.fixture
def loki() -> Iterator[LokiDouble]:
    """A Loki with the usual limits."""
    server = LokiDouble(entries_max=500, lookback_s=7200)
    yield server
    server.shutdown()
    server.server_close()


def fresh_line(age_s: float, seq: int = 1) -> bytes:
    """A line that was written `age_s` seconds ago."""
    stamp = datetime.fromtimestamp(time.time() - age_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return bytes(encoded({**record(0, seq=seq), "timestamp": stamp}))


def test_folder_in_use_is_readable_and_its_newest_line_is_told(tmp_path: Path) -> None:
    """Lines of the last minute are counted; older ones are not read."""
    lines = [fresh_line(3000, 1), fresh_line(30, 2), fresh_line(20, 3)]
    (tmp_path / "gateway.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    check = check_source(Directory(tmp_path))
    assert check.ok
    assert check.message.startswith("answers; 2 lines in the last 60 s, the newest 2")


def test_folder_without_new_lines_is_readable(tmp_path: Path) -> None:
    """A quiet service is no fault."""
    (tmp_path / "gateway.jsonl").write_bytes(fresh_line(3000) + b"\n")
    check = check_source(Directory(tmp_path))
    assert (check.ok, check.message) == (True, "answers; no lines in the last 60 s")


def test_folder_that_does_not_exist_fails_with_its_hint(tmp_path: Path) -> None:
    """The way out is that of the query."""
    check = check_source(Directory(tmp_path / "gone", hint="Use --dir."))
    assert (check.ok, check.hint) == (False, "Use --dir.")


def test_store_tells_identity_limits_and_clock(
    loki: LokiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secret itself is never shown."""
    monkeypatch.setenv("LOKI_TOKEN", "s3cret")
    loki.push(
        [{"stream": {"namespace": "voice"}, "values": [[str(time.time_ns() - 5 * SECOND), "x"]]}]
    )
    source = open_source(
        {
            "url": loki.url,
            "selector": '{namespace="voice"}',
            "user": "12",
            "token_env": "LOKI_TOKEN",
        }
    )
    check = check_source(source)
    assert check.ok, check
    for words in (
        "1 line in the last 60 s",
        "as 12 with LOKI_TOKEN",
        "limits: 500 lines a request",
        "clock agrees",
    ):
        assert words in check.message
    assert "s3cret" not in check.message


def test_store_that_is_away_fails() -> None:
    """The reason is that of a query's coverage."""
    source = open_source({"url": "http://127.0.0.1:1", "selector": '{a="b"}'})
    check = check_source(source)
    assert not check.ok
    assert check.message.startswith("it does not respond: http://127.0.0.1:1")


def test_command_prints_a_line_for_each_source_and_fails_if_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other environments are not asked."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "gateway.jsonl").write_bytes(fresh_line(5) + b"\n")
    (tmp_path / "cordboard.toml").write_text(
        "".join(
            f'[[environments.{name}]]\ntype = "directory"\npath = "{path}"\n'
            for name, path in (("stg", "here"), ("stg", "gone"), ("prod", "gone"))
        )
    )
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--env", "stg"]) == 1
    first, second, *_rest = capsys.readouterr().out.splitlines()
    assert first.startswith("ok")
    assert "1 line in the last 60 s" in first
    assert second.startswith("FAIL")
    assert main(["doctor", "--env", "nowhere"]) == 1
    assert "known environments: local, prod, stg" in capsys.readouterr().out


@given(st.integers(-(10**6), 10**6))
def test_difference_of_the_clocks_is_that_of_the_header(ahead_s: int) -> None:
    """To the second, the resolution of the header."""
    date = format_datetime(datetime.fromtimestamp(time.time() + ahead_s, UTC), usegmt=True)
    measured = skew_s(date)
    assert measured is not None
    assert abs(measured - ahead_s) < 2


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Nov 2026 10:00:00 GMT"])
def test_clock_of_a_server_that_does_not_tell_it_is_unknown(date: str | None) -> None:
    """A malformed header is no error."""
    assert clock_fact(skew_s(date)) == "its clock is unknown"


def test_clock_that_differs_is_told_with_its_direction() -> None:
    """Windows are computed with this machine's clock."""
    assert clock_fact(90.4) == "its clock is 90 s ahead of this machine's"
    assert clock_fact(-30) == "its clock is 30 s behind this machine's"
