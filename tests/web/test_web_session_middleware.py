"""All lines of a request carry its session, in any ASGI application, and no other lines do."""

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


async def test_lines_and_response_carry_the_session(records: Records) -> None:
    """The lines of the handler and the access line have the id; the response echoes it."""
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


async def test_request_without_a_session_belongs_to_the_server(records: Records) -> None:
    """No id is invented, and no header is added."""
    sent = await ask(plain, scope())
    assert sent[0]["headers"] == [(b"a", b"b")]
    assert all(record["sessionId"].startswith("server:") for record in records)


@pytest.mark.parametrize(("asked", "said"), [({"x_session_id": "mine"}, "mine"), ({}, "theirs")])
async def test_request_with_a_session_keeps_it_if_the_response_names_another(
    records: Records, asked: dict[str, str], said: str
) -> None:
    """A request writes no line into another's session; one without an id gets that of the response."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-session-id", b"theirs")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    sent = await ask(app, scope(**asked))
    assert sent[0]["headers"] == [(b"x-session-id", b"theirs")]
    assert [record["sessionId"] for record in records] == [said]


async def test_malformed_header_is_ignored_with_one_warning(records: Records) -> None:
    """A malformed id is never an error for the caller."""
    sent = await ask(plain, scope(x_session_id="a b", x_session_epoch="x"))
    assert sent[0]["status"] == 200
    (warning,) = (r for r in records if r["message"] == "Malformed session headers were ignored")
    assert (warning["level"], warning["meta"]["names"]) == ("warn", ["session_id", "epoch"])
    assert len(records) == 3


async def test_health_requests_write_no_access_line(records: Records) -> None:
    """Nor do readiness and metrics."""
    for path in ("/healthz", "/readyz", "/metrics"):
        await ask(plain, scope(path))
    assert {record["message"] for record in records} == {"Working"}


async def test_exception_is_logged_once_with_its_session(records: Records) -> None:
    """A handler's exception is logged in its session and raised; the server does not log it again."""
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


async def test_cancelled_request_is_499_and_not_an_error(records: Records) -> None:
    """A client that disconnects leaves an access line with status 499."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(ask(slow, scope(x_session_id="call-7")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(record["level"], record["meta"]["status"]) for record in records] == [("info", 499)]


async def test_access_line_does_not_wait_for_background_tasks(records: Records) -> None:
    """It is written when the response is complete; later lines keep the session."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await plain(scope, receive, send)
        await asyncio.sleep(0)
        log.info("Background")

    await ask(app, scope(x_session_id="call-7"))
    assert [r["message"] for r in records] == ["Working", "Request served", "Background"]
    assert {r["sessionId"] for r in records} == {"call-7"}


async def test_session_header_of_the_application_is_kept(records: Records) -> None:
    """If the id is in the body, the access line takes it from the application's own header."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Session-Id", b"made-here")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body"})

    sent = await ask(app, scope())
    assert sent[0]["headers"] == [(b"X-Session-Id", b"made-here")]
    assert records[0]["sessionId"] == "made-here"


async def test_identity_headers_are_ignored_without_trust_identity(records: Records) -> None:
    """With ``trust_identity=False`` the headers name a session and no person."""
    seen: list[Context] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current())

    request = scope(x_session_id="s", x_user_id="u", x_session_epoch="3")
    await SessionMiddleware(app, trust_identity=False)(request, receive, receive)  # type: ignore[arg-type]
    assert seen == [Context(session_id="s")]


async def test_websocket_connection_writes_one_access_line(records: Records) -> None:
    """Its lines carry its session; its end writes the access line."""

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


class AsciiText(str):
    """A text that may not be encoded: a copy of each message of a stream would cost time."""

    __slots__ = ()

    def encode(self, *_given: Any) -> bytes:
        raise AssertionError("a text that is ASCII needs no encoding to be counted")


async def test_messages_of_a_websocket_are_counted_without_a_copy(records: Records) -> None:
    """The access line has their bytes: of ASCII, of other texts, of binary ones and of empty ones."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        for text in (AsciiText("12345"), "é", ""):
            await send({"type": "websocket.send", "text": text})
        for content in (b"678", b""):
            await send({"type": "websocket.send", "bytes": content})
            await send({"type": "websocket.send", "bytes": content, "text": None})

    await ask(app, scope(kind="websocket"))
    assert records[-1]["meta"]["bytes"] == 5 + 2 + 3 + 3


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_exception_after_the_response_started_is_logged(records: Records, kind: str) -> None:
    """The error and the access line are written, with the status that was sent."""
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


async def test_uvicorn_adds_no_lines_to_those_of_the_middleware(lines: Lines) -> None:
    """There is one access line per request and one line per error, all with the session."""
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


def test_access_line_of_uvicorn_is_muted(records: Records) -> None:
    """The middleware's line has the session and the time; uvicorn's would repeat it."""
    import logging

    from cordboard.emit.bridges import standard

    SessionMiddleware(plain)
    for name in ("uvicorn.access", "uvicorn.error"):
        standard._call_handlers(
            logging.Logger(name),  # noqa: LOG001 - none of the program's own
            logging.LogRecord(name, 20, "", 0, name, (), None),
        )
    assert [record["message"] for record in records] == ["uvicorn.error"]


async def test_lifespan_is_passed_to_the_application(records: Records) -> None:
    """Messages other than requests are not touched."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await SessionMiddleware(app)({"type": "lifespan"}, receive, receive)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
    assert not records


async def test_shared_contexts_do_not_mix_sessions(records: Records) -> None:
    """A context that the server shares among requests gives no request another's session."""
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


async def test_concurrent_requests_do_not_mix_sessions(records: Records) -> None:
    """A thousand interleaved requests keep their own sessions."""

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


def test_fastapi_threads_streams_and_background_tasks_keep_the_session(records: Records) -> None:
    """The session reaches all places where FastAPI runs code."""
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
