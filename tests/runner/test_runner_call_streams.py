"""The later streams of a call, which its bot must take for the first one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.carrier_streams import FORMS, CarrierStream
from cordboard.runner.bot_stream import BotStream
from cordboard.runner.call_streams import CallStream, CallStreams
from runner.test_runner_bot_requests import RunnerWithBot, no_leaks, proof, runner_with_bot
from tests_support import until

__all__ = ["no_leaks"]

pytestmark = pytest.mark.timeout(60)
Socket = aiohttp.ClientWebSocketResponse


def document(form: CarrierStream, stream_id: str, *, media: int = 2) -> list[str]:
    """Return the messages of a carrier's stream, in the form of its documentation."""
    key = form.stream_id
    start = {form.call_id: "call", "account_sid": "a", **dict.fromkeys(form.start_keys, stream_id)}
    messages: list[dict[str, Any]] = [
        {"event": "start", "start": start, key: stream_id},
        # The audio contains the ids of all streams.
        *[
            {"event": "media", "media": {"payload": f"{n}id-0id-1id-2"}, key: stream_id}
            for n in range(media)
        ],
        {"event": "dtmf", "dtmf": {"digit": "1"}, key: stream_id},
        {"event": "stop", key: stream_id},
    ]
    if form.carrier != "plivo":
        messages.insert(0, {"event": "connected"})
    return [json.dumps(message) for message in messages]


def spoken(form: CarrierStream, stream_id: str) -> str:
    """Return a message of the bot."""
    return json.dumps(
        {"event": "media", "media": {"payload": "id-0id-1"}, form.stream_id: stream_id}
    )


class TestIds:
    @given(form=st.sampled_from(FORMS), cuts=st.lists(st.integers(0, 7), max_size=5))
    def test_bot_sees_one_stream_however_often_it_is_opened(
        self, form: CarrierStream, cuts: list[int]
    ) -> None:
        """Each stream but the last one breaks after any number of messages, also within the first ones."""
        call, seen = CallStreams(), []
        cuts = [*cuts, 7]
        for number, cut in enumerate(cuts):
            stream = CallStream()
            for text in document(form, f"id-{number}")[
                : min(cut, 5) if number < len(cuts) - 1 else None
            ]:
                kept = call.for_bot(stream, text)
                seen += [json.loads(kept)] if kept is not None else []
                if stream.has_started:
                    first = next(m[form.stream_id] for m in seen if m["event"] == "start")
                    answer = call.for_carrier(stream, spoken(form, first))
                    assert json.loads(answer) == json.loads(spoken(form, f"id-{number}"))
        events = [message["event"] for message in seen]
        assert events.count("start") == 1
        assert events.count("connected") == (form.carrier != "plivo")
        assert len({message[form.stream_id] for message in seen if form.stream_id in message}) == 1
        payloads = [message["media"]["payload"] for message in seen if "media" in message]
        assert {payload[1:] for payload in payloads} == {"id-0id-1id-2"}
        assert call.has_stopped

    def test_first_stream_passes_byte_for_byte(self) -> None:
        """As long as a call has one stream, nothing is rewritten."""
        for form in FORMS:
            call, stream = CallStreams(), CallStream()
            texts = document(form, "id-0")
            assert [call.for_bot(stream, text) for text in texts] == texts
            assert call.for_carrier(stream, spoken(form, "id-0")) == spoken(form, "id-0")


class Call:
    """A call whose carrier opens one stream after the other."""

    def __init__(self, at: RunnerWithBot) -> None:
        self.at = at
        self.streams = 0

    async def open(self, form: CarrierStream = FORMS[0], messages: int = 3) -> Socket:
        """Open a stream, and send the first messages of its document."""
        websocket = await self.at.client.ws_connect(self.at.path("stream"), headers=proof())
        for text in document(form, f"id-{self.streams}")[:messages]:
            await websocket.send_str(text)
        self.streams += 1
        return websocket

    async def bot(self) -> Any:
        """Return the bot's WebSocket."""
        return await asyncio.wait_for(self.at.bot.stream.opened, 5)


def cut(websocket: Socket) -> None:
    """Break a connection, as the death of an edge does."""
    websocket.get_extra_info("socket").shutdown(2)


@asynccontextmanager
async def call_at(folder: Path, *, kept_s: float = 10) -> AsyncIterator[Call]:
    stream = BotStream(CallStreams(), kept_s)
    async with runner_with_bot(folder, stream=stream) as at:
        yield Call(at)


async def received(bot: Any, count: int) -> list[dict[str, Any]]:
    return [json.loads(await asyncio.wait_for(bot.receive_text(), 5)) for _ in range(count)]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.carrier)
async def test_bot_goes_on_with_the_next_stream_of_its_call(
    tmp_path: Path, form: CarrierStream
) -> None:
    """The bot sees neither the break nor the second start, and each side has its own id."""
    key, first = form.stream_id, 1 if form.carrier == "plivo" else 2
    async with call_at(tmp_path) as call:
        older = await call.open(form, first + 1)
        bot = await call.bot()
        assert (await received(bot, first + 1))[-1][key] == "id-0"
        await bot.send_text(spoken(form, "id-0"))
        assert await older.receive_json() == json.loads(spoken(form, "id-0"))
        cut(older)
        waiting = asyncio.create_task(bot.receive_text())
        await asyncio.sleep(0.05)
        assert call.at.bot.stream.is_connected
        speaking = asyncio.create_task(bot.send_text(spoken(form, "id-0")))
        newer = await call.open(form, first + 1)
        assert int(newer._response.headers["X-Stream-Silence-Ms"]) >= 50
        message = json.loads(await asyncio.wait_for(waiting, 5))
        assert (message["event"], message[key]) == ("media", "id-0")
        await asyncio.wait_for(speaking, 5)
        assert await newer.receive_json() == json.loads(spoken(form, "id-1"))
        await newer.close()
        assert (await bot.receive())["type"] == "websocket.disconnect"


