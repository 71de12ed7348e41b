"""What may be missing at the ends of a store's window: a reason where something tells so, else a note."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cordboard.logs.sources.loki import open_source
from logs.logs_support import START, Answered, ask_source, at, encoded, reasons, record
from logs.loki_double import SECOND, LokiDouble

ENDED = {"event": "session.ended"}
READ = {"tag": "http", "meta": {"method": "GET", "path": "/sessions/call-7", "status": 200}}


@pytest.fixture
def server() -> Iterator[LokiDouble]:
    server = LokiDouble()
    yield server
    server.shutdown()
    server.server_close()


def asked(
    server: LokiDouble, said: dict[int, dict[str, Any]], *, counts: bool = False, **wanted: Any
) -> Answered:
    """Ask Loki for lines of some ages; with `counts`, as a store of which no line is settled after a fixed time."""
    now = time.time()
    for seq, (age_s, fields) in enumerate(said.items(), 1):
        line = record(now - age_s - START.timestamp(), seq=seq, session="call-7", **fields)
        values = [[str(int((now - age_s) * SECOND)), encoded(line).decode()]]
        server.push([{"stream": {"namespace": "voice"}, "values": values}])
    source = open_source({"url": server.url, "selector": '{namespace="voice"}'})
    source.counts_delay = counts  # type: ignore[misc]
    if "until" in wanted:
        wanted["until"] = at(now - wanted["until"] - START.timestamp())
    answer = ask_source(source, **{"since": at(now - 20_000 - START.timestamp()), **wanted})
    assert len(answer.lines) >= 2
    return answer


def is_noted(answer: Answered) -> bool:
    return any("Lines arrive up to 90 s late" in note for note in answer.coverage.notes)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("session", [None, "call-7"])
def test_window_that_ends_now_is_told(
    server: LokiDouble, session: str | None, counts: bool
) -> None:
    """Nothing tells that lines are missing, so in most stores it is a note."""
    answer = asked(server, {300: {}, 200: {}}, counts=counts, session=session)
    assert ("not_settled" in reasons(answer)) is counts
    assert is_noted(answer) is not counts


@pytest.mark.parametrize("session", [None, "call-7"])
def test_lines_beside_new_ones_may_be_missing(server: LokiDouble, session: str | None) -> None:
    """Also where the end of the session was logged just now."""
    assert "not_settled" in reasons(asked(server, {200: {}, 5: ENDED}, session=session))


@pytest.mark.parametrize(("until", "expected"), [(150, False), (20, True)])
@pytest.mark.parametrize("session", [None, "call-7"])
def test_end_that_was_asked_for_is_settled_after_the_delay(
    server: LokiDouble, session: str | None, until: int, expected: bool
) -> None:
    """Whoever names the end wants all lines up to it."""
    answer = asked(server, {300: {}, 200: {}}, session=session, until=until)
    assert ("not_settled" in reasons(answer)) is expected
    assert not is_noted(answer)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("later", [{}, {3599: {}}, {20: READ}, {3599: {}, 20: READ}])
def test_session_that_ended_is_settled(
    server: LokiDouble, later: dict[int, dict[str, Any]], counts: bool
) -> None:
    """Stragglers of the end change nothing, nor does a look at its page a moment ago."""
    said = {3660: {}, 3600: ENDED, **later}
    answer = asked(server, said, counts=counts, session="call-7")
    assert "not_settled" not in reasons(answer)
    assert not is_noted(answer)


def test_look_at_a_session_that_never_ended_is_no_new_line(server: LokiDouble) -> None:
    """The session itself said nothing of late."""
    answer = asked(server, {3600: {}, 20: READ}, session="call-7")
    assert "not_settled" not in reasons(answer)
    assert is_noted(answer)


@pytest.mark.parametrize(("age_s", "counts", "expected"), [
    (3600, False, False), (3600, True, True), (20, False, True),
])  # fmt: skip
def test_further_stay_is_not_settled(
    server: LokiDouble, age_s: int, counts: bool, expected: bool
) -> None:
    """A session that went on after its end has not ended."""
    said = {7200: {}, 7000: ENDED, age_s: {}}
    answer = asked(server, said, counts=counts, session="call-7")
    assert ("not_settled" in reasons(answer)) is expected
    assert is_noted(answer) is not expected


@pytest.mark.parametrize(
    ("lookback_s", "event", "session", "is_named"),
    [
        (30 * 86_400, {}, None, False),
        (30 * 86_400, {}, "call-7", False),
        (7 * 86_400, {}, None, True),
        (7 * 86_400, {}, "call-7", True),
        (7 * 86_400, {"event": "join.accepted"}, "call-7", False),
        (3630, {"event": "join.accepted"}, "call-7", True),
    ],
)
def test_lookback_that_cuts_nothing_of_a_session_is_no_loss(
    server: LokiDouble, lookback_s: int, event: dict[str, Any], session: str | None, is_named: bool
) -> None:
    """It is as long as the query's own, or the session's beginning is there, well after the oldest line."""
    server.lookback_s = lookback_s
    answer = asked(server, {3600: event, 3500: {}}, since=None, session=session)
    assert ("starts_after_window" in reasons(answer)) is is_named
    told = any("max_query_lookback is" in note for note in answer.coverage.notes)
    assert told is (lookback_s < 30 * 86_400 and not is_named)
