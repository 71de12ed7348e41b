"""The control secret never goes to an address that Redis named."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cordboard.contract.credential import runner_credential
from cordboard.contract.http_api import session_path
from cordboard.contract.ids import is_session_id
from cordboard.contract.launch import Launch
from cordboard.environment import CONTROL_SECRET, CONTROL_SECRET_PREV
from cordboard.operator.plan import Sign
from cordboard.operator.runner_client import SessionRunners, StartOutcome
from cordboard.store import Holder, RedisStore, Registration
from cordboard.web.http_client import ANSWER_MAX_BYTES, HttpClient, NoAnswerError
from cordboard.web.runner_client import RunnerClient, runner_url
from parts_support import RUNNER_URL, client, make
from tests_support import StandIn, served, until

SECRET = "control-secret-of-the-plane"
OLD = "previous-secret-of-the-plane"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)


@pytest.fixture
async def calls() -> AsyncIterator[RunnerClient]:
    async with aiohttp.ClientSession() as session:
        yield RunnerClient(HttpClient(session), lambda: (SECRET, OLD))


async def accepted_credentials(asked: list[Any]) -> list[tuple[str, str]]:
    """Return which components accept anything that a false runner received, in any header."""
    accepted: list[tuple[str, str]] = []
    sent = {(name, value) for *_, headers in asked for name, value in headers.items()}
    tries = [{name: value} for name, value in sent if name not in {"host", "content-length"}]
    tries += [{"X-Bot-Secret": value.split()[-1]} for _, value in sent]
    for part, path in (("runner", "/sessions"), ("gateway", "/metrics"), ("operator", "/metrics")):
        async with client(make(part)) as asking:
            accepted += [
                (part, next(iter(headers)))
                for headers in tries
                if (await asking.get(path, headers=headers)).status_code != 401
            ]
    return accepted


async def test_gateway_sends_a_false_runner_no_usable_credential(
    store: RedisStore, stand_in: StandIn
) -> None:
    """With its address in a record: nothing in an offer, candidates or a leave is accepted elsewhere."""
    stand_in.answers = {"/offer": (200, {}), "/leave": (200, {})}
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with served(make("gateway", store)) as url, aiohttp.ClientSession(url) as asking:
        await store.accept(Launch(session_id="a", room_url="webrtc:r", epoch=1), queue_max=9)
        await store.register(Registration("r1", stand_in.url, capacity=9))
        await store.placement.assign("a", 1)
        await store.confirm_running("a", 1, Holder("r1", stand_in.url, "warm", 42))
        for method in ("POST", "PATCH"):
            await asking.request(method, "/sessions/a/offer", json={}, headers=headers)
        async with asking.get("/sessions/a/events", headers=headers) as events:
            await events.content.readline()
            leaving = asking.post("/leave", json={"sessionId": "a"}, headers=headers)
            task = asyncio.ensure_future(leaving)
            await until(lambda: len(stand_in.asked) >= 3)
            await store.finish("a", 1, "left")
            (await task).close()
    assert {path.rsplit("/", 1)[-1] for _, path, *_ in stand_in.asked} == {"offer", "leave"}
    assert SECRET not in str(stand_in.asked)
    assert await accepted_credentials(stand_in.asked) == []


async def test_operator_sends_a_false_runner_no_usable_credential(
    calls: RunnerClient, stand_in: StandIn
) -> None:
    """With its address in a registration: nothing in a start or a read is accepted elsewhere."""
    runners = SessionRunners(calls)
    await runners.start(stand_in.url, Launch(session_id="a", room_url="webrtc:r", epoch=1))
    await runners.status(stand_in.url, "a", 1)
    assert [path for _, path, *_ in stand_in.asked] == ["/start", "/sessions/a"]
    assert SECRET not in str(stand_in.asked)
    assert OLD not in str(stand_in.asked)
    assert await accepted_credentials(stand_in.asked) == []


@pytest.mark.parametrize(
    ("credential", "status"),
    [
        (SECRET, 200),
        (OLD, 200),
        (runner_credential(SECRET, RUNNER_URL), 200),
        (runner_credential(OLD, RUNNER_URL), 200),
        (runner_credential(SECRET, f"{RUNNER_URL}/"), 401),
        (runner_credential(SECRET, "http://other.test:7861"), 401),
        (runner_credential("another secret", RUNNER_URL), 401),
        (runner_credential(SECRET, RUNNER_URL).upper(), 401),
    ],
)
async def test_runner_accepts_the_secret_and_credentials_for_its_own_address(
    credential: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The secrets themselves are for a person with curl."""
    monkeypatch.setenv(CONTROL_SECRET_PREV, OLD)
    async with client(make("runner")) as asking:
        headers = {"Authorization": f"Bearer {credential}"}
        assert (await asking.get("/sessions", headers=headers)).status_code == status


async def test_no_redirect_is_followed(calls: RunnerClient, stand_in: StandIn) -> None:
    """A runner cannot redirect its callers to another address."""

    async def away(_request: Any) -> Response:
        return RedirectResponse(f"{stand_in.url}/stolen", 307)

    routes = [Route("/{path:path}", away, methods=["GET", "POST"])]
    async with served(Starlette(routes=routes)) as url:
        assert (await SessionRunners(calls).status(url, "a", 1)).sign is Sign.SILENT
        launch = Launch(session_id="a", room_url="webrtc:r", epoch=1)
        assert (await SessionRunners(calls).start(url, launch)).outcome is StartOutcome.REFUSED
    assert stand_in.asked == []


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"{" * 9, b"[1]", b"\xff", b'{"epoch":1,"status":[]}']
)
async def test_invalid_answers_do_not_stop_a_sweep(calls: RunnerClient, content: bytes) -> None:
    """Whatever answers at a runner's address, a sweep goes on."""

    async def answer(_request: Any) -> Response:
        return Response(content, media_type="application/json")

    async with served(Starlette(routes=[Route("/{path:path}", answer)])) as url:
        found = await SessionRunners(calls).status(url, "a", 1)
    assert found.sign in {Sign.SILENT, Sign.DOES_NOT_HOLD}


async def test_answer_over_the_limit_is_an_error(calls: RunnerClient) -> None:
    """An answer that is too long is given up, not kept in memory."""

    async def answer(_request: Any) -> Response:
        return Response(b" " * (ANSWER_MAX_BYTES + 1), media_type="application/json")

    async with served(Starlette(routes=[Route("/{path:path}", answer)])) as url:
        with pytest.raises(NoAnswerError, match="over"):
            await calls.ask("GET", url, "/sessions/a", timeout_s=10)


@pytest.mark.parametrize(
    "base",
    ["", "ftp://h", "file:///etc/passwd", "http://", "http://u:p@h", "http://[", "//h", "\ud800"],
)
async def test_invalid_address_is_an_unreachable_runner(calls: RunnerClient, base: str) -> None:
    """An address of another kind is a runner that cannot be reached, not an error of ours."""
    assert (await SessionRunners(calls).status(base, "a", 1)).sign is Sign.SILENT


@given(st.text("AZaz09._~:@-%/?#", min_size=1, max_size=12).filter(is_session_id))
def test_session_id_cannot_change_the_path(session_id: str) -> None:
    """No id changes which call of a runner is made."""
    url = runner_url("http://h:1/base", session_path(session_id, "leave"))
    *_, first, name, last = url.raw_path.split("/")
    assert (first, unquote(name), last) == ("sessions", session_id, "leave")
