"""A session: which lines are its own, and how that is known; which services should have spoken of it.

A page says some things in plain words, from which conclusions are drawn. Its lines are in JavaScript
(`interface/static/call.js`); a test compares them.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from cordboard.contract.record import (
    BOOT,
    EPOCH,
    EVENT,
    MESSAGE,
    META,
    RAW,
    SERVER_PREFIX,
    SERVICE,
    SERVICES,
    SESSION_ID,
    TAG,
    TIMESTAMP,
    TRACE_ID,
    USER_ID,
    USER_NAME,
)
from cordboard.logs.line import Attribution
from cordboard.logs.timespec import HIGHEST, LOWEST, shifted

BROWSER: Final = "browser"
"""The service of a page's lines. Whoever is signed in can write some: they are a claim."""

HEARD: Final = "First audio of the bot heard"
"""The page has measured sound of the bot."""

CLOSED: Final = frozenset({"Call ended", "Page closed in the call"})
"""With one of these a page ends each call; without one its last lines have been lost."""

_HOSTS_ONE: Final = "bot"
"""The service whose processes may serve one session each; all others of ours serve many."""

_SEEN_AGAIN_S: Final = 5.0
"""A request that reads a session later than this after its end is somebody who looks at it. A page's
last requests, and a slow client's, come within the second."""


_BY_EVENT: Final[dict[str, tuple[str, ...]]] = {
    "join.clicked": ("interface",),
    "join.requested": ("browser", "gateway"),
    "join.accepted": ("operator",),
    "launch.assigned": ("runner",),
    "bot.started": ("bot",),
    "session.recovered": ("operator",),
}
"""Who must have spoken where an event was seen."""

_WITHOUT_PAGE: Final = "edge"
"""The service whose callers are no pages of ours: it requests joins for Pipecat's clients."""

_BEFORE: Final[dict[str, str]] = {"bot": "runner", "runner": "operator", "operator": "gateway"}
"""Who must have spoken before a service could; the last one first."""

BEGINNINGS: Final = frozenset(
    {"page.opened", "join.clicked", "join.requested", "join.received", "join.accepted"}
)
"""The events with which a session, or a further stay under its id, begins."""


class Step(NamedTuple):
    """One event of a session, as far as the coverage needs it."""

    at: bytes
    service: str
    event: str
    epoch: int | None
    meta: Mapping[str, Any]
    boot: str = ""


