"""A stranger writes into nobody's session: what is said of a request that was refused, or looks."""

from typing import Any

import pytest

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
async def test_refused_requests(part: str, more: dict[str, str], status: int, lines: Lines) -> None:
    """Every line about a refused request is the server's own; what it claims is in meta."""
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


async def test_throttled_requests(lines: Lines) -> None:
    """Wrong secrets beyond the bound get 429, the server's own lines, and few of them."""
    async with client(make("gateway", wrong_secrets_per_minute=3)) as asking:
        wrong = CLAIMS | {"X-Bot-Secret": "wrong"}
        statuses = [(await asking.get("/sessions", headers=wrong)).status_code for _ in range(40)]
        assert statuses[:3] == [401, 401, 401]
        assert set(statuses[4:]) == {429}
        answer = await asking.get("/sessions", headers=wrong)
        assert int(answer.headers["Retry-After"]) >= 1
        # Whoever has the secret is let in, and who sends none is no guess.
        assert (await asking.get("/metrics", headers=OURS)).status_code == 200
        assert (await asking.get("/sessions")).status_code == 401
    records = said(lines)
    assert {r["sessionId"].partition(":")[0] for r in records} == {"server"}
    told = [r for r in records if r.get("event") == "auth.refused"]
    assert {r["level"] for r in told} == {"warn"}
    assert told[0]["meta"]["peer"] == "127.0.0.1"
    assert {r["meta"]["reason"] for r in told} == {"wrong", "throttled"}
    assert len(told) < 30


async def test_guesses_are_counted_in_bounded_memory() -> None:
    """A million addresses take no more memory than ten thousand."""
    guard = auth.ControlSecretMiddleware(_nothing, lambda: (SECRET,), required=True)
    for number in range(10_050):
        guard._refusal(_scope(f"10.1.{number // 256}.{number % 256}", b"Bearer wrong"))
    assert len(guard._wrong) == 10_000


@pytest.mark.parametrize("header", [b"", b"Bearer ", b"Basic x"])
async def test_refusals_are_counted(header: bytes) -> None:
    """A metric tells how many callers were refused, and why."""
    guard = auth.ControlSecretMiddleware(_nothing, lambda: (SECRET,), required=True)
    before = auth.refusals.labels("missing")._value.get()
    assert guard._refusal(_scope("10.0.0.1", header)) is not None
    assert auth.refusals.labels("missing")._value.get() == before + 1


async def test_identity_needs_the_secret(lines: Lines) -> None:
    """A server without a secret believes no identity header; one with a secret does, behind it."""
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
async def test_refused_by_an_application(status: int, lines: Lines) -> None:
    """The same where any application behind the middleware refuses."""

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


async def test_looking_at_a_session_is_no_part_of_it(store: RedisStore, lines: Lines) -> None:
    """A look by others is the server's line; one that carries the id is the session's."""
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


async def test_what_changes_a_session_is_part_of_it(store: RedisStore, lines: Lines) -> None:
    """A leave, and a start at a runner, are lines of the session that their bodies name."""
    app = make("gateway", store)
    async with app.router.lifespan_context(app), client(app, headers=OURS) as asking:
        await store.accept(Launch(session_id="call-1", room_url="webrtc:r", epoch=1), queue_max=9)
        await asking.post("/leave", json={"sessionId": "call-1"})
    async with client(make("runner", store), headers=OURS) as asking:
        body = {"room_url": "webrtc:r", "sessionId": "call-2", "epoch": 3, "sessionUserName": "Ada"}
        answer = await asking.post("/start", json=body)
        assert answer.status_code == 409  # this one has no slot
        assert answer.headers["X-Session-Id"] == "call-2"
    leave, start = (r for r in said(lines) if r["message"] == "Request served")
    assert leave["sessionId"] == "call-1"
    assert (start["sessionId"], start["userName"], start["epoch"]) == ("call-2", "Ada", 3)


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
