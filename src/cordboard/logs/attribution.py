"""Whose line it is: what it says itself, or what can be concluded, and from what."""

from collections.abc import Mapping

from cordboard.contract.record import (
    BOOT,
    EPOCH,
    EVENT,
    META,
    RAW,
    SERVER_PREFIX,
    SERVICE,
    SESSION_ID,
    TIMESTAMP,
    TRACE_ID,
)
from cordboard.contract.typed import Any, Final, NamedTuple
from cordboard.logs.line import Attribution
from cordboard.logs.times import HIGHEST, LOWEST

_ALONE: Final = "bot"
"""The service whose processes serve one session each."""


class Step(NamedTuple):
    """One event of a session, as far as the coverage needs it."""

    at: bytes
    service: str
    event: str
    epoch: int | None
    meta: Mapping[str, Any]
    boot: str = ""


class Trail:
    """What a session's own lines tell of it.

    Args:
        session: The session.

    Attributes:
        first: When it is first mentioned.
        last: When it is mentioned last.
        boots: The processes that spoke of it, and as which service.
        alone: Those of them that serve no other session.
        traces: Its traces.
        services: Lines of each service.
        steps: Its events.
        streams: Streams of a process that speaks of no other session.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.first = HIGHEST
        self.last = LOWEST
        self.boots: dict[str, str] = {}
        self.alone: set[str] = set()
        self.traces: set[str] = set()
        self.services: dict[str, int] = {}
        self.steps: list[Step] = []
        self.streams: set[str] = set()

    def note(self, record: Mapping[str, Any]) -> bool:
        """Learn from one of the session's own lines; say whether it is one."""
        if record.get(SESSION_ID) != self.session:
            return False
        at = str(record[TIMESTAMP]).encode()
        self.first, self.last = min(self.first, at), max(self.last, at)
        service = str(record[SERVICE])
        self.services[service] = self.services.get(service, 0) + 1
        if boot := _name(record, BOOT):
            self._note_process(boot, service, raw=record.get(RAW) is True)
        if trace := _name(record, TRACE_ID):
            self.traces.add(trace)
        if isinstance(event := record.get(EVENT), str):
            epoch, meta = record.get(EPOCH), record.get(META)
            self.steps.append(
                Step(
                    at,
                    service,
                    event,
                    epoch if isinstance(epoch, int) else None,
                    meta if isinstance(meta, Mapping) else {},
                    str(record.get(BOOT, "")),
                )
            )
        return True

    def _note_process(self, boot: str, service: str, *, raw: bool) -> None:
        if raw:  # written by another process, on behalf of its child
            self.boots.setdefault(boot, service)
            return
        self.boots[boot] = service
        if service == _ALONE:
            self.alone.add(boot)

    def attribute(
        self, record: Mapping[str, Any], stream: str
    ) -> tuple[Attribution, str | None] | None:
        """Say how a line belongs to the session; None when it does not."""
        own = attribution(record)
        if record.get(SESSION_ID) == self.session:
            return own, None
        if own != "absent":
            return None
        if (boot := _name(record, BOOT)) in self.alone:
            return "inferred", f"its process (boot {boot}) serves this session alone"
        if (trace := _name(record, TRACE_ID)) in self.traces:
            return "inferred", f"its trace {trace} is the session's"
        if stream in self.streams and record.get(SESSION_ID) is None:
            return "inferred", "no other session speaks in its stream"
        return None


def _name(record: Mapping[str, Any], key: str) -> str:
    """Return a text of a record; empty where it has none: an empty one names nothing."""
    value = record.get(key)
    return value if isinstance(value, str) else ""


def attribution(record: Mapping[str, Any]) -> Attribution:
    """Say how a record's session is known, from the record alone."""
    session = record.get(SESSION_ID)
    if not isinstance(session, str) or session.startswith(SERVER_PREFIX):
        return "absent"
    return "inherited" if record.get(RAW) is True else "explicit"
