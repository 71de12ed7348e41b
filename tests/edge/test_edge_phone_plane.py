"""Whole calls over the real processes, by carriers that obey their documents; and the failure of each part."""

import asyncio
import functools
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from streamdouble import api as streamdouble
from streamdouble.session import SessionConfig

from cordboard.up.embedded import EmbeddedServer
from edge.carrier_double import ID_KEYS, SILENCE, Call
from edge.phone_support import OURS, PUBLIC_URL, TELNYX_PUBLIC, THEIRS, TOKEN
from edge.test_edge_stream_faults import IDLE_SOCKETS, sockets_of
from edge.test_edge_unreadable import ODD, send
from faults.history import judge
from plane_support import HEADERS, Part, Processes, ask, ready
from tests_support import until

pytestmark = pytest.mark.timeout(180)

# Speaks in bytes that the double finds again, obeys the keys of the telephone, and notes that it is in the room.
TALKER = '''
"""Says who it is and on which attempt; ends by 1, crashes by 2."""
import asyncio, base64, json, os, time
from pathlib import Path

HISTORY = Path(__file__).with_name("history.jsonl")
KEYS = ("streamSid", "stream_id", "streamId", "stream_sid")

async def bot(args):
    who = {name: args.body[name] for name in ("epoch", "attempt")}
    who |= {"sid": args.session_id, "room": args.body["room_url"], "pid": os.getpid()}

    def note(kind, **more):
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        with HISTORY.open("a") as file:
            file.write(json.dumps({"kind": kind, "at": now, **who, **more}) + "\\n")

    async def tick():
        while True:
            note("tick")
            await asyncio.sleep(0.02)

    note("enter")
    ticking = asyncio.create_task(tick())
    try:
        await talk(args)
    finally:
        ticking.cancel()
        note("exit", how="finished")

async def talk(args):
    key = stream = ""

    async def say(words):
        media = {"payload": base64.b64encode(words.encode()).decode()}
        if key == "streamId":
            media |= {"contentType": "audio/x-mulaw", "sampleRate": 8000}
        event = "playAudio" if key == "streamId" else "media"
        await args.websocket.send_text(json.dumps({"event": event, key: stream, "media": media}))

    async for text in args.websocket.iter_text():
        message = json.loads(text)
        if message["event"] == "start":
            assert not stream, "a bot gets one start"
            key = next(key for key in KEYS if key in message or key in message["start"])
            stream = message.get(key) or message["start"][key]
            caller = args.body["call"]["from"]
            await say(f"{args.session_id} attempt {args.body['attempt']} {caller}.")
            continue
        assert message.get(key, stream) == stream, "a bot knows one stream"
        digit = message["dtmf"]["digit"] if message["event"] == "dtmf" else ""
        if digit == "1":
            await say("Goodbye.")
            return
        elif digit == "2":
            raise RuntimeError("a bug of the bot")
        elif digit:
            await say(f"You pressed {digit}.")
'''
CONFIG = f"""
public_url = "{PUBLIC_URL}"
[bots]
default = "parrot.py"
talker = "talker.py"
[phone]
ring_s = 10
hangup_grace_s = 1
[phone."{OURS}"]
after = "hangup"
[phone.telnyx]
public_key = "{TELNYX_PUBLIC}"
[phone.exotel]
user = "exotel"
password_env = "TWILIO_AUTH_TOKEN"
"""
# Pipecat's serializers need an account to end calls; the carriers' real interfaces are out of reach here.
ACCOUNTS = {
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_AUTH_TOKEN": TOKEN,
    "PLIVO_AUTH_ID": "MA1",
    "PLIVO_AUTH_TOKEN": TOKEN,
    "TELNYX_API_KEY": TOKEN,
}