class SessionFacts:
    """What a session's own lines tell of it.

    A browser's line is a claim of whoever is signed in there. It counts where that is who joined; lines
    of other people's pages prove nothing, and are no lines of the session. Until `settle` is called, what
    pages say is held back.

    Args:
        session: The session.

    Attributes:
        first: When it is first mentioned.
        last: When it is mentioned last.
        boots: The processes that spoke of it, and as which service.
        traces: Its traces.
        services: Lines of each service.
        steps: Its events.
        streams: Streams of a process that speaks of no other session.
        people: The ids of all whom lines name, pages' apart.
        joined: The id and the name of each person whose join was accepted, in the order of their lines.
        clicked: Pages on which Join was pressed.
        closed: Pages that said that the call had ended for them, or that they were closed.
        ended: When its end was last told.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.first = HIGHEST
        self.last = LOWEST
        self.boots: dict[str, str] = {}
        self.traces: set[str] = set()
        self.services: dict[str, int] = {}
        self.steps: list[Step] = []
        self.streams: set[str] = set()
        self.joined: dict[str, str] = {}
        self.clicked: set[str] = set()
        self.closed: set[str] = set()
        self.ended: bytes | None = None
        self.people: set[str] = set()
        self._hosts: set[str] = set()
        self._shared: set[str] = set()
        self._apart: dict[str, SessionFacts] = {}
        self._reads: SessionFacts | None = None

    @property
    def alone(self) -> set[str]:
        """Processes that may serve this session alone, and are seen to speak of no other."""
        return self._hosts - self._shared

    def note(self, record: Mapping[str, Any]) -> bool:
        """Learn from `record`, a line in which a session is named; return whether it is this one."""
        if record.get(SESSION_ID) != self.session:
            if attribution(record) != "absent" and (boot := _name(record, BOOT)):
                self._shared.add(boot)
            return False
        if record[SERVICE] == BROWSER:
            user = _name(record, USER_ID)
            known = (
                self
                if user in self.joined
                else self._apart.setdefault(user, SessionFacts(self.session))
            )
            known.add(record)
        elif is_read(record):
            self._reads = self._reads or SessionFacts(self.session)
            self._reads.add(record)
        else:
            self.add(record)
        return True

    def settle(self) -> None:
        """Believe the pages of those who joined; all pages where no line tells who did."""
        for user in [user for user in self._apart if self.believes(user)]:
            self._absorb(self._apart.pop(user))
        if self._reads is not None and not self.services:
            self._absorb(self._reads)
            self._reads = None

    def is_strange(self, record: Mapping[str, Any]) -> bool:
        """Return whether `record`, which names the session, is another person's claim, or looks at it after its end."""
        if record[SERVICE] == BROWSER:
            return not self.believes(_name(record, USER_ID))
        if self.ended is None or not is_read(record):
            return False
        return str(record[TIMESTAMP]).encode() > shifted(self.ended, _SEEN_AGAIN_S)

    def believes(self, user: str) -> bool:
        """Return whether the lines of pages of `user` count (`is_believed`)."""
        return is_believed(user, self.joined, self.people)

    def add(self, record: Mapping[str, Any]) -> None:
        """Learn from `record`, a line that belongs to the session."""
        at = str(record[TIMESTAMP]).encode()
        self.first, self.last = min(self.first, at), max(self.last, at)
        service = str(record[SERVICE])
        self.services[service] = self.services.get(service, 0) + 1
        boot, event = _name(record, BOOT), _name(record, EVENT)
        if boot:
            self._note_process(boot, service, raw=record.get(RAW) is True)
        if service == BROWSER:
            self._note_page(boot, event, str(record[MESSAGE]))
        elif trace := _trace(record):
            self.traces.add(trace)
        if event:
            epoch, meta = record.get(EPOCH), record.get(META)
            self.steps.append(
                Step(
                    at,
                    service,
                    event,
                    epoch if isinstance(epoch, int) else None,
                    meta if isinstance(meta, Mapping) else {},
                    boot,
                )
            )
        if event == "session.ended":
            self.ended = max(at, self.ended or at)
        if service != BROWSER and (user := _name(record, USER_ID)):
            self.people.add(user)
            if event == "join.accepted":
                self.joined[user] = _name(record, USER_NAME) or user

    def _note_process(self, boot: str, service: str, *, raw: bool) -> None:
        if raw:  # written by another process, on behalf of its child
            self.boots.setdefault(boot, service)
            return
        self.boots[boot] = service
        if service == _HOSTS_ONE:
            self._hosts.add(boot)

    def _note_page(self, boot: str, event: str, message: str) -> None:
        if event == "join.clicked":
            self.clicked.add(boot)
        elif message in CLOSED:
            self.closed.add(boot)

    def _absorb(self, other: "SessionFacts") -> None:
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.boots |= other.boots
        self.steps += other.steps
        self.traces |= other.traces
        self.clicked |= other.clicked
        self.closed |= other.closed
        for service, lines in other.services.items():
            self.services[service] = self.services.get(service, 0) + lines

    def attribute(
        self, record: Mapping[str, Any], stream: str
    ) -> tuple[Attribution, str | None] | None:
        """Return how a line belongs to the session, and from what that is inferred; None if it does not belong to it.

        Args:
            record: The line.
            stream: The name of the stream in which it stands.
        """
        own = attribution(record)
        if record.get(SESSION_ID) == self.session:
            return None if self.is_strange(record) else (own, None)
        if own != "absent":
            return None
        if (boot := _name(record, BOOT)) in self.alone:
            return "inferred", f"the process (boot {boot}) logged no other session"
        if record[SERVICE] != BROWSER and (trace := _trace(record)) in self.traces:
            return "inferred", f"trace {trace} belongs to the session"
        if stream in self.streams and record.get(SESSION_ID) is None:
            return "inferred", "the stream contains no other session"
        return None


