"""What else a store must be asked for, once it has returned the lines that name a session."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from cordboard.contract.record import BOOT, TIMESTAMP, TRACE_ID
from cordboard.logs.formats.codec import decode
from cordboard.logs.formats.wrappers import unwrap
from cordboard.logs.timespec import shifted
from cordboard.logs.timestamps import own_key, tail_at

_MARGIN_S: Final = 2.0  # as far as `cordboard.logs.search` looks around a session's own lines


class Terms(NamedTuple):
    """The processes and traces of a session, and when it was.

    Attributes:
        boots: Its processes, sorted.
        traces: Its traces, sorted.
        first: A little before its first line, as a key.
        end: A little after its last one.
    """

    boots: list[str]
    traces: list[str]
    first: bytes
    end: bytes


def terms_of(lines: Iterable[bytes], session: str) -> Terms | None:
    """Return the terms of a session; None where no line of Cordboard's format names it.

    The lines of its processes that name another session, or none, are needed too: a loss among them shows by
    their numbers.

    Args:
        lines: Lines that contain the session's id.
        session: The session.
    """
    boots, traces, keys = set[str](), set[str](), list[bytes]()
    for line in lines:
        record = _own_record(line.rstrip(b"\n"))
        if record is None or session.encode() not in line:
            continue
        keys.append(str(record[TIMESTAMP]).encode())
        boots.add(str(record[BOOT]))
        trace = record.get(TRACE_ID)
        if isinstance(trace, str) and trace.strip("0-"):
            traces.add(trace)
    if not keys:
        return None
    first, end = shifted(min(keys), -_MARGIN_S), shifted(max(keys), _MARGIN_S)
    return Terms(sorted(boots), sorted(traces), first, end)


def _own_record(line: bytes) -> dict[str, Any] | None:
    text = unwrap(line).text
    if own_key(text) is None or tail_at(text) < 0:
        return None
    try:
        record = decode(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and BOOT in record else None