@dataclass
class PhonePlane:
    """The processes, and calls through them.

    Attributes:
        processes: Starts them.
        redis: Their Redis.
        gateway: The gateway.
        client: Requests of the test.
    """

    processes: Processes
    redis: EmbeddedServer
    gateway: Part
    client: aiohttp.ClientSession

    def alive(self, name: str) -> list[Part]:
        return [part for part in self.processes.parts if part.name == name and part.alive]

    def call(self, carrier: str, call_id: str, path: str = "") -> Call:
        """A call, whose carrier finds all edges behind `public_url`."""
        return Call(carrier, call_id, [part.url for part in self.alive("edge")], self.client, path)

    async def record(self, session_id: str) -> dict[str, Any]:
        url = f"{self.gateway.url}/sessions/{session_id}"
        return (await ask(self.client, "GET", url))[1]

    async def end(self, session_id: str) -> str:
        """Wait for the end of a session, and return its reason."""

        async def reason() -> Any:
            return (await self.record(session_id)).get("reason")

        ended: str = await until(reason, 40)
        return ended

    def events(self, session_id: str) -> list[str]:
        """Return the events of the edges about a session."""
        edges = [part for part in self.processes.parts if part.name == "edge"]
        return [event for edge in edges for event in edge.events(session_id)]

    def resumed(self, session_id: str) -> list[tuple[str, int]]:
        """Return what had died, and the epoch, of each time that a call went on."""
        records = [record for part in self.processes.parts for record in list(part.records)]
        return [
            (record["meta"]["died"], record["meta"]["epoch"])
            for record in records
            if record.get("event") == "stream.resumed" and record["sessionId"] == session_id
        ]

    async def holder(self, session_id: str) -> Part:
        """Return the runner that had the session last; its line may come after the bot's first words."""

        def holders() -> list[Part]:
            return [p for p in self.alive("runner") if "bot.started" in p.events(session_id)]

        found: list[Part] = await until(holders)
        return found[-1]

    def history(self) -> list[dict[str, Any]]:
        """Return what the bots have noted."""
        text = (self.processes.directory / "history.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def has_noted(self, kind: str, pid: int) -> bool:
        return any((event["kind"], event["pid"]) == (kind, pid) for event in self.history())

    def bots(self, session_id: str) -> list[dict[str, Any]]:
        """Return the bots that the session has had; the judge finds no two at once, and no lower epoch."""
        mine = [event for event in self.history() if event["sid"] == session_id]
        assert [v for v in judge(mine, late_s=20, recovery_s=60) if v.promise in {2, 3}] == []
        return [event for event in mine if event["kind"] == "enter"]

    def has_dropped(self, session_id: str) -> bool:
        """Return whether an edge has dropped a message that no bot can read."""
        records = [record for part in self.processes.parts for record in list(part.records)]
        mine = [record for record in records if record.get("sessionId") == session_id]
        return any("no bot can read" in record["message"] for record in mine)

    def lines(self) -> str:
        """Return all that the processes have written."""
        return json.dumps([part.records + part.other for part in self.processes.parts])


def start_runner(processes: Processes) -> Part:
    return processes.spawn("runner", "--grace", "0", "--capacity", "8", env=ACCOUNTS)


def start_edge(processes: Processes) -> Part:
    return processes.spawn("edge", env={**ACCOUNTS, "CORDBOARD_STREAM_GRACE_S": "0"})


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, ...]]:
    """Start all processes once."""
    directory = tmp_path_factory.mktemp("phone")
    (directory / "talker.py").write_text(TALKER)
    (directory / "parrot.py").write_text("from cordboard.bots.parrot import bot\n")
    (directory / "cordboard.toml").write_text(CONFIG)
    redis = EmbeddedServer()
    redis.start()
    over = {"CORDBOARD_LEASE_S": "3"}
    processes = Processes(directory, redis.url, over)
    gateway = processes.spawn("gateway")
    processes.over["CORDBOARD_GATEWAY_URL"] = gateway.url
    processes.spawn("operator", "--launcher", "none")  # a cold runner would outlive the tests
    start_runner(processes)
    start_edge(processes)
    yield processes, redis, gateway
    processes.stop()
    redis.stop()


