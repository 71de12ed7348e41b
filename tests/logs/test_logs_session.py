"""What belongs to a session, what is missing of it, and how that is known."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.logs import search, survey
from cordboard.logs.coverage import REASONS, Shortfall
from cordboard.logs.gaps import Hole, holes
from cordboard.logs.query import Query
from cordboard.logs.reader import Reader
from cordboard.logs.sequence import Gap
from cordboard.logs.session import SessionFacts, Step, silent
from cordboard.logs.skew import corrections, skews
from cordboard.logs.sources import Source, Stream
from cordboard.logs.sources.directory import Directory
from cordboard.logs.summary import add_missing, sessions_of
from cordboard.logs.timespec import HIGHEST, LOWEST
from logs.logs_support import (
    BOOTS,
    PAGE,
    START,
    STEPS,
    Plane,
    ask,
    ask_source,
    at,
    bare,
    cri,
    cri_in_pieces,
    docker,
    encoded,
    only_compiled,
    record,
    write_lines,
)


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path)


def test_a_call_is_complete(plane: Plane) -> None:
    """A call without a page needs no browser and no interface; all of it is there, and said to be."""
    plane.call("call-6")
    plane.boots["bot"] = "77777777"
    plane.call("call-7")
    plane.call("call-70")
    answer = plane.ask()
    assert len(answer.lines) == len(STEPS)
    assert answer.shortfalls == []
    assert answer.coverage.complete
    assert answer.coverage.attribution == {"explicit": len(STEPS)}
    assert plane.ask("call-70").coverage.complete


def test_a_page_takes_part(plane: Plane) -> None:
    """A call from a page is complete with the lines of browser and interface."""
    plane.call("call-7", page=True)
    assert plane.ask().coverage.complete
    plane.files["interface"] = [
        line for line in plane.files["interface"] if b'"browser"' not in line
    ]
    assert plane.ask().shortfalls == [("browser", "silent", "interface logged join.requested")]


def test_a_join_of_the_edge_needs_no_page(plane: Plane) -> None:
    """One of Pipecat's clients asked for it."""
    plane.boots["edge"], plane.counters["edge"], plane.files["edge"] = "88888888", count(1), []
    plane.say("edge", session="call-7", event="join.requested")
    plane.call("call-7")
    assert plane.ask().coverage.complete


@pytest.mark.parametrize(
    ("file", "place", "service", "gap"),
    [
        ("gateway", 1, "gateway", "boot 33333333: seq 2"),
        ("gateway", 2, "gateway", "boot 33333333: seq 3"),
        ("operator", 2, "operator", "boot 44444444: seq 3"),
        ("runner", 3, "runner", "boot 55555555: seq 4"),
        ("runner", 4, "bot", "boot 66666666: seq 1"),
    ],
)
def test_each_lost_line_is_named(
    plane: Plane, file: str, place: int, service: str, gap: str
) -> None:
    """Whichever line of a call is lost, the process and the number are named."""
    plane.boots["bot"] = "66666666"
    plane.call("call-7")
    plane.say("gateway", message="Served")
    plane.say("operator", message="Swept")
    plane.lose(file, place)
    answer = plane.ask()
    named = [
        (who, why, detail.split(",")[0]) for who, why, detail in answer.shortfalls if why == "gap"
    ]
    assert named == [(service, "gap", gap)]


def test_a_loss_behind_a_line_that_stands_twice(tmp_path: Path) -> None:
    """A file with one line lost and another twice has as many lines as it should; the loss shows."""
    lines = [encoded(record(n, seq=n)) for n in (1, 2, 3, 3, 5, 6)]
    write_lines(tmp_path / "gateway.jsonl", lines)
    (found,) = ask(tmp_path).shortfalls
    assert found[2].startswith("boot aaaaaaaa: seq 4,")


