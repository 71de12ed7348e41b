"""Values of types that no writer of ours gives them: whatever a line says, each form of the answer is made."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordboard.contract.record import EVENTS
from cordboard.logs.coverage import Coverage
from cordboard.logs.line import Line
from cordboard.logs.report import against, html, text
from cordboard.logs.report.brief import BYTES, brief
from cordboard.logs.report.entry import clean_record
from cordboard.logs.report.model import Header, Model, ModelMaker
from cordboard.logs.summary import add_missing, sessions_of
from logs.logs_support import encoded, record

METADATA = (
    *("turn", "duration_ms", "interrupted", "user_bot_latency_ms", "ttfb_ms", "contributions"),
    *("total_ms", "outcome", "text", "heard_ms", "bot_began_at", "who", "at", "ms", "name"),
    *("call_id", "status", "result", "processor", "prompt_tokens", "audio_s", "end", "state"),
    *("path", "packets_lost", "packets_received", "interval_ms", "rtt_ms", "mos", "value"),
    *("runner", "job", "attempt", "overdue_ms", "sign", "why", "seen_ms", "silence_ms", "died"),
    *("epoch", "seconds", "reason", "detail", "holder", "method"),
)
ODD: Sequence[Any] = (
    *(None, True, 0, -1, 5.5, 1e308, -1e308, 10**30, "", "x", "user", "edge", "failed"),
    *("0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "\u2028\x9b"),
    *([], [1], {}, {"a": 1}, [{"owner": "o", "key": "k", "ms": 1e308}]),
)
SERVICES = ("gateway", "operator", "runner", "bot", "browser", "edge", "call")


def model_of(records: Sequence[dict[str, Any]]) -> Model:
    maker = ModelMaker(Header(session_id="call-7"))
    for item in records:
        maker.add(clean_record(item))
    return maker.model(Coverage(()))


def make_all_forms(records: Sequence[dict[str, Any]]) -> None:
    """Make the page, the text, the brief, the comparison and the list of sessions."""
    model = model_of(records)
    assert "".join(html.page(model, html.RowMaker()))
    assert list(text.report(model, []))
    assert len(brief(model, "cordboard logs").encode()) <= BYTES
    compared = against.compare(model, model_of(records[::2]))
    assert list(against.text(compared))
    json.dumps(compared.as_dict(), allow_nan=False)
    sessions = sessions_of(Line(item, encoded(item), "a.jsonl") for item in records)
    add_missing(sessions.values(), [], whole=True)
    json.dumps([item.as_dict() for item in sessions.values()], allow_nan=False)


@pytest.mark.parametrize(
    "odd",
    [
        {"tag": "http", "meta": {"method": {"a": 1}}},
        {"event": "session.recovered", "epoch": 2, "meta": {"why": ["died"]}},
        {"event": "session.ended", "epoch": 1, "meta": {"state": [], "reason": {}}},
        {"event": "speech.ended", "meta": {"who": "bot", "ms": -1e308}},
        {"event": "session.ended", "timestamp": "9999-12-31T23:59:59.999999Z"},
    ],
)
def test_value_of_another_type_makes_all_forms(odd: dict[str, Any]) -> None:
    """A member of metadata that is a list, or a time at the end of all times, is shown or left out."""
    make_all_forms([record(1, session="call-7") | odd])


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(EVENTS)),
            st.sampled_from(SERVICES),
            st.dictionaries(st.sampled_from(METADATA), st.sampled_from(ODD), max_size=6),
            st.sampled_from([None, 1, 2]),
        ),
        max_size=12,
    )
)
def test_any_values_make_all_forms(
    said: list[tuple[str, str, dict[str, Any], int | None]],
) -> None:
    """No combination of events and values keeps anybody from seeing the others."""
    records = [
        record(n, seq=n + 1, session="call-7", service=service, event=event, meta=meta)
        | ({} if epoch is None else {"epoch": epoch})
        for n, (event, service, meta, epoch) in enumerate(said)
    ]
    make_all_forms(records)
