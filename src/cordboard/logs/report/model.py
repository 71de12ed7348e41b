"""The model of a report: lines in, one by one; sessions, lanes and troubles out. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from cordboard.contract.call_events import LEFT_OUT
from cordboard.contract.record import EVENT, MESSAGE, META, SERVICE
from cordboard.logs.coverage import Coverage, count
from cordboard.logs.left_out import LeftOut, words_of
from cordboard.logs.report.entry import WHO, Entry, HeadTail, one_line
from cordboard.logs.report.lanes import LaneMaker, Lanes, TroubleFinder, Troubles
from cordboard.logs.report.prices import Prices
from cordboard.logs.report.stages import Stay
from cordboard.logs.report.verdict import WORDS_MAX, Verdict, judge
from cordboard.logs.session import BROWSER, HEARD, is_believed
from cordboard.logs.stays import stays
from cordboard.logs.values import number
from cordboard.logs.why import Answer, StoryMaker, answer

SESSIONS_MAX: Final = 500  # kept apart in a report; further ones are counted
EVENTS_MAX: Final = 20_000  # of a session: the first half and the last
_NAMES_SHOWN: Final = 4  # of sources with missing lines, in a verdict
_TONES: Final = {
    "bad": "failed",
    "warn": "with problems",
    "unknown": "with unknown outcome",
    "ok": "worked",
}
"""The worst first."""


@dataclass(frozen=True, slots=True)
class Header:
    """How a report was asked for: what its reader needs in order to ask again.

    Attributes:
        command: As it was typed, so that somebody else can ask the same.
        environment: Where was looked: ``local``, ``stg``.
        session_id: The session that was asked for, if one was.
        since: The window's beginning, if it has one.
        until: The window's end, if it has one.
        filters: What left lines of the session out: ``--level warn``. A verdict says so.
        made_at: When the report was made; empty: now.
        prices: What models and services cost.
    """

    command: str = ""
    environment: str = "local"
    session_id: str | None = None
    since: str | None = None
    until: str | None = None
    filters: tuple[str, ...] = ()
    made_at: str = ""
    prices: Prices = field(default_factory=Prices)

    @property
    def facts(self) -> list[str]:
        """When it was made, and of what."""
        window = " to ".join(filter(None, [self.since, self.until]))
        return [
            f"Created {self.made_at}",
            f"environment {self.environment}",
            *([f"window {window}"] if window else []),
        ]


@dataclass(slots=True)
class _Told:
    """What was told of one session, or what the pages of one person told of it."""

    levels: Counter[str] = field(default_factory=Counter)
    first_us: int | None = None
    last_us: int | None = None
    heard_us: int | None = None
    errors_us: list[int] = field(default_factory=list)
    who: dict[str, str] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    events: HeadTail[Entry] = field(default_factory=lambda: HeadTail(EVENTS_MAX))

    def add(self, item: Entry) -> None:
        self.levels[item.level] += 1
        if item.us is not None and not item.read:
            self.first_us = min(_known(self.first_us, item.us))
            self.last_us = max(_known(self.last_us, item.us))
            if item.level == "error" and len(self.errors_us) < EVENTS_MAX:
                self.errors_us.append(item.us)
            if item.message == HEARD:
                self.heard_us = item.us
        self.who |= item.who
        if item.message == LEFT_OUT:
            said = {SERVICE: item.service, EVENT: item.event, META: item.meta, MESSAGE: LEFT_OUT}
            self.left_out.add(said, item.us or 0)
        if item.event:
            self.events.add(item)


class _Tellers:
    """Who told of one session: the services together, and the pages of each person who is signed in there."""

    def __init__(self) -> None:
        self._services = _Told()
        self._pages: dict[str, _Told] = {}
        self._people: set[str] = set()
        self.joined: dict[str, str] = {}

    def add(self, item: Entry) -> None:
        if item.service == BROWSER:
            self._pages.setdefault(item.user_id or "", _Told()).add(item)
            return
        self._services.add(item)
        if item.user_id is not None:
            self._people.add(item.user_id)
            if item.event == "join.accepted":
                self.joined[item.user_id] = item.user_name or item.user_id

    def believed(self) -> list[_Told]:
        """Return what counts: of pages that of those who joined; other people's pages prove nothing."""
        pages = self._pages.items()
        return [
            self._services,
            *(page for user, page in pages if is_believed(user, self.joined, self._people)),
        ]


