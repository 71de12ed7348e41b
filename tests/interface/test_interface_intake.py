"""Lines of browsers: checked, made theirs by the login, bounded."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cordboard import emit
from cordboard.interface.intake import BURST_LINES, Intake
from cordboard.interface.login import Person
from interface.interface_support import Site

ADA = Person("u-1", "Ada")
NOW = 1_790_000_000.0


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def line(**over: Any) -> dict[str, Any]:
    return {
        "timestamp": stamp(NOW),
        "level": "info",
        "message": "Page opened",
        "service": "browser",
        "tag": "room",
        "sessionId": "s-1",
        "userId": None,
        "userName": None,
        "room": "webrtc:demo",
        "event": "page.opened",
        "boot": "9f31c2aa",
        "seq": 1,
    } | over


def take(
    *lines: Any, intake: Intake | None = None, sent_at: float | None = NOW
) -> tuple[Any, list[dict[str, Any]]]:
    """Hand lines in as Ada; return what became of them, and what was written."""
    intake = intake or Intake(wall=lambda: NOW)
    encoded = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in lines]
    with emit.capture() as records:
        taken = intake.take(encoded, ADA, sent_at)
    return taken, records


def test_a_line_is_written_as_it_is() -> None:
    """Timestamp, boot, seq, session and event stay the browser's; user and service are ours."""
    taken, (record,) = take(line(service="gateway", userId="root", userName="Root"))
    assert taken.written == 1
    assert record == line(userId="u-1", userName="Ada", service="browser")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{", "no JSON"),
        (b"[]", "no object"),
        (b"\xff", "no JSON"),
        (line(level="loud"), "level"),
        (line(seq=0), "seq"),
        (line(boot="x"), "boot"),
        (line(extra=1), "no key of a record"),
        (line(timestamp="yesterday"), "timestamp"),
        (line(sessionId="a b"), "session id"),
        (line(event="session.ended"), "event"),
        (line(raw=True), "raw"),
        ({"message": "x"}, "missing"),
    ],
)
def test_what_is_no_line_of_a_browser_is_counted(bad: Any, reason: str) -> None:
    """Refused one by one, with one warning that counts them; the others are written."""
    taken, records = take(bad, line(), bad)
    assert (taken.written, taken.refused) == (1, 2)
    (warning,) = [r for r in records if r["level"] == "warn"]
    assert warning["meta"]["count"] == 2
    assert reason in warning["meta"]["reason"]


def test_what_was_sent_twice_is_written_once() -> None:
    """A page on its way out sends again what it is unsure of."""
    intake = Intake(wall=lambda: NOW)
    take(line(seq=1), line(seq=2), intake=intake)
    taken, records = take(line(seq=1), line(seq=2), line(seq=3), intake=intake)
    assert (taken.written, taken.repeated) == (1, 2)
    assert [r["seq"] for r in records] == [3]
    taken, _ = take(line(boot="00000001"), intake=intake)
    assert taken.written == 1


@pytest.mark.parametrize("off_s", [-3600.0, 3600.0, 86_400.0 * 365])
def test_a_clock_that_is_off_is_set_right(off_s: float) -> None:
    """Lines stand where they belong, by our clock; what the browser said is kept."""
    _, (record,) = take(line(timestamp=stamp(NOW + off_s - 1.5)), sent_at=NOW + off_s)
    assert record["timestamp"] == stamp(NOW - 1.5)
    assert record["meta"]["browser_time"] == stamp(NOW + off_s - 1.5)


@pytest.mark.parametrize(
    ("said", "sent_at"),
    [
        (stamp(NOW + 7200), NOW),
        (stamp(NOW - 7200), NOW),
        (stamp(NOW + 7200), None),
        ("9999-12-31T23:59:59.999999Z", NOW - 1e9),
        ("2026-02-31T00:00:00.000000Z", NOW),
        (stamp(NOW), 1e300),
    ],
)
def test_no_browser_puts_a_line_far_away(said: str, sent_at: float | None) -> None:
    """Whatever it claims about its clock: files of lines are searched by time."""
    _, (record,) = take(line(timestamp=said), sent_at=sent_at)
    assert record["timestamp"] == stamp(NOW)
    assert record["meta"]["browser_time"] == said


def test_equal_clocks_change_nothing() -> None:
    """A slow network is no wrong clock."""
    _, (record,) = take(line(), sent_at=NOW - 1.5)
    assert record == line(userId="u-1", userName="Ada")


def test_secrets_are_redacted() -> None:
    """A browser's meta goes through the same redaction as everybody's."""
    _, (record,) = take(line(meta={"token": "abc", "deep": {"password": "x"}}))
    assert record["meta"] == {"token": "[redacted]", "deep": {"password": "[redacted]"}}


def test_the_rate_is_bounded_by_person() -> None:
    """A burst passes, a flood does not, and others are not held up by it; time heals."""
    now = [0.0]
    intake = Intake(clock=lambda: now[0])
    eve = Person("u-2", "Eve")
    assert intake.admit(eve, int(BURST_LINES))
    assert not intake.admit(eve, 1)
    assert intake.admit(ADA, 10)
    now[0] = 1.0
    assert intake.admit(eve, 10)
    assert not intake.admit(eve, 1000)


async def test_over_http(site: Site) -> None:
    """A batch is one line a record; the answer counts what became of it."""
    browser = await site.browser().sign_in("Ada")
    now = datetime.now(UTC).timestamp()
    records = [line(seq=i, timestamp=stamp(now)) for i in (1, 2)]
    body = "\n".join(map(json.dumps, records)) + "\n{\n"
    with emit.capture() as written:
        status, told, _ = await browser.ask("POST", f"/api/logs?sent={now * 1000}", data=body)
    assert (status, told) == (202, {"written": 2, "repeated": 0, "refused": 1})
    ours = [r for r in written if r["service"] == "browser"]
    assert {(r["userName"], r["sessionId"]) for r in ours} == {("Ada", "s-1")}
    assert not [r for r in written if r["message"] == "Request served"]


async def test_a_flood_is_told_to_wait(site: Site) -> None:
    """More lines than anyone would read: 429 with Retry-After."""
    browser = await site.browser().sign_in()
    status, body, headers = await browser.ask("POST", "/api/logs", data="x\n" * 501)
    assert (status, body["code"], headers["Retry-After"]) == (429, "too_many_lines", "5")
