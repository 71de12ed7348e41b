"""Log lines of browsers: what is written, changed or refused, and the limits."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cordboard import emit
from cordboard.context.log_environment import log_environment
from cordboard.contract.errors import GatewayError, NotFoundError
from cordboard.contract.ids import uuid7
from cordboard.interface.browser_log import BrowserLog, BrowserLogLimits
from cordboard.interface.people import Person
from cordboard.interface.session_owners import SessionOwners
from cordboard.settings import Settings
from interface.interface_support import Site, an_id

ADA = Person("u-1", "Ada")
EVE = Person("u-2", "Eve")
NOW = 1_790_000_000.0
HERS = uuid7(int(NOW * 1000), bytes(10))
SERVER = f"server:{log_environment().machine}"


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def line(**over: Any) -> dict[str, Any]:
    return {
        "timestamp": stamp(NOW),
        "level": "info",
        "message": "Page opened",
        "service": "browser",
        "tag": "room",
        "sessionId": HERS,
        "userId": None,
        "userName": None,
        "room": "webrtc:demo",
        "event": "page.opened",
        "boot": "9f31c2aa",
        "seq": 1,
    } | over


def new_browser_log(records: dict[str, dict[str, Any]] | None = None) -> BrowserLog:
    """Return a browser log with a gateway that has these sessions."""

    async def ask(session_id: str) -> dict[str, Any]:
        if session_id not in (records or {}):
            raise NotFoundError("No such session.")
        return (records or {})[session_id]

    return BrowserLog(SessionOwners(ask, wall=lambda: NOW), wall=lambda: NOW)


async def take(
    *lines: Any,
    browser_log: BrowserLog | None = None,
    sent_at: float | None = NOW,
    person: Person = ADA,
) -> tuple[Any, list[dict[str, Any]]]:
    """Write lines; return the result and the written records."""
    encoded = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in lines]
    with emit.capture() as records:
        taken = await (browser_log or new_browser_log()).write(encoded, person, sent_at)
    return taken, records


async def test_line_is_written_with_the_identity_of_the_login() -> None:
    """Timestamp, boot, seq, session and event stay; user and service are replaced."""
    taken, (record,) = await take(line(service="gateway", userId="root", userName="Root"))
    assert taken.written == 1
    assert record == line(userId="u-1", userName="Ada", service="browser")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{", "not JSON"),
        (b"[]", "object"),
        (b"\xff", "not JSON"),
        (line(level="loud"), "level"),
        (line(seq=0), "seq"),
        (line(boot="x"), "boot"),
        (line(extra=1), "extra"),
        (line(timestamp="yesterday"), "timestamp"),
        (line(sessionId="a b"), "session id"),
        (line(raw=True), "raw"),
        ({"message": "x"}, "missing"),
    ],
)
async def test_invalid_lines_are_refused_and_counted(bad: Any, reason: str) -> None:
    """They are refused one by one, with one warning; the other lines are written."""
    taken, records = await take(bad, line(), bad)
    assert (taken.written, taken.refused) == (1, 2)
    (warning,) = [r for r in records if r["level"] == "warn"]
    assert warning["meta"]["count"] == 2
    assert reason in warning["meta"]["reason"]


async def test_repeated_lines_are_written_once() -> None:
    """A page that is closed repeats unconfirmed lines."""
    browser_log = new_browser_log()
    await take(line(seq=1), line(seq=2), browser_log=browser_log)
    taken, records = await take(line(seq=1), line(seq=2), line(seq=3), browser_log=browser_log)
    assert (taken.written, taken.repeated) == (1, 2)
    assert [r["seq"] for r in records] == [3]
    taken, _ = await take(line(boot="00000001"), browser_log=browser_log)
    assert taken.written == 1


async def test_batches_of_a_page_may_arrive_in_any_order() -> None:
    """A page that is closed sends several at once; the gateway answers for one of them later."""
    first_is_asked, may_answer = asyncio.Event(), asyncio.Event()
    asked: list[str] = []

    async def ask(session_id: str) -> dict[str, Any]:
        asked.append(session_id)
        if len(asked) == 1:
            first_is_asked.set()
            await may_answer.wait()
        raise NotFoundError("No such session.")

    owners = SessionOwners(ask, wall=lambda: NOW)
    browser_log = BrowserLog(owners, wall=lambda: NOW)
    batches = [[line(seq=i) for i in numbers] for numbers in (range(1, 201), range(201, 251))]
    encoded = [[json.dumps(one).encode() for one in batch] for batch in batches]
    with emit.capture() as records:
        first = asyncio.ensure_future(browser_log.write(encoded[0], ADA, NOW))
        await first_is_asked.wait()
        second = await browser_log.write(encoded[1], ADA, NOW)
        may_answer.set()
        assert (second.written, (await first).written) == (50, 200)
        again = [await browser_log.write(batch, ADA, NOW) for batch in encoded]
    assert [(one.written, one.repeated) for one in again] == [(0, 200), (0, 50)]
    assert sorted(r["seq"] for r in records) == [*range(1, 251)]


@pytest.mark.parametrize("off_s", [-3600.0, 3600.0, 86_400.0 * 365])
async def test_wrong_clock_of_a_browser_is_corrected(off_s: float) -> None:
    """The timestamp is that of the server's clock; the browser's is kept in ``meta``."""
    _, (record,) = await take(line(timestamp=stamp(NOW + off_s - 1.5)), sent_at=NOW + off_s)
    assert record["timestamp"] == stamp(NOW - 1.5)
    assert record["meta"] == {"browser_time": stamp(NOW + off_s - 1.5)}


@pytest.mark.parametrize("waited_s", [700.0, 3600.0, 86_000.0])
@pytest.mark.parametrize("off_s", [0.0, 1.0, -3600.0, 86_400.0 * 365])
async def test_line_that_waited_in_its_page_keeps_its_time(waited_s: float, off_s: float) -> None:
    """As after a freeze or an outage, with a right clock and with a wrong one."""
    said = stamp(NOW + off_s - waited_s)
    _, (record,) = await take(line(timestamp=said), sent_at=NOW + off_s)
    is_right = abs(off_s) < 2
    assert record["timestamp"] == (said if is_right else stamp(NOW - waited_s))
    assert record.get("meta") == (None if is_right else {"browser_time": said})


@pytest.mark.parametrize(
    ("said", "sent_at"),
    [
        (stamp(NOW + 7200), NOW),
        (stamp(NOW - 87_000), NOW),
        (stamp(NOW - 87_000 + 7200), NOW + 7200),
        (stamp(NOW - 7200), None),
        (stamp(NOW - 7200), float("nan")),
        (stamp(NOW + 7200), None),
        ("9999-12-31T23:59:59.999999Z", NOW - 1e9),
        ("2026-02-31T00:00:00.000000Z", NOW),
        (stamp(NOW), 1e300),
    ],
)
async def test_browser_cannot_write_a_line_at_a_distant_time(
    said: str, sent_at: float | None
) -> None:
    """Log files are searched by time, so a distant line would be hidden."""
    _, (record,) = await take(line(timestamp=said), sent_at=sent_at)
    assert record["timestamp"] == stamp(NOW)
    assert record["meta"] == {"browser_time": said, "timestamp_is": "arrival"}


async def test_small_difference_of_clocks_changes_nothing() -> None:
    """A slow network looks like a wrong clock."""
    _, (record,) = await take(line(), sent_at=NOW - 1.5)
    assert record == line(userId="u-1", userName="Ada")


async def test_secrets_in_meta_are_redacted() -> None:
    """Lines of browsers are redacted like all others."""
    _, (record,) = await take(line(meta={"token": "abc", "deep": {"password": "x"}}))
    assert record["meta"] == {"token": "[redacted]", "deep": {"password": "[redacted]"}}


SESSIONS = {HERS: {"userId": "u-1", "room_url": "webrtc:demo"}}


async def test_line_for_another_persons_session_belongs_to_the_server() -> None:
    """It has no event and no room; its claims are in ``meta``."""
    taken, (record,) = await take(line(), browser_log=new_browser_log(SESSIONS), person=EVE)
    assert taken.written == 1
    assert record["sessionId"] == SERVER
    assert not {"event", "room"} & set(record)
    assert record["meta"] == {
        "claimed_session": HERS,
        "claimed_event": "page.opened",
        "claimed_room": "webrtc:demo",
    }
    assert (record["userId"], record["userName"]) == ("u-2", "Eve")


async def test_session_without_a_user_takes_no_lines_of_browsers() -> None:
    """Such a session was created through the HTTP API."""
    _, (record,) = await take(
        line(), browser_log=new_browser_log({HERS: {"room_url": "webrtc:demo"}})
    )
    assert record["sessionId"] == SERVER


async def test_free_id_belongs_to_the_first_person_who_uses_it() -> None:
    """A page sends lines before the first click, when its id has no record."""
    browser_log = new_browser_log()
    await take(line(), browser_log=browser_log)
    _, (record,) = await take(line(), browser_log=browser_log, person=EVE)
    assert (record["sessionId"], record["meta"]["claimed_session"]) == (SERVER, HERS)
    _, (record,) = await take(line(seq=2), browser_log=browser_log)
    assert record["sessionId"] == HERS


@pytest.mark.parametrize(
    "session_id",
    [
        uuid7(int((NOW - 90_000) * 1000), bytes(10)),
        uuid7(int((NOW + 90_000) * 1000), bytes(10)),
        "call-7",
        "server:gateway-1",
        "x" * 36,
    ],
)
async def test_old_id_without_a_record_belongs_to_nobody(session_id: str) -> None:
    """Lines outlive their record; afterwards nobody may add to them."""
    _, (record,) = await take(line(sessionId=session_id))
    assert record["sessionId"] == SERVER


async def test_free_id_is_not_older_than_records_are_kept() -> None:
    """If records are kept for an hour, an id of two hours ago may have had one."""

    async def ask(_: str) -> dict[str, Any]:
        raise NotFoundError("No such session.")

    old = line(sessionId=uuid7(int((NOW - 7200) * 1000), bytes(10)))
    for kept_s, session_id in ((3600, SERVER), (10_000, old["sessionId"])):
        browser_log = BrowserLog(SessionOwners(ask, kept_s, wall=lambda: NOW), wall=lambda: NOW)
        _, (record,) = await take(old, browser_log=browser_log)
        assert record["sessionId"] == session_id


async def test_line_before_a_page_has_an_id_belongs_to_the_server() -> None:
    """It has no claim in ``meta``."""
    _, (record,) = await take(line(sessionId="server:browser", event=None, room=None))
    assert (record["sessionId"], "meta" in record) == (SERVER, False)


async def test_values_that_a_browser_cannot_know_are_removed() -> None:
    """Epoch and trace are removed; another event or room becomes a claim in ``meta``."""
    claims = {"epoch": 7, "traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1"}
    said = line(**claims, event="session.ended", room="webrtc:other", meta={"claimed_room": "x"})
    _, (record,) = await take(said, browser_log=new_browser_log(SESSIONS))
    assert record["sessionId"] == HERS
    assert not {"epoch", "traceId", "spanId", "event", "room"} & set(record)
    assert record["meta"] == {"claimed_event": "session.ended", "claimed_room": "webrtc:other"}


async def test_unreachable_gateway_costs_no_line_of_a_page() -> None:
    """A known owner stays known; for an unknown id, no claim is trusted."""
    now, is_away = [0.0], False

    async def read(_: str) -> dict[str, Any]:
        raise GatewayError("away") if is_away else NotFoundError("No such session.")

    owners = SessionOwners(read, clock=lambda: now[0], wall=lambda: NOW)
    browser_log = BrowserLog(owners, wall=lambda: NOW)
    await take(line(), browser_log=browser_log)
    now[0], is_away = 60.0, True
    _, (record,) = await take(line(seq=2), browser_log=browser_log)
    assert record["sessionId"] == HERS
    other = uuid7(int(NOW * 1000), b"\x01" * 10)
    _, (record,) = await take(line(sessionId=other, seq=3), browser_log=browser_log)
    assert record["sessionId"] == SERVER


async def test_lines_with_many_ids_cause_few_requests_to_the_gateway() -> None:
    """The requests that one person can cause are limited."""
    asked: list[str] = []

    async def ask(session_id: str) -> dict[str, Any]:
        asked.append(session_id)
        raise NotFoundError("No such session.")

    browser_log = BrowserLog(
        SessionOwners(ask, clock=lambda: 0.0, wall=lambda: NOW), wall=lambda: NOW
    )
    ids = [uuid7(int(NOW * 1000), i.to_bytes(2, "big") * 5) for i in range(300)]
    lines = [line(sessionId=one, seq=i) for i, one in enumerate(ids, 1)]
    taken, _ = await take(*lines, browser_log=browser_log)
    assert (taken.written, len(asked)) == (300, 50)


async def test_refusals_do_not_fill_the_log() -> None:
    """Warnings about invalid lines are sampled."""
    browser_log = new_browser_log()
    told = 0
    for _ in range(200):
        _, records = await take(b"{", browser_log=browser_log)
        told += len(records)
    assert told <= 22


def rates(**over: Any) -> tuple[BrowserLogLimits, list[float]]:
    now = [0.0]
    return BrowserLogLimits(Settings(**over), clock=lambda: now[0]), now


def test_lines_are_limited_by_person() -> None:
    """A burst passes, more does not; others are not affected, and the bucket refills."""
    bound, now = rates()
    assert not bound.wait_s(EVE, "a", 4000, 1)
    assert bound.wait_s(EVE, "a", 1, 1)
    assert not bound.wait_s(ADA, "b", 10, 1)
    now[0] = 1.0
    assert not bound.wait_s(EVE, "a", 200, 1)
    assert bound.wait_s(EVE, "a", 1, 1)


def test_bytes_are_limited_by_person() -> None:
    """A few long lines fill a disk like many short ones."""
    bound, now = rates()
    assert not bound.wait_s(EVE, "a", 1, 2 * 1024 * 1024)
    assert bound.wait_s(EVE, "a", 1, 65_536) == 1.0
    now[0] = 1.0
    assert not bound.wait_s(EVE, "a", 1, 65_536)


@pytest.mark.parametrize(("lines", "size"), [(500, 1), (1, 65_536)])
def test_many_users_of_one_address_are_limited_together(lines: int, size: int) -> None:
    """A login by name costs nothing, so an address has the limit of ten people."""
    bound, _ = rates(interface_log_total_bytes_per_s=2**40)
    passed = 0
    for i in range(100):
        for _ in range(200):
            if bound.wait_s(Person(f"u-{i}", "Eve"), "a", lines, size):
                break
            passed += 1
    assert passed == (80 if lines == 500 else 320)
    assert not bound.wait_s(Person("u-ada", "Ada"), "b", 1, 1) or lines == 500


def test_bytes_of_all_browsers_are_limited_together() -> None:
    """The limit holds for any number of addresses."""
    bound, now = rates(interface_log_total_bytes_per_s=65_536)
    assert not bound.wait_s(EVE, "a", 1, 2 * 1024 * 1024)
    assert bound.wait_s(ADA, "b", 1, 1)
    now[0] = 1.0
    assert not bound.wait_s(ADA, "b", 1, 65_536)


def test_refused_batch_takes_no_tokens() -> None:
    """A batch over one limit uses up none of the others."""
    bound, _ = rates()
    for _ in range(10):
        assert bound.wait_s(EVE, "a", 1, 3 * 1024 * 1024)
    assert not bound.wait_s(EVE, "a", 4000, 2 * 1024 * 1024)


async def test_batch_over_http_counts_its_lines(site: Site) -> None:
    """A batch has one record per line; it writes no access line."""
    browser = await site.browser().sign_in("Ada")
    now = datetime.now(UTC).timestamp()
    records = [line(seq=i, timestamp=stamp(now), sessionId=an_id("s-1")) for i in (1, 2)]
    body = "\n".join(map(json.dumps, records)) + "\n{\n"
    with emit.capture() as written:
        status, told, _ = await browser.ask("POST", f"/api/logs?sent={now * 1000}", data=body)
    assert (status, told) == (202, {"written": 2, "repeated": 0, "refused": 1})
    ours = [r for r in written if r["service"] == "browser"]
    assert {(r["userName"], r["sessionId"]) for r in ours} == {("Ada", an_id("s-1"))}
    assert not [r for r in written if r.get("meta", {}).get("path") == "/api/logs"]


async def test_too_many_lines_are_429_with_retry_after(site: Site) -> None:
    """A batch has at most 500 lines."""
    browser = await site.browser().sign_in()
    status, body, headers = await browser.ask("POST", "/api/logs", data="x\n" * 501)
    assert (status, body["code"], headers["Retry-After"]) == (429, "too_many_lines", "5")
