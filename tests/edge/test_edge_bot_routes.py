"""The bot's own routes behind the edge, and the addresses that a developer opens."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cordboard.contract.http_api import HEADER_FROM_RUNNER
from cordboard.edge import client_page
from cordboard.environment import CONTROL_SECRET
from cordboard.store import RedisStore
from edge.edge_support import AS_CLIENT, CONTROL, KEYS, SECRET, Site, credential, open_site
from tests_support import StandIn, served

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTROL_SECRET, SECRET)


@dataclass
class Bot:
    """A runner whose bot's routes echo what they get, and record its path and headers."""

    url: str = ""
    seen: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        scope = request.scope
        path = scope["raw_path"].decode()
        headers = dict(request.headers)
        self.seen.append((request.method, path, scope["query_string"].decode(), headers))
        if path.endswith(("/late", "/taken")):
            problem = {"code": "stale_epoch", "detail": "x", "status": 409}
            of_runner = {HEADER_FROM_RUNNER: "true"} if path.endswith("/late") else {}
            return JSONResponse(problem, 409, of_runner, media_type="application/problem+json")
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        self.sizes.append(size)
        return Response(
            str(size), 207, {
                "X-Mine": "yes", "Set-Cookie": "a=b", "Access-Control-Allow-Origin": "https://bot",
                "Connection": "x-hop", "X-Hop": "no", "Location": "/else",
            },
        )  # fmt: skip


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    made = Bot()
    async with served(
        Starlette(routes=[Route("/{path:path}", made.answer, methods=METHODS)])
    ) as url:
        made.url = url
        yield made


@pytest.fixture
async def site(store: RedisStore, bot: Bot) -> AsyncIterator[Site]:
    runner: Any = bot
    async with open_site(store, runner, public_keys=KEYS) as here:
        await here.started("s", headers=CONTROL)
        yield here


