"""What proves something of a session, and what is a mere claim: of pages, of processes, of lookers-on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordboard.logs import survey
from cordboard.logs.coverage import Coverage
from cordboard.logs.report import Header, text
from cordboard.logs.report.model import Model, ModelMaker
from cordboard.logs.session import CLOSED, HEARD
from cordboard.logs.summary import SessionSummary, sessions_of
from logs.logs_support import (
    BOOTS,
    STEPS,
    Answered,
    Plane,
    ask,
    at,
    encoded,
    only_compiled,
    record,
    write_lines,
)

STATIC = Path(__file__).parents[2] / "src/cordboard/interface/static"
ADA: dict[str, Any] = {"userId": "u-1", "userName": "Ada"}
EVE: dict[str, Any] = {"userId": "u-2", "userName": "Eve"}


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path)


def model_of(answer: Answered) -> Model:
    maker = ModelMaker(Header(session_id="call-7", made_at="now"))
    for line in answer.lines:
        maker.add(line.record)
    return maker.model(answer.coverage)


def told_of(answer: Answered) -> list[str]:
    """Return all that a report tells of the session, its coverage apart."""
    return list(text.report(replace(model_of(answer), coverage=Coverage(())), []))


# --- processes


@pytest.fixture(params=["python", pytest.param("compiled", marks=only_compiled)])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(survey, "native", None)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("order", [("call-7", "call-8"), ("call-8", "call-7")])
def test_a_process_that_serves_several_proves_nothing(plane: Plane, order: tuple[str, str]) -> None:
    """A bot process that is seen to speak of another session tells of neither by its other lines."""
    for session in order:
        plane.say("bot", session=session, message=f"Speaking in {session}")
        plane.say("bot", message="Of nobody")
    answer = plane.ask()
    assert answer.messages == ["Speaking in call-7"]
    assert answer.coverage.attribution == {"explicit": 1}


@pytest.mark.usefixtures("reading")
def test_a_process_that_serves_one_tells_from_what(plane: Plane) -> None:
    """A line of a bot process that speaks of no other session is inferred; the coverage says from what."""
    plane.call("call-7")
    plane.say("bot", message="Not bound")
    answer = plane.ask()
    assert "Not bound" in answer.messages
    assert answer.coverage.attribution["inferred"] == 1
    words = f"the process (boot {BOOTS['bot']}) logged no other session"
    assert f"1 line is inferred to belong to the session: {words}." in answer.coverage.notes


def test_a_process_that_lived_before_has_lost_no_beginning(plane: Plane) -> None:
    """A bot process whose earlier lines stand long before the session began is not short of them."""
    for _ in range(400):  # more than is read around a session anyhow
        plane.say("bot", message=f"Waiting {'x' * 300}")
    plane.clock += 600
    plane.call("call-7", fork=False)
    assert plane.ask().coverage.complete
    plane.files["runner"] = [line for line in plane.files["runner"] if b"Waiting" not in line]
    assert plane.ask().shortfalls == [("bot", "gap", f"boot {BOOTS['bot']}: seq 1 to 400")]


# --- pages of other people


def a_call(folder: Path) -> Plane:
    plane = Plane(folder)
    plane.call("call-7", page=True, **ADA)
    return plane


CLAIM = st.fixed_dictionaries(
    {
        "message": st.sampled_from(["Hello", HEARD, *sorted(CLOSED), "x" * 50]),
        "level": st.sampled_from(["info", "warn", "error"]),
        "seq": st.integers(1, 10_000),
        "boot": st.sampled_from(["deadbee0", "deadbee1"]),
    },
    optional={
        "event": st.sampled_from(["page.opened", "join.clicked", "session.ended", "join.accepted"]),
        "epoch": st.integers(0, 9),
        "room": st.just("webrtc:elsewhere"),
        "traceId": st.just("e" * 32),
        "error": st.just({"type": "E", "message": "m", "stack": ""}),
        "meta": st.just({"state": "failed", "reason": "bot_crashed", "runner": "r-9"}),
    },
)


def without_mentions(coverage: Coverage) -> dict[str, Any]:
    notes = [note for note in coverage.notes if "--mentions" not in note]
    return coverage._replace(notes=tuple(notes)).as_dict()


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(-60, 600), CLAIM),
        min_size=1,
        max_size=6,
        unique_by=lambda claim: (claim[1]["boot"], claim[1]["seq"]),  # as the interface sees to
    )
)
def test_a_stranger_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, claims: list[tuple[float, dict[str, Any]]]
) -> None:
    """Whatever another person's page says of a session: lines, coverage, verdict, header stay as they were."""
    plane = a_call(tmp_path_factory.mktemp("claims"))
    plane.say("gateway", traceId="e" * 32, message="Of another trace")
    before = plane.ask()
    for seconds, claim in claims:
        line = record(seconds, session="call-7", service="browser", **{**EVE, **claim})
        plane.files["interface"].append(encoded(line))
    after = plane.ask()
    assert after.raws == before.raws
    assert without_mentions(after.coverage) == without_mentions(before.coverage)
    assert after.coverage.complete
    assert told_of(after) == told_of(before)
    rolled = sessions_of(iter(ask(plane.folder).lines))["call-7"]
    assert rolled.as_dict() == sessions_of(iter(before.lines))["call-7"].as_dict()
    everything = ask(plane.folder, session="call-7", mentions=True)
    assert len(everything.lines) == len(before.lines) + len(claims)
    assert told(everything) == told(before)


