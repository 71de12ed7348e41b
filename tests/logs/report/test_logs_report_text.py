"""The text report fits a ticket: 100 columns, nothing that steers, the same content."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.logs.coverage import REASONS, Answer, Coverage
from cordboard.logs.report import Header, text
from cordboard.logs.report import columns as layout
from cordboard.logs.report.entry import Entry, HeadTail, clean_record
from cordboard.logs.report.model import ModelMaker
from report_support import (
    COMPLETE,
    HEADER,
    HOSTILE,
    MISSING,
    Told,
    crashed_call,
    good_call,
    page_of,
    recovered_call,
)

STEERS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(mark) in {"W", "F"} else 1 for mark in line)


def report_of(
    records: Iterable[dict[str, Any]],
    coverage: Any = COMPLETE,
    header: Header = HEADER,
    most: int = 1000,
) -> list[str]:
    maker = ModelMaker(header)
    entries: HeadTail[Entry] = HeadTail(most)
    for record in records:
        entries.add(maker.add(clean_record(record)))
    return list(text.report(maker.model(coverage), entries, entries.left_out))


any_text = st.text(st.characters(exclude_categories=()), max_size=300) | st.sampled_from(HOSTILE)


@given(any_text, any_text, any_text)
def test_any_text_fits(message: str, service: str, name: str) -> None:
    """Whatever lines hold, no line of the report is wider than a ticket, and none steers."""
    told = Told(session_id=name)
    told.say(0, service, message, level="error", error={"type": name, "stack": message})
    told.say(1, "bot", message, event="turn.ended", turn=name, ttfb_ms={message: 3})
    told.say(2, "bot", message, event="bot.crashed", why=message)
    told.say(3, "bot", message, event="session.ended", reason=name, state=service, epoch=2)
    for line in report_of(told.records, header=Header(command=message, environment=name)):
        assert columns(line) <= layout.COLUMNS
        assert not STEERS.search(line)
        line.encode()


@pytest.mark.parametrize("told", [good_call(), crashed_call(), recovered_call()])
def test_reports_fit(told: Told) -> None:
    """Ordinary reports fit as well, with sections that are not empty by mistake."""
    lines = report_of(told.records, MISSING)
    assert max(map(columns, lines)) <= layout.COLUMNS
    titles = [line for line in lines if line.isupper() or line.startswith("FROM CLICK")]
    assert any(line.startswith("FROM CLICK TO FIRST AUDIO  348 ms") for line in titles)


def test_the_text_says_what_the_page_says() -> None:
    """Verdict, facts, stages, turns, attempts, lanes, errors, coverage, lines and the command."""
    said = "\n".join(report_of(recovered_call().records, MISSING))
    for words in (
        "[!] The call worked, but",
        "first audio 348 ms after the click.",
        "User        Ada Lovelace / u-1",
        "330 ms      +233 ms  Bot connected",
        "612 ms  DeepgramSTT#0 120 ms, OpenAILLM#0 310 ms",
        "epoch 1, 06:00:00.038: attempt 1; runner runner-a; process 4242; the bot ran; lease expired,",
        "epoch 2, 06:00:21.010: the runner runner-a died; known by: the lease ran out; the runner's port is",
        "INCOMPLETE",
        f"MISSING  gap: {REASONS['gap']} (boot 9f31c2aa: seq 17 to 21)",
        "3 late lines",
        "ALL LINES (26)",
        "Command: cordboard logs --local --session call-7",
    ):
        assert words in said


def test_a_stack_keeps_its_shape() -> None:
    """A traceback stands below its line, indented as it was."""
    said = "\n".join(report_of(crashed_call().records))
    assert '|   File "/app/bot.py", line 41, in on_user_turn' in said


def test_long_words_are_broken_not_cut() -> None:
    """A word wider than the ticket is continued on the next line; no character is lost."""
    word = "x" * 250 + "語" * 80
    lines = list(layout.wrapped(word, "-> ", "   "))
    assert "".join(line[3:] for line in lines) == word
    assert all(columns(line) <= layout.COLUMNS for line in lines)
    assert all(columns(line) <= layout.COLUMNS for line in layout.wrapped(word, "語語語 ", "   "))


def test_the_middle_of_a_very_long_log_is_left_out() -> None:
    """Beyond the bound the report says how many lines are not in it, where they would be."""
    told = Told()
    for number in range(30):
        told.say(number, "bot", f"number-{number}")
    lines = report_of(told.records, most=10)
    gap = lines.index("... 20 lines in the middle are not in this report ...")
    assert "number-4" in lines[gap - 1]
    assert "number-25" in lines[gap + 1]


def test_several_sessions_are_listed() -> None:
    """Without a session asked for, each is listed with its verdict."""
    other = Told("call-8").event(0, "gateway", "join.refused", reason="queue_full")
    said = "\n".join(report_of([*good_call().records, *other.records], header=Header()))
    assert "[FAILED] 2 sessions: 1 worked, 1 failed." in said
    assert "The join was refused: queue_full" in said
    assert "[call-8]  join.refused  Join refused reason=queue_full" in said


def test_one_is_one() -> None:
    """A number of one has a noun and a verb in the singular, in both forms of the report."""
    told = Told().say(0, "gateway", "Only", level="warn")
    coverage = Coverage((Answer("gateway", "service", lines=1),), counts={"late": 1})
    said = "\n".join([*report_of(told.records), page_of(told.records, coverage)])
    assert "line, complete" in said
    assert "The one line is embedded below" in said
    assert "1 line, 1 warning, 0 errors" in said
    shown = said.partition("<script")[0]
    assert not re.search(r"\b1 (?:lines|errors|warnings|sessions|turns|events|more are)\b", shown)