def is_believed(user: str, joined: Collection[str], people: Collection[str]) -> bool:
    """Return whether a page's lines count: of who joined, or where that, or whose they are, is not told.

    Args:
        user: The id of who is signed in at the page; empty where its lines name nobody.
        joined: The ids of those whose joins were accepted.
        people: The ids of all whom the lines of services name: they count where no join is told.
    """
    known = joined or people
    return not known or not user or user in known


def is_read(record: Mapping[str, Any]) -> bool:
    """Return whether `record` is the access line of a request that only reads."""
    meta = record.get(META)
    return (
        record.get(TAG) == "http"
        and isinstance(meta, Mapping)
        and _name(meta, "method") in {"GET", "HEAD"}
        and not record.get(EVENT)
    )


def _name(record: Mapping[str, Any], key: str) -> str:
    """Return a text of a record; empty where it has none: an empty one names nothing."""
    value = record.get(key)
    return value if isinstance(value, str) else ""


def _trace(record: Mapping[str, Any]) -> str:
    """Return the trace that a record names; zeros name none (W3C Trace Context), nor does a dash."""
    trace = _name(record, TRACE_ID)
    return trace if trace.strip("0-") else ""


def attribution(record: Mapping[str, Any]) -> Attribution:
    """Return how the session of `record` is known, from the record alone."""
    session = record.get(SESSION_ID)
    if not isinstance(session, str) or session.startswith(SERVER_PREFIX):
        return "absent"
    return "inherited" if record.get(RAW) is True else "explicit"


# --- who should have spoken of it


def began(facts: SessionFacts) -> bool:
    """Return whether the session's beginning is among the lines that `facts` were learnt from."""
    return any(step.event in BEGINNINGS for step in facts.steps)


def over(facts: SessionFacts) -> bool:
    """Return whether the session's end is among the lines that `facts` were learnt from."""
    return any(step.event == "session.ended" for step in facts.steps)


def silent(facts: SessionFacts, *, whole: bool, cut_off: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each service that should have spoken and did not, with why it should.

    Args:
        facts: What the session's own lines tell.
        whole: Nothing was left out by a window: who spoke earlier would have been heard.
        cut_off: The window has an end, behind which others may have spoken.
    """
    why: dict[str, str] = {}
    for step in facts.steps if over(facts) or not cut_off else ():
        if not _ended_before_next(step, facts):
            for service in _BY_EVENT.get(step.event, ()):
                if service == BROWSER and step.service == _WITHOUT_PAGE:
                    continue
                why.setdefault(service, f"{step.service} logged {step.event}")
    numbered = set(facts.boots.values())  # a log of another program may be called bot.log
    for service, before in _BEFORE.items() if whole or began(facts) else ():
        if service in numbered:
            why.setdefault(before, f"{service} logged lines of this session")
        elif service in why:
            why.setdefault(before, why[service])
    for service in SERVICES:
        if service in why and service not in facts.services:
            yield service, why[service]
    yield from _silent_attempts(facts)


def _silent_attempts(facts: SessionFacts) -> Iterator[tuple[str, str]]:
    """Yield runners that were given the session for an epoch of which no runner spoke."""
    if "runner" not in facts.services:
        return
    heard = {step.epoch for step in facts.steps if step.service in {"runner", "bot"}}
    for step in facts.steps:
        if step.event == "launch.assigned" and step.epoch is not None and step.epoch not in heard:
            runner = step.meta.get("runner", "a runner")
            yield "runner", f"{runner} was assigned epoch {step.epoch} but logged no line with it"


def _ended_before_next(step: Step, facts: SessionFacts) -> bool:
    """Say whether the gateway cancelled the session before the next service had its turn."""
    return step.event == "join.accepted" and any(
        other.event == "session.ended"
        and other.service == "gateway"
        and other.epoch in {step.epoch, None}
        for other in facts.steps
    )


def unclosed(facts: SessionFacts) -> list[str]:
    """Return, in words, which pages of a session that is over never logged how the call ended for them.

    A page that is closed logs that with its last lines; one that was killed, or has lost its network, does not, and its
    last lines are lost with it.

    Args:
        facts: What the session's own lines tell.
    """
    if facts.ended is None:
        return []
    return [
        f"the page (boot {boot}) logged join.clicked, but neither the end of the call nor the closing of the page"
        for boot in sorted(facts.clicked - facts.closed)
    ]
