"""Streams over the real processes, and what happens to them when one of these fails."""

import asyncio
import base64
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cordboard.edge.tokens import StreamTokens
from cordboard.up.embedded import EmbeddedServer
from edge.test_edge_first_messages import STARTS
from edge.test_edge_streams import closed
from plane_support import HEADERS, SECRET, Part, Processes, ask, ready
from tests_support import until

pytestmark = pytest.mark.timeout(120)

BOT = '''
"""Sends each message back, and first what it was given."""
import json

async def bot(args):
    websocket = args.websocket
    about = {"transport_type": args.transport_type, "session_id": args.session_id, "body": args.body}
    await websocket.send_text(json.dumps(about))
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            print("disconnected with", message["code"])
            return
        if message.get("text") == "finish":
            return
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])
'''

Started = tuple[Processes, EmbeddedServer, Part, Part, Part]


@dataclass
class Plane:
    """The processes, and a client of them.

    Attributes:
        processes: Starts them.
        redis: Their Redis.
        gateway: The gateway.
        runner: The runner.
        edge: The edge.
        client: Requests of the test.
    """

    processes: Processes
    redis: EmbeddedServer
    gateway: Part
    runner: Part
    edge: Part
    client: aiohttp.ClientSession

    async def open(self, path: str) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket at the edge."""
        url = self.edge.url.replace("http", "ws", 1)
        websocket: aiohttp.ClientWebSocketResponse = await self.client.ws_connect(f"{url}{path}")
        return websocket

    async def join(self, session_id: str, room: str = "") -> str:
        """Join a session, and return a token for its stream."""
        room = room or f"ws:{session_id}"
        body = {"room_url": room, "sessionId": session_id}
        status, answer = await ask(self.client, "POST", f"{self.gateway.url}/join", body)
        assert status == 202, answer
        return StreamTokens(lambda: (SECRET,)).issue(session_id, room, time.time())

    async def end(self, session_id: str) -> str:
        """Wait for the end of a session, and return its reason."""

        async def reason() -> Any:
            url = f"{self.gateway.url}/sessions/{session_id}"
            _, record = await ask(self.client, "GET", url)
            return record.get("reason")

        ended: str = await until(reason, 30)
        return ended

    async def open_streams(self) -> float:
        """Return how many streams the edge counts."""
        async with self.client.get(f"{self.edge.url}/metrics") as response:
            text = await response.text()
        [line] = [line for line in text.splitlines() if line.startswith("cordboard_streams_open ")]
        return float(line.split()[1])


BOTS = ("--bot", "bot.py", "--bot", "docs=echo.py")


def example(name: str) -> str:
    """Return a program of the page about WebSockets."""
    page = (Path(__file__).parents[2] / "docs" / "websockets.md").read_text(encoding="utf-8")
    [program] = re.findall(rf"```python\n(# {re.escape(name)}\n.*?)```", page, re.DOTALL)
    return str(program)


def start_edge(processes: Processes, *arguments: str) -> Part:
    """Start an edge."""
    return processes.spawn(
        "edge", *arguments, env={"CORDBOARD_STREAM_GRACE_S": "1", "LOG_LEVEL": "debug"}
    )


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Start all processes once."""
    directory = tmp_path_factory.mktemp("streams")
    (directory / "bot.py").write_text(BOT)
    (directory / "echo.py").write_text(example("echo.py"))
    redis = EmbeddedServer()
    redis.start()
    processes = Processes(directory, redis.url, {"CORDBOARD_OFFER_TIMEOUT_S": "2"})
    gateway = processes.spawn("gateway")
    processes.over["CORDBOARD_GATEWAY_URL"] = gateway.url
    processes.spawn("operator", "--launcher", "none")  # a cold runner would outlive the tests
    runner = processes.spawn("runner", *BOTS, "--grace", "0", "--capacity", "8")
    edge = start_edge(processes)
    yield processes, redis, gateway, runner, edge
    processes.stop()
    redis.stop()


@pytest.fixture
async def plane(parts: Started) -> AsyncIterator[Plane]:
    """Give a test the processes; at its end no stream is open."""
    processes = parts[0]
    await ready(*(part for part in processes.parts if part.alive))
    async with aiohttp.ClientSession(headers=HEADERS) as client:
        plane = Plane(*parts, client=client)
        plane.edge = processes.parts[-1] if processes.parts[-1].name == "edge" else plane.edge
        yield plane
        if plane.edge.alive:
            assert await until(lambda: has_no_stream(plane))