@pytest.fixture
async def plane(parts: tuple[Any, ...]) -> AsyncIterator[PhonePlane]:
    """Give a test the processes, and start those again that the test before has ended."""
    processes: Processes = parts[0]
    for name, start in (("runner", start_runner), ("edge", start_edge)):
        if not any(part.alive and part.name == name for part in processes.parts):
            start(processes)
    await ready(*(part for part in processes.parts if part.alive))
    async with aiohttp.ClientSession(headers=HEADERS) as client:
        plane = PhonePlane(processes, parts[1], parts[2], client)
        yield plane
        edges = plane.alive("edge")
        await until(lambda: all(sockets_of(edge) <= IDLE_SOCKETS for edge in edges))


async def test_each_carrier_hears_the_built_in_bot(plane: PhonePlane) -> None:
    """From the webhook to the end, with the events of the call under the carrier's own id."""
    calls = [
        plane.call("twilio", "CA0123456789abcdef"),
        plane.call("telnyx", "v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0"),
        plane.call("plivo", "2b5b12f4-3c3f-4e2b-9d2f"),
        plane.call("exotel", "6f1b0c2d4e5f"),
    ]
    for call in calls:
        running = asyncio.create_task(call.run())
        await call.hears()
        await call.hang_up()
        steps = await running
        assert steps[:2] == ["webhook 200", "stream"], steps
        assert "status 204" in steps
        assert await plane.end(call.call_id) == "bot_finished"
        events = [event for event in plane.events(call.call_id) if event != "stream.first_media"]
        assert events[:3] == ["call.received", "call.answered", "stream.opened"]
        await until(functools.partial(has_events, plane, call.call_id))
    text = plane.lines()
    assert THEIRS[1:] not in text
    assert TOKEN not in text


def is_dead(part: Part) -> bool:
    """Whether the process of a part has ended."""
    return not part.alive


def has_streams(call: Call, count: int) -> bool:
    """Whether a call has opened its stream so often."""
    return call.steps.count("stream") >= count


def went_on_last(plane: PhonePlane, call: Call, how: tuple[str, int]) -> bool:
    """Whether that was the last time that the call went on; its line may come after the bot's words."""
    return plane.resumed(call.call_id)[-1:] == [how]


def has_events(plane: PhonePlane, session_id: str) -> bool:
    return {"stream.closed", "call.status"} <= {*plane.events(session_id)}


async def test_odd_messages_end_no_call_of_a_bot_of_pipecat(plane: PhonePlane) -> None:
    """Its serializers raise at binary messages and at texts that are no object; the person hears it on."""
    call = plane.call("twilio", "CA-odd")
    running = asyncio.create_task(call.run())
    await call.hears()
    assert call.websocket is not None
    for message in ODD:
        await send(call.websocket, message)
    await until(lambda: plane.has_dropped("CA-odd"))
    call.audio.clear()
    await call.hears()
    assert (await plane.record("CA-odd"))["status"] == "running"
    await call.hang_up()
    assert "closed 1000" not in (await running)[:-1]
    assert await plane.end("CA-odd") == "bot_finished"


async def test_streamdouble_hears_the_built_in_bot(plane: PhonePlane) -> None:
    """A simulated Twilio of other authors: it flags what an application may not send."""
    call = plane.call("twilio", "CA-streamdouble")
    document = await call.ask("/phone/twilio", "ringing")
    assert document is not None
    url = document.partition('url="')[2].partition('"')[0].removeprefix("wss://voice.example.com")
    base = call.edges[0].replace("http", "ws", 1)
    config = SessionConfig(quiet_period_s=0.2, max_drain_s=2)
    frames = [SILENCE["twilio"]] * 25
    report = await streamdouble.call(f"{base}{url}", frames=frames, config=config)
    assert report.metrics.time_to_first_audio_ms is not None
    assert report.result.violations == []
    await plane.end("CA-streamdouble")


async def test_a_bot_that_returns_hangs_up(plane: PhonePlane) -> None:
    """The stream is closed, the carrier asks what comes next, and is told to hang up."""
    call = plane.call("twilio", "CA-returns", "/phone/twilio/talker")
    running = asyncio.create_task(call.run())
    await call.hears(f"CA-returns attempt 1 {THEIRS}.")
    await call.press("1")
    assert await running == ["webhook 200", "stream", "closed 1000", "again 200", "hangup"]
    assert b"Goodbye." in call.audio
    assert await plane.end("CA-returns") == "bot_finished"


