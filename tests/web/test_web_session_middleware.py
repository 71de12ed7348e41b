"""The session of a request is on all its lines, in any ASGI application, and on no other's."""

import asyncio
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from cordboard import emit
from cordboard.context import Context, bound, current, variable
from cordboard.web import SessionMiddleware
from tests_support import served

log = emit.get_logger("app")
Records = list[dict[str, Any]]
Lines = Callable[[], Records]


@pytest.fixture
def records() -> Iterator[Records]:
    with emit.capture() as caught:
        yield caught


def scope(path: str = "/x", kind: str = "http", **headers: str) -> dict[str, Any]:
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"type": kind, "path": path, "method": "GET", "headers": pairs, "query_string": b"t=s"}


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def ask(app: Any, request: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await SessionMiddleware(app)(request, receive, send)
    return sent


async def plain(scope: Any, receive: Any, send: Any) -> None:
    log.info("Working")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})
    await send({"type": "http.response.body", "body": b"678"})


async def test_lines_and_answer_carry_the_session(records: Records) -> None:
    """Lines of the handler and the access line have the id; the answer echoes it."""
    sent = await ask(
        plain, scope("/join", x_session_id="call-7", x_user_id="u", x_user_name="A%20B")
    )
    assert sent[0]["headers"] == [(b"a", b"b"), (b"x-session-id", b"call-7")]
    working, access = records
    assert working["sessionId"] == access["sessionId"] == "call-7"
    assert (access["userId"], access["userName"]) == ("u", "A B")
    meta = access["meta"]
    assert (meta["method"], meta["path"], meta["status"], meta["bytes"]) == ("GET", "/join", 200, 8)
    assert "t=s" not in str(access)
    assert variable.get() is None


async def test_without_a_session_none_is_invented(records: Records) -> None:
    """A request without an id is served as the server's, with no header added."""
    sent = await ask(plain, scope())
    assert sent[0]["headers"] == [(b"a", b"b")]
    assert all(record["sessionId"].startswith("server:") for record in records)


@pytest.mark.parametrize(("asked", "said"), [({"x_session_id": "mine"}, "mine"), ({}, "theirs")])
async def test_an_answer_puts_no_line_into_the_session_that_it_names(
    records: Records, asked: dict[str, str], said: str
) -> None:
    """A join that met another's session stays its own; a request without an id gets the answer's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-session-id", b"theirs")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    sent = await ask(app, scope(**asked))
    assert sent[0]["headers"] == [(b"x-session-id", b"theirs")]
    assert [record["sessionId"] for record in records] == [said]


async def test_a_malformed_header_is_one_warning(records: Records) -> None:
    """A malformed id is never an error for the caller: one warning line, and it is ignored."""
    sent = await ask(plain, scope(x_session_id="a b", x_session_epoch="x"))
    assert sent[0]["status"] == 200
    (warning,) = (r for r in records if r["message"] == "Malformed session headers ignored")
    assert (warning["level"], warning["meta"]["names"]) == ("warn", ["session_id", "epoch"])
    assert len(records) == 3


async def test_health_requests_are_silent(records: Records) -> None:
    """Health, readiness and metrics write no access line."""
    for path in ("/healthz", "/readyz", "/metrics"):
        await ask(plain, scope(path))
    assert {record["message"] for record in records} == {"Working"}


async def test_an_exception_is_said_once_with_its_session(records: Records) -> None:
    """What a handler raises is a line of its session and goes on; the server's own line is spared."""
    import logging

    from cordboard.emit.bridges import standard

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError) as caught:
        await ask(broken, scope(x_session_id="call-7"))
    info = (LookupError, caught.value, None)
    standard.write(logging.LogRecord("uvicorn.error", 40, "", 0, "Exception in ASGI", (), info))
    failed, access = records
    assert failed["error"]["type"] == "LookupError"
    assert access["meta"]["status"] == 500
    assert failed["sessionId"] == access["sessionId"] == "call-7"


async def test_a_cancelled_request_is_no_error(records: Records) -> None:
    """A client that goes away leaves an access line with status 499."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(ask(slow, scope(x_session_id="call-7")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(record["level"], record["meta"]["status"]) for record in records] == [("info", 499)]


async def test_the_access_line_does_not_wait_for_background_work(records: Records) -> None:
    """The access line is written when the answer is complete; later lines keep the session."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await plain(scope, receive, send)
        await asyncio.sleep(0)
        log.info("Background")

    await ask(app, scope(x_session_id="call-7"))
    assert [r["message"] for r in records] == ["Working", "Request served", "Background"]
    assert {r["sessionId"] for r in records} == {"call-7"}


