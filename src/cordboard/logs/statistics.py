"""What was returned, counted while it passes; at the end, the coverage."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from cordboard.contract.record import SERVICE, SERVICES, TIMESTAMP
from cordboard.logs.completeness import latest, lines_outside, missing
from cordboard.logs.copies import Item
from cordboard.logs.coverage import Answer, Coverage, Shortfall, count
from cordboard.logs.entries import summary_of
from cordboard.logs.gaps import searched_whole
from cordboard.logs.line import Line
from cordboard.logs.query import Query
from cordboard.logs.scan import Batch
from cordboard.logs.session import SessionFacts, began
from cordboard.logs.skew import skews
from cordboard.logs.stream import Track
from cordboard.logs.survey import Peek, peek
from cordboard.logs.timespec import timestamp
from cordboard.logs.timestamps import own_number
from cordboard.logs.tracks import Tracks

_HOW: Final = ("explicit", "inherited", "inferred", "absent")
_REASONS_SHOWN: Final = 8
_QUIET: Final = ("file", "job")
"""Kinds of which only those that returned something, or should have, are named."""


class _Heard:
    """What one service or stream returned."""

    __slots__ = ("first", "last", "lines")

    def __init__(self) -> None:
        self.lines = 0
        self.first: str | None = None
        self.last: str | None = None

    def add(self, lines: int, first: str, last: str) -> None:
        """Count lines.

        Args:
            lines: How many; negative to take some back.
            first: The timestamp of the first one.
            last: The timestamp of the last one.
        """
        self.lines += lines
        self.first = first if self.first is None or first < self.first else self.first
        self.last = last if self.last is None or last > self.last else self.last


class Statistics:
    """Counts of lines.

    Args:
        notes: What the reader of the coverage should know beside.
        command: Gives the command that shows all of the session, told where a window hides some of it.
    """

    def __init__(
        self,
        notes: Sequence[str] = (),
        command: Callable[[], str] = lambda: "cordboard logs --session ID",
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.attribution: Counter[str] = Counter()
        self.inferred: Counter[str] = Counter()
        self.mentions = 0
        self.outside = 0
        self.services: dict[str, _Heard] = {}
        self.streams: dict[int, _Heard] = {}
        self.differing = 0
        self._differing: list[Item] = []  # the first ones alone
        self._notes = notes
        self._command = command
        self.limit: int | None = None

    def note(self, line: Line, number: int) -> None:
        """Count `line`, of the stream with this `number`."""
        at = str(line.record[TIMESTAMP])
        self.attribution[line.attribution] += 1
        if line.inferred_from is not None:
            self.inferred[line.inferred_from] += 1
        service = str(line.record[SERVICE])
        if (heard := self.services.get(service)) is None:
            heard = self.services[service] = _Heard()
        heard.add(1, at, at)
        if (heard := self.streams.get(number)) is None:
            heard = self.streams[number] = _Heard()
        heard.add(1, at, at)

    def told(self, batch: Batch, number: int) -> bool:
        """Count the lines of a batch that has a summary, which are looked at no further; return whether it has one.

        Args:
            batch: The batch.
            number: The number of its stream.
        """
        summary = summary_of(batch.lines) if batch.ordered else None
        if summary is None:
            return False
        service, lines, absent = summary[:3]
        first, last = summary.first.decode(), summary.last.decode()
        self.services.setdefault(service, _Heard()).add(lines, first, last)
        self.streams.setdefault(number, _Heard()).add(lines, first, last)
        self.attribution["absent"] += absent
        self.attribution["explicit"] += lines - absent
        return True

    def take_back(self, item: Item) -> None:
        """Count `item` no longer: it is a copy."""
        key, raw, number, told = item
        if told and (seen := peek(raw)) is not None:
            self.note_peek(seen, key, number, lines=-1)

    def differ(self, item: Item) -> None:
        """Take note that `item`, a copy that is left out, has other content than the line that is shown."""
        self.differing += 1
        if len(self._differing) < _REASONS_SHOWN:
            self._differing.append(item)

    def _altered(self, tracks: Sequence[Track]) -> Iterator[str]:
        """Yield which copies have other content than the lines that are shown."""
        if not self.differing:
            return
        named = [
            f"seq {seq} of boot {boot.decode()} in {tracks[item[2]].name}"
            for item in self._differing
            if (found := own_number(item[1].partition(b"\n")[0])) is not None
            for boot, seq in [found]
        ]
        copies = count(self.differing, "copy differs", "copies differ")
        more = ", and others" if self.differing > len(named) else ""
        yield f"{copies} from the line that is shown: {', '.join(named)}{more}."

    def note_peek(self, seen: Peek, at: bytes, number: int, lines: int = 1) -> None:
        """Count a line that was only peeked at.

        Args:
            seen: What it tells.
            at: Its key.
            number: The number of its stream.
            lines: -1 to take it back.
        """
        service, how = seen
        moment = at.decode()
        self.services.setdefault(service, _Heard()).add(lines, moment, moment)
        self.streams.setdefault(number, _Heard()).add(lines, moment, moment)
        self.attribution[how] += lines

    def coverage(self, query: Query, tracks: Tracks, facts: SessionFacts | None) -> Coverage:
        """Return what answered, what did not, and why.

        Args:
            query: What was asked for.
            tracks: Where; all of it has been read.
            facts: Of the session that was asked for; None for a window.
        """
        why: dict[str, list[Shortfall]] = {}
        if facts is not None:
            self.outside = lines_outside(query, tracks.found, facts)
        for service, shortfall in (
            *missing(query, tracks.found, facts, self.outside),
            *_unheard(query, self.services, tracks.found, facts),
        ):
            why.setdefault(service, []).append(shortfall)
        services = [
            _answer(name, "service", self.services.get(name), why.get(name, ()))
            for name in sorted({*self.services, *why}, key=_rank)
        ]
        streams = [
            _answer(track.name, track.kind, self.streams.get(number), track.all_shortfalls())
            for number, track in enumerate(tracks.found)
        ]
        named = [a for a in streams if a.lines or a.shortfalls or a.kind not in _QUIET]
        limits = [] if self.limit is None else [_limited(self.limit)]
        counts = sum((track.counts for track in tracks.found), self.counts)
        return Coverage(
            answers=(*services, *named, *tracks.answers(), *limits),
            counts={name: number for name, number in sorted(counts.items()) if number},
            attribution={how: self.attribution[how] for how in _HOW if self.attribution[how]},
            notes=(
                *tracks.notes,
                *self._notes,
                *_old(tracks.found),
                *self._altered(tracks.found),
                *_perhaps_astray(query, tracks.found, why),
                *_lost_in_stores(query, tracks.found, facts),
                *self._remarks(query, tracks.found, facts),
            ),
        )

    def _window(self, query: Query, facts: SessionFacts) -> Iterator[str]:
        """Yield what the window hides of the session, with the command that shows it."""
        whole = self._command()
        if self.outside:
            lines = count(self.outside, "line of this session is", "lines of this session are")
            yield f"{lines} outside the window. All lines: {whole}"
        elif not facts.services and (query.since or query.until):
            yield f"Only the window was searched. All lines: {whole}"
        elif facts.services and query.since and not began(facts):
            yield f"The start of the session is not in the window. All lines: {whole}"
        elif facts.services and query.until and facts.ended is None:
            yield f"The end of the session is not in the window. All lines: {whole}"

    def _remarks(
        self, query: Query, tracks: Sequence[Track], facts: SessionFacts | None
    ) -> Iterator[str]:
        if not self.attribution:
            yield from _why_nothing(query, tracks)
        if facts is None:
            return
        for reason, lines in self.inferred.most_common(_REASONS_SHOWN):
            yield f"{count(lines, 'line is', 'lines are')} inferred to belong to the session: {reason}."
        if len(facts.joined) > 1:
            yield (
                "Different users joined with this session id one after another: "
                f"{', '.join(_named(facts.joined))}. These are separate calls."
            )
        if self.mentions and not query.mentions:
            words = count(self.mentions, "further line mentions", "further lines mention")
            yield f"{words} the session; --mentions shows {'it' if self.mentions == 1 else 'them'}."
        if not query.fix_skew:
            yield from map(str, skews(facts.steps))
        yield from self._window(query, facts)


def _named(people: Mapping[str, str]) -> Iterator[str]:
    """Yield names with their ids."""
    for user, name in islice(people.items(), _REASONS_SHOWN):
        yield user if name == user else f"{name} ({user})"


def _unheard(
    query: Query, returned: Iterable[str], tracks: Sequence[Track], facts: SessionFacts | None
) -> Iterator[tuple[str, Shortfall]]:
    if set(query.services) - set(returned) and not query.follow:
        from cordboard.logs.unheard import unheard_services

        yield from unheard_services(query, returned, tracks, facts)


def _lost_in_stores(
    query: Query, tracks: Sequence[Track], facts: SessionFacts | None
) -> Iterator[str]:
    if len({track.kind for track in tracks}) > 1:
        from cordboard.logs.audit import lost_in_stores

        yield from lost_in_stores(query, tracks, facts)


def _why_nothing(query: Query, tracks: Sequence[Track]) -> Iterator[str]:
    """Yield what is known of why there is no line."""
    from datetime import UTC, datetime

    now = timestamp(datetime.now(UTC))
    last = latest(tracks) if query.since else None
    if query.since and query.since > now:
        yield f"The window begins in the future; the time is now {now}."
    elif last is not None and last < query.first:
        yield f"The newest line is from {last.decode()}, before the window."
    elif query.user or query.room:
        from cordboard.logs.unheard import unheard_people

        yield from unheard_people(query, tracks)


def _answer(
    name: str, kind: str, heard: _Heard | None, why: tuple[Shortfall, ...] | list[Shortfall]
) -> Answer:
    heard = heard or _Heard()
    return Answer(name, kind, heard.lines, heard.first, heard.last, tuple(why))


def _rank(service: str) -> tuple[int, str]:
    return (SERVICES.index(service) if service in SERVICES else len(SERVICES), service)


def _old(tracks: Sequence[Track]) -> Iterator[str]:
    old = sum(track.passed_over for track in tracks)
    if old:
        what = "compressed file that was", "compressed files that were"
        yield (
            f"{count(old, *what)} last written before the window {'was' if old == 1 else 'were'} "
            f"not read; --exact reads {'it' if old == 1 else 'them'}."
        )


def _perhaps_astray(
    query: Query, tracks: Sequence[Track], why: Mapping[str, Sequence[Shortfall]]
) -> Iterator[str]:
    reasons = {item.reason for found in why.values() for item in found}
    windowed = query.since or query.until or query.session
    if "gap" in reasons and windowed and not query.exact and not searched_whole(tracks):
        yield "Missing lines may be stored far out of chronological order; --exact reads whole files."


def _limited(limit: int) -> Answer:
    why = Shortfall("truncated", f"the limit of {limit} was reached; later lines are omitted")
    return Answer("--limit", "query", lines=limit, shortfalls=(why,))
