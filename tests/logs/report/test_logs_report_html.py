"""The page holds every text as text, reaches for nothing outside, and loses no line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cordboard.logs.coverage import REASONS, Answer, Coverage, Shortfall
from cordboard.logs.line import Line
from cordboard.logs.report import Header, html
from cordboard.logs.report.entry import clean_record, one_line, visible
from cordboard.logs.report.html import CONTEXT, TABLES, RowMaker
from cordboard.logs.timespec import timestamp_of
from logs.report.page_support import Page
from report_support import (
    COMPLETE,
    HEADER,
    HOSTILE,
    MISSING,
    Told,
    crashed_call,
    good_call,
    line,
    page_of,
    recovered_call,
    write_report,
)


def data_of(source: str) -> Any:
    """Return the embedded lines of a page, as its script finds them."""
    return json.loads(source.partition('id="lines-data">')[2].partition("</script>")[0])


def decoded(source: str) -> list[dict[str, Any]]:
    """Read the embedded lines back, as the page's script does."""
    data = data_of(source)
    tables, records = data["tables"], []
    for us, *cells in data["rows"]:
        record: dict[str, Any] = dict(cells[len(TABLES)]) if len(cells) > len(TABLES) else {}
        if us is not None:
            record["timestamp"] = timestamp_of(data["origin"] + us)
        for name, cell in zip(TABLES, cells, strict=False):
            value = tables[name][cell] if isinstance(cell, int) and cell >= 0 else cell
            if name == "context":
                record |= value
            elif cell != -1 and name not in {"source", "attribution"}:
                record[name] = value
        records.append(record)
    return records


texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.sampled_from(HOSTILE),
    st.sampled_from(["session.ended", "bot.crashed", "turn.ended", "bot.first_audio", "call-7"]),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
times = st.integers(0, 10**9).map(lambda ms: timestamp_of(1_795_500_000_000_000 + ms))
records = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": times | texts,
        "level": st.sampled_from(["debug", "info", "warn", "error", "FATAL"]) | values,
        "message": values,
        "service": st.sampled_from(["gateway", "bot"]) | texts,
        "tag": texts,
        "sessionId": texts,
        "userId": st.none() | texts,
        "userName": values,
        "room": values,
        "epoch": values,
        "event": texts,
        "meta": values,
        "error": values | st.fixed_dictionaries({"type": texts, "message": texts, "stack": texts}),
        "boot": texts,
        "seq": values,
        "oddity": values,
    },
)


@given(st.lists(records, max_size=6), texts)
def test_any_records_make_a_page_of_ours_alone(given_records: list[Any], hostile: str) -> None:
    """Whatever lines hold, the page is well-formed, of the tags it has itself, and without theirs."""
    coverage = Coverage(
        (Answer(hostile, hostile, 1, hostile, None, (Shortfall(hostile, hostile),)),),
        {hostile: 1},
        {hostile: 2},
        (hostile,),
    )
    header = Header(command=hostile, environment=hostile, since=hostile, filters=(hostile,))
    page = Page(page_of(given_records, coverage, header))
    assert page.wrong == []
    assert all(re.fullmatch(r"#[A-Za-z-]+\d*", link) for link in page.values("href"))
    assert len(page.values("id")) == len(set(page.values("id")))
    assert list(page.scripts) == ["lines-data", "script"]


@given(st.lists(records, max_size=6))
@example([{"timestamp": "later", "service": "gateway", "event": "session.ended"}])
def test_every_line_comes_back_whole(given_records: list[Any]) -> None:
    """The embedded lines are the records, value by value, whatever they hold."""
    assert decoded(page_of(given_records)) == [clean_record(item) for item in given_records]


@given(texts, texts, texts)
def test_texts_are_shown_as_they_are(message: str, service: str, stack: str) -> None:
    """What an error says stands in the page, visible, and no character of it steers."""
    record = {
        "timestamp": "2026-11-24T06:00:00.000000Z",
        "level": "error",
        "message": message,
        "service": service,
        "sessionId": "call-7",
        "error": {"type": "E", "message": "x", "stack": stack},
    }
    page = Page(page_of([record]))
    clean = clean_record(record)
    assert one_line(clean["message"], 580).rstrip("…") in page.text
    assert visible(clean["error"]["stack"].strip()) in page.text
    steering = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
    assert not steering.search(page.text + "".join(page.values()))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_in_every_place(hostile: str) -> None:
    """One hostile text in every place that a text of a log can reach."""
    told = Told(session_id=hostile)
    for event in ("join.clicked", "join.refused", "lease.expired", "bot.crashed", "session.ended"):
        told.say(0, hostile, hostile, event=event, level="error", tag=hostile, **{hostile: hostile})
    told.event(1, "bot", "turn.ended", turn=hostile, user_bot_latency_ms=5, ttfb_ms={hostile: 3})
    told.event(2, "bot", "session.ended", reason=hostile, state=hostile, detail=hostile)
    for record in told.records:
        record |= {
            "userName": hostile,
            "room": hostile,
            "error": {"type": hostile, "stack": hostile},
        }
    page = Page(page_of(told.records, header=Header()))
    assert page.wrong == []
    assert page.scripts["script"] == html.own_script()
    assert one_line(hostile) in page.text