def _known(*times: int | None) -> list[int]:
    return [us for us in times if us is not None]


class Session(Stay):
    """One session, as its lines tell of it; of several stays under one id, the last.

    Args:
        session_id: Its id.
        tellers: Who told of it.

    Attributes:
        length_ms: From the bot's start to the end.
        state: Its terminal state and reason; empty where no line tells.
        stays: How many stays there were under its id.
        people: The names of all whose joins under this id were accepted.
        left_out: What the bot did not write, in a sentence; empty if it wrote all.
        used_at_least: Whether reports of what was used are among that.
    """

    def __init__(self, session_id: str, tellers: _Tellers) -> None:
        parts = tellers.believed()
        events = sorted(
            chain.from_iterable(told.events for told in parts),
            key=lambda item: (item.us is None, item.us or 0),
        )
        found = stays(events)
        super().__init__(found[-1])
        began = min(_known(*(item.us for item in self.events)), default=0)
        heard = any(us >= began for us in _known(*(told.heard_us for told in parts)))
        levels = sum((told.levels for told in parts), Counter[str]())
        errors = [us for told in parts for us in told.errors_us if us >= began]
        end = self.ended.meta if self.ended else {}
        seconds = number(end.get("seconds"))
        told_ms = None if seconds is None else seconds * 1000
        who = _who(parts, self.events)
        self.session_id = session_id
        self.user_id, self.user_name, self.room = (who.get(name) for name in WHO)
        self.bot = next((bot for item in self.events if (bot := _text(item.meta, "bot"))), "")
        self.first_us = min(_known(*(told.first_us for told in parts)), default=None)
        self.last_us = max(_known(*(told.last_us for told in parts)), default=None)
        self.length_ms = self.span_ms if self.has("bot.started") else told_ms
        self.state, self.reason = _text(end, "state"), _text(end, "reason")
        self.errors, self.warnings = levels["error"], levels["warn"]
        self.stays = len(found)
        self.people = tuple(tellers.joined.values())
        missed = sum((told.left_out.since(began) for told in parts), Counter[str]())
        self.left_out, self.used_at_least = words_of(missed), "service.usage" in missed
        later = self.errors if self.stays == 1 else len(errors)
        self.verdict = judge(self, levels.total(), later, heard=heard)


@dataclass(frozen=True, slots=True)
class Model:
    """All that a report shows besides the lines.

    Attributes:
        session: The session that the report is about; None when it is about several.
        cause: Why the session went as it did; None of several, and of a part of its lines.
        others: Sessions that were too many to be kept apart.
        verdict: The session's, or on all of them, with what limits it.
    """

    header: Header
    coverage: Coverage
    verdict: Verdict
    sessions: tuple[Session, ...] = ()
    session: Session | None = None
    cause: Answer | None = None
    others: int = 0
    lines: int = 0
    lanes: Lanes = field(default_factory=Lanes)
    troubles: Troubles = field(default_factory=Troubles)

    @property
    def notes(self) -> list[str]:
        """What the coverage counted, and what else it says."""
        counts, attribution = self.coverage.counts, self.coverage.attribution
        return [
            *(count(number, f"{name} line") for name, number in counts.items() if number),
            *(f"attribution {name}: {count(n, 'line')}" for name, n in attribution.items() if n),
            *self.coverage.notes,
        ]


