import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cordboard import emit
from cordboard.context.carrier import log_environment
from cordboard.contract.errors import GatewayError, NotFoundError
from cordboard.contract.ids import uuid7
from cordboard.interface.browser_log import BrowserLog, BrowserLogLimits
from cordboard.interface.login import Person
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


def new_intake(records: dict[str, dict[str, Any]] | None = None) -> BrowserLog:
    """Return an intake before a gateway that knows these sessions."""

    async def ask(session_id: str) -> dict[str, Any]:
        if session_id not in (records or {}):
            raise NotFoundError("No such session.")
        return (records or {})[session_id]

    return BrowserLog(SessionOwners(ask, wall=lambda: NOW), wall=lambda: NOW)


async def take(
    *lines: Any, intake: BrowserLog | None = None, sent_at: float | None = NOW, person: Person = ADA
) -> tuple[Any, list[dict[str, Any]]]:
    """Hand lines in; return what became of them, and what was written."""
    encoded = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in lines]
    with emit.capture() as records:
        taken = await (intake or new_intake()).take(encoded, person, sent_at)
    return taken, records


async def test_a_line_is_written_as_it_is() -> None:
    """Timestamp, boot, seq, session and event stay the browser's; user and service are ours."""
    taken, (record,) = await take(line(service="gateway", userId="root", userName="Root"))
    assert taken.written == 1
    assert record == line(userId="u-1", userName="Ada", service="browser")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{", "not JSON"),
        (b"[]", "no object"),
        (b"\xff", "not JSON"),
        (line(level="loud"), "level"),
        (line(seq=0), "seq"),
        (line(boot="x"), "boot"),
        (line(extra=1), "no key of a record"),
        (line(timestamp="yesterday"), "timestamp"),
        (line(sessionId="a b"), "session id"),
        (line(raw=True), "raw"),
        ({"message": "x"}, "missing"),
    ],
)
async def test_what_is_no_line_of_a_browser_is_counted(bad: Any, reason: str) -> None:
    """Refused one by one, with one warning that counts them; the others are written."""
    taken, records = await take(bad, line(), bad)
    assert (taken.written, taken.refused) == (1, 2)
    (warning,) = [r for r in records if r["level"] == "warn"]
    assert warning["meta"]["count"] == 2
    assert reason in warning["meta"]["reason"]


async def test_what_was_sent_twice_is_written_once() -> None:
    """A page on its way out sends again what it is unsure of."""
    intake = new_intake()
    await take(line(seq=1), line(seq=2), intake=intake)
    taken, records = await take(line(seq=1), line(seq=2), line(seq=3), intake=intake)
    assert (taken.written, taken.repeated) == (1, 2)
    assert [r["seq"] for r in records] == [3]
    taken, _ = await take(line(boot="00000001"), intake=intake)
    assert taken.written == 1


@pytest.mark.parametrize("off_s", [-3600.0, 3600.0, 86_400.0 * 365])
async def test_a_clock_that_is_off_is_set_right(off_s: float) -> None:
    """Lines stand where they belong, by our clock; what the browser said is kept."""
    _, (record,) = await take(line(timestamp=stamp(NOW + off_s - 1.5)), sent_at=NOW + off_s)
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
async def test_no_browser_puts_a_line_far_away(said: str, sent_at: float | None) -> None:
    """Whatever it claims about its clock: files of lines are searched by time."""
    _, (record,) = await take(line(timestamp=said), sent_at=sent_at)
    assert record["timestamp"] == stamp(NOW)
    assert record["meta"]["browser_time"] == said


async def test_equal_clocks_change_nothing() -> None:
    """A slow network is no wrong clock."""
    _, (record,) = await take(line(), sent_at=NOW - 1.5)
    assert record == line(userId="u-1", userName="Ada")


async def test_secrets_are_redacted() -> None:
    """A browser's meta goes through the same redaction as everybody's."""
    _, (record,) = await take(line(meta={"token": "abc", "deep": {"password": "x"}}))
    assert record["meta"] == {"token": "[redacted]", "deep": {"password": "[redacted]"}}


