"""A stranger cannot write into a session by naming it in a request."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from cordboard.contract.launch import Launch
from cordboard.environment import CONTROL_SECRET
from cordboard.store import RedisStore
from cordboard.web import auth
from cordboard.web.session_middleware import SessionMiddleware
from lines_support import Lines
from parts_support import client, make

SECRET = "the-secret-of-all-the-parts"
CLAIMS = {"X-Session-Id": "victim", "X-User-Id": "u-1", "X-User-Name": "Boss"}
OURS = {"Authorization": f"Bearer {SECRET}"}
PARTS = ("gateway", "operator", "runner")


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)


def said(lines: Lines) -> list[dict[str, Any]]:
    return [record for record in lines() if record["tag"] not in {"httpx", "httpx2"}]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example"} | OURS, 421),
        ({"X-User-Name": "%"}, 401),
        ({"X-Session-Epoch": "not a number"}, 401),
    ],
)
async def test_refused_request_writes_no_line_into_the_session_it_names(
    part: str, more: dict[str, str], status: int, lines: Lines
) -> None:
    """Every line about a refused request belongs to the server; its claims are in ``meta``."""
    async with client(make(part)) as asking:
        answer = await asking.get("/sessions/victim", headers=CLAIMS | more)
    assert answer.status_code == status
    assert "X-Session-Id" not in answer.headers
    records = said(lines)
    assert {record["sessionId"].partition(":")[0] for record in records} == {"server"}
    assert {(record["userId"], record["userName"]) for record in records} == {(None, None)}
    access = next(record for record in records if record["message"] == "Request served")
    assert access["meta"]["claimed"]["sessionId"] == "victim"
    assert access["meta"]["claimed"]["userId"] == "u-1"


async def test_too_many_wrong_secrets_are_429_and_few_lines(lines: Lines) -> None:
    """Wrong secrets over the limit get 429; few lines about them are written, all by the server."""
    async with client(make("gateway", wrong_secrets_per_minute=3)) as asking:
        wrong = CLAIMS | {"X-Bot-Secret": "wrong"}
        statuses = [(await asking.get("/sessions", headers=wrong)).status_code for _ in range(40)]
        assert statuses[:3] == [401, 401, 401]
        assert set(statuses[4:]) == {429}
        answer = await asking.get("/sessions", headers=wrong)
        assert int(answer.headers["Retry-After"]) >= 1
        # The right secret is accepted all the same, and a request without a secret is not a guess.
        assert (await asking.get("/metrics", headers=OURS)).status_code == 200
        assert (await asking.get("/sessions")).status_code == 401
    records = said(lines)
    assert {r["sessionId"].partition(":")[0] for r in records} == {"server"}
    told = [r for r in records if r.get("event") == "auth.refused"]
    assert {r["level"] for r in told} == {"warn"}
    assert told[0]["meta"]["peer"] == "127.0.0.1"
    assert {r["meta"]["reason"] for r in told} == {"wrong", "throttled"}
    assert len(told) < 30


async def test_wrong_secrets_are_counted_in_limited_memory() -> None:
    """A million addresses take no more memory than ten thousand."""

    async def send(_message: Any) -> None: ...

    guard = auth.ControlSecretMiddleware(_nothing, lambda: (SECRET,), required=True)
    for number in range(10_050):
        scope = _scope(f"10.1.{number // 256}.{number % 256}", b"Bearer wrong")
        await guard(scope, _nothing, send)
    assert len(guard.wrong_secrets) == 10_000


@pytest.mark.parametrize("header", [b"", b"Bearer ", b"Basic x"])
async def test_metric_counts_refusals_by_reason(header: bytes) -> None:
    """A header without a credential counts as a missing secret."""

    async def send(_message: Any) -> None: ...

    guard = auth.ControlSecretMiddleware(_nothing, lambda: (SECRET,), required=True)
    before = _refusals("missing")
    await guard(_scope("10.0.0.1", header), _nothing, send)
    assert _refusals("missing") == before + 1


async def test_identity_headers_count_only_with_the_secret(lines: Lines) -> None:
    """A server with a secret trusts identity headers behind it; a server without one trusts none."""
    async with client(make("runner")) as asking:
        await asking.get("/sessions", headers=CLAIMS | OURS)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(CONTROL_SECRET)
        app = make("runner")
        async with client(app) as asking:
            await asking.get("/sessions", headers=CLAIMS)
    behind, without = (r for r in said(lines) if r["message"] == "Request served")
    assert (behind["sessionId"], behind["userId"]) == ("victim", "u-1")
    assert (without["sessionId"], without["userId"]) == ("victim", None)


@pytest.mark.parametrize("status", [401, 403])
async def test_request_that_the_application_refuses_writes_no_line_into_its_session(
    status: int, lines: Lines
) -> None:
    """The same holds if the application behind the middleware refuses."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

    async def send(_message: Any) -> None: ...

    scope = _scope("10.0.0.1", b"")
    scope["headers"] += [(name.lower().encode(), value.encode()) for name, value in CLAIMS.items()]
    await SessionMiddleware(app)(scope, _nothing, send)
    (access,) = (record for record in lines() if record["tag"] == "http")
    assert access["sessionId"].startswith("server:")
    assert access["meta"]["claimed"] == {"sessionId": "victim", "userId": "u-1", "userName": "Boss"}


