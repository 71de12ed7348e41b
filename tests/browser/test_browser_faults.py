"""What the page says when its server says no, how its lines survive, and how it works below a path prefix."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route

from browser.browser_support import CONTROL, Room, chromium, enter, open_room
from cordboard.up.ports import free_port
from proxy_support import caddy_proxy, prefix_proxy
from tests_support import until
from tls_support import authority
from up_support import Up, environment

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


async def answered(room: Room, path: str, status: int, body: Any, **headers: str) -> None:
    """Have the server answer so from now on."""

    async def fulfill(route: Route) -> None:
        await route.fulfill(status=status, headers=headers, body=json.dumps(body))

    await room.page.route(f"**{path}", fulfill)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (502, {"code": "gateway_unreachable", "detail": "The gateway cannot be reached.", "hint": "Try again."}, "gateway cannot be reached. Try again."),
        (409, {"code": "session_in_use", "detail": "It is live elsewhere."}, "live elsewhere. Press Join"),
        (500, {}, "HTTP 500"),
        (200, {"reused": True, "sessionId": "other", "yours": False}, "Somebody else"),
    ],
)  # fmt: skip
async def test_refused_join_shows_a_message(
    up: Up, microphone: Path, status: int, body: Any, words: str
) -> None:
    """What the server refuses is shown with what to do, and Join is there again."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        await answered(room, "/api/sessions", status, body)
        await room.join()
        assert words in " ".join((await room.alert()).split())
        await room.ended()
        assert await room.state() == "idle"


async def test_full_queue_disables_join_for_retry_after(up: Up, microphone: Path) -> None:
    """The button says how long to wait, and lets one try again only then."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        await answered(
            room, "/api/sessions", 429, {"code": "queue_full", "detail": "Full."},
            **{"Retry-After": "2"},
        )  # fmt: skip
        await room.join()
        assert "All bots are busy." in await room.alert()
        assert await room.page.is_disabled("#alert-button")
        assert await room.page.is_disabled("#join")
        assert "in 2 s" in await room.text("alert-button") or "in 1 s" in await room.text(
            "alert-button"
        )
        await room.page.wait_for_selector("#alert-button:enabled")
        assert await room.text("alert-button") == "Try again"
        assert await room.page.is_enabled("#join")


async def test_unreachable_server_is_reported(up: Up, microphone: Path) -> None:
    """No answer at all: the page says where to look, and keeps its lines for later."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        await room.context.set_offline(True)
        session_id = await room.join()
        assert "cannot reach its server" in await room.alert()
        await room.context.set_offline(False)
        await until(lambda: seqs(up, session_id)[-1:] and len(seqs(up, session_id)) >= 5, 40)
    assert seqs(up, session_id) == list(range(1, len(seqs(up, session_id)) + 1))


def seqs(up: Up, session_id: str) -> list[int]:
    """The numbers of a session's browser lines so far."""
    return [
        r["seq"] for r in up.records if r["service"] == "browser" and r["sessionId"] == session_id
    ]


SAY = """async (count) => {
  const { getClientLogger } = await import("/static/log.js");
  const log = getClientLogger("test");
  for (let i = 0; i < count; i += 1) log.info("Said by the test", { i });
}"""


async def test_log_lines_are_sent_again_after_a_failure(up: Up, microphone: Path) -> None:
    """What was refused for a while is sent again, in order, once."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        failures = iter([503, 429])

        async def sometimes(route: Route) -> None:
            status = next(failures, 0)
            await (route.fulfill(status=status) if status else route.continue_())

        await room.page.route("**/api/logs*", sometimes)
        session_id = await room.session_id()
        await room.page.evaluate(SAY, 300)
        await until(lambda: len(seqs(up, session_id)) >= 301, 40)
    assert seqs(up, session_id) == list(range(1, 302))


async def test_log_queue_is_bounded_during_an_outage(up: Up, microphone: Path) -> None:
    """Beyond its bound the oldest lines go, and a line says how many."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        away = [True]

        async def maybe(route: Route) -> None:
            await (route.abort() if away[0] else route.continue_())

        await room.page.route("**/api/logs*", maybe)
        session_id = await room.session_id()
        await room.page.evaluate(SAY, 2100)
        away[0] = False

        def confession() -> list[dict[str, Any]]:
            return [
                r for r in up.records
                if r["message"] == "Lines of the browser were dropped" and r["sessionId"] == session_id
            ]  # fmt: skip

        await until(confession, 60)
    (line,) = confession()
    assert line["meta"]["count"] >= 100
    assert line["seq"] >= 2101