SESSIONS = {HERS: {"userId": "u-1", "room_url": "webrtc:demo"}}


async def test_a_strangers_line_is_not_in_the_session() -> None:
    """Lines for another's session are kept as the server's: no event, no room, and the claim told."""
    taken, (record,) = await take(line(), intake=new_intake(SESSIONS), person=EVE)
    assert taken.written == 1
    assert record["sessionId"] == SERVER
    assert not {"event", "room"} & set(record)
    assert record["meta"] == {
        "claimed_session": HERS,
        "claimed_event": "page.opened",
        "claimed_room": "webrtc:demo",
    }
    assert (record["userId"], record["userName"]) == ("u-2", "Eve")


async def test_a_session_without_a_user_is_no_browsers() -> None:
    """A session that an API made for nobody takes lines of no browser."""
    _, (record,) = await take(line(), intake=new_intake({HERS: {"room_url": "webrtc:demo"}}))
    assert record["sessionId"] == SERVER


async def test_the_first_who_uses_an_id_has_it() -> None:
    """A page speaks before its first click; from then on its id is taken by nobody else."""
    intake = new_intake()
    await take(line(), intake=intake)
    _, (record,) = await take(line(), intake=intake, person=EVE)
    assert (record["sessionId"], record["meta"]["claimed_session"]) == (SERVER, HERS)
    _, (record,) = await take(line(seq=2), intake=intake)
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
async def test_an_id_that_no_page_made_lately_is_nobodys(session_id: str) -> None:
    """Lines outlive a record: once it has gone, nobody may add to what its session said."""
    _, (record,) = await take(line(sessionId=session_id))
    assert record["sessionId"] == SERVER


async def test_an_id_is_free_no_longer_than_its_record_would_be_kept() -> None:
    """Where records go after an hour, an id of two hours ago may have been somebody's."""

    async def ask(_: str) -> dict[str, Any]:
        raise NotFoundError("No such session.")

    old = line(sessionId=uuid7(int((NOW - 7200) * 1000), bytes(10)))
    for kept_s, session_id in ((3600, SERVER), (10_000, old["sessionId"])):
        intake = BrowserLog(SessionOwners(ask, kept_s, wall=lambda: NOW), wall=lambda: NOW)
        _, (record,) = await take(old, intake=intake)
        assert record["sessionId"] == session_id


async def test_what_a_page_says_before_it_has_an_id() -> None:
    """It is the server's line, and claims nothing."""
    _, (record,) = await take(line(sessionId="server:browser", event=None, room=None))
    assert (record["sessionId"], "meta" in record) == (SERVER, False)


async def test_what_only_others_can_know_is_left_out() -> None:
    """Epoch and trace are no browser's; another event or room is a claim, and the line is kept."""
    claims = {"epoch": 7, "traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1"}
    said = line(**claims, event="session.ended", room="webrtc:other", meta={"claimed_room": "x"})
    _, (record,) = await take(said, intake=new_intake(SESSIONS))
    assert record["sessionId"] == HERS
    assert not {"epoch", "traceId", "spanId", "event", "room"} & set(record)
    assert record["meta"] == {"claimed_event": "session.ended", "claimed_room": "webrtc:other"}


async def test_a_gateway_that_is_away_costs_no_line_of_a_page() -> None:
    """What was known stays known; of an id that is not known, nothing is believed."""
    intake = new_intake()
    await take(line(), intake=intake)

    async def away(_: str) -> dict[str, Any]:
        raise GatewayError("away")

    intake._owners._ask = away
    intake._owners._known[HERS].until = 0.0
    _, (record,) = await take(line(seq=2), intake=intake)
    assert record["sessionId"] == HERS
    other = uuid7(int(NOW * 1000), b"\x01" * 10)
    _, (record,) = await take(line(sessionId=other, seq=3), intake=intake)
    assert record["sessionId"] == SERVER


