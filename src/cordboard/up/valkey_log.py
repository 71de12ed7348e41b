"""Converts the output of Valkey to records: process, time and level go where they belong."""

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

# PID:ROLE TIME LEVEL MESSAGE, with the time in the time zone of the machine
_LINE: Final = re.compile(
    r"(\d+):([XCSM]) (\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3}) ([.*#-]) (.*)", re.ASCII
)
# A signal handler may call few functions, so it prints the time as a number and no level.
_SIGNAL_LINE: Final = re.compile(r"(\d+):signal-handler \(\d+\) (.*)", re.ASCII)
_ROLES: Final = {"X": "sentinel", "C": "child", "S": "replica", "M": "primary"}
_LEVELS: Final = {".": "debug", "-": "debug", "*": "info", "#": "warn"}


class ValkeyLog:
    """Converts the lines of a server, and of the one that replaces it after a crash.

    All of them have one boot and one sequence: it is this process that numbers the lines.

    Args:
        write: Called with each record, as a line.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._boot = os.urandom(4).hex()
        self._sequence = itertools.count(1)

    def __call__(self, line: bytes) -> None:
        """Convert and write `line`, a line of the server's output."""
        text = clean_text(line.decode("utf-8", "replace").strip())
        if text:
            fields, meta, is_raw = _parse(text)
            record: dict[str, Any] = {
                **fields,
                "service": "redis",
                "tag": "valkey",
                "sessionId": f"{SERVER_PREFIX}{pipeline.machine}",
                "userId": None,
                "userName": None,
                **({"meta": meta} if meta else {}),
                **({"raw": True} if is_raw else {}),
            }
            record |= {"boot": self._boot, "seq": next(self._sequence)}
            self._write(encode_record(record))


def _parse(text: str) -> tuple[dict[str, str], dict[str, Any], bool]:
    """Return timestamp, level and message; the meta; and whether the line has no known form."""
    if match := _LINE.fullmatch(text):
        pid, role, time, level, message = match.groups()
        local_time = datetime.strptime(time, "%d %b %Y %H:%M:%S.%f").astimezone()
        fields = {"timestamp": _timestamp(local_time), "level": _LEVELS[level], "message": message}
        return fields, {"pid": int(pid), "role": _ROLES[role]}, False
    fields = {"timestamp": _timestamp(datetime.now(UTC)), "level": "info", "message": text}
    if match := _SIGNAL_LINE.fullmatch(text):
        return fields | {"message": match[2]}, {"pid": int(match[1])}, False
    return fields, {}, True


def _timestamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
