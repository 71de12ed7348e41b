"""No bytes of a caller cause a 5xx, except 503 without Redis and 502 or 504 for a runner.

Each example is derived from the test's name alone (``derandomize``), so that a run can be repeated:
its seed is the name.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cordboard.contract.launch import Launch
from cordboard.environment import CONTROL_SECRET
from cordboard.store import Holder, RedisStore, Registration
from cordboard.store.keys import Keys
from parts_support import make

SECRET = "secret-of-the-fuzzed-parts"
FIELDS = (
    "room_url", "sessionId", "sessionUserId", "sessionUserName", "sessionUserEmail", "tenantId",
    "token", "bot", "body", "deadlineSeconds", "maxDurationSeconds", "force", "epoch", "attempt",
    "sdp", "type", "pc_id", "restart_pc", "candidates", "other",
)  # fmt: skip
ROUTES = {
    "gateway": [
        ("POST", "/join"), ("POST", "/start"), ("POST", "/leave"), ("GET", "/sessions"),
        ("GET", "/sessions/live"), ("GET", "/sessions/none/events"), ("POST", "/sessions/live/offer"),
        ("PATCH", "/sessions/live/offer"), ("GET", "/healthz"), ("GET", "/readyz"),
        ("GET", "/metrics"), ("GET", "/openapi.json"),
    ],
    "runner": [
        ("POST", "/start"), ("GET", "/sessions"), ("GET", "/sessions/live"),
        ("POST", "/sessions/live/leave"), ("POST", "/sessions/live/offer"),
        ("PATCH", "/sessions/live/offer"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"),
    ],
    "operator": [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("POST", "/")],
}  # fmt: skip
NASTY = [
    "\ud800", "\udfff x", "", " ", "\x00", "\n", "webrtc:r", "webrtc:..", "webrtc:r\ud800", ".", "..",
    "https://a.daily.co/r?t=\ud800", "https://[", "http://h:99999/", "https://xn--a/%", "null", "60",
    "a" * 2000, "é" * 300, "\u202e", "live", "none", "http://a@b/", "%00", "../..", "running", "nan",
]  # fmt: skip

texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
numbers = st.one_of(
    st.sampled_from([0, 1, -1, 60, 2**53, 2**63, 2**64, 10**400, 1e400, -1e400, float("nan"), 0.5]),
    st.integers(),
    st.floats(),
)
values = st.recursive(
    st.one_of(texts, numbers, st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def nested(depth: int) -> str:
    return '{"room_url":"webrtc:r","body":{"a":' + "[" * depth + "]" * depth + "}}"


bodies = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), values, max_size=6).map(
        lambda found: json.dumps(found).encode()
    ),
    st.tuples(st.sampled_from(FIELDS), values).map(
        lambda pair: json.dumps({"room_url": "webrtc:fuzz", pair[0]: pair[1]}).encode()
    ),
    values.map(lambda found: json.dumps(found).encode()),
    st.binary(max_size=60),
    st.sampled_from([nested(depth).encode() for depth in (99, 600, 900, 5000)]),
)
header_values = st.one_of(
    texts.map(lambda text: text.encode("utf-8", "surrogatepass").replace(b"\n", b"")),
    st.binary(max_size=30),
)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"x-session-id",
                b"x-user-id",
                b"x-user-name",
                b"x-session-epoch",
                b"traceparent",
                b"baggage",
                b"content-type",
                b"content-length",
                b"x-forwarded-for",
                b"origin",
                b"cookie",
                b"accept",
                b"host",
                b"authorization",
                b"x-bot-secret",
            ]
        ),
        header_values,
    ),
    max_size=4,
)
queries = st.one_of(
    st.lists(
        st.tuples(
            st.sampled_from(["wait", "state", "room_url", "userId", "limit", "cursor", "x"]),
            st.sampled_from([b"nan", b"inf", b"1e400", b"-1", b"60", b"%ff", b"%ed%a0%80", b"%00",
                             b"webrtc:%2e", b"queued", b"0", b"9" * 30, b"https://[", b"MTIz", b"e30"]),
        ),
        max_size=3,
    ).map(lambda found: b"&".join(name.encode() + b"=" + value for name, value in found)),
    st.binary(max_size=20),
)  # fmt: skip
ids = st.one_of(
    st.sampled_from(
        ["live", "none", ".", "..", "a" * 129, "\ud800", "é", "a\x00", "x/y", "%2e", ""]
    ),
    st.text(max_size=8),
)


class Parts:
    """The components with a real store, in an event loop in its own thread."""

    def __init__(self, redis_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.stopping: asyncio.Event | None = None
        self.apps: dict[str, Any] = {}
        self.started = threading.Event()
        self.thread = threading.Thread(
            target=self.loop.run_until_complete, args=(self._serve(redis_url),), daemon=True
        )
        self.thread.start()
        assert self.started.wait(30)

    async def _serve(self, url: str) -> None:
        self.stopping = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            for part in ROUTES:
                store = RedisStore(url, Keys(f"fuzz-{part}"))
                app = make(part, store, queue_max=10_000)
                await stack.enter_async_context(app.router.lifespan_context(app))
                self.apps[part] = app
                if part == "gateway":
                    await self._run_live(store)
            self.started.set()
            await self.stopping.wait()

    async def _run_live(self, store: RedisStore) -> None:
        await store.accept(Launch(session_id="live", room_url="webrtc:live", epoch=1), queue_max=9)
        await store.register(Registration("r1", "http://127.0.0.1:9", capacity=9))
        await store.placement.assign("live", 1)
        await store.confirm_running("live", 1, Holder("r1", "http://127.0.0.1:9", "warm", 42))

    def ask(self, part: str, *words: Any) -> tuple[int, str, bytes]:
        asked = asyncio.run_coroutine_threadsafe(_ask(self.apps[part], *words), self.loop)
        return asked.result(20)

    def close(self) -> None:
        assert self.stopping is not None
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(20)


async def _ask(
    app: Any, method: str, path: str, query: bytes, given: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, str, bytes]:
    """Send one request, byte for byte as a server would hand it over."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "root_path": "",
        "scheme": "http",
        "query_string": query,
        "headers": given,
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(15):
        await app(scope, receive, send)
    media = dict(sent[0]["headers"]).get(b"content-type", b"").decode()
    return sent[0]["status"], media, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture(scope="module")
