"""A corpus with planted trouble, and an independent, slow reader to compare with."""

import gzip
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cordboard.logs import survey
from cordboard.logs.coverage import Coverage
from cordboard.logs.line import Line
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.sources import Source
from cordboard.logs.sources.directory import Directory

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

zstd_compress = zstd.compress

only_compiled = pytest.mark.skipif(
    not survey.is_compiled(), reason="the C part was not compiled here: no compiler, or no Python.h"
)

START = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    """The timestamp some seconds after the beginning of all times."""
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def record(
    seconds: float,
    *,
    boot: str = "aaaaaaaa",
    seq: int = 1,
    session: str = "server:vm",
    service: str = "gateway",
    level: str = "info",
    message: str = "Something happened",
    **more: Any,
) -> dict[str, Any]:
    """A record of the contract."""
    return {
        "timestamp": at(seconds),
        "level": level,
        "message": message,
        "service": service,
        "tag": service,
        "sessionId": session,
        "userId": None,
        "userName": None,
        **more,
        "boot": boot,
        "seq": seq,
    }


def encoded(value: dict[str, Any]) -> bytes:
    """A record as our writers encode it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def write_lines(path: Path, lines: Iterable[bytes], *, end: bytes = b"\n") -> None:
    """Write lines into a file, packed as its name says."""
    data = b"".join(line + end for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstd.compress(data)
    path.write_bytes(data)


# --- carriers


def cri(line: bytes, seconds: float) -> list[bytes]:
    """A line as containerd writes it."""
    return [f"{at(seconds)[:-1]}321Z stdout F ".encode() + line]


def cri_in_pieces(line: bytes, seconds: float, size: int = 40) -> list[bytes]:
    """A long line as containerd writes it: in pieces."""
    pieces = [line[i : i + size] for i in range(0, len(line), size)] or [b""]
    flags = ["P"] * (len(pieces) - 1) + ["F"]
    stamp = f"{at(seconds)[:-1]}321Z"
    return [
        f"{stamp} stdout {flag} ".encode() + piece
        for flag, piece in zip(flags, pieces, strict=True)
    ]


def kubectl(line: bytes, seconds: float) -> list[bytes]:
    """A line as `kubectl logs --timestamps` prints it."""
    return [f"{at(seconds)[:-1]}123Z ".encode() + line]


def docker(line: bytes, seconds: float) -> list[bytes]:
    """A line as Docker's json-file driver keeps it."""
    text = line.decode("utf-8", "replace") + "\n"
    kept = {"log": text, "stream": "stdout", "time": f"{at(seconds)[:-1]}123Z"}
    return [json.dumps(kept, separators=(",", ":")).encode()]


def bare(line: bytes, seconds: float) -> list[bytes]:
    """A line without a carrier."""
    return [line]


# --- reading, by us


@dataclass
class Answered:
    """What a query returned."""

    lines: list[Line]
    coverage: Coverage

    @property
    def raws(self) -> list[bytes]:
        return [line.raw for line in self.lines]

    @property
    def messages(self) -> list[str]:
        return [line.record["message"] for line in self.lines]

    @property
    def shortfalls(self) -> list[tuple[str, str, str]]:
        return [
            (answer.name, item.reason, item.detail)
            for answer in self.coverage.answers
            for item in answer.shortfalls
        ]


def ask(directory: Path, block_bytes: int | None = None, **wanted: Any) -> Answered:
    """Ask a directory as the command does."""
    return answered(Reader(Query(**wanted), [Directory(directory)], block_bytes=block_bytes))


def ask_source(source: Source, **wanted: Any) -> Answered:
    """Ask a source as the command does."""
    return answered(Reader(Query(**wanted), [source]))


def answered(reader: Reader) -> Answered:
    """Return all that a reader returns, and close it."""
    try:
        lines = list(reader.lines())
        return Answered(lines, reader.coverage())
    finally:
        reader.close()


def reasons(answer: Answered) -> set[str]:
    """Return why lines are missing."""
    return {reason for _, reason, _ in answer.shortfalls}


def lines_of_two_processes(count: int = 60) -> list[bytes]:
    """Return lines of two processes, each of which serves several calls."""
    return [
        bytes(
            encoded(
                record(
                    n * 0.5, boot=("9f31c2aa", "0badcafe")[n % 2], seq=n // 2 + 1,
                    session=("call-7", "call-8", "call-71")[n % 3],
                )
            )
        )
        for n in range(count)
    ]  # fmt: skip


# --- files of all parts

STEPS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("gateway", "join.received", {}),
    ("gateway", "join.accepted", {}),
    ("operator", "launch.claimed", {}),
    ("runner", "start.received", {}),
    ("runner", "bot.forked", {}),
    ("runner", "bot.started", {}),
    ("operator", "launch.assigned", {"runner": "r-1"}),
    ("bot", "bot.connected", {}),
    ("bot", "bot.finished", {}),
    ("runner", "session.ended", {"state": "ended", "reason": "left"}),
)
BOOTS = {
    "interface": "11111111",
    "browser": "22222222",
    "gateway": "33333333",
    "operator": "44444444",
    "runner": "55555555",
    "bot": "66666666",
}
FILES = {"bot": "runner", "browser": "interface"}
PAGE: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("browser", "page.opened", {}),
    ("browser", "join.clicked", {}),
    ("interface", "join.requested", {}),
)