@pytest.mark.parametrize("messages", [0, 1])
async def test_stream_that_breaks_before_its_start_is_started_by_the_next_one(
    tmp_path: Path, messages: int
) -> None:
    """The bot gets one connected and one start."""
    async with call_at(tmp_path) as call:
        older = await call.open(messages=messages)
        bot = await call.bot()
        got = await received(bot, messages)
        cut(older)
        newer = await call.open(messages=3)
        got += await received(bot, 3 - messages)
        assert [message["event"] for message in got] == ["connected", "start", "media"]
        assert got[2]["streamSid"] == "id-1"
        await newer.close()


async def test_bot_that_only_speaks_goes_on(tmp_path: Path) -> None:
    """It has one task, which does not read while it sends."""
    async with call_at(tmp_path) as call:
        older = await call.open()
        bot = await call.bot()
        await received(bot, 3)
        cut(older)

        async def speak() -> None:
            for _ in range(200):
                await bot.send_text(spoken(FORMS[0], "id-0"))
                await asyncio.sleep(0.001)

        speaking = asyncio.create_task(speak())
        newer = await call.open()
        assert (await newer.receive_json())["streamSid"] == "id-1"
        await asyncio.wait_for(speaking, 10)
        assert (await received(bot, 1))[0]["event"] == "media"
        await newer.close()


async def test_bot_sees_the_end_if_no_stream_follows_in_time(tmp_path: Path) -> None:
    """Reading and sending both end; later streams are refused."""
    async with call_at(tmp_path, kept_s=0.2) as call:
        older = await call.open()
        bot = await call.bot()
        await received(bot, 3)
        cut(older)
        assert (await asyncio.wait_for(bot.receive(), 5))["type"] == "websocket.disconnect"
        assert not call.at.bot.stream.is_connected
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await call.open()
        await older.close()


async def test_bot_that_gives_up_reading_finds_the_next_stream_later(tmp_path: Path) -> None:
    """A cancelled read loses no end, and no message."""
    async with call_at(tmp_path) as call:
        older = await call.open()
        bot = await call.bot()
        await received(bot, 3)
        cut(older)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(bot.receive_text(), 0.05)
        newer = await call.open()
        assert (await received(bot, 1))[0]["event"] == "media"
        await newer.close()


@pytest.mark.parametrize(
    ("messages", "code", "kept"), [(5, None, False), (3, 1000, False), (3, 1012, True)]
)
async def test_stream_that_the_carrier_ends_is_not_waited_for(
    tmp_path: Path, messages: int, code: int | None, kept: bool
) -> None:
    """By a stop message or a close frame. An edge that stops closes with 1012."""
    async with call_at(tmp_path, kept_s=3600) as call:
        texts = document(FORMS[0], "id-0", media=1)[:messages]
        older = await call.open(messages=0)
        for text in texts:
            await older.send_str(text)
        bot = await call.bot()
        await received(bot, messages)
        if code is None:
            cut(older)
        else:
            await older.close(code=code)
        if kept:
            newer = await call.open()
            await received(bot, 1)
            await newer.close()
        assert (await asyncio.wait_for(bot.receive(), 5))["type"] == "websocket.disconnect"
        await older.close()


async def test_bot_that_ends_without_a_stream_ends_at_once(tmp_path: Path) -> None:
    """Its close is no error, and nothing waits any more."""
    async with call_at(tmp_path, kept_s=3600) as call:
        older = await call.open()
        bot = await call.bot()
        await received(bot, 3)
        cut(older)
        waiting = asyncio.create_task(bot.receive())
        connection = call.at.bot.stream._connection
        assert connection is not None
        await until(connection.closing.event.is_set)
        await bot.close()
        assert (await asyncio.wait_for(waiting, 5))["type"] == "websocket.disconnect"
        await older.close()


async def test_second_stream_takes_over_from_the_first(tmp_path: Path) -> None:
    """With the ids of its own; the older one is closed with 4409."""
    async with call_at(tmp_path) as call:
        older = await call.open()
        bot = await call.bot()
        await received(bot, 3)
        newer = await call.open()
        assert (await received(bot, 1))[0]["streamSid"] == "id-0"
        await bot.send_text(spoken(FORMS[0], "id-0"))
        assert (await newer.receive_json())["streamSid"] == "id-1"
        await older.receive()
        assert older.close_code == 4409
        await newer.close()


async def test_stream_of_another_client_is_not_kept(tmp_path: Path) -> None:
    """Its state is unknown, so nobody could continue it."""
    async with runner_with_bot(tmp_path) as at:
        older = await at.client.ws_connect(at.path("stream"), headers=proof())
        bot = await asyncio.wait_for(at.bot.stream.opened, 5)
        cut(older)
        assert (await asyncio.wait_for(bot.receive(), 5))["type"] == "websocket.disconnect"
        await older.close()