def parts(redis_url: str) -> Iterator[Parts]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONTROL_SECRET, SECRET)
        served = Parts(redis_url)
        yield served
        served.close()


CASES = [(part, *route) for part, routes in ROUTES.items() for route in routes]


@pytest.mark.parametrize(("part", "method", "path"), CASES)
@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(body=nested(600).encode(), query=b"", extra=[], session_id="live")
@example(body=nested(900).encode(), query=b"", extra=[], session_id="live")
@example(body=nested(30_000).encode(), query=b"", extra=[], session_id="live")
@example(body=b'{"room_url":"webrtc:r","body":{"a":"\\ud800"}}', query=b"", extra=[], session_id="")
@example(body=b'{"room_url":"webrtc:r","\\ud800":7}', query=b"", extra=[], session_id="live")
@example(
    body=b'{"room_url":"webrtc:r","x":1' + b"0" * 99 + b"}", query=b"", extra=[], session_id=""
)
@example(body=b"{}", query=b"", extra=[(b"host", b"[")], session_id="live")
@example(
    body=b'{"room_url":"webrtc:r","body":{"a":1e400}}', query=b"wait=nan", extra=[], session_id=""
)
@given(body=bodies, query=queries, extra=headers, session_id=ids)
def test_no_request_causes_a_server_error(
    parts: Parts,
    part: str,
    method: str,
    path: str,
    body: bytes,
    query: bytes,
    extra: list[tuple[bytes, bytes]],
    session_id: str,
) -> None:
    """Every route of every component answers every request; refusals are problem+json."""
    usual = {
        b"host": b"localhost",
        b"authorization": b"Bearer " + SECRET.encode(),
        b"content-type": b"application/json",
    }
    given = [*extra, *(pair for pair in usual.items() if pair[0] not in dict(extra))]
    for place in {path, path.replace("live", session_id)}:
        if b"wait" in query and path in {"/join", "/start"}:
            query = query.replace(b"60", b"0")
        status, media, content = parts.ask(part, method, place, query, given, body)
        expected = {502, 503, 504} if path.endswith("/offer") else {503}
        assert status < 500 or status in expected, content
        if status >= 400 and place != "/readyz":
            assert media == "application/problem+json"
            assert json.loads(content)["status"] == status