def test_the_policy_allows_only_our_own() -> None:
    """No network, no foreign script: the policy names the hashes of style and script, no more."""
    source = page_of(good_call().records)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', source)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert policy.count("sha256-") == 2
    assert not re.search(r"""(?:src|href|action|url)\s*[=(]\s*['"]?(?:https?:)?//""", source)
    assert " style=" not in source


def test_our_own_files_cannot_end_their_elements() -> None:
    """The page's script and style hold nothing that would end the element around them."""
    assert "</" not in html.own_file("page.css")
    assert "</" not in html.own_script()
    assert "<!--" not in html.own_script()


def test_the_page_shows_what_there_is() -> None:
    """Verdict, facts, stages, turns, attempts, services, errors, coverage and the command."""
    text = Page(page_of(recovered_call().records, MISSING)).text
    for words in (
        "first audio 348 ms after the click",
        "Ada Lovelace · u-1",
        "webrtc:standup",
        "+233 ms",
        "OpenAILLM#0 310 ms",
        "lease expired, 1.2 s overdue",
        "Session queued again",
        "the lease ran out; the runner's port is closed",
        "no caller reported the silence; 2.09 s by the plane's own times",
        "boot 9f31c2aa: seq 17 to 21",
        REASONS["gone"],
        "1 malformed line",
        "attribution inherited: 2 lines",
        "The limit of 10000 lines was reached.",
        "cordboard logs --local --session call-7",
    ):
        assert words in text
    assert "Traceback (most recent call last)" in Page(page_of(crashed_call().records)).text


def test_links_lead_to_lines() -> None:
    """Each link to a line names one that is embedded."""
    told = good_call()
    links = Page(page_of(told.records)).values("href")
    numbers = {int(link[2:]) for link in links if re.fullmatch(r"#L\d+", link)}
    assert numbers
    assert numbers <= set(range(1, len(told.records) + 1))


def test_a_very_long_log_keeps_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the middle is left out, and the page says how much."""
    monkeypatch.setattr(html, "LINES_MAX", 1000)
    monkeypatch.setattr(html, "TABLE_MAX", 1200)
    rows = RowMaker()
    for number in range(1500):
        rows.add({"message": f"m{number}"}, "file", "explicit")
    data = json.loads("".join(rows.data()))
    assert len(data["rows"]) == 1000
    assert (data["left_out"], data["split"]) == (500, 500)
    assert data["tables"]["message"][0] == "m0"
    assert data["rows"][-1][TABLES.index("message") + 1] == "m1499"


def test_secrets_are_hidden_again(tmp_path: Path) -> None:
    """A line of somebody else's logger may hold a secret: the report does not."""
    record = good_call().records[0] | {
        "message": "GET https://x.y/?token=hunter2",
        "meta": {"password": "hunter2", "deep": [{"Authorization": "Bearer hunter2hunter2"}]},
        "api_key": "hunter2",
    }
    for name in ("r.html", "r.txt"):
        write_report(tmp_path / name, [line(record)], COMPLETE, HEADER)
        assert "hunter2" not in (tmp_path / name).read_text()


def test_context_names_are_said_once() -> None:
    """Twenty thousand lines of one session stay compact: what repeats is embedded once."""
    told = Told()
    for number in range(2000):
        told.say(number, "bot", f"Heard {number}", words=3)
    source = page_of(told.records)
    assert source.count("Ada Lovelace") < 10
    assert set(CONTEXT) & set(data_of(source)["tables"]["context"][0])


def test_attribution_is_embedded(tmp_path: Path) -> None:
    """How a line's session is known goes with the line."""
    lines = [
        Line({"message": "Hello"}, b"Hello", "f", "inferred", "the room"),
        Line({"message": "There"}, b"There", "f", "absent"),
    ]
    write_report(tmp_path / "r.html", lines, COMPLETE, Header())
    data = data_of((tmp_path / "r.html").read_text())
    assert data["tables"]["attribution"] == ["inferred: the room", "absent"]


def test_page_and_python_make_the_same_visible() -> None:
    """The page's script names the same characters as the rest: a hidden one is hidden nowhere."""
    ours = html.own_script()
    for first, last in re.findall(r"\\u([0-9a-f]{4})(?:-\\u([0-9a-f]{4}))?", ours):
        for mark in {chr(int(first, 16)), chr(int(last or first, 16))}:
            assert visible(mark) != mark


def test_the_size_of_the_page_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long lines use the room of many: the first and the last are kept, the middle is counted."""
    monkeypatch.setattr(html, "LINES_MAX_CHARS", 100_000)
    maker = RowMaker()
    for number in range(100):
        told = {"timestamp": "2026-11-23T10:00:00.000000Z", "message": f"{number} {'x' * 5000}"}
        maker.add(told, "a.jsonl", "explicit")
    source = "".join(maker.data())
    data = json.loads(source)
    assert len(source) < 150_000
    assert data["left_out"] + len(data["rows"]) == 100
    assert data["split"] == 10
    shown = [row[6].split()[0] for row in data["rows"]]
    assert (shown[0], shown[-1]) == ("0", "99")
    assert data["tables"]["message"] == []