def told(answer: Answered) -> tuple[object, ...]:
    """What stands at the head of a report."""
    session = model_of(answer).session
    assert session is not None
    return (
        session.verdict, session.user_id, session.user_name, session.room, session.state,
        session.first_us, session.last_us, session.length_ms, session.errors, session.people,
    )  # fmt: skip


def test_a_session_that_only_a_page_knows(plane: Plane) -> None:
    """Before anybody has joined, the page's own lines are all there is, and they count."""
    plane.say("browser", session="call-7", event="page.opened", message="Page opened", **ADA)
    answer = plane.ask()
    assert answer.messages == ["Page opened"]
    assert answer.coverage.complete
    (entry,) = sessions_of(iter(answer.lines)).values()
    assert (entry.state, entry.user) == ("opened", "Ada")


def test_a_state_only_advances_within_a_grant(plane: Plane) -> None:
    """The operator logs the hand-over when the bot runs already; a refused join of the same id changes nothing."""
    plane.call("call-7")
    lines = plane.ask().lines
    live = [
        line for line in lines if line.record.get("event") not in {"session.ended", "bot.finished"}
    ]
    assert live[-2].record["event"] == "launch.assigned"
    assert sessions_of(iter(live))["call-7"].state == "running"
    plane.say("gateway", session="call-7", event="join.refused")
    assert sessions_of(iter(ask(plane.folder).lines))["call-7"].state == "ended"
    plane.say("gateway", session="call-7", event="join.accepted", epoch=2)
    plane.write()
    assert sessions_of(iter(ask(plane.folder).lines))["call-7"].state == "queued"


def test_a_trace_of_a_page_gathers_no_others_lines(plane: Plane) -> None:
    """A page that names a foreign trace does not make that trace's lines the session's."""
    plane.call("call-7", page=True, **ADA)
    plane.say("browser", session="call-7", traceId="e" * 32, message="Mine", **ADA)
    plane.say("gateway", traceId="e" * 32, message="Of another call")
    answer = plane.ask()
    assert "Mine" in answer.messages
    assert "Of another call" not in answer.messages


# --- one id, different people


def twice(plane: Plane) -> Answered:
    plane.call("call-7", page=True, **ADA)
    plane.clock += 60
    plane.boots["bot"], plane.boots["browser"] = "77777777", "88888888"
    plane.call("call-7", page=True, epoch=2, room="webrtc:evil", **EVE)
    return plane.ask()