async def test_a_bot_that_crashes_hangs_up(plane: PhonePlane) -> None:
    """No silent line: the carrier asks, and the session has failed."""
    call = plane.call("twilio", "CA-crash", "/phone/twilio/talker")
    running = asyncio.create_task(call.run())
    await call.hears("CA-crash attempt 1")
    await call.press("2")
    steps = await running
    assert steps[-2:] == ["again 200", "hangup"], steps
    assert await plane.end("CA-crash") == "bot_crashed"


KEPT = ["webhook 200", "stream", "closed 1000", "again 200", "hangup"]


async def test_a_call_outlives_its_bot_process_and_its_runner(plane: PhonePlane) -> None:
    """The carrier's stream stays open, twice in a row; the person hears attempts 2 and 3, and no two bots at once."""
    other = start_runner(plane.processes)
    call = plane.call("twilio", "CA-kill", "/phone/twilio/talker")
    greeted = plane.call("twilio", "CA-greeted")
    running = [asyncio.create_task(one.run()) for one in (call, greeted)]
    await call.hears("CA-kill attempt 1")
    await greeted.hears()
    runner = await plane.holder("CA-kill")
    _, record = await ask(plane.client, "GET", f"{runner.url}/sessions/CA-kill")
    os.kill(record["botPid"], signal.SIGKILL)
    await call.hears("CA-kill attempt 2")
    await ready(other)
    (await plane.holder("CA-kill")).kill()
    await call.hears("CA-kill attempt 3")
    await until(lambda: plane.resumed("CA-greeted"), 60)
    greeted.audio.clear()
    await greeted.hears()  # Pipecat's serializer of the next bot has read the start again
    await call.press("1")
    await greeted.hang_up()
    assert await running[0] == KEPT
    assert (await running[1]).count("stream") == 1
    assert [bot["attempt"] for bot in plane.bots("CA-kill")] == [1, 2, 3]
    await until(lambda: plane.resumed("CA-kill") == [("runner", 2), ("runner", 3)])
    assert await plane.end("CA-kill") == "bot_finished"
    assert await plane.end("CA-greeted") == "bot_finished"


async def test_calls_of_all_carriers_outlive_a_hand_over_and_then_their_edge(
    plane: PhonePlane,
) -> None:
    """The next runner's bot is told the start again; then it goes on through another edge, with the ids of new streams."""
    runner, edge = start_runner(plane.processes), start_edge(plane.processes)
    calls = [plane.call(c, f"{c}-all", f"/phone/{c}/talker") for c in ID_KEYS]
    await ready(runner, edge)
    running = [asyncio.create_task(call.run()) for call in calls]
    for call in calls:
        call.edges.append(edge.url)
        await call.hears(f"{call.call_id} attempt 1")
        call.audio.clear()
    part = await plane.holder(calls[0].call_id)
    moved = [call for call in calls if await plane.holder(call.call_id) is part]
    part.signal(signal.SIGTERM)
    for call in moved:
        await call.hears(f"{call.call_id} attempt 1")  # a hand-over is no attempt
        first, _ = plane.bots(call.call_id)
        assert not plane.has_noted("exit", first["pid"])  # cancelled, Pipecat's bot would hang up
    exotel = calls.pop()
    await exotel.hang_up()
    assert (await running.pop())[:2] == ["webhook 200", "stream"]
    before = [plane.bots(call.call_id)[-1] for call in calls]
    plane.alive("edge")[0].kill()
    for call in calls:
        await until(functools.partial(has_streams, call, 2))
        await call.press("7")
        await call.hears("You pressed 7.")
        await call.press("1")
    for call, work, bot in zip(calls, running, before, strict=True):
        steps = await work
        again = [] if call.carrier == "plivo" else ["again 200"]
        assert steps[: 4 + len(again)] == ["webhook 200", "stream", "closed 1006", *again, "stream"]
        assert steps[-2:] == ["again 200", "hangup"]
        assert plane.bots(call.call_id)[-1] == bot
        await until(functools.partial(went_on_last, plane, call, ("edge", bot["epoch"])))
        assert await plane.end(call.call_id) == "bot_finished"


