"""An answer as text for people: for a terminal, harmless to it, with or without colors."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from cordboard.contract.record import BOOT, SEQ
from cordboard.contract.terminal import escape_to_one_line
from cordboard.logs.coverage import count
from cordboard.logs.line import Line
from cordboard.logs.pretty import Pretty
from cordboard.logs.why import Answer
from cordboard.logs.why.finding import Finding
from cordboard.logs.why.rules import LINES_LOST, TITLES, UNKNOWN
from cordboard.logs.why.story import Fact

Paint = Callable[[str, str], str]
"""Returns a text in a color, from the color's code and the text."""

_COLORS: Final = {"ended": "1;31", "disturbed": "1;33", "left": "1", "fine": "1;32"}
_REFERENCES_SHOWN: Final = 2
_TITLE_CHARS: Final = max(map(len, TITLES.values()))


def plain(_code: str, text: str) -> str:
    """Return a text without a color."""
    return text


def colored(code: str, text: str) -> str:
    """Return a text with a color of ANSI terminals."""
    return f"\x1b[{code}m{text}\x1b[0m"


def text(answer: Answer, session: str, command: str, *, color: bool = False) -> Iterator[str]:
    """Give an answer line by line.

    Args:
        answer: The answer.
        session: The session id.
        command: The command that prints all lines of the session.
        color: Whether the terminal shows colors.
    """
    paint: Paint = colored if color else plain
    is_open = answer.cause in {UNKNOWN, LINES_LOST}
    head = "1;33" if is_open else _COLORS.get(answer.effect or "", "1")
    yield f"{escape_to_one_line(session)}: {paint(head, answer.title)} ({answer.cause})"
    yield f"  {escape_to_one_line(answer.words)}"
    if answer.effect_words:
        yield f"  {answer.effect_words}"
    if answer.advice:
        yield f"  What to do: {answer.advice}"
    if answer.stays > 1:
        yield f"  The session id was used for {answer.stays} sessions; this is the last one."
    if answer.lines:
        yield from ("", paint("1", "seen in" if is_open else "proved by"))
        yield from _lines(answer.lines, color=color)
    yield from _findings("also found", answer.also, paint)
    yield from _findings("ruled out", answer.ruled_out, paint)
    yield from _findings("not checked", answer.unchecked, paint)
    if answer.missing:
        yield from ("", paint("1", "missing"))
        yield from (f"  {escape_to_one_line(words)}" for words in answer.missing)
    yield ""
    complete = paint("32", "complete") if answer.complete else paint("1;33", "incomplete")
    yield f"coverage: {complete}"
    yield f"all lines: {command}"


def _lines(facts: Iterable[Fact], *, color: bool) -> Iterator[str]:
    pretty = Pretty(color=color, sessions=False)
    for fact in facts:
        for row in pretty(Line(dict(fact.record), b"", "")).rstrip("\n").split("\n"):
            yield f"  {row}"


def _findings(title: str, findings: Mapping[str, Finding], paint: Paint) -> Iterator[str]:
    if not findings:
        return
    yield from ("", paint("1", title))
    for cause, found in findings.items():
        words = f"{TITLES[cause]:<{_TITLE_CHARS}}  {escape_to_one_line(found.words)}"
        yield f"  {words}{paint('2', references(found.lines))}"


def references(lines: Iterable[Fact]) -> str:
    """Return where lines are found: service, boot and number."""
    shown = [
        escape_to_one_line(f"{line.service} {line.record.get(BOOT)}:{line.record.get(SEQ)}")
        for line in lines
    ]
    more = len(shown) - _REFERENCES_SHOWN
    rest = [f"{count(more, 'more line')}"] if more > 0 else []
    return f" [{', '.join([*shown[:_REFERENCES_SHOWN], *rest])}]" if shown else ""
