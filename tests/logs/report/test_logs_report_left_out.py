"""Records that a bot did not write: what is made of the others is at least that, and each answer says so."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.call_events import LEFT_OUT
from cordboard.logs.left_out import LeftOut, words_of
from cordboard.logs.why import explain
from report_support import COMPLETE, HEADER, Told, page_of, recorded_call, write_report

SAID = "The bot wrote too many records: 1,207 records were left out (service.usage 1,200, turn.ended 7)."


def flooded(service: str = "bot", events: dict[str, int] | None = None) -> Told:
    """A call whose bot has left records out, as it tells twice."""
    told = recorded_call()
    events = events or {"service.usage": 600}
    told.say(9000, service, LEFT_OUT, level="warn", count=607, events={**events, "turn.ended": 7})
    return told.say(9500, service, LEFT_OUT, level="warn", count=600, events=events)


def report_of(tmp_path: Path, told: Told, ending: str) -> str:
    """A report without the lines themselves."""
    path = tmp_path / f"call.{ending}"
    write_report(path, told.lines(), COMPLETE, HEADER)
    return path.read_text().partition("EVENTS\n")[0]


def test_report_says_that_figures_are_at_least_these(tmp_path: Path) -> None:
    """As text and as a page: in the verdict, and at what was used."""
    shown = report_of(tmp_path, flooded(), "txt")
    assert "1,207 records were left out" in " ".join(shown.split())
    assert "at least" in shown.partition("USAGE")[2].partition("\n")[0]
    page = page_of(flooded().records)
    assert "1,207 records were left out" in page
    assert "Usage (at least)" in page
    for told in (recorded_call(), flooded("shop"), flooded(events={"tool.started": 4})):
        assert "at least" not in report_of(tmp_path, told, "txt").partition("USAGE")[2]


def test_answer_names_what_was_left_out() -> None:
    """Among what is missing, also where the cause is proved."""
    answer = explain(flooded().records, COMPLETE)
    assert answer.missing[0] == SAID
    assert explain(recorded_call().records, COMPLETE).cause == answer.cause


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["events", "service.usage", "x"]), inner, max_size=2)
        ),
    )
)
def test_any_value_is_read(value: Any) -> None:
    """A bot writes the line itself, and may write anything."""
    found = LeftOut()
    for meta in (value, {"events": value}, {"events": {"service.usage": value}}):
        found.add({"message": LEFT_OUT, "service": "bot", "meta": meta}, 0)
    assert json.dumps(found.since(0))
    assert words_of(found.since(1)) == ""