def test_two_people_under_one_id_are_told_apart(plane: Plane) -> None:
    """Coverage, report and sessions_of name both; the report's user and room are those of the last stay."""
    answer = twice(plane)
    assert any("Ada (u-1), Eve (u-2)" in note for note in answer.coverage.notes)
    model = model_of(answer)
    assert model.session is not None
    assert (model.session.user_name, model.session.room) == ("Eve", "webrtc:evil")
    assert any("Different users joined" in words for words in model.verdict.details)
    assert any("Ada, Eve" in words for words in model.verdict.details)
    (entry,) = (e for e in sessions_of(iter(answer.lines)).values() if e.facts.session == "call-7")
    assert (entry.user, entry.people) == ("Ada, Eve", {"u-1", "u-2", "Ada", "Eve"})


# --- pages that were lost


def unclosed(plane: Plane) -> None:
    plane.call("call-7", page=True, **ADA)
    plane.files["interface"] = [
        line for line in plane.files["interface"] if b"Call ended" not in line
    ]


def test_a_page_that_was_killed_is_not_complete(plane: Plane) -> None:
    """A page that pressed Join and never said how the call ended has lost its last lines."""
    unclosed(plane)
    ((service, reason, detail),) = plane.ask().shortfalls
    assert (service, reason) == ("browser", "silent")
    assert detail.startswith(f"the page (boot {BOOTS['browser']}) logged join.clicked")
    (entry,) = sessions_of(iter(plane.ask().lines)).values()
    from cordboard.logs.summary import add_missing

    add_missing([entry], [], whole=True)
    assert entry.silent == ["browser"]


@pytest.mark.parametrize("words", sorted(CLOSED))
def test_a_page_that_was_closed_is_complete(plane: Plane, words: str) -> None:
    """Whichever way a page says that it is over: nothing is missing."""
    plane.call("call-7", page=True, **ADA)
    plane.files["interface"] = [
        line.replace(b"Call ended", words.encode()) for line in plane.files["interface"]
    ]
    assert plane.ask().coverage.complete


def test_a_call_that_goes_on_waits_for_no_page(plane: Plane) -> None:
    """As long as the session has not ended its page need not have ended either."""
    unclosed(plane)
    plane.files["runner"] = [line for line in plane.files["runner"] if b"session.ended" not in line]
    assert plane.ask().coverage.complete


def test_a_page_whose_last_lines_may_still_come(plane: Plane) -> None:
    """Seconds after the end they may be on their way."""
    from datetime import UTC, datetime

    from logs.logs_support import START

    plane.clock = (datetime.now(UTC) - START).total_seconds()
    unclosed(plane)
    assert [why for _, why, _ in plane.ask().shortfalls] == ["not_settled"]


def test_a_page_says_what_is_taken_for_its_word() -> None:
    """The sentences from which something is concluded are those of the page's code."""
    code = (STATIC / "call.js").read_text()
    for words in (HEARD, *CLOSED):
        assert f'"{words}"' in code


# --- what was heard


def heard_call(plane: Plane, *, page: bool = True, heard: bool = True, **more: Any) -> Model:
    plane.say("browser", session="call-7", event="join.clicked", message="Join clicked", **ADA)
    if not page:
        plane.files["interface"].pop()
    for service, event in (
        ("gateway", "join.accepted"), ("runner", "bot.started"), ("bot", "bot.connected"),
        ("bot", "bot.first_audio"),
    ):  # fmt: skip
        plane.say(service, session="call-7", event=event, epoch=1, **ADA)
    if heard:
        plane.say("browser", session="call-7", message=HEARD, **ADA)
    if more:
        plane.say("bot", session="call-7", **more)
    plane.say("browser", session="call-7", message="Call ended", **ADA)
    meta = {"state": "ended", "reason": "left"}
    plane.say("runner", session="call-7", event="session.ended", epoch=1, meta=meta, **ADA)
    return model_of(plane.ask())