class ModelMaker:
    """Takes the records of a report one by one.

    Args:
        header: How the report was asked for.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._told: dict[str, _Tellers] = {}
        self._others: set[str] = set()
        self._lanes = LaneMaker()
        self._troubles = TroubleFinder()
        self._story = StoryMaker()
        self._lines = 0

    def add(self, record: Mapping[str, Any]) -> Entry:
        """Take `record`, clean already; return it as a line."""
        item = Entry(self._lines, record, self._header.session_id)
        self._lines += 1
        self._lanes.add(item)
        self._troubles.add(item)
        if item.session_id == self._header.session_id:
            self._story.add(record)
        if item.session_id is not None:
            if item.session_id in self._told or len(self._told) < SESSIONS_MAX:
                self._told.setdefault(item.session_id, _Tellers()).add(item)
            else:
                self._others.add(item.session_id)
        return item

    def model(self, coverage: Coverage) -> Model:
        """Return the model of all records so far, with the `coverage` of the query."""
        sessions = tuple(
            sorted(
                (Session(name, told) for name, told in self._told.items()),
                key=lambda item: (item.first_us is None, item.first_us or 0),
            )
        )
        wanted = self._header.session_id
        session = next((item for item in sessions if item.session_id == wanted), None)
        if wanted is None and len(sessions) == 1:
            session = sessions[0]
        verdict = session.verdict if session else _of_several(wanted, sessions, self._lines)
        is_whole = wanted is not None and session is not None and not self._header.filters
        return Model(
            header=self._header,
            coverage=coverage,
            verdict=_limited(verdict, coverage, self._header, session),
            sessions=sessions,
            session=session,
            cause=answer(self._story.story(coverage)) if is_whole else None,
            others=len(self._others),
            lines=self._lines,
            lanes=self._lanes.lanes(),
            troubles=self._troubles.troubles(),
        )


def _who(parts: Sequence[_Told], events: Sequence[Entry]) -> dict[str, str]:
    """Return whose stay it is, and where; of several stays under one id, of the last."""
    found: dict[str, str] = {}
    for item in events:
        if item.service != BROWSER:
            found |= item.who
    for told in parts if "user_id" not in found else ():
        found = {**told.who, **found}
    return found


def _text(meta: Mapping[str, Any], name: str) -> str:
    value = meta.get(name)
    return value if isinstance(value, str) else ""


def _of_several(wanted: str | None, sessions: Sequence[Session], lines: int) -> Verdict:
    if wanted is not None or not lines:
        return Verdict("unknown", "No lines were found.")
    if not sessions:
        return Verdict("unknown", f"{count(lines, 'line')}, but no session.")
    tones = [item.verdict.tone for item in sessions]
    worst = min(tones, key=list(_TONES).index)
    order = ("ok", "warn", "bad", "unknown")
    parts = [f"{tones.count(tone)} {_TONES[tone]}" for tone in order if tone in tones]
    return Verdict(worst, f"{count(len(sessions), 'session')}: {', '.join(parts)}.")


def _limited(
    verdict: Verdict, coverage: Coverage, header: Header, session: Session | None
) -> Verdict:
    """Add to a verdict what limits it: it must never claim more than its lines prove."""
    more = []
    bad = {"error": session.errors, "warning": session.warnings} if session else {}
    if found := [count(number, noun) for noun, number in bad.items() if number]:
        more.append(f"Its lines include {' and '.join(found)}.")
    if session and session.stays > 1:
        several = f"{session.stays} sessions one after another"
        more.append(f"The session id was used for {several}; this is the last one.")
    if session and len(session.people) > 1:
        names = one_line(", ".join(session.people), WORDS_MAX)
        more.append(
            f"Different users joined with this session id: {names}. The lines of all of them are below."
        )
    if session and session.left_out:
        more.append(
            f"{session.left_out} Numbers of turns, tools and usage are at least those below."
        )
    if short := [item.name for item in coverage.answers if item.shortfalls]:
        names = ", ".join([*short[:_NAMES_SHOWN], *(["…"] if len(short) > _NAMES_SHOWN else [])])
        more.append(f"Incomplete: lines are missing from {names}; see Coverage.")
    if header.filters:
        filters = " ".join(header.filters)
        more.append(f"The query was filtered ({filters}); other lines may change the verdict.")
    return Verdict(verdict.tone, verdict.headline, (*verdict.details, *more))
