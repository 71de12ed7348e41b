"""The model of a report: lines in, one by one; sessions, lanes and troubles out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cordboard.logs.coverage import Coverage, count
from cordboard.logs.page import BROWSER, HEARD
from cordboard.logs.report.attempts import Attempt, attempts
from cordboard.logs.report.bounded import HeadTail
from cordboard.logs.report.entry import Entry, entry
from cordboard.logs.report.header import Header
from cordboard.logs.report.lanes import LaneMaker, Lanes
from cordboard.logs.report.stages import Startup, startup
from cordboard.logs.report.trouble import TroubleFinder, Troubles
from cordboard.logs.report.turns import Latency, Turn, latency, turns
from cordboard.logs.report.verdict import WORDS_MAX, Story, Verdict, judge, seconds_told
from cordboard.logs.report.visible import one_line
from cordboard.logs.takeovers import TakeOver, take_overs

SESSIONS_MAX: Final = 500
EVENTS_MAX: Final = 20_000
WHO: Final = ("user_id", "user_name", "room")
_JOINS: Final = frozenset(
    {"page.opened", "join.clicked", "join.requested", "join.received", "join.accepted"}
)


@dataclass(frozen=True, slots=True)
class Session:
    """One session, as its lines tell of it; of several stays under one id, the last.

    Attributes:
        length_ms: From the bot's start to the end.
        state: Its terminal state and reason; empty where no line tells.
        people: The names of all whose joins under this id were accepted.
    """

    session_id: str
    verdict: Verdict
    user_id: str | None = None
    user_name: str | None = None
    room: str | None = None
    bot: str = ""
    first_us: int | None = None
    last_us: int | None = None
    length_ms: float | None = None
    state: str = ""
    reason: str = ""
    lines: int = 0
    errors: int = 0
    warnings: int = 0
    stays: int = 1
    people: tuple[str, ...] = ()
    startup: Startup = field(default_factory=Startup)
    turns: tuple[Turn, ...] = ()
    latency: Latency | None = None
    attempts: tuple[Attempt, ...] = ()
    take_overs: tuple[TakeOver, ...] = ()
    events: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """All that a report shows besides the lines.

    Attributes:
        session: The session that the report is about; None when it is about several.
        others: Sessions that were too many to be kept apart.
        verdict: The session's, or on all of them, with what limits it.
    """

    header: Header
    coverage: Coverage
    verdict: Verdict
    sessions: tuple[Session, ...] = ()
    session: Session | None = None
    others: int = 0
    lines: int = 0
    lanes: Lanes = field(default_factory=Lanes)
    troubles: Troubles = field(default_factory=Troubles)


@dataclass(slots=True)
class _Told:
    """What was told of one session so far; what pages told apart, for each person who is signed in there."""

    lines: int = 0
    errors: int = 0
    warnings: int = 0
    first_us: int | None = None
    last_us: int | None = None
    heard_us: int | None = None
    errors_us: list[int] = field(default_factory=list)
    who: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    joined: dict[str, str] = field(default_factory=dict)
    events: HeadTail[Entry] = field(default_factory=lambda: HeadTail(EVENTS_MAX))
    pages: "dict[str, _Told]" = field(default_factory=dict)

    def add(self, item: Entry) -> None:
        if item.service == BROWSER:
            self.pages.setdefault(item.user_id or "", _Told()).take(item)
            return
        self.take(item)
        if item.user_id is not None:
            name = item.user_name or item.user_id
            self.people[item.user_id] = name
            if item.event == "join.accepted":
                self.joined[item.user_id] = name

    def take(self, item: Entry) -> None:
        self.lines += 1
        self.errors += item.level == "error"
        self.warnings += item.level == "warn"
        if item.us is not None and not item.read:
            self.first_us = _least(self.first_us, item.us)
            self.last_us = _most(self.last_us, item.us)
            if item.level == "error" and len(self.errors_us) < EVENTS_MAX:
                self.errors_us.append(item.us)
            if item.message == HEARD:
                self.heard_us = item.us
        for name in WHO:
            value = getattr(item, name)
            if value:
                self.who[name] = value
        if item.event:
            self.events.add(item)

    def settle(self) -> None:
        """Add what the pages of those who joined have told; other people's pages prove nothing."""
        known = self.joined or self.people
        for user, page in self.pages.items():
            if not known or not user or user in known:
                self._merge(page)
        self.pages.clear()

    def _merge(self, page: "_Told") -> None:
        self.lines += page.lines
        self.errors += page.errors
        self.warnings += page.warnings
        self.first_us = _least(self.first_us, page.first_us)
        self.last_us = _most(self.last_us, page.last_us)
        self.heard_us = _most(self.heard_us, page.heard_us)
        self.errors_us += page.errors_us
        self.who = {**page.who, **self.who}
        for item in page.events:
            self.events.add(item)


def _least(one: int | None, other: int | None) -> int | None:
    return min((us for us in (one, other) if us is not None), default=None)


def _most(one: int | None, other: int | None) -> int | None:
    return max((us for us in (one, other) if us is not None), default=None)


