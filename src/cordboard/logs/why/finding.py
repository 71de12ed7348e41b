"""What a rule says about its cause, and the causes themselves: a closed list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cordboard.logs.why.story import Fact

Status = Literal["proved", "ruled_out", "open"]
"""``open``: the lines that would prove it, or rule it out, are not there."""

Effect = Literal["ended", "disturbed", "left", "fine"]
"""What a proved cause did to the call, the worst first: it ended or prevented it; the call went on with it; the
caller left; nothing."""

EFFECTS: Final[tuple[Effect, ...]] = ("ended", "disturbed", "left", "fine")

LINES_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found.

    Attributes:
        status: Whether the lines prove the cause, rule it out, or neither.
        words: A sentence: what the lines show, or which lines are missing.
        lines: The lines that show it.
        effect: Of a proved cause.
    """

    status: Status
    words: str
    lines: tuple[Fact, ...] = ()
    effect: Effect | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        effect = {"effect": self.effect} if self.effect else {}
        return {"words": self.words, **effect, "lines": [line.as_dict() for line in self.lines]}


def proved(words: str, *lines: Fact | None, effect: Effect) -> Finding:
    """Return that the lines prove the cause."""
    return Finding("proved", words, _some(lines), effect)


def ruled_out(words: str, *lines: Fact | None) -> Finding:
    """Return that the lines show that the cause does not apply."""
    return Finding("ruled_out", words, _some(lines))


def not_shown(words: str, *lines: Fact | None) -> Finding:
    """Return that the lines neither prove the cause nor rule it out."""
    return Finding("open", words, _some(lines))


def _some(lines: Sequence[Fact | None]) -> tuple[Fact, ...]:
    """Return the lines that are there: of many the first and the last ones, in time order."""
    found = sorted({id(line): line for line in lines if line}.values(), key=lambda fact: fact.at_ms)
    half = LINES_SHOWN // 2
    return tuple(found if len(found) <= LINES_SHOWN else [*found[:half], *found[-half:]])