async def has_no_stream(plane: Plane) -> bool:
    """Return whether the edge counts no open stream, and has as many sockets as without any."""
    return await plane.open_streams() == 0 and sockets_of(plane.edge) <= IDLE_SOCKETS


# The listener, the loop's own pair, and kept connections to gateway and test.
IDLE_SOCKETS = 10


def sockets_of(part: Part) -> int:
    """Return how many sockets a process has open."""
    links = Path(f"/proc/{part.pid}/fd").iterdir()
    return sum(str(link.readlink()).startswith("socket:") for link in links)


async def about(websocket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """Return what the bot was given."""
    given: dict[str, Any] = json.loads(await websocket.receive_str())
    return given


async def test_client_talks_to_a_bot_and_its_lines_have_one_session(plane: Plane) -> None:
    """From the edge's first line to the bot's last one."""
    body = base64.b64encode(json.dumps({"color": "red"}).encode()).decode()
    websocket = await plane.open(f"/ws-client?body={body}")
    given = await about(websocket)
    assert (given["transport_type"], given["body"]["color"]) == ("websocket", "red")
    await websocket.send_bytes(b"\x00")
    assert await websocket.receive_bytes() == b"\x00"
    await websocket.send_str("finish")
    assert (await closed(websocket))[0] == 1000
    session_id = given["session_id"]
    assert await plane.end(session_id) == "bot_finished"
    events = ["stream.opened", "stream.first_media", "stream.first_media", "stream.closed"]
    await until(lambda: plane.edge.events(session_id) == events)
    await until(lambda: "bot.finished" in plane.runner.events(session_id))


async def test_programs_of_the_page_talk_to_each_other(plane: Plane) -> None:
    """Without a token, with a body in the query, and with the URL that /start returns."""
    url = f"{plane.edge.url.replace('http', 'ws', 1)}/ws-client?bot=docs"
    assert await answer_to_client(url) == "You said: hello\n"
    assert await answer_to_client(f"{url}&body=eyJncmVldGluZyI6IkhlYXJkIn0=") == "Heard: hello\n"
    start = {"transport": "websocket", "body": {"greeting": "Heard"}}
    url = f"{plane.edge.url}/v1/public/docs/start"
    async with plane.client.post(url, json=start) as response:
        assert await answer_to_client((await response.json())["wsUrl"]) == "Heard: hello\n"


async def answer_to_client(url: str) -> str:
    """Return what the page's client prints."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example("client.py"), url, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await client.communicate()
    return output.decode()


async def test_carriers_call_and_eval_harness_are_detected_by_the_bot(plane: Plane) -> None:
    """The call's session has the call's id; the edge passes on what it has read."""
    start = json.dumps(STARTS["twilio"])
    call = await plane.open("/ws")
    await call.send_str(start)
    given = await about(call)
    assert (given["transport_type"], given["session_id"]) == (None, "CA1")
    assert await call.receive_str() == start
    await call.close()
    assert await plane.end("CA1") == "bot_finished"
    harness = await plane.open("/ws")
    message = {"label": "rtvi-ai", "type": "client-message", "data": {"t": "eval-connect"}}
    await harness.send_json(message)
    assert (await about(harness))["transport_type"] is None
    assert await harness.receive_json() == message
    await harness.close()


async def test_newer_stream_replaces_the_older_one(plane: Plane) -> None:
    """The bot goes on with the newer one; the older one is closed with 4409."""
    token = await plane.join("two-streams")
    older = await plane.open(f"/ws-client/{token}")
    assert (await about(older))["session_id"] == "two-streams"
    newer = await plane.open(f"/ws-client/{token}")
    assert (await closed(older))[0] == 4409
    await newer.send_str("hello")
    assert await newer.receive_str() == "hello"
    await newer.close()
    assert await plane.end("two-streams") == "bot_finished"
    # The token of a session that has ended admits to nothing.
    assert (await closed(await plane.open(f"/ws-client/{token}")))[0] == 4404


async def test_session_whose_stream_never_comes_ends(plane: Plane) -> None:
    """As one whose user is absent."""
    await plane.join("nobody", "phone:twilio:nobody")
    assert await plane.end("nobody") == "user_absent"


async def test_killed_bot_closes_the_stream_with_1012(plane: Plane) -> None:
    """And its session goes on in another process, which the client's next attempt reaches."""
    token = await plane.join("killed-bot")
    websocket = await plane.open(f"/ws-client/{token}")
    await about(websocket)
    url = f"{plane.runner.url}/sessions/killed-bot"
    _, record = await ask(plane.client, "GET", url)
    os.kill(record["botPid"], signal.SIGKILL)
    assert (await closed(websocket))[0] == 1012
    again = await plane.open(f"/ws-client/{token}")
    await about(again)
    await again.close()
    assert await plane.end("killed-bot") == "bot_finished"


async def test_gateway_and_redis_that_stop_end_no_stream(plane: Plane) -> None:
    """Only new streams wait, or are refused with 1013."""
    token = await plane.join("steady")
    websocket = await plane.open(f"/ws-client/{token}")
    await about(websocket)

    os.kill(plane.redis.pid, signal.SIGSTOP)
    try:
        assert (await closed(await plane.open("/ws-client")))[0] == 1013
        await websocket.send_str("without Redis")
        assert await websocket.receive_str() == "without Redis"
    finally:
        os.kill(plane.redis.pid, signal.SIGCONT)
    assert plane.gateway.stop() == 0
    await websocket.send_str("without gateway")
    assert await websocket.receive_str() == "without gateway"
    waiting = await plane.open(f"/ws-client/{token}")
    port = int(plane.gateway.url.rpartition(":")[2])
    gateway = plane.processes.spawn("gateway", port=port)
    assert (await closed(websocket))[0] == 4409  # the stream that waited has come
    await waiting.send_str("finish")
    assert (await closed(waiting))[0] == 1000
    await ready(gateway)
    assert await plane.end("steady") == "bot_finished"


async def test_no_log_line_has_a_token(plane: Plane) -> None:
    """Neither of an accepted WebSocket nor of a refused one, at any level of the log."""
    token = await plane.join("secret-token")
    websocket = await plane.open(f"/phone/stream/{token}")
    await about(websocket)
    await websocket.send_str("finish")
    await closed(websocket)
    for path in (f"/ws/{token}x", f"/ws-client/{token[1:]}", f"/ws/{token}/more"):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await plane.open(path)
    for path in ("ws", "phone/stream"):
        async with plane.client.get(
            f"{plane.edge.url}/{path}/{token}", headers={"Referer": f"https://a/{path}/{token}"}
        ) as response:
            assert response.status in {404, 422}
            assert token not in await response.text()
    assert await plane.end("secret-token") == "bot_finished"
    await until(lambda: "stream.closed" in plane.edge.events("secret-token"))
    await asyncio.sleep(0.2)
    text = json.dumps([part.records + part.other for part in plane.processes.parts])
    assert token[10:60] not in text
    assert token.partition(".")[2] not in text


async def test_edge_that_stops_closes_its_streams_after_the_grace(plane: Plane) -> None:
    """Until then they go on; the process ends in order."""
    token = await plane.join("moving")
    websocket = await plane.open(f"/ws-client/{token}")
    await about(websocket)
    for _ in range(3):  # however often it comes
        plane.edge.signal(signal.SIGTERM)
    await websocket.send_str("within the grace")
    assert await websocket.receive_str() == "within the grace"
    assert (await closed(websocket))[0] == 1012
    assert plane.edge.ended() == 0
    plane.edge = start_edge(plane.processes)
    await ready(plane.edge)


async def test_edge_accepts_streams_in_the_lame_duck_period(plane: Plane) -> None:
    """Load balancers still send to it; /readyz tells them not to. A second SIGINT ends it at once."""
    edge = start_edge(plane.processes, "--lame-duck", "600")
    plane.processes.parts.append(
        plane.processes.parts.pop(-2)
    )  # the edge of the others stays the last one
    await ready(edge)
    token = await plane.join("late")
    for _ in range(3):
        edge.signal(signal.SIGTERM)

    async def stops() -> bool:
        async with plane.client.get(f"{edge.url}/readyz") as answer:
            return answer.status == 503

    await until(stops)
    websocket = await plane.client.ws_connect(f"{edge.url}/ws-client/{token}")
    await about(websocket)
    for _ in range(2):
        await websocket.send_str("in the period")
        assert await websocket.receive_str() == "in the period"
        edge.signal(signal.SIGINT)
    await closed(websocket)
    assert await asyncio.to_thread(edge.ended) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_runner_that_ends_closes_its_streams(plane: Plane, number: signal.Signals) -> None:
    """The session goes on at another runner, so the client should connect again."""
    runner = plane.runner
    if not runner.alive:
        runner = plane.processes.spawn("runner", *BOTS, "--capacity", "8")
        await ready(runner)
        plane.processes.parts.append(plane.processes.parts.pop(-2))  # the edge stays the last one
    token = await plane.join(f"ended-by-{number.name}")
    websocket = await plane.open(f"/ws-client/{token}")
    await about(websocket)
    runner.signal(number)
    assert (await closed(websocket))[0] == 1012
    runner.ended()