async def test_a_flood_of_ids_is_not_asked_for() -> None:
    """One person's lines make us ask the gateway so often and no more."""
    asked: list[str] = []

    async def ask(session_id: str) -> dict[str, Any]:
        asked.append(session_id)
        raise NotFoundError("No such session.")

    intake = BrowserLog(SessionOwners(ask, clock=lambda: 0.0, wall=lambda: NOW), wall=lambda: NOW)
    ids = [uuid7(int(NOW * 1000), i.to_bytes(2, "big") * 5) for i in range(300)]
    lines = [line(sessionId=one, seq=i) for i, one in enumerate(ids, 1)]
    taken, _ = await take(*lines, intake=intake)
    assert (taken.written, len(asked)) == (300, 50)


async def test_refusals_are_not_told_without_end() -> None:
    """A stranger who sends nonsense cannot fill the log with our warnings."""
    intake = new_intake()
    told = 0
    for _ in range(200):
        _, records = await take(b"{", intake=intake)
        told += len(records)
    assert told <= 22


def rates(**over: Any) -> tuple[BrowserLogLimits, list[float]]:
    now = [0.0]
    return BrowserLogLimits(Settings(**over), clock=lambda: now[0]), now


def test_the_rate_is_bounded_by_person() -> None:
    """A burst passes, a flood does not, and others are not held up by it; time heals."""
    bound, now = rates()
    assert not bound.wait_s(EVE, "a", 4000, 1)
    assert bound.wait_s(EVE, "a", 1, 1)
    assert not bound.wait_s(ADA, "b", 10, 1)
    now[0] = 1.0
    assert not bound.wait_s(EVE, "a", 200, 1)
    assert bound.wait_s(EVE, "a", 1, 1)


def test_bytes_are_bounded_as_well() -> None:
    """Few long lines fill a disk as many short ones do."""
    bound, now = rates()
    assert not bound.wait_s(EVE, "a", 1, 2 * 1024 * 1024)
    assert bound.wait_s(EVE, "a", 1, 65_536) == 1.0
    now[0] = 1.0
    assert not bound.wait_s(EVE, "a", 1, 65_536)


@pytest.mark.parametrize(("lines", "size"), [(500, 1), (1, 65_536)])
def test_many_names_of_one_address_are_bounded_together(lines: int, size: int) -> None:
    """A login by name costs nothing: the address has ten people's share, and others go on."""
    bound, _ = rates(interface_log_total_bytes_per_s=2**40)
    passed = 0
    for i in range(100):
        for _ in range(200):
            if bound.wait_s(Person(f"u-{i}", "Eve"), "a", lines, size):
                break
            passed += 1
    assert passed == (80 if lines == 500 else 320)
    assert not bound.wait_s(Person("u-ada", "Ada"), "b", 1, 1) or lines == 500


def test_all_browsers_are_bounded_together() -> None:
    """From however many addresses lines come, the disk takes so many bytes a second."""
    bound, now = rates(interface_log_total_bytes_per_s=65_536)
    assert not bound.wait_s(EVE, "a", 1, 2 * 1024 * 1024)
    assert bound.wait_s(ADA, "b", 1, 1)
    now[0] = 1.0
    assert not bound.wait_s(ADA, "b", 1, 65_536)


def test_what_is_refused_costs_nothing() -> None:
    """A batch that does not fit takes nothing out of any bound."""
    bound, _ = rates()
    for _ in range(10):
        assert bound.wait_s(EVE, "a", 1, 3 * 1024 * 1024)
    assert not bound.wait_s(EVE, "a", 4000, 2 * 1024 * 1024)


async def test_over_http(site: Site) -> None:
    """A batch is one line a record; the answer counts what became of it."""
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


async def test_a_flood_is_told_to_wait(site: Site) -> None:
    """More lines than anyone would read: 429 with Retry-After."""
    browser = await site.browser().sign_in()
    status, body, headers = await browser.ask("POST", "/api/logs", data="x\n" * 501)
    assert (status, body["code"], headers["Retry-After"]) == (429, "too_many_lines", "5")
