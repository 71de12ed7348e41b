"""Valkey's own lines as records: its process, time and level where they belong, said once."""

import itertools
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.contract.record import SERVER_PREFIX
from cordboard.emit.pipeline import pipeline
from cordboard.emit.render import encode_record
from cordboard.emit.values import clean_text

# PID:ROLE TIME LEVEL MESSAGE, in the machine's own time zone
_LINE: Final = re.compile(
    r"(\d+):([XCSM]) (\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3}) ([.*#-]) (.*)", re.ASCII
)
_SIGNAL: Final = re.compile(r"(\d+):signal-handler \(\d+\) (.*)", re.ASCII)
_ROLES: Final = {"X": "sentinel", "C": "child", "S": "replica", "M": "primary"}
_LEVELS: Final = {".": "debug", "-": "debug", "*": "info", "#": "warn"}


class ValkeyLog:
    """Makes records of what one server process after another prints.

    Args:
        write: Takes each record, as a line.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._boot = os.urandom(4).hex()
        self._numbers = itertools.count(1)

    def __call__(self, line: bytes) -> None:
        """Take one line of the server."""
        text = clean_text(line.decode("utf-8", "replace").strip())
        if text:
            said, meta, raw = _read(text)
            record: dict[str, Any] = {
                **said,
                "service": "redis",
                "tag": "valkey",
                "sessionId": f"{SERVER_PREFIX}{pipeline.machine}",
                "userId": None,
                "userName": None,
                **({"meta": meta} if meta else {}),
                **({"raw": True} if raw else {}),
            }
            record |= {"boot": self._boot, "seq": next(self._numbers)}
            self._write(encode_record(record))


def _read(text: str) -> tuple[dict[str, str], dict[str, Any], bool]:
    """Return timestamp, level and message; what goes to ``meta``; whether it was none of its own."""
    if found := _LINE.fullmatch(text):
        pid, role, time, level, message = found.groups()
        at = datetime.strptime(time, "%d %b %Y %H:%M:%S.%f").astimezone()
        said = {"timestamp": _stamp(at), "level": _LEVELS[level], "message": message}
        return said, {"pid": int(pid), "role": _ROLES[role]}, False
    said = {"timestamp": _stamp(datetime.now(UTC)), "level": "info", "message": text}
    if found := _SIGNAL.fullmatch(text):
        return said | {"message": found[2]}, {"pid": int(found[1])}, False
    return said, {}, True


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