async def test_reading_a_session_writes_no_line_into_it(store: RedisStore, lines: Lines) -> None:
    """Only a request that carries the session's id belongs to the session."""
    app = make("gateway", store)
    async with app.router.lifespan_context(app), client(app, headers=OURS) as asking:
        launch = Launch(session_id="call-1", room_url="webrtc:r", epoch=1, user_name="Ada")
        await store.accept(launch, queue_max=9)
        for path in ("/sessions/call-1", "/sessions", "/sessions?room_url=webrtc:r"):
            assert (await asking.get(path)).status_code == 200
        await store.leave(session_id="call-1")
        assert (await asking.get("/sessions/call-1/events")).status_code == 200
        mine = {"X-Session-Id": "call-1"}
        assert (await asking.get("/sessions/call-1", headers=mine)).headers[
            "X-Session-Id"
        ] == "call-1"
    served = [r for r in said(lines) if r["message"] == "Request served"]
    assert [r["sessionId"].partition(":")[0] for r in served] == [*["server"] * 4, "call-1"]
    assert served[0]["meta"]["path"] == "/sessions/call-1"
    assert (served[0]["userName"], served[-1]["userName"]) == (None, "Ada")


async def test_requests_that_change_a_session_belong_to_it(store: RedisStore, lines: Lines) -> None:
    """The lines of a leave and of a start belong to the session in the body."""
    app = make("gateway", store)
    async with app.router.lifespan_context(app), client(app, headers=OURS) as asking:
        await store.accept(Launch(session_id="call-1", room_url="webrtc:r", epoch=1), queue_max=9)
        await asking.post("/leave", json={"sessionId": "call-1"})
    async with client(make("runner", store), headers=OURS) as asking:
        body = {"room_url": "webrtc:r", "sessionId": "call-2", "epoch": 3, "sessionUserName": "Ada"}
        answer = await asking.post("/start", json=body)
        assert answer.status_code == 409  # this runner has no slot
        assert answer.headers["X-Session-Id"] == "call-2"
    leave, start = (r for r in said(lines) if r["message"] == "Request served")
    assert leave["sessionId"] == "call-1"
    assert (start["sessionId"], start["userName"], start["epoch"]) == ("call-2", "Ada", 3)


def _refusals(reason: str) -> float:
    return REGISTRY.get_sample_value("cordboard_auth_refused_total", {"reason": reason}) or 0.0


async def _nothing(*_: Any) -> Any: ...


def _scope(peer: str, authorization: bytes) -> dict[str, Any]:
    headers = [(b"host", b"localhost"), (b"authorization", authorization)]
    return {
        "type": "http",
        "method": "GET",
        "path": "/sessions",
        "client": (peer, 1),
        "headers": headers,
    }
