"""No bytes of a browser cause a 5xx, except 502 to 504 if the gateway fails.

Each example is derived from the test's name alone (``derandomize``), so that a run can be repeated:
its seed is the name.
"""

import asyncio
import dataclasses
import json
import math
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cordboard import emit
from cordboard.contract.errors import NotFoundError
from cordboard.environment import LOG_DIR, SESSION_SECRET
from cordboard.interface import error_texts
from cordboard.interface.app import create_app
from cordboard.interface.browser_log import BrowserLog
from cordboard.interface.log_readings import LogReadings, ReportForm, WrittenReport
from cordboard.interface.login import LoginCookies, account_by_name
from cordboard.interface.people import Person
from cordboard.interface.session_owners import SessionOwners
from cordboard.settings import Settings
from cordboard.web.http_client import Reply
from interface.interface_support import an_id

MINE, THEIRS, FREE = an_id("mine"), an_id("theirs"), an_id("free")
PATHS = [
    ("GET", "/"), ("GET", "/favicon.ico"), ("GET", "/login"), ("POST", "/login"), ("POST", "/logout"),
    ("GET", "/rooms"), ("GET", "/sessions"), ("GET", "/sessions/ID"), ("POST", "/sessions/ID/leave"),
    ("GET", "/health"), ("GET", "/rooms/ID"), ("POST", "/api/sessions"), ("GET", "/api/sessions/ID"),
    ("GET", "/api/sessions/ID/events"), ("POST", "/api/sessions/ID/offer"),
    ("PATCH", "/api/sessions/ID/offer"), ("POST", "/api/sessions/ID/leave"), ("POST", "/api/logs"),
    ("GET", "/static/ID"), ("HEAD", "/static/room.js"), ("GET", "/healthz"), ("GET", "/readyz"),
    ("GET", "/metrics"), ("GET", "/ID"), ("PUT", "/ID"), ("OPTIONS", "/api/sessions"),
    ("GET", "/sessions/ID/report.html"), ("POST", "/sessions/ID/bundle.zip"), ("GET", "/api/sessions/ID/live"),
]  # fmt: skip
OPERATOR_PATHS = [
    "/sessions/ID/report.html", "/sessions/ID/report.txt", "/sessions/ID/bundle.zip", "/api/sessions/ID/live",
    "/sessions/ID",
]  # fmt: skip
NASTY = [
    "\ud800", "", " ", "\x00", "a\nb", "\u202e", "..", ".", "../..", "%00", "%ff", "http://[", "[",
    "http://a:99999999/", "null", "webrtc:r", "webrtc:\ud800", "https://a.daily.co/x", "é" * 200,
    "a" * 4000, "server:x", "-1", "nan", "1e400", "Infinity", "2026-02-31T00:00:00.000000Z",
    "9999-12-31T23:59:59.999999Z", MINE, THEIRS, FREE,
]  # fmt: skip
RECORD: dict[str, Any] = {
    "timestamp": "2026-11-23T10:11:12.123456Z", "level": "info", "message": "x", "service": "browser",
    "tag": "room", "sessionId": MINE, "userId": None, "userName": None, "room": "webrtc:demo",
    "event": "page.opened", "boot": "9f31c2aa", "seq": 1, "meta": {}, "error": {}, "epoch": 1,
    "traceId": "1", "spanId": "1", "raw": True, "truncated": True,
}  # fmt: skip
SESSION: dict[str, Any] = {
    "room_url": "webrtc:demo", "status": "running", "createdAt": "2026-11-23T10:11:12.123Z",
    "stages": {"queued": "2026-11-23T10:11:12.123Z", "running": "2026-11-23T10:11:13.123Z"},
}  # fmt: skip
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
numbers = st.one_of(
    st.sampled_from([0, -1, 2**63, 2**64, 10**400, 1e400, float("nan"), 0.5]), st.integers()
)
values = st.recursive(
    st.one_of(texts, numbers, st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def nested(depth: int, around: bytes = b"%s") -> bytes:
    return around % (b'{"a":' * depth + b"1" + b"}" * depth)


def a_line(**over: Any) -> bytes:
    return json.dumps(RECORD | over).encode()


lines = st.dictionaries(st.sampled_from([*RECORD, "other"]), values, max_size=3).map(
    lambda over: a_line(**over)
)
bodies = st.one_of(
    st.lists(lines, max_size=3).map(b"\n".join),
    st.fixed_dictionaries({}, optional={"sessionId": values, "room": values, "x": values}).map(
        lambda found: json.dumps(found).encode()
    ),
    st.tuples(texts, texts).map(
        lambda pair: f"name={pair[0]}&room={pair[1]}".encode("utf-8", "surrogatepass")
    ),
    st.binary(max_size=60),
    st.sampled_from([nested(99), nested(600), nested(5000), nested(600, b'{"sessionId":%s}')]),
)
header_values = st.one_of(
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=30)
)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"host",
                b"origin",
                b"sec-fetch-site",
                b"cookie",
                b"x-session-id",
                b"x-user-id",
                b"x-user-name",
                b"baggage",
                b"traceparent",
                b"x-forwarded-for",
                b"x-forwarded-proto",
                b"x-forwarded-user",
                b"content-length",
                b"accept",
                b"authorization",
                b"range",
                b"if-none-match",
                b"if-modified-since",
            ]
        ),
        header_values,
    ),
    max_size=4,
)
types = st.sampled_from(
    [
        b"application/json", b"application/x-www-form-urlencoded", b"text/plain", b"",
        b"multipart/form-data; boundary=x", b"multipart/form-data", b"application/json; charset=x",
    ]
)  # fmt: skip
queries = st.one_of(
    st.tuples(
        st.sampled_from(["sent", "room", "name", "id", "since", "cursor", "build", "x"]),
        header_values,
    ).map(lambda pair: pair[0].encode() + b"=" + pair[1].replace(b"#", b"")),
    st.sampled_from([b"sent=nan", b"sent=1e400", b"sent=-1e308", b"room=%ed%a0%80", b"sent=%00"]),
    st.binary(max_size=20),
)
ids = st.one_of(st.sampled_from([MINE, THEIRS, FREE, "demo", *NASTY]), st.text(max_size=8))