async def test_uncaught_errors_are_logged(up: Up, microphone: Path) -> None:
    """Errors and rejections that reach the window are logged with their stack; so is odd data."""
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"])
        session_id = await room.session_id()
        await room.page.evaluate(
            """async () => {
              setTimeout(() => { throw new TypeError("thrown by the test"); });
              Promise.reject(new RangeError("rejected by the test"));
              const { getClientLogger } = await import("/static/log.js");
              const loop = {}; loop.self = loop;
              getClientLogger("odd").info("Odd", {
                long: "x".repeat(20000), loop, big: 10n, nan: NaN, half: "\\ud83d", token: "abc",
                many: [...Array(5000).keys()],
                wide: Object.fromEntries([...Array(5000).keys()].map((n) => [`k${n}`, n])),
              });
              getClientLogger("odd").warn("Odd error", { error: new Error("m".repeat(3000)) });
              getClientLogger("odd").info("Odd too", { big: 10n, half: "\\ud83d", token: "abc" });
            }"""
        )

        def mine() -> dict[str, dict[str, Any]]:
            return {
                r["message"]: r for r in up.records
                if r["service"] == "browser" and r["sessionId"] == session_id
            }  # fmt: skip

        await until(
            lambda: (
                {"Uncaught error", "Unhandled rejection", "Odd", "Odd error", "Odd too"}
                <= set(mine())
            )
        )
    found = mine()
    assert found["Uncaught error"]["error"]["type"] == "TypeError"
    assert "thrown by the test" in found["Uncaught error"]["error"]["stack"]
    assert found["Unhandled rejection"]["error"]["message"] == "rejected by the test"
    odd = found["Odd"]
    assert odd["truncated"] is True
    assert (odd["meta"]["big"], odd["meta"]["nan"], odd["meta"]["loop"]) == (
        "10",
        "NaN",
        {"self": "[seen above]"},
    )
    assert len(odd["meta"]["long"]) == 2001
    assert (len(odd["meta"]["many"]), len(odd["meta"]["wide"])) == (100, 100)
    failed = found["Odd error"]
    assert failed["truncated"] is True
    assert failed["error"]["message"] == "m" * 2000 + "…"
    assert "truncated" not in found["Odd too"]
    assert found["Odd too"]["meta"] == {"big": "10", "half": "\ufffd", "token": "[redacted]"}


async def test_markup_in_a_name_is_shown_as_text(up: Up, microphone: Path) -> None:
    """A name that would be code is shown as it is."""
    name = "<img src=x onerror=alert(1)>"
    async with chromium(microphone) as browser:
        room = await enter(browser, up.addresses["interface"], name)
        assert await room.page.inner_text(".who .name") == name
        assert room.faults == []


@contextlib.asynccontextmanager
async def prefixed_interface(up: Up, public: str) -> AsyncIterator[str]:
    """Run a second interface, below /voice of a public address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cordboard", "interface", "--port", "0", "--root-path", "/voice"),
        env=environment(
            up.state,
            LOG_FORMAT="json",
            BOT_CONTROL_SHARED_SECRET=CONTROL,
            CORDBOARD_GATEWAY_URL=up.addresses["gateway"],
            CORDBOARD_INTERFACE_URL=public,
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            if b'"message":"Listening"' in line:
                break
        yield json.loads(line)["meta"]["url"]
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.parametrize(
    ("serve_prefix", "strips"),
    [
        pytest.param(prefix_proxy, True, id="removed"),
        # The interface's own tests have both kinds of proxies, and test_browser_oidc.py has Caddy.
        pytest.param(caddy_proxy, False, id="kept-by-caddy", marks=pytest.mark.faults_full),
        pytest.param(caddy_proxy, True, id="removed-by-caddy", marks=pytest.mark.faults_full),
        pytest.param(prefix_proxy, False, id="kept", marks=pytest.mark.faults_full),
    ],
)
async def test_call_below_a_prefix_never_leaves_it(
    up: Up,
    microphone: Path,
    tmp_path: Path,
    *,
    serve_prefix: Any,
    strips: bool,
) -> None:
    """Sign-in, page, call, events and sign-out, whether the proxy removes the prefix or keeps it."""
    port = free_port()
    public, files = f"https://127.0.0.1:{port}", authority(tmp_path / "ca")
    async with (
        prefixed_interface(up, public) as target,
        serve_prefix(tmp_path, port, target, "/voice", files, strips=strips) as proxy,
        chromium(microphone) as browser,
    ):
        context = await browser.new_context(ignore_https_errors=True)
        room = await open_room(context, f"{proxy.url}/voice/", "Ada")
        assert room.page.url == f"{public}/voice/rooms/demo"
        (cookie,) = await context.cookies()
        assert cookie["name"] == "__Host-cordboard_login"
        assert (cookie["secure"], cookie["httpOnly"], cookie["path"]) == (True, True, "/")
        assert await room.page.evaluate("isSecureContext")  # or there is no microphone
        session_id = await room.join()
        await room.page.wait_for_selector("#room[data-state=connected]")
        await room.first_audio()
        await room.leave()
        await until(lambda: any(path.startswith("/voice/api/logs") for path in proxy.paths()))
        await room.page.click("text=Sign out")
        await room.page.wait_for_selector("#name")
        assert room.faults == []
        paths = proxy.paths()
    assert {f"/voice/api/sessions/{session_id}/{end}" for end in ("offer", "events", "leave")} <= {
        *paths
    }
    assert [path for path in paths if not path.startswith("/voice/")] == []