class Plane:
    """Log files of all parts, as `cordboard up` writes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, list[bytes]] = {
            name: [] for name in ("gateway", "operator", "runner", "interface", "up")
        }
        self.counters = {service: itertools.count(1) for service in BOOTS}
        self.boots = dict(BOOTS)
        self.clock = 0.0
        for service in ("gateway", "operator", "runner", "interface"):
            self.say(service, message="Started")

    def say(
        self, service: str, *, skew: float = 0, raw: bytes | None = None, **more: Any
    ) -> dict[str, Any]:
        self.clock += 0.01
        seq = next(self.counters[service])
        line = record(self.clock + skew, boot=self.boots[service], seq=seq, service=service, **more)
        self.files[FILES.get(service, service)].append(raw or encoded(line))
        return line

    def call(
        self,
        session: str,
        *,
        page: bool = False,
        skews: dict[str, float] | None = None,
        fork: bool = True,
        **more: Any,
    ) -> None:
        """Say what a call says; without ``fork`` in a bot process that was there before."""
        if fork:
            self.counters["bot"] = itertools.count(1)
        told = {"epoch": 1, "room": "webrtc:demo", **more}
        for service, event, meta in (*(PAGE if page else ()), *STEPS):
            self.say(
                service, session=session, event=event, meta=meta,
                skew=(skews or {}).get(service, 0), **told,
            )  # fmt: skip
        if page:
            self.say("browser", session=session, message="Call ended", **told)

    def write(self) -> "Plane":
        for name, lines in self.files.items():
            write_lines(self.folder / f"{name}.jsonl", lines)
        return self

    def lose(self, file: str, *places: int) -> None:
        self.files[file] = [line for n, line in enumerate(self.files[file]) if n not in places]

    def ask(self, session: str = "call-7", **more: Any) -> Answered:
        self.write()
        return ask(self.folder, session=session, **more)


# --- reading, by an oracle that knows nothing of ours


@dataclass
class Oracle:
    """Reads everything, line by line, with the standard library alone."""

    found: list[tuple[str, int, int, bytes, dict[str, Any]]] = field(default_factory=list)

    def read(self, directory: Path) -> "Oracle":
        paths = sorted(str(path) for path in directory.rglob("*") if path.is_file())
        for number, name in enumerate(paths):
            data = Path(name).read_bytes()
            if name.endswith(".gz"):
                data = gzip.decompress(data)
            elif name.endswith(".zst"):
                data = zstd.decompress(data)
            pending = b""
            for place, line in enumerate(data.split(b"\n")):
                text, partial = _inner(line.strip(b"\r"))
                pending += text
                if not partial and pending:
                    self._add(number, place, pending)
                    pending = b""
        self.found.sort(key=lambda item: item[:3])
        return self

    def _add(self, number: int, place: int, raw: bytes) -> None:
        try:
            value = json.loads(raw.decode("utf-8", "replace"))
        except ValueError:
            return
        if isinstance(value, dict):
            self.found.append((value["timestamp"], number, place, raw, value))

    def raws(self, **wanted: Any) -> list[bytes]:
        """The lines with these values, in order, each once."""
        seen: set[tuple[str, int]] = set()
        result = []
        for _, _, _, raw, value in self.found:
            mark = (value["boot"], value["seq"])
            if mark not in seen and _fits(value, wanted):
                seen.add(mark)
                result.append(raw)
        return result


def _fits(value: dict[str, Any], wanted: dict[str, Any]) -> bool:
    ranks = ["debug", "info", "warn", "error"]
    return (
        (not wanted.get("since") or value["timestamp"] >= wanted["since"])
        and (not wanted.get("until") or value["timestamp"] < wanted["until"])
        and (not wanted.get("session") or value["sessionId"] == wanted["session"])
        and (not wanted.get("services") or value["service"] in wanted["services"])
        and (not wanted.get("level") or ranks.index(value["level"]) >= ranks.index(wanted["level"]))
        and (not wanted.get("grep") or re.search(wanted["grep"], value["message"]) is not None)
    )


def _inner(line: bytes) -> tuple[bytes, bool]:
    if line.startswith(b'{"log":'):
        return json.loads(line)["log"].rstrip("\n").encode(), False
    if line[:1].isdigit() and b" " in line:
        _, _, rest = line.partition(b" ")
        if rest.startswith(b"stdout "):
            return rest[len(b"stdout F ") :], rest.startswith(b"stdout P")
        return rest, False
    return line, False


def runs_missing(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """The holes in a set of numbers."""
    have = sorted(set(numbers))
    return [
        (before + 1, after - 1) for before, after in itertools.pairwise(have) if after > before + 1
    ]


def counted(lines: Iterable[bytes]) -> Counter[bytes]:
    return Counter(lines)