POINTS = ("webhook", "document", "open", "again")


@pytest.mark.parametrize(
    "carrier",
    [
        "twilio",
        *(pytest.param(name, marks=pytest.mark.faults_full) for name in ("telnyx", "plivo")),
    ],
)
async def test_a_call_outlives_its_edge_wherever_it_dies(plane: PhonePlane, carrier: str) -> None:
    """At each point of a carrier's document, the other edge goes on with it: one session, one bot, one greeting."""
    edges = [start_edge(plane.processes) for _ in POINTS]
    await ready(*edges)
    for point in POINTS:
        first, second = plane.alive("edge")[:2]
        call_id = f"{carrier}-edge-{point}"
        call = plane.call(carrier, call_id, f"/phone/{carrier}/talker")
        call.edges = [first.url, second.url]
        call.at[point] = functools.partial(kill_soon, first, point)
        running = asyncio.create_task(call.run())
        await call.hears(f"{call_id} attempt 1")
        if point == "again":  # the stream breaks, and the edge that is asked first dies as well
            assert call.websocket is not None
            call.websocket.get_extra_info("socket").shutdown(2)
            if carrier == "plivo":  # asks for nothing, and opens its stream again
                first.kill()
            await until(functools.partial(has_streams, call, 2))
        await call.press("7")
        await call.hears("You pressed 7.")
        await call.press("1")
        steps = await running
        assert steps[-2:] == ["again 200", "hangup"], steps
        await until(functools.partial(is_dead, first))
        assert bytes(call.audio).count(b"attempt 1") == 1
        assert len(plane.bots(call_id)) == 1
        assert await plane.end(call_id) == "bot_finished"
        assert (await plane.record(call_id))["epoch"] == 1


async def kill_soon(edge: Part, point: str) -> None:
    """Kill an edge; one that has a request, when it works on it."""
    if point in {"webhook", "again"}:
        await asyncio.sleep(0.002)  # an idle machine answers within 20 ms
    edge.kill()


@pytest.mark.faults_full
@pytest.mark.parametrize("point", ["document", "open"])
async def test_a_call_outlives_its_runner_wherever_it_dies(plane: PhonePlane, point: str) -> None:
    """Before its stream, and before the start of its stream; then that of the next bot."""
    runners = [start_runner(plane.processes) for _ in range(2)]
    await ready(*runners)
    call_id = f"CA-runner-{point}"
    call = plane.call("twilio", call_id, "/phone/twilio/talker")

    async def kill_holder() -> None:
        await until(
            lambda: [p for p in plane.alive("runner") if "bot.started" in p.events(call_id)]
        )
        (await plane.holder(call_id)).kill()

    call.at[point] = kill_holder
    running = asyncio.create_task(call.run())
    await call.hears(f"{call_id} attempt 2")
    (await plane.holder(call_id)).kill()
    await call.hears(f"{call_id} attempt 3")
    await call.press("1")
    assert await running == KEPT
    assert await plane.end(call_id) == "bot_finished"
    assert plane.bots(call_id)[-1]["attempt"] == 3


@pytest.mark.faults_full
async def test_a_call_outlives_its_runner_and_its_edge_at_once(plane: PhonePlane) -> None:
    """The other edge waits for the next bot, which gets the start of the new stream."""
    runner, edge = start_runner(plane.processes), start_edge(plane.processes)
    await ready(runner, edge)
    call = plane.call("twilio", "CA-both", "/phone/twilio/talker")
    running = asyncio.create_task(call.run())
    await call.hears("CA-both attempt 1")
    (await plane.holder("CA-both")).kill()
    plane.alive("edge")[0].kill()
    await call.hears("CA-both attempt 2")
    await call.press("1")
    steps = await running
    assert steps == ["webhook 200", "stream", "closed 1006", "again 200", "stream", *KEPT[2:]]
    assert len(plane.bots("CA-both")) == 2