class GatewayStub:
    """A gateway with two sessions, one of them the caller's."""

    user_id = ""

    async def record(self, session_id: str) -> dict[str, Any]:
        if session_id not in {MINE, THEIRS}:
            raise NotFoundError("There is none.")
        user_id = self.user_id if session_id == MINE else "u-somebody"
        return SESSION | {"sessionId": session_id, "userId": user_id}

    async def ask(self, method: str, path: str, *_: Any, **__: Any) -> Reply:
        if method == "GET":
            page = {"sessions": [SESSION | {"sessionId": THEIRS}], "nextCursor": "1|x"}
            return Reply(200, json.dumps(page).encode(), "application/json")
        told = {"sessionId": MINE, "reused": False, "status": "queued"}
        return Reply(200, json.dumps(told).encode(), "application/json")

    async def relayed_events(self, *_: Any) -> AsyncIterator[bytes]:
        yield b"event: state\ndata: {}\n\n"


class ReadingsStub(LogReadings):
    """Readings without the process that searches the logs, which takes half a second each."""

    @asynccontextmanager
    async def lines(self, *_: Any, **__: Any) -> AsyncIterator[asyncio.StreamReader]:
        told = asyncio.StreamReader()
        told.feed_data(b"event: lines\ndata: {}\n\n")
        told.feed_eof()
        yield told

    async def report(self, session_id: str, form: ReportForm) -> WrittenReport:
        written = WrittenReport(Path(tempfile.mkdtemp(dir=os.environ[LOG_DIR])) / form)
        written.path.write_text(session_id)
        return written


class Here:
    """The interface without a server, and a signed-in person."""

    def __init__(self, **over: Any) -> None:
        self.loop = asyncio.new_event_loop()
        wide: dict[str, Any] = dict.fromkeys(
            (f"interface_{what}_per_minute" for what in ("joins", "offers", "logins")), 10**9
        )
        self.app = create_app(Settings(**wide, interface_streams_per_user=10**6, **over))
        self.lifespan = self.app.router.lifespan_context(self.app)
        self.loop.run_until_complete(self.lifespan.__aenter__())
        self.cookie = self._sign_in()

    def _sign_in(self) -> bytes:
        login: LoginCookies = self.app.state.login
        response = error_texts.error_response(404, "not_found")
        behind = GatewayStub()
        account = account_by_name("Ada")
        behind.user_id = account.user_id
        login.sign_in(account, response, secure=False)
        owners = SessionOwners(behind.record)
        self.app.state.services = dataclasses.replace(
            self.app.state.services,
            gateway=behind,
            owners=owners,
            browser_log=BrowserLog(owners),
            log_readings=ReadingsStub(self.app.state.services.log_readings.environment, 10**6),
        )
        return response.headers["set-cookie"].partition(";")[0].encode()

    def ask(
        self, method: str, path: str, query: bytes, given: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        with emit.capture():
            asked = _ask(self.app, method, path, query, given, body)
            return self.loop.run_until_complete(asked)

    def close(self) -> None:
        self.loop.run_until_complete(self.lifespan.__aexit__(None, None, None))
        self.loop.close()


async def _ask(
    app: Any, method: str, path: str, query: bytes, given: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send one request, byte for byte as a server would pass it on."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "path": path, "raw_path": path.encode("utf-8", "surrogatepass"), "root_path": "",
        "scheme": "http", "query_string": query, "headers": given, "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    served = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not waiting:
            await served.wait()
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            served.set()

    async with asyncio.timeout(15):
        await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), content


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SESSION_SECRET, "signs-the-cookies")
        patch.setattr("cordboard.interface.session_owners.READS_BURST", 10**9)
        found = Here()
        yield found
        found.close()


