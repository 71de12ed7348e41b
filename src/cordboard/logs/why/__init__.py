"""Why did a call break: one cause out of a closed list, the lines that prove it, and what they rule out.

Rules over the records, no model. Pure: lines and their coverage in, an answer out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cordboard.logs.coverage import Coverage
from cordboard.logs.timespec import timestamp
from cordboard.logs.why.finding import EFFECTS, Effect, Finding
from cordboard.logs.why.rules import BY_CAUSE, LINES_LOST, RULES, TITLES, UNKNOWN
from cordboard.logs.why.story import Fact, Story, StoryMaker

__all__ = ["UNKNOWN", "Answer", "StoryMaker", "answer", "explain", "servers_window"]

MISSING_SHOWN: Final = 12
# A server that reports an outage of Redis reminds of it once a minute.
_SERVERS_BEFORE_MS: Final = 65_000.0
_EFFECT_WORDS: Final[dict[Effect, str]] = {
    "ended": "It ended the call, or prevented it.",
    "disturbed": "The call went on with it.",
    "left": "",
    "fine": "",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Why a call went as it did.

    Attributes:
        cause: A name of the closed list; ``unknown`` if the evidence is not enough.
        words: What the lines show, in one sentence.
        effect: What the cause did to the call.
        advice: What to do about it.
        lines: The lines that prove it.
        also: Other causes that the lines prove, which are not the answer.
        ruled_out: The causes that the lines rule out.
        unchecked: The causes that the lines neither prove nor rule out.
        missing: What is missing: lines, in words.
        complete: Whether no line is missing.
        stays: How many sessions there were under the id; the answer is about the last one.
    """

    cause: str
    words: str
    effect: Effect | None
    advice: str
    lines: tuple[Fact, ...]
    also: Mapping[str, Finding]
    ruled_out: Mapping[str, Finding]
    unchecked: Mapping[str, Finding]
    missing: tuple[str, ...]
    complete: bool
    stays: int

    @property
    def title(self) -> str:
        """The name of the cause, for people."""
        return TITLES[self.cause]

    @property
    def summary(self) -> str:
        """The cause and what shows it, in one line."""
        return f"{self.title}: {self.words}"

    @property
    def effect_words(self) -> str:
        """What the cause did to the call, in a sentence; empty if that goes without saying."""
        return _EFFECT_WORDS[self.effect] if self.effect else ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for a program."""
        return {
            "cause": self.cause,
            "title": self.title,
            "words": self.words,
            "effect": self.effect,
            "advice": self.advice,
            "lines": [line.as_dict() for line in self.lines],
            "also": {name: found.as_dict() for name, found in self.also.items()},
            "ruledOut": {name: found.as_dict() for name, found in self.ruled_out.items()},
            "unchecked": {name: found.as_dict() for name, found in self.unchecked.items()},
            "missing": list(self.missing),
            "complete": self.complete,
            "sessions": self.stays,
        }


def explain(
    records: Iterable[Mapping[str, Any]],
    coverage: Coverage,
    servers: Iterable[Mapping[str, Any]] = (),
) -> Answer:
    """Return why a call went as it did.

    Args:
        records: The records of one session, in time order.
        coverage: Their coverage.
        servers: Records without a session, of the time of the session: they tell of outages of Redis.
    """
    maker = StoryMaker()
    for record in records:
        maker.add(record)
    for record in servers:
        maker.add_server(record)
    return answer(maker.story(coverage))


def servers_window(story: Story) -> tuple[str, str] | None:
    """Return the begin and the end of the time in which an outage of Redis may have broken the call.

    Returns:
        Timestamps; None if no line of the session needs such an explanation.
    """
    is_broken = story.all("lease.lost") or (story.end is not None and story.ran is None)
    if not story.facts or not is_broken:
        return None
    last_ms = story.end.at_ms if story.end else story.facts[-1].at_ms
    return _timestamp(story.facts[0].at_ms - _SERVERS_BEFORE_MS), _timestamp(last_ms)


def _timestamp(at_ms: float) -> str:
    return timestamp(datetime.fromtimestamp(max(at_ms, 0.0) / 1000, UTC))


def answer(story: Story) -> Answer:
    """Return the answer for a story."""
    findings = {rule.cause: rule.check(story) for rule in RULES}
    found = {cause: item for cause, item in findings.items() if item.status == "proved"}
    chosen = _chosen(story, found)
    doubts = _doubts(story, chosen) if chosen else ()
    cause = chosen if chosen and not doubts else None
    if cause is None:
        return _unknown(story, findings, found, chosen, doubts)
    best = found[cause]
    return _answer(story, findings, cause, best.words, best)


def _chosen(story: Story, found: Mapping[str, Finding]) -> str | None:
    """Return the proved cause with the worst effect, by precedence; None if none explains the end."""
    for effect in EFFECTS:
        causes = [cause for cause, item in found.items() if item.effect == effect]
        if causes:
            return causes[0]
        if effect == "ended" and _ended_badly(story):
            return None
    return None


def _ended_badly(story: Story) -> bool:
    """Return whether the session failed: what disturbed it before does not explain that."""
    return story.end is not None and story.end.text("state") in {"failed", "expired"}


def _doubts(story: Story, cause: str) -> tuple[str, ...]:
    """Return the rivals of a cause that cannot be excluded because lines are missing."""
    if not story.lost:
        return ()
    rivals = BY_CAUSE[cause].rivals
    if "*" in rivals:
        return tuple(rule.cause for rule in RULES if rule.cause != cause)
    return tuple(
        name
        for name in rivals
        if "*" in story.lost or not story.lost.isdisjoint(BY_CAUSE[name].told_by)
    )


def _unknown(
    story: Story,
    findings: Mapping[str, Finding],
    found: Mapping[str, Finding],
    candidate: str | None,
    doubts: tuple[str, ...],
) -> Answer:
    cause = LINES_LOST if story.lost else UNKNOWN
    words = "No rule explains what happened."
    if candidate is not None:
        others = ", ".join(TITLES[name] for name in doubts[:MISSING_SHOWN])
        words = f"It looks like “{TITLES[candidate]}”, but missing lines could show another cause: {others}."
        if "*" in BY_CAUSE[candidate].rivals:
            words = (
                f"It looks like “{TITLES[candidate]}”, but missing lines could show another cause."
            )
    elif story.lost:
        words = "Lines are missing, and the others do not show what happened."
    elif story.end is None:
        words = "The end of the session is not in these lines."
    shown = found[candidate].lines if candidate else ()
    opened = [item.words for item in findings.values() if item.status == "open"]
    best = Finding("open", words, shown or tuple(filter(None, [story.end])))
    return _answer(story, findings, cause, words, best, missing=opened)


def _answer(
    story: Story,
    findings: Mapping[str, Finding],
    cause: str,
    words: str,
    best: Finding,
    missing: Iterable[str] = (),
) -> Answer:
    def others(status: str) -> dict[str, Finding]:
        return {
            name: item for name, item in findings.items() if item.status == status and name != cause
        }

    also = {name: item for name, item in others("proved").items() if item.effect in EFFECTS[:2]}
    lost = [*filter(None, [story.left_out]), *story.lost_words, *dict.fromkeys(missing)]
    rule = BY_CAUSE.get(cause)
    return Answer(
        cause=cause,
        words=words,
        effect=best.effect,
        advice=rule.advice if rule else "",
        lines=best.lines,
        also=also,
        ruled_out=others("ruled_out"),
        unchecked=others("open"),
        missing=tuple(lost[:MISSING_SHOWN]),
        complete=story.coverage.complete,
        stays=story.stays,
    )
