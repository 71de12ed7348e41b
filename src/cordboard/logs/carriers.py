"""What carriers put around a line: CRI, ``kubectl --timestamps``, Docker's JSON."""

from typing import Final, NamedTuple

from cordboard.logs.codec import decode
from cordboard.logs.patterns import pattern
from cordboard.logs.stamps import key_of_text, matched_key

_CRI: Final = pattern(
    rb"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)"
    rb" (stdout|stderr) ([FP])(?::[A-Z:]+)? ?"
)
_KUBECTL: Final = pattern(
    rb"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?(?=\{|(?<=\d{7}Z )|$)"
)
DOCKER_START: Final = b'{"log":"'


class Inner(NamedTuple):
    """A line without what its carrier put around it.

    Attributes:
        key: The carrier's timestamp; None without a carrier.
        text: What the process wrote.
        channel: ``stdout``, ``stderr`` or nothing.
        partial: The rest of what the process wrote is in a later line.
    """

    key: bytes | None
    text: bytes
    channel: bytes = b""
    partial: bool = False


def unwrap(line: bytes) -> Inner:
    """Return what a process wrote, and when its carrier saw it."""
    if line.startswith(b"{"):
        return _from_docker(line) if line.startswith(DOCKER_START) else Inner(None, line)
    if not line[:1].isdigit():
        return Inner(None, line)
    if found := _CRI.match(line):
        key = matched_key(found)
        return Inner(key, line[found.end() :], found[5], found[6] == b"P")
    if found := _KUBECTL.match(line):
        return Inner(matched_key(found), line[found.end() :])
    return Inner(None, line)


def _from_docker(line: bytes) -> Inner:
    try:
        record = decode(line)
    except (ValueError, RecursionError):
        return Inner(None, line)
    text, at = record.get("log"), record.get("time")
    if not isinstance(text, str) or not isinstance(at, str):
        return Inner(None, line)
    whole = text.endswith("\n")
    channel = str(record.get("stream", "")).encode()
    key = key_of_text(at.encode(), utc=True)
    return Inner(key, text.rstrip("\r\n").encode("utf-8", "replace"), channel, not whole)