def test_the_pages_word_counts_on_what_was_heard(tmp_path: Path) -> None:
    """A call is green where the page heard the bot, amber where it did not, or where lines are errors."""
    assert heard_call(Plane(tmp_path / "a")).verdict.tone == "ok"
    deaf = heard_call(Plane(tmp_path / "b"), heard=False).verdict
    assert (deaf.tone, deaf.headline) == (
        "warn",
        "The bot spoke, but the page received no sound from it.",
    )
    alone = heard_call(Plane(tmp_path / "c"), page=False, heard=False).verdict
    assert alone.tone == "ok"
    failed = heard_call(Plane(tmp_path / "d"), level="error", message="No key").verdict
    assert failed.tone == "warn"
    assert failed.headline.startswith("The call worked, with 1 error")


# --- who looks at a session


def look(plane: Plane, method: str = "GET", path: str = "/sessions/call-7") -> None:
    line = {"method": method, "path": path, "status": 200}
    plane.say("gateway", session="call-7", message="Request served", tag="http", meta=line)


def test_a_look_at_a_session_is_no_part_of_it(plane: Plane) -> None:
    """Requests that read an ended session later make neither its lines nor its length more."""
    plane.call("call-7")
    before = plane.ask()
    plane.clock += 30
    look(plane)
    after = plane.ask()
    assert after.raws == before.raws
    assert told_of(after) == told_of(before)
    rolled: SessionSummary = sessions_of(iter(ask(plane.folder).lines))["call-7"]
    assert rolled.as_dict() == sessions_of(iter(before.lines))["call-7"].as_dict()


def test_a_read_in_the_call_is_part_of_it(plane: Plane) -> None:
    """So are the page's last requests, and every request that changes something."""
    look(plane)
    plane.call("call-7")
    look(plane)
    plane.clock += 30
    look(plane, "POST", "/sessions/call-7/leave")
    answer = plane.ask()
    assert answer.messages.count("Request served") == 3


def test_a_session_of_which_only_a_look_is_kept(tmp_path: Path) -> None:
    """Where nothing else is there, a look is all that is known, and it is shown."""
    line = record(1, session="call-7", message="Request served", tag="http", meta={"method": "GET"})
    write_lines(tmp_path / "gateway.jsonl", [encoded(line)])
    assert ask(tmp_path, session="call-7").messages == ["Request served"]


# --- what a window hides


@pytest.mark.parametrize("window", [{"since": at(1000)}, {"until": at(-1000)}], ids=str)
def test_a_window_without_the_session_says_where_it_is(
    plane: Plane, window: dict[str, str]
) -> None:
    """Lines outside of the window are counted, and a session that is there is not called silent."""
    plane.call("call-7")
    plane.clock += 1001
    plane.say("gateway", message="Served")
    plane.files["gateway"].insert(0, encoded(record(-2000, seq=1, boot="99999999")))
    answer = plane.ask(**window)
    assert answer.lines == []
    (note,) = (note for note in answer.coverage.notes if "outside the window" in note)
    assert note.startswith(
        f"{len(STEPS)} lines of this session are outside the window. All lines: cordboard"
    )
    assert not any("session" in who for who, _, _ in answer.shortfalls)


def test_a_window_without_a_session_that_nobody_knows(plane: Plane) -> None:
    """A session that is nowhere is silent, and the window is named."""
    plane.call("call-7")
    answer = plane.ask("call-9", since=at(-10))
    assert answer.shortfalls == [
        ("session call-9", "silent", "no line in the window has this session id")
    ]
    assert any(note.startswith("Only the window was searched") for note in answer.coverage.notes)


def test_a_window_that_cuts_a_session_names_the_command(plane: Plane) -> None:
    """Where a window hides beginning or end, the command that shows all of it is named."""
    plane.call("call-7")
    for window, part in (({"since": at(0.085)}, "start"), ({"until": at(0.065)}, "end")):
        notes = plane.ask(**window).coverage.notes
        assert any(
            f"The {part} of the session is not in the window. All lines:" in n for n in notes
        )