async def test_the_session_that_an_application_names_is_the_exchanges(records: Records) -> None:
    """Where the id is in the body, the application's own header tells the access line."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Session-Id", b"made-here")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body"})

    sent = await ask(app, scope())
    assert sent[0]["headers"] == [(b"X-Session-Id", b"made-here")]
    assert records[0]["sessionId"] == "made-here"


async def test_identity_of_a_browser_is_not_believed(records: Records) -> None:
    """With trust_identity off the headers name a session and no person."""
    seen: list[Context] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current())

    request = scope(x_session_id="s", x_user_id="u", x_session_epoch="3")
    await SessionMiddleware(app, trust_identity=False)(request, receive, receive)  # type: ignore[arg-type]
    assert seen == [Context(session_id="s")]


async def test_a_websocket_is_one_exchange(records: Records) -> None:
    """A connection's lines carry its session; its end is one access line."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hellö"})
        log.info("Talking")
        await send({"type": "websocket.close"})

    request = scope(kind="websocket", x_session_id="call-7")
    del request["method"]
    sent = await ask(app, request)
    assert sent[0]["headers"] == [(b"x-session-id", b"call-7")]
    assert [r["message"] for r in records] == ["Talking", "Request served"]
    meta = records[1]["meta"]
    assert (meta["method"], meta["status"], meta["bytes"]) == ("WEBSOCKET", 101, 6)


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_what_breaks_in_the_middle_is_told(records: Records, kind: str) -> None:
    """A handler that raises after its answer has begun leaves its error and its access line."""
    begin = {"http": "http.response.start", "websocket": "websocket.accept"}[kind]

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": begin, "status": 200})
        if kind == "http":
            await send({"type": "http.response.body", "body": b"12", "more_body": True})
        raise LookupError("gone")

    with pytest.raises(LookupError):
        await ask(broken, scope(kind=kind, x_session_id="call-7"))
    failed, access = records
    assert failed["error"]["type"] == "LookupError"
    assert access["meta"]["status"] == (200 if kind == "http" else 101)
    assert failed["sessionId"] == access["sessionId"] == "call-7"


async def test_behind_a_real_server(lines: Lines) -> None:
    """Under uvicorn there is one access line a request, one error line, and both have the session."""
    import aiohttp
    from starlette.applications import Starlette
    from starlette.routing import Mount

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("gone")

    app = Starlette(routes=[Mount("/broken", broken), Mount("/", plain)])
    async with served(SessionMiddleware(app)) as url, aiohttp.ClientSession() as client:
        for path, session in (("/x", "call-7"), ("/broken/", "call-8"), ("/healthz", "call-9")):
            async with client.get(url + path, headers={"X-Session-Id": session}):
                pass
    said = [(r["message"], r["sessionId"]) for r in lines() if r["tag"] in {"app", "http"}]
    assert said == [
        ("Working", "call-7"), ("Request served", "call-7"), ("Request served", "call-8"),
        ("Request failed", "call-8"), ("Working", "call-9"),
    ]  # fmt: skip
    assert not [r for r in lines() if r["tag"] == "uvicorn" and r["level"] != "info"]


def test_the_servers_own_access_line_is_spared(records: Records) -> None:
    """Ours has the session and the time; uvicorn's would say the same again."""
    import logging

    from cordboard.emit.bridges import standard

    SessionMiddleware(plain)
    for name in ("uvicorn.access", "uvicorn.error"):
        standard._call_handlers(
            logging.Logger(name),  # noqa: LOG001 - none of the program's own
            logging.LogRecord(name, 20, "", 0, name, (), None),
        )
    assert [record["message"] for record in records] == ["uvicorn.error"]


async def test_lifespan_is_passed_through(records: Records) -> None:
    """Messages that are no request are none of ours."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await SessionMiddleware(app)({"type": "lifespan"}, receive, receive)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
    assert not records


async def test_no_bleed_whatever_the_server_does_with_contexts(records: Records) -> None:
    """One shared context for all requests, or a stale one, gives no request another's session."""
    shared = copy_context()
    loop = asyncio.get_running_loop()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        log.info("Mine", mine=scope["mine"])
        await plain(scope, receive, send)

    with bound(session_id="stale"):
        for i in range(50):
            request = {**scope(), "mine": f"s-{i}"}
            if i % 2:
                request = {**scope(x_session_id=f"s-{i}"), "mine": f"s-{i}"}
            await loop.create_task(ask(app, request), context=shared)
    mine = [record for record in records if record["message"] == "Mine"]
    assert len(mine) == 50
    for i, record in enumerate(mine):
        assert record["sessionId"] == (f"s-{i}" if i % 2 else mine[0]["sessionId"])
    assert mine[0]["sessionId"].startswith("server:")


async def test_thousands_of_concurrent_requests_keep_apart(records: Records) -> None:
    """Interleaved requests never take each other's session."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            log.info("Mine", mine=scope["mine"])
        await plain(scope, receive, send)

    await asyncio.gather(
        *(ask(app, {**scope(x_session_id=f"s-{i}"), "mine": f"s-{i}"}) for i in range(1000))
    )
    mine = [record for record in records if record["message"] == "Mine"]
    assert len(mine) == 3000
    assert all(record["meta"]["mine"] == record["sessionId"] for record in mine)


def test_in_fastapi(records: Records) -> None:
    """In FastAPI: handlers in threads, streaming answers and background tasks keep the session."""
    from fastapi import BackgroundTasks, FastAPI
    from fastapi.responses import StreamingResponse
    from fastapi.testclient import TestClient

    app = FastAPI()
    app.add_middleware(SessionMiddleware)

    @app.get("/sync")
    def in_a_thread(tasks: BackgroundTasks) -> dict[str, str | None]:
        tasks.add_task(lambda: log.info("Background"))
        return {"id": current().session_id}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> Any:
            for _ in range(3):
                log.info("Part")
                yield b"x"

        return StreamingResponse(parts())

    with TestClient(app) as client:
        headers = {"X-Session-Id": "call-7"}
        assert client.get("/sync", headers=headers).json() == {"id": "call-7"}
        answer = client.get("/stream", headers=headers)
    assert answer.headers["x-session-id"] == "call-7"
    said = [r["message"] for r in records if r["sessionId"] == "call-7"]
    assert said == ["Request served", "Background", "Part", "Part", "Part", "Request served"]