class ModelMaker:
    """Takes the records of a report one by one.

    Args:
        header: How the report was asked for.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._told: dict[str, _Told] = {}
        self._others: set[str] = set()
        self._lanes = LaneMaker()
        self._troubles = TroubleFinder()
        self._lines = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record."""
        item = entry(self._lines, record, self._header.session_id)
        self._lines += 1
        self._lanes.add(item)
        self._troubles.add(item)
        if item.session_id is None:
            return
        if item.session_id not in self._told and len(self._told) >= SESSIONS_MAX:
            self._others.add(item.session_id)
            return
        self._told.setdefault(item.session_id, _Told()).add(item)

    def model(self, coverage: Coverage) -> Model:
        """Return the model of all records so far."""
        for told in self._told.values():
            told.settle()
        sessions = tuple(
            sorted(
                (_session(name, told) for name, told in self._told.items()),
                key=lambda item: (item.first_us is None, item.first_us or 0),
            )
        )
        wanted = self._header.session_id
        session = next((item for item in sessions if item.session_id == wanted), None)
        if wanted is None and len(sessions) == 1:
            session = sessions[0]
        verdict = session.verdict if session else _of_several(wanted, sessions, self._lines)
        return Model(
            header=self._header,
            coverage=coverage,
            verdict=_limited(verdict, coverage, self._header, session),
            sessions=sessions,
            session=session,
            others=len(self._others),
            lines=self._lines,
            lanes=self._lanes.lanes(),
            troubles=self._troubles.troubles(),
        )


def _session(name: str, told: _Told) -> Session:
    ordered = sorted(told.events, key=lambda item: (item.us is None, item.us or 0))
    stays = _stays(ordered)
    events = stays[-1]
    path = startup(events)
    began = min((item.us for item in events if item.us is not None), default=0)
    heard = told.heard_us is not None and told.heard_us >= began
    errors = told.errors if len(stays) == 1 else sum(us >= began for us in told.errors_us)
    story = Story(events, path, page=_has_page(events), heard=heard)
    ended = story.last("session.ended")
    all_turns = turns(events)
    bot = next((item.meta["bot"] for item in events if isinstance(item.meta.get("bot"), str)), "")
    return Session(
        session_id=name,
        verdict=judge(story, told.lines, errors),
        bot=bot,
        first_us=told.first_us,
        last_us=told.last_us,
        length_ms=story.span_ms if story.has("bot.started") else seconds_told(ended),
        state=_meta_text(ended, "state"),
        reason=_meta_text(ended, "reason"),
        lines=told.lines,
        errors=told.errors,
        warnings=told.warnings,
        stays=len(stays),
        startup=path,
        turns=all_turns,
        latency=latency(all_turns),
        attempts=attempts(events),
        take_overs=take_overs(events),
        events=tuple(events),
        people=tuple(told.joined.values()),
        **_who(told, events),
    )


def _who(told: _Told, events: Sequence[Entry]) -> dict[str, str]:
    """Return whose stay it is, and where; of several stays under one id, of the last."""
    said = [item for item in events if item.service != BROWSER]
    found = {
        name: value
        for name in WHO
        if (value := next((v for item in reversed(said) if (v := getattr(item, name))), None))
    }
    return found if "user_id" in found else {**told.who, **found}


def _has_page(events: Sequence[Entry]) -> bool:
    return any(item.event == "join.clicked" and item.service == BROWSER for item in events)


def _stays(events: Sequence[Entry]) -> list[list[Entry]]:
    """Part the events of an id that was used again after its session had ended.

    A later session has a higher epoch: an end that stands before its own join, because two clocks
    differ, parts nothing.
    """
    newest = max((item.epoch or 0 for item in events if item.event == "join.accepted"), default=0)
    stays: list[list[Entry]] = [[]]
    over = False
    for item in events:
        if over and item.event in _JOINS:
            stays.append([])
            over = False
        stays[-1].append(item)
        over |= item.event == "session.ended" and (item.epoch or 0) < newest
    return stays


def _meta_text(item: Entry | None, name: str) -> str:
    value = item.meta.get(name) if item is not None else None
    return value if isinstance(value, str) else ""


def _of_several(wanted: str | None, sessions: Sequence[Session], lines: int) -> Verdict:
    if wanted is not None or not lines:
        return Verdict("unknown", "No lines were found.")
    if not sessions:
        return Verdict("unknown", f"{count(lines, 'line')}, but no session.")
    tones = [item.verdict.tone for item in sessions]
    parts = [
        f"{tones.count(tone)} {words}"
        for tone, words in (
            ("ok", "worked"),
            ("warn", "with problems"),
            ("bad", "failed"),
            ("unknown", "with unknown outcome"),
        )
        if tone in tones
    ]
    worst = next(tone for tone in ("bad", "warn", "unknown", "ok") if tone in tones)
    return Verdict(worst, f"{count(len(sessions), 'session')}: {', '.join(parts)}.")


def _limited(
    verdict: Verdict, coverage: Coverage, header: Header, session: Session | None
) -> Verdict:
    """Add to a verdict what limits it: it must never claim more than its lines prove."""
    more = []
    if session is not None:
        more += _about(session)
    short = [item for item in coverage.answers if item.shortfalls]
    if short:
        names = ", ".join(item.name for item in short[:4]) + (", …" if len(short) > 4 else "")  # noqa: PLR2004 - a handful
        more.append(f"Incomplete: lines are missing from {names}; see Coverage.")
    if header.filters:
        more.append(
            f"The query was filtered ({' '.join(header.filters)}); other lines may change the verdict."
        )
    return Verdict(verdict.tone, verdict.headline, (*verdict.details, *more))


def _about(session: Session) -> list[str]:
    said = []
    if session.errors or session.warnings:
        bad = [
            count(number, word)
            for number, word in ((session.errors, "error"), (session.warnings, "warning"))
            if number
        ]
        said.append(f"Its lines include {' and '.join(bad)}.")
    if session.stays > 1:
        said.append(
            f"The session id was used for {session.stays} sessions one after another; this is the last one."
        )
    if len(session.people) > 1:
        names = one_line(", ".join(session.people), WORDS_MAX)
        said.append(
            f"Different users joined with this session id: {names}. The lines of all of them are below."
        )
    return said