class TestBotRoutes:
    async def test_request_reaches_the_bot_with_the_bots_credential(
        self, site: Site, bot: Bot
    ) -> None:
        """Method, path, query, body and own headers pass; the caller's proof does not."""
        headers = {
            **AS_CLIENT, "X-Bot-Secret": SECRET, "Cookie": "c=d", "Connection": "x-drop", "X-Drop": "1",
            "X-Keep": "2", "X-User-Id": "boss", "X-Session-Id": "other", "Accept-Encoding": "gzip",
        }  # fmt: skip
        for method in METHODS:
            path = "/sessions/s/a/b%20c%3F/?q=1&q=%2F"
            answer = await site.http.request(method, path, headers=headers)
            assert answer.status_code == 207
            seen_method, seen_path, query, seen = bot.seen[-1]
            assert (seen_method, query) == (method, "q=1&q=%2F")
            assert seen_path == "/sessions/s/bot/a/b%20c%3F/"
            assert seen["authorization"] == credential("s")
            assert (seen["x-session-epoch"], seen["x-session-id"]) == ("1", "s")
            assert seen["x-keep"] == "2"
            assert seen["accept-encoding"] == "identity"
            assert not {"cookie", "x-drop", "x-bot-secret", "x-user-id"} & {*seen}
            assert SECRET not in str(seen)

    async def test_header_in_utf8_arrives_byte_for_byte(self, site: Site, bot: Bot) -> None:
        """As names of people and files often are."""
        headers = {**AS_CLIENT, "X-Name": "Zoë"}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await site.http.get("/sessions/s/x", headers=encoded)
        assert bot.seen[-1][3]["x-name"].encode("latin-1").decode() == "Zoë"

    async def test_answer_passes_without_what_is_the_edges(self, site: Site) -> None:
        """No cookie, no hop-by-hop header, one set of CORS headers."""
        headers = {**AS_CLIENT, "Origin": "http://localhost:5173"}
        answer = await site.http.post("/sessions/s/x", headers=headers, content=b"abc")
        assert (answer.text, answer.headers["X-Mine"], answer.headers["Location"]) == (
            "3", "yes", "/else",
        )  # fmt: skip
        assert answer.headers.get_list("Access-Control-Allow-Origin") == ["http://localhost:5173"]
        assert not {"set-cookie", "x-hop", "connection"} & {*answer.headers}
        assert answer.headers.get_list("X-Session-Id") == ["s"]

    async def test_paths_of_the_edge_win(self, site: Site, bot: Bot) -> None:
        """The bot cannot take the calls of its session over."""
        bot.seen.clear()
        for method, path in (
            ("POST", "offer"), ("PATCH", "api/offer"), ("GET", "events"), ("GET", "ice"),
            ("POST", "leave"),
        ):  # fmt: skip
            asking = site.http.request(method, f"/sessions/s/{path}", headers=AS_CLIENT, json={})
            task = asyncio.ensure_future(asking)
            await asyncio.sleep(0.15)
            task.cancel()
        assert not [path for _, path, _, _ in bot.seen if "/bot/" in path]

    async def test_no_path_leaves_the_bots_part_of_the_runner(self, site: Site, bot: Bot) -> None:
        """Segments of dots would address another session; quoted ones reach nobody either."""
        bot.seen.clear()
        for path in ("%2e%2e/leave", "a/../../leave", "%2e", "..%2fleave", "a/.."):
            url = site.http.base_url.copy_with(raw_path=f"/sessions/s/{path}".encode())
            answer = await site.http.get(url, headers=AS_CLIENT)
            assert answer.status_code == 404
        await site.http.get("/sessions/s//x", headers=AS_CLIENT)
        assert {path for _, path, _, _ in bot.seen} <= {"/sessions/s/bot//x"}

    async def test_bodies_are_limited(self, site: Site, bot: Bot) -> None:
        """1 MB, but 50 MiB for uploads, whether or not the length is declared."""

        async def chunks(count: int) -> AsyncIterator[bytes]:
            for _ in range(count):
                yield b"x" * 100_000

        for content, path, status in (
            (b"x" * 1_000_000, "x", 207),
            (b"x" * 1_000_001, "x", 413),
            (chunks(11), "x", 413),
            (chunks(30), "files", 207),
            (chunks(10), "deep/files", 207),
        ):
            answer = await site.http.post(f"/sessions/s/{path}", content=content, headers=AS_CLIENT)
            assert answer.status_code == status
        assert bot.sizes == [1_000_000, 3_000_000, 1_000_000]
        too_long = {**AS_CLIENT, "Content-Length": str(50 * 1024 * 1024 + 1)}
        assert (await site.http.post("/sessions/s/files", headers=too_long)).status_code == 413

    async def test_session_that_moves_is_503(self, site: Site) -> None:
        """The runner no longer has it with this epoch; a retry finds the next one."""
        answer = await site.http.get("/sessions/s/late", headers=AS_CLIENT)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")

    async def test_problem_of_the_bot_itself_is_passed_on(self, site: Site) -> None:
        """Also one of the status and the form that a runner's refusals have."""
        answer = await site.http.get("/sessions/s/taken", headers=AS_CLIENT)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_epoch")

    async def test_runner_that_is_gone_is_502(self, store: RedisStore, stand_in: StandIn) -> None:
        """Its address is not in the answer."""
        stand_in.url = "http://127.0.0.1:1"
        async with open_site(store, stand_in) as site:
            await site.started("s")
            answer = await site.http.get("/sessions/s/x")
        assert (answer.status_code, answer.json()["code"]) == (502, "runner_unreachable")
        assert "127.0.0.1" not in answer.text


class TestPages:
    async def test_status_has_pipecats_form(self, site: Site) -> None:
        """For tools that ask which transports there are."""
        body = (await site.http.get("/status")).json()
        assert body["status"] == "ready"
        assert {"webrtc", "websocket", "twilio"} <= {*body["transports"]}

    async def test_root_leads_to_the_page(self, site: Site) -> None:
        """A developer opens the address of the edge; without the page there is a hint."""
        answer = await site.http.get("/")
        assert (answer.status_code, answer.headers["Location"]) == (307, "/client/")
        missing = await site.http.get("/client/")
        assert missing.status_code == 404
        assert "pip install pipecat-ai-prebuilt" in missing.text

    async def test_installed_page_is_served_with_its_policy(
        self, store: RedisStore, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It loads Daily's library, which the interface's policy forbids; the package is not imported."""
        package = tmp_path / "pipecat_ai_prebuilt"
        (package / "client" / "dist").mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('imported')")
        (package / "client" / "dist" / "index.html").write_text("<p>the page</p>")
        monkeypatch.syspath_prepend(tmp_path)
        assert client_page.page_folder() == package / "client" / "dist"
        async with open_site(store, stand_in) as site:
            answer = await site.http.get("/client/")
            assert "the page" in answer.text
            assert "https://c.daily.co" in answer.headers["Content-Security-Policy"]
            assert (await site.http.get("/client/../secret")).status_code == 404
            assert json.loads((await site.http.get("/status")).content)