@pytest.mark.parametrize("wanted", [{}, {"level": "error"}, {"exact": True, "level": "error"}])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=only_compiled)])
def test_a_loss_behind_a_copy(
    tmp_path: Path, wanted: dict[str, Any], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number is read, though lines are only searched: two of one number do not pass for two."""
    if not compiled:
        monkeypatch.setattr(survey, "native", None)
    numbers = [n for n in range(1, 200) if n != 90]
    lines = [encoded(record(n, seq=n)) for n in sorted([*numbers, 91])]
    write_lines(tmp_path / "gateway.jsonl", lines)
    details = [detail.split(",")[0] for _, _, detail in ask(tmp_path, **wanted).shortfalls]
    assert details == ["boot aaaaaaaa: seq 90"]


@pytest.mark.parametrize("carrier", [bare, cri, cri_in_pieces, docker])
@pytest.mark.parametrize("twice", [[], [91]])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=only_compiled)])
def test_a_loss_around_a_session(
    tmp_path: Path,
    compiled: bool,
    twice: list[int],
    carrier: Callable[[bytes, float], list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number that is missing while a session spoke is named, and no other, whatever wraps the lines."""
    if not compiled:
        monkeypatch.setattr(survey, "native", None)
    numbers = sorted([*(n for n in range(1, 200) if n != 90), *twice])
    sessions = {n: "call-7" if n % 7 == 0 else "call-8" for n in numbers}
    lines = [encoded(record(n, seq=n, session=sessions[n])) for n in numbers]
    carried = [piece for n, line in zip(numbers, lines, strict=True) for piece in carrier(line, n)]
    write_lines(tmp_path / "gateway.jsonl", carried)
    found = ask(tmp_path, session="call-7").shortfalls
    details = [detail.split(",")[0] for _, reason, detail in found if reason == "gap"]
    assert details == ["boot aaaaaaaa: seq 90"]


def test_bounds_of_a_gap(plane: Plane) -> None:
    """A gap is named with the moments of the lines around it."""
    plane.call("call-7")
    plane.lose("gateway", 1)
    ((_, _, detail),) = plane.ask().shortfalls
    assert detail == f"boot 33333333: seq 2, between {at(0.01)} and {at(0.06)}"


@pytest.mark.parametrize(
    ("after", "before", "words"),
    [
        (at(1).encode(), at(2).encode(), f", between {at(1)} and {at(2)}"),
        (LOWEST, at(2).encode(), f", before {at(2)}"),
        (at(1).encode(), HIGHEST, f", after {at(1)}"),
        (LOWEST, HIGHEST, ""),
    ],
)
def test_bounds_that_are_not_known(after: bytes, before: bytes, words: str) -> None:
    """Of a gap whose neighbours are not there, no moment is made up."""
    hole = Hole(Gap("aaaaaaaa", 3, 5), "gateway", after, before)
    assert hole.shortfall().detail == f"boot aaaaaaaa: seq 3 to 5{words}"


def test_gaps_at_other_times_are_of_no_concern(plane: Plane) -> None:
    """A line that was lost before or after the session is not missing of it."""
    for _ in range(5):
        plane.say("gateway", message="Served")
    plane.call("call-7")
    for _ in range(5):
        plane.say("gateway", message="Served")
    plane.lose("gateway", 2, 3, len(plane.files["gateway"]) - 3)
    assert plane.ask().coverage.complete
    assert not ask(plane.folder).coverage.complete


@pytest.mark.parametrize("service", ["gateway", "operator", "runner"])
def test_a_silent_service_is_named(plane: Plane, service: str) -> None:
    """A service that should have spoken of the session and did not is named, with who said so."""
    plane.call("call-7")
    plane.files[service] = [line for line in plane.files[service] if b"call-7" not in line]
    assert (service, "silent") in {(who, why) for who, why, _ in plane.ask().shortfalls}


def test_a_log_that_is_gone(plane: Plane) -> None:
    """A part's file that is not there is named, and its service has nothing to be read from."""
    plane.call("call-7")
    plane.files.pop("operator")
    found = {(Path(who).name, why) for who, why, _ in plane.ask().shortfalls}
    assert found == {("operator", "no_source"), ("operator.jsonl", "gone")}


def test_a_log_that_was_rotated(plane: Plane) -> None:
    """A log that begins in the middle of the session has lost lines by rotation."""
    plane.call("call-7")
    plane.lose("gateway", 0, 1)
    answer = plane.ask()
    detail = f"first line at {at(0.06)}, seq 3 of boot 33333333"
    assert ("gateway", "rotated", detail) in answer.shortfalls


def test_a_log_that_begins_later(plane: Plane) -> None:
    """A service whose log begins after the session could not have spoken of it."""
    plane.call("call-7")
    plane.files["operator"] = [encoded(record(900, boot="99999999", service="operator"))]
    assert ("operator", "starts_after_window") in {(w, why) for w, why, _ in plane.ask().shortfalls}


def test_a_window_that_cuts_the_beginning_off(plane: Plane) -> None:
    """What was before the window is not held against those who spoke then; the reader is told."""
    plane.call("call-7")
    answer = plane.ask(since=at(0.085))
    assert {line.record["service"] for line in answer.lines} == {"runner", "operator", "bot"}
    assert answer.coverage.complete
    assert any(
        "start of the session is not in the window" in note for note in answer.coverage.notes
    )


def test_a_window_that_begins_before_a_log(plane: Plane) -> None:
    """A log that has lost the window's beginning is named."""
    plane.lose("gateway", 0)
    plane.say("gateway", message="Served")
    plane.write()
    found = ask(plane.folder, since=at(-10), until=at(10)).shortfalls
    assert [(who, why) for who, why, _ in found] == [("gateway", "rotated")]


def test_a_window_that_cuts_the_end_off(plane: Plane) -> None:
    """Who spoke only after the window is not missed."""
    plane.call("call-7")
    answer = plane.ask(until=at(0.065))
    assert [line.record["event"] for line in answer.lines] == ["join.received", "join.accepted"]
    assert answer.coverage.complete


def test_a_session_that_has_just_begun(plane: Plane) -> None:
    """Of a session whose lines are seconds old, others' may still be on their way."""
    from datetime import UTC, datetime

    plane.clock = (datetime.now(UTC) - START).total_seconds()
    plane.say("gateway", session="call-7", event="join.accepted", epoch=1)
    assert plane.ask().shortfalls == [("operator", "not_settled", "gateway logged join.accepted")]


def test_a_service_without_session_ids(plane: Plane) -> None:
    """A service that spoke meanwhile, but never of any session, has no session ids on its lines."""
    plane.call("call-7")
    plane.files["operator"] = [
        b'{"time":"2026-11-23T10:00:00.05Z","level":30,"msg":"Claimed"}',
        b'{"time":"2026-11-23T10:00:00.1Z","level":30,"msg":"Handed over"}',
    ]
    assert plane.ask().shortfalls == [("operator", "no_session_id", "gateway logged join.accepted")]


def test_no_such_session(plane: Plane) -> None:
    """An id that nobody speaks of is named as missing."""
    plane.call("call-7")
    answer = plane.ask("call-8")
    assert answer.lines == []
    assert answer.shortfalls == [("session call-8", "silent", "no line has this session id")]


# --- attribution


def test_a_mention_is_no_hit(plane: Plane) -> None:
    """An id in another line's text is a mention: counted, and shown only when asked for."""
    plane.call("call-7")
    plane.say("gateway", message="call-7 is mentioned", session="call-8")
    plane.say("gateway", message="call-77 is another", session="call-8")
    plane.say("gateway", message="x", meta={"other": {"sessionId": "call-7"}})
    answer = plane.ask()
    assert len(answer.lines) == len(STEPS)
    assert "2 further lines mention the session; --mentions shows them." in answer.coverage.notes
    plane.files["gateway"].pop()
    assert "1 further line mentions the session; --mentions shows it." in plane.ask().coverage.notes
    plane.say("gateway", message="x", meta={"other": {"sessionId": "call-7"}})
    shown = plane.ask(mentions=True)
    assert shown.coverage.attribution == {"explicit": len(STEPS), "absent": 2}


def test_how_a_session_is_known(plane: Plane) -> None:
    """Explicit, inherited by a raw line, inferred from process or trace; never from nothing."""
    plane.call("call-7")
    plane.say("runner", session="call-7", raw=encoded(
        record(0.2, boot=BOOTS["runner"], seq=6, session="call-7", service="bot", raw=True, message="print")
    ))  # fmt: skip
    plane.say("bot", message="Not bound")
    plane.say("gateway", session="call-7", traceId="f" * 32, message="Traced")
    plane.say("gateway", traceId="f" * 32, message="By trace")
    plane.say("gateway", traceId="f" * 32, session="call-8", message="Another's")
    plane.say("gateway", message="Nobody's")
    answer = plane.ask()
    how = {line.record["message"]: (line.attribution, line.inferred_from) for line in answer.lines}
    assert how["print"] == ("inherited", None)
    assert how["Not bound"] == (
        "inferred", f"the process (boot {BOOTS['bot']}) logged no other session",
    )  # fmt: skip
    assert how["By trace"] == ("inferred", f"trace {'f' * 32} belongs to the session")
    assert "Another's" not in how
    assert "Nobody's" not in how
    assert answer.coverage.attribution == {
        "explicit": len(STEPS) + 1,
        "inherited": 1,
        "inferred": 2,
    }


@pytest.mark.parametrize("session", ["a", "1", "call-7"])
def test_an_id_that_occurs_in_every_line(tmp_path: Path, session: str) -> None:
    """A short id is in many words: what belongs to the session without naming it is there all the same."""
    said = [("bot", session, 1, "Began"), ("bot", "server:vm", 2, "A word, and 1 digit")]
    lines = [
        encoded(record(n, boot="bbbbbbbb", seq=seq, service=service, session=who, message=words))
        for n, (service, who, seq, words) in enumerate(said)
    ]
    write_lines(tmp_path / "runner.jsonl", lines)
    answer = ask(tmp_path, session=session)
    assert [line.attribution for line in answer.lines] == ["explicit", "inferred"]


class Container(Stream):
    """A container's log, as a cluster gives it."""

    kind = "container"

    def __init__(self, name: str, lines: list[bytes]) -> None:
        self.name = name
        self.lines = lines

    def read(self, *, follow: bool = False) -> Any:
        yield b"".join(line + b"\n" for line in self.lines)

    def shortfalls(self) -> list[Shortfall]:
        return []

    def close(self) -> None: ...


class Cluster(Source):
    """A source of containers."""

    name = "cluster"

    def __init__(self, *containers: Container) -> None:
        self.containers = containers

    def streams(self, query: Query) -> tuple[Container, ...]:
        return self.containers

    def answers(self) -> list[Any]:
        return []

    def explain(self, query: Query) -> list[str]:
        return []

    def close(self) -> None: ...


@pytest.mark.parametrize("most", [100, 32 << 20])
@pytest.mark.parametrize("alone", [True, False])
def test_a_container_of_one_session(
    alone: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain lines of a container belong to a session only where no other speaks in it."""
    monkeypatch.setattr(search, "_KEPT_MAX_BYTES", most)
    ours = encoded(record(1, boot="aaaaaaaa", service="runner", session="call-7"))
    last = encoded(
        record(3, boot="aaaaaaaa", seq=2, service="runner", session="call-7" if alone else "call-8")
    )
    lines = [
        f"{at(1)[:-1]}001Z ".encode() + ours,
        f"{at(2)[:-1]}001Z free(): invalid pointer".encode(),
        f"{at(3)[:-1]}001Z ".encode() + last,
    ]
    reader = Reader(Query(session="call-7"), [Cluster(Container("ns/cold-1/runner", lines))])
    found = {line.record["message"]: line.inferred_from for line in reader.lines()}
    reader.close()
    if alone:
        assert found["free(): invalid pointer"] == "the stream contains no other session"
    else:
        assert "free(): invalid pointer" not in found


@pytest.mark.parametrize(
    ("named", "is_another"),
    [
        (b"2026-11-23T10:00:02Z INFO joined session_id=call-8", True),
        (b"2026-11-23T10:00:02Z INFO joined session_id=call-7.", False),
        (b'{"timestamp": "2026-11-23T10:00:02Z", "message": "x", "sessionId": "call-8"}', True),
        (b'{"timestamp": "2026-11-23T10:00:02Z", "message": "x", "sessionId" : "call-7"}', False),
        (b'{"time":"2026-11-23T10:00:02Z","msg":"x","session":{"id":"call-8"}}', True),
        (b'{"time":"2026-11-23T10:00:02Z","msg":"x","session.id":"call-8"}', True),
        (b'{"time":"2026-11-23T10:00:02Z","msg":"x","session_id":null}', False),
        (b"2026-11-23T10:00:02Z joined \x1b[36msession_id\x1b[0m=\x1b[35mcall-8\x1b[0m", True),
        (b"2026-11-23T10:00:02Z joined \x1b[36msession_id\x1b[0m=\x1b[35mcall-7\x1b[0m", False),
        (b'2026-11-23T10:00:02Z INFO sent {"sessionId": "server:vm"} session started', False),
    ],
)
def test_another_session_in_whatever_form(named: bytes, is_another: bool) -> None:
    """Where a stream speaks of another session, in any form, its plain lines are nobody's."""
    lines = [
        encoded(record(1, boot="aaaaaaaa", service="bot", session="call-7")),
        named,
        b"2026-11-23T10:00:02.5Z ERROR card of the other caller refused",
        encoded(record(3, boot="aaaaaaaa", seq=2, service="bot", session="call-7")),
    ]
    lines = [f"{at(2)[:-1]}001Z stdout F ".encode() + line for line in lines]
    reader = Reader(Query(session="call-7"), [Cluster(Container("ns/bot-1/bot", lines))])
    found = [line for line in reader.lines() if "card" in line.record["message"]]
    reader.close()
    assert len(found) == (not is_another)


@pytest.mark.parametrize(
    "line",
    [
        b"2026-11-23T10:00:01Z [info] joined \x1b[36msession_id\x1b[0m=\x1b[35mcall-7\x1b[0m",
        b"2026-11-23T10:00:01Z [info] joined session_id=\x1b[1;38;5;12mcall-7\x1b[0m",
    ],
)
def test_a_session_in_colour(tmp_path: Path, line: bytes) -> None:
    """The colour in front of an id is no part of it."""
    write_lines(tmp_path / "web.log", [line, line.replace(b"call-7", b"xcall-7")])
    assert ask(tmp_path, session="call-7").raws == [line]


@pytest.mark.parametrize("before", [b"\\n", b"\\u001b[35m"])
def test_a_mention_behind_an_escape(tmp_path: Path, before: bytes) -> None:
    """The escape in front of an id is no part of it."""
    line = b'{"time":"2026-11-23T10:00:01Z","msg":"left%bcall-7"}' % before
    write_lines(tmp_path / "web.log", [line])
    assert ask(tmp_path, session="call-7", mentions=True).raws == [line]


def test_filters_leave_the_proof_alone(plane: Plane) -> None:
    """A filter chooses lines; what is missing is judged by all lines of the session."""
    plane.call("call-7")
    answer = plane.ask(services=("gateway",))
    assert {line.record["service"] for line in answer.lines} == {"gateway"}
    assert answer.coverage.complete


def test_too_much_to_be_kept(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of more lines than memory may hold is read twice, with the same answer."""
    plane.call("call-7")
    plane.say("bot", message="Not bound")
    kept = plane.ask()
    monkeypatch.setattr(search, "_KEPT_MAX_BYTES", 100)
    again = plane.ask()
    assert [line.raw for line in again.lines] == [line.raw for line in kept.lines]
    assert again.coverage == kept.coverage


def test_stream_of_a_session_that_is_too_much_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that belong to a session by their stream alone are counted like those that name it."""
    monkeypatch.setattr(search, "_KEPT_MAX_BYTES", 10_000)
    monkeypatch.setattr(search, "_NOTED_AT_ONCE", 50)
    held: list[int] = []
    plain = search.Search._note_others

    def noted(self: search.Search, entries: list[Any], track: Any) -> None:
        held.append(len(entries))
        plain(self, entries, track)

    monkeypatch.setattr(search.Search, "_note_others", noted)
    ours = [
        encoded(record(n, seq=m, service="runner", session="call-7")) for m, n in ((1, 1), (2, 9))
    ]
    texts = [f"{at(1 + n / 1000)[:-1]}001Z text {n}".encode() for n in range(1000)]
    first, last = (
        f"{at(n)[:-1]}001Z ".encode() + line for n, line in zip((1, 9), ours, strict=True)
    )
    lines = [first, *texts, last]
    answer = ask_source(Cluster(Container("ns/cold-1/runner", lines)), session="call-7")
    assert len(answer.lines) == 1002
    assert sum(held) == 1000
    assert max(held) <= 90


def test_one_stream_alone_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few others there are, or none: nothing of it is left out."""
    lines = [encoded(record(n, seq=n, session="call-7")) for n in range(1, 20)]
    write_lines(tmp_path / "gateway.jsonl", lines)
    for most in (0, 1, len(lines[0]), sum(map(len, lines)) - 1, sum(map(len, lines))):
        monkeypatch.setattr(search, "_KEPT_MAX_BYTES", most)
        assert ask(tmp_path, session="call-7").raws == lines


# --- clocks


def test_clocks_that_differ(plane: Plane) -> None:
    """An effect that was logged before its cause tells by how much a clock is off, at least."""
    plane.call("call-7", page=True, skews={"runner": -2.5, "bot": -2.5, "browser": 30})
    answer = plane.ask()
    told = sorted(note for note in answer.coverage.notes if note.startswith("The clock"))
    assert [note.split(" is at least")[0] for note in told] == [
        "The clock of browser (boot 22222222)",
        "The clock of runner (boot 55555555)",
    ]
    assert "ahead: join.requested was logged before its cause, join.clicked" in told[0]
    assert "at least 2.490 s behind" in told[1]
    assert [line.record.get("event") for line in answer.lines] != [
        event for _, event, _ in (*PAGE, *STEPS)
    ]


def test_clocks_are_corrected_when_asked(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `fix_skew` no effect is shown before its cause; the bytes stay as they were, however much it is."""
    plane.call("call-7", page=True, skews={"runner": -2.5, "bot": -2.5, "browser": 30})
    answer = plane.ask(fix_skew=True)
    events = [line.record.get("event") for line in answer.lines]
    for cause, effect in (
        ("join.clicked", "join.requested"), ("join.requested", "join.received"),
        ("launch.claimed", "start.received"), ("start.received", "bot.connected"),
    ):  # fmt: skip
        assert events.index(cause) <= events.index(effect)
    times = [line.record["timestamp"] for line in answer.lines]
    assert times == sorted(times)
    assert sorted(answer.raws) == sorted(plane.ask().raws)
    monkeypatch.setattr(search, "_KEPT_MAX_BYTES", 100)
    assert plane.ask(fix_skew=True).lines == answer.lines


@given(
    st.dictionaries(
        st.sampled_from(["browser", "interface", "operator", "runner"]), st.floats(-100, 100)
    )
)
def test_corrected_clocks_contradict_nothing(skew: dict[str, float]) -> None:
    """Whatever the clocks, after the correction no cause stands behind its effect."""
    steps = [
        Step(at(n + skew.get(service, 0)).encode(), service, event, 1, {}, BOOTS[service])
        for n, (service, event, _) in enumerate((*PAGE, *STEPS))
        if service != "bot"
    ]
    by = corrections(steps)
    from cordboard.logs.skew import _CAUSES
    from cordboard.logs.timespec import seconds

    when = {step.event: seconds(step.at) + by.get(step.boot, 0) for step in steps}
    assert all(when[cause] <= when[effect] + 0.01 for cause, effect in _CAUSES)
    if not skew:
        assert skews(steps) == []


# --- who should have spoken


def facts_of(*steps: tuple[str, str, int | None]) -> SessionFacts:
    facts = SessionFacts("call-7")
    for n, (service, event, epoch) in enumerate(steps):
        facts.note(record(n, service=service, event=event, epoch=epoch, session="call-7"))
    facts.settle()
    return facts


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([("gateway", "join.received", None), ("gateway", "join.refused", None)], []),
        ([("gateway", "join.reused", 1)], []),
        ([("browser", "page.opened", None)], []),
        ([("browser", "join.clicked", None)], ["interface"]),
        ([("gateway", "join.accepted", 1)], ["operator"]),
        ([("gateway", "join.accepted", 1), ("gateway", "session.ended", 1)], []),
        ([("gateway", "join.accepted", 1), ("operator", "launch.claimed", 1),
          ("operator", "session.ended", 1)], []),
        ([("gateway", "join.accepted", 1), ("operator", "launch.assigned", 1)], ["runner"]),
        ([("runner", "bot.started", 1)], ["gateway", "operator", "bot"]),
        ([("gateway", "join.accepted", 1), ("operator", "launch.assigned", 1), ("runner", "start.received", 1),
          ("operator", "launch.assigned", 2)], ["runner"]),
    ],
)  # fmt: skip
def test_who_should_have_spoken(
    steps: list[tuple[str, str, int | None]], expected: list[str]
) -> None:
    """What one service said of a session tells which others must have."""
    assert [service for service, _ in silent(facts_of(*steps), whole=True)] == expected


def test_every_reason_has_words(plane: Plane) -> None:
    """No coverage ever holds a reason that has no explanation."""
    plane.call("call-7")
    plane.files.pop("operator")
    plane.lose("gateway", 0)
    assert all(why in REASONS for _, why, _ in plane.ask().shortfalls)


# --- sessions of a window


def test_the_roll(plane: Plane) -> None:
    """Each session of a window, with who, where, how it ended, its errors and what is missing."""
    plane.call("call-7")
    plane.boots["bot"] = "88888888"
    plane.say(
        "gateway",
        session="call-8",
        room="webrtc:two",
        event="join.accepted",
        epoch=1,
        userName="Ada",
    )
    plane.say("gateway", session="call-8", level="error", message="Broke")
    plane.say("gateway", session="call-8", message="More")
    plane.lose("gateway", len(plane.files["gateway"]) - 2)
    plane.write()
    reader = Reader(Query(), [Directory(plane.folder)])
    entries = sessions_of(reader.lines())
    add_missing(entries.values(), holes(reader.tracks, b"0", b"9"), whole=True)
    reader.close()
    seven, eight = entries["call-7"].as_dict(), entries["call-8"].as_dict()
    assert (seven["state"], seven["reason"], seven["room"]) == ("ended", "left", "webrtc:demo")
    assert (seven["lines"], seven["errors"], seven["missing"], seven["silent"]) == (10, 0, 0, [])
    assert seven["seconds"] == pytest.approx(0.04)
    assert (eight["state"], eight["user"], eight["seconds"]) == ("queued", "Ada", None)
    assert (eight["missing"], eight["silent"]) == (1, ["operator"])