@pytest.mark.faults_full
async def test_a_call_outlives_a_runner_that_freezes(plane: PhonePlane) -> None:
    """Nobody can confirm that death: the edge notices it by the missing pong, and waits until the lease is given up."""
    other = start_runner(plane.processes)
    await ready(other)
    call = plane.call("twilio", "CA-frozen", "/phone/twilio/talker")
    running = asyncio.create_task(call.run())
    await call.hears("CA-frozen attempt 1")
    frozen = await plane.holder("CA-frozen")
    bot = plane.bots("CA-frozen")[0]["pid"]
    for pid in (frozen.pid, bot):
        os.kill(pid, signal.SIGSTOP)
    await until(lambda: b"CA-frozen attempt 2" in call.audio, 120)
    for pid in (frozen.pid, bot):
        os.kill(pid, signal.SIGCONT)
    await call.press("7")
    await call.hears("You pressed 7.")
    await call.press("1")
    assert await running == KEPT
    assert [bot["attempt"] for bot in plane.bots("CA-frozen")] == [1, 2]
    frozen.kill()


async def test_a_bot_of_pipecat_goes_on_through_another_edge(plane: PhonePlane) -> None:
    """The greeting of the built-in bot breaks in mid-word, and the person hears the rest. SIGTERM ends a stream, too."""
    other = start_edge(plane.processes)
    await ready(other)
    call = plane.call("twilio", "CA-greeting")
    running = asyncio.create_task(call.run())
    await call.hears()
    edge = plane.alive("edge")[0]
    edge.signal(signal.SIGTERM)
    await until(lambda: call.steps.count("stream") == 2, 30)
    call.audio.clear()
    await call.hears()
    await call.hang_up()
    edge.ended()
    steps = await running
    assert steps[:5] == ["webhook 200", "stream", "closed 1012", "again 200", "stream"], steps
    await until(lambda: plane.resumed("CA-greeting") == [("edge", 1)])
    assert await plane.end("CA-greeting") == "bot_finished"


async def test_without_redis_a_call_goes_on_and_a_new_one_gets_the_fallback_url(
    plane: PhonePlane,
) -> None:
    """503 to the carrier; the live call hears nothing of it."""
    call = plane.call("twilio", "CA-redis", "/phone/twilio/talker")
    running = asyncio.create_task(call.run())
    await call.hears("CA-redis attempt 1")
    os.kill(plane.redis.pid, signal.SIGSTOP)
    try:
        new = plane.call("twilio", "CA-no-redis")
        assert await new.run() == ["webhook 503", "fallback URL"]
        await call.press("7")
        await call.hears("You pressed 7.")
    finally:
        os.kill(plane.redis.pid, signal.SIGCONT)
    await call.press("1")
    assert (await running)[-2:] == ["again 200", "hangup"]


async def test_without_a_gateway_a_call_goes_on_and_a_new_one_gets_the_fallback_url(
    plane: PhonePlane,
) -> None:
    """As without Redis. A call that ends meanwhile gets the fallback URL, too: nobody knows its session."""
    call = plane.call("twilio", "CA-gateway", "/phone/twilio/talker")
    running = asyncio.create_task(call.run())
    await call.hears("CA-gateway attempt 1")
    plane.gateway.kill()
    new = plane.call("twilio", "CA-no-gateway")
    assert await new.run() == ["webhook 503", "fallback URL"]
    await call.press("1")
    assert (await running)[-2:] == ["again 503", "fallback URL"]
    port = int(plane.gateway.url.rpartition(":")[2])
    gateway = plane.processes.spawn("gateway", port=port)
    await ready(gateway)
    assert await plane.end("CA-gateway") == "bot_finished"


async def test_without_an_edge_the_carrier_asks_the_fallback_url(plane: PhonePlane) -> None:
    """It gets no connection, tries once more, and gives up."""
    for edge in plane.alive("edge"):
        edge.kill()
    dead = Call("twilio", "CA-no-edge", ["http://127.0.0.1:9"], plane.client)
    assert await dead.run() == ["fallback URL"]