TEXTS = ("room_url", "sessionId", "sessionUserId", "sessionUserName", "sessionUserEmail",
         "tenantId", "token", "bot")  # fmt: skip
WRONG = [
    *(("/join", {name: "x\ud800"}) for name in TEXTS),
    *(("/join", {name: 7}) for name in TEXTS),
    ("/join", {"body": {"a": ["\udc00"]}}),
    ("/join", {"body": {"\udc00": 1}}),
    ("/join", {"other\udc00": 1}),
    ("/join", {"body": {"a": 2**70}}),
    ("/join", {"deadlineSeconds": "60"}),
    ("/join", {"deadlineSeconds": True}),
    ("/join", {"deadlineSeconds": 60.0}),
    ("/join", {"maxDurationSeconds": "60"}),
    ("/join", {"body": {"a": float("nan")}}),
    ("/join", {"body": {"a": float("inf")}}),
    ("/leave", {"sessionId": "a\ud800"}),
    ("/leave", {"force": "yes"}),
    ("/leave", {"force": 1}),
    ("/leave", {"force": "true"}),
]


@pytest.mark.parametrize(("path", "body"), WRONG)
def test_wrong_values_are_422_at_the_gateway(parts: Parts, path: str, body: dict[str, Any]) -> None:
    """Types are strict, and strings contain no lone surrogates."""
    assert _post(parts, "gateway", path, {"room_url": "webrtc:r"} | body) == 422


@pytest.mark.parametrize(
    "body",
    [
        *({name: "x\ud800"} for name in TEXTS),
        *({name: "5"} for name in ("epoch", "attempt", "maxDurationSeconds")),
        *({name: True} for name in ("epoch", "attempt", "maxDurationSeconds")),
        {"epoch": 2**60},
        {"body": {"a": float("nan")}},
        {"sessionId": ".."},
    ],
)
def test_wrong_values_are_422_at_the_runner(parts: Parts, body: dict[str, Any]) -> None:
    """The body of a start is as strict."""
    whole = {"room_url": "webrtc:r", "sessionId": "s", "epoch": 1} | body
    assert _post(parts, "runner", "/start", whole) == 422


@pytest.mark.parametrize(
    "body",
    [
        {"restart_pc": 1},
        {"restart_pc": "yes"},
        {"sdp": 5},
        {"candidates": [{"candidate": "c", "sdpMLineIndex": "0"}]},
        {"candidates": [{"candidate": "c", "sdpMLineIndex": True}]},
        {"candidates": [{"sdpMid": "0"}]},
        {"candidates": {}},
        {"pc_id": "\ud800"},
    ],
)
def test_wrong_offers_are_422(parts: Parts, body: dict[str, Any]) -> None:
    """So are offers and candidates."""
    for method in ("POST", "PATCH"):
        assert _post(parts, "runner", "/sessions/live/offer", body, method) == 422


@pytest.mark.parametrize(("wait", "status"), [(b"0", 202), (b"0.0", 202), (b"nan", 422), (b"inf", 422),
                                              (b"-1", 422), (b"61", 422), (b"", 422), (b"x", 422)])  # fmt: skip
def test_wait_must_be_a_number_of_seconds(parts: Parts, wait: bytes, status: int) -> None:
    """A query has only text; the number in it must be finite and at most 60."""
    body = {"room_url": f"webrtc:wait{wait.decode()}"}
    assert _post(parts, "gateway", "/join", body, query=b"wait=" + wait) == status


def _post(
    parts: Parts, part: str, path: str, body: Any, method: str = "POST", query: bytes = b""
) -> int:
    given = [(b"host", b"localhost"), (b"authorization", b"Bearer " + SECRET.encode()),
             (b"content-type", b"application/json")]  # fmt: skip
    return parts.ask(part, method, path, query, given, json.dumps(body).encode())[0]