@pytest.fixture(scope="module")
def staffed() -> Iterator[Here]:
    """The same for an operator, who may read the logs."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv(SESSION_SECRET, "signs-the-cookies")
        patch.setattr("cordboard.interface.session_owners.READS_BURST", 10**9)
        patch.setattr("cordboard.interface.session_stream.LATE_LINES_S", 0.0)
        patch.setenv(LOG_DIR, folder)
        found = Here(interface_operators=("Ada",), interface_logs="local", log_dir=folder)
        yield found
        found.close()
        assert list(Path(folder).iterdir()) == []  # every report has been removed


FUZZED = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize(("method", "path"), PATHS)
@FUZZED
@example(b"", b"", [(b"host", b"[")], b"", MINE, True)
@example(b"", b"", [(b"host", b"localhost"), (b"origin", b"http://[")], b"", MINE, True)
@example(nested(600), b"", [], b"application/json", MINE, True)
@example(nested(20_000), b"", [], b"application/json", MINE, True)
@example(a_line(meta={"a": "\ud800"}), b"sent=nan", [], b"", MINE, True)
@example(nested(600, a_line()[:-1] + b',"meta":%s}'), b"sent=1e308", [], b"", MINE, True)
@example(b'{"sessionId":"\\ud800","room":"\\ud800"}', b"", [], b"application/json", MINE, True)
@example(b"name=%ED%A0%80&room=%00", b"", [], b"application/x-www-form-urlencoded", MINE, True)
@given(bodies, queries, headers, types, ids, st.booleans())
def test_no_request_causes_a_server_error(
    here: Here,
    method: str,
    path: str,
    body: bytes,
    query: bytes,
    extra: list[tuple[bytes, bytes]],
    media: bytes,
    name: str,
    signed_in: bool,
) -> None:
    """Every route answers every request, and a refusal has a reason."""
    check_answer(here, method, path.replace("ID", name), query, extra, body, media, signed_in)


def check_answer(
    here: Here,
    method: str,
    path: str,
    query: bytes,
    extra: list[tuple[bytes, bytes]],
    body: bytes = b"",
    media: bytes = b"",
    signed_in: bool = True,
) -> int:
    """Ask; check that the answer is no server error, and says why if it is a refusal. Return its status."""
    usual = {
        b"host": b"localhost",
        b"origin": b"http://localhost",
        b"content-type": media,
    } | ({b"cookie": here.cookie} if signed_in else {})
    sent = [*extra, *(pair for pair in usual.items() if pair[0] not in dict(extra))]
    status, answered, content = here.ask(method, path, query, sent, body)
    assert status < 500, content
    if (
        status >= 400
        and not answered[b"content-type"].startswith(b"text/html")
        and method != "HEAD"
    ):
        assert json.loads(content)["status"] == status
    return status


@pytest.mark.parametrize("path", OPERATOR_PATHS)
@FUZZED
@example(b"", [], MINE)
@example(b"", [], THEIRS)
@example(b"", [(b"range", b"bytes=9-1")], MINE)
@example(b"", [(b"range", b"bytes=0-0,2-2,-1")], MINE)
@example(b"", [(b"last-event-id", b"\xff")], THEIRS)
@given(queries, headers, ids)
def test_no_request_of_an_operator_causes_a_server_error(
    staffed: Here, path: str, query: bytes, extra: list[tuple[bytes, bytes]], name: str
) -> None:
    """Nor do the routes that hand out logs: reports, the bundle, the stream of a session's page."""
    status = check_answer(staffed, "GET", path.replace("ID", name), query, extra)
    if not extra:
        assert (status == 200) == (name in {MINE, THEIRS}), status


@settings(max_examples=300, derandomize=True, deadline=None)
@example(502, nested(5000))
@example(409, b'{"code":"session_in_use","room_url":"webrtc:secret","detail":"redis://h:1"}')
@given(
    st.integers(400, 599),
    st.one_of(
        st.binary(max_size=40),
        st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("code", "detail", "hint", "status", "room_url"), values)
        ).map(lambda found: json.dumps(found).encode()),
    ),
)
def test_person_sees_only_texts_of_the_interface(status: int, content: bytes) -> None:
    """Of any response of the gateway a page gets at most a known code, and a text of the interface."""
    told = json.loads(bytes(error_texts.from_gateway(status, content, {}).body))
    assert set(told) == {"type", "title", "status", "code", "detail", "hint"}
    known = [*error_texts.TEXTS.values(), error_texts.REFUSED, error_texts.FAILED]
    assert (told["detail"], told["hint"]) in known
    assert told["code"] in {*error_texts.TEXTS, "refused", "failed"}


@settings(max_examples=200, derandomize=True, deadline=None)
@given(lines, st.floats(allow_nan=True, allow_infinity=True))
def test_every_written_line_is_a_valid_record(line: bytes, sent_at: float) -> None:
    """Whatever a browser sends, its lines have the login's identity and the server's time."""

    async def ask(_: str) -> dict[str, Any]:
        raise NotFoundError("There is none.")

    browser_log = BrowserLog(SessionOwners(ask))
    person = Person("u-1", "Ada")
    with emit.capture() as records:
        taken = asyncio.run(browser_log.write([line], person, sent_at))
    assert taken.written + taken.refused == 1
    for record in records:
        if record["service"] == "browser":
            assert record["userId"] == person.user_id
            assert "epoch" not in record
            assert math.isfinite(record["seq"])
