"""One public WebSocket, and the bot to which it is connected."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from starlette.websockets import WebSocket

from cordboard.context import adopt
from cordboard.contract.carrier_streams import Message
from cordboard.contract.ids import room_kind
from cordboard.edge.streams import closing, metrics
from cordboard.edge.streams.bot_connection import GONE, BotConnection, BotConnector, StreamTarget
from cordboard.edge.streams.client_feed import ClientFeed
from cordboard.edge.streams.closing import StreamEnd, StreamRefusedError
from cordboard.edge.streams.limits import StreamLimits
from cordboard.edge.streams.pace import Pace
from cordboard.edge.streams.traffic import Traffic
from cordboard.emit import get_logger

log = get_logger("stream")


@dataclass(frozen=True, slots=True)
class _Gap:
    """The time in which a call has no bot.

    Attributes:
        died: What has died.
        epoch: The epoch of the bot that was lost; None if another edge had it.
        spoke_at: The ``time.monotonic`` time of the last message of the bot.
        lost_at: The same of the loss; None if another edge had it.
        dropped: How many messages of the carrier had been dropped before.
    """

    died: Literal["runner", "edge"]
    epoch: int | None
    spoke_at: float
    lost_at: float | None
    dropped: int


class PublicStream:
    """A client's WebSocket, from its acceptance to its end.

    It owns the client's side and attaches a bot to it. While no bot is attached, the client's messages wait. The
    stream of a carrier outlives its bot: the next bot gets the first messages of the call again.

    Args:
        websocket: The client's WebSocket, accepted.
        target: The bot to which it goes.
        connector: Connects to bots.
        limits: The limits of streams.
        first_messages: Messages that have been read already.
    """

    def __init__(
        self,
        websocket: WebSocket,
        target: StreamTarget,
        connector: BotConnector,
        limits: StreamLimits,
        first_messages: Sequence[Message] = (),
    ) -> None:
        self._websocket = websocket
        self._target = target
        self._connector = connector
        self._limits = limits
        self._is_phone = room_kind(target.room_url) == "phone"
        self._feed = ClientFeed(target.room_url, limits)
        self._bot: BotConnection | None = None
        self._stopped: asyncio.Future[StreamEnd] = asyncio.get_running_loop().create_future()
        self._from_bot = Traffic("bot")
        self._began_at = time.monotonic()
        self._read_at = self._began_at
        self._spoke_at: float | None = None  # when the bot sent its last message
        self._is_ending = False  # then the bot's side is closed by this one
        self._first_messages = first_messages

    def stop(self, end: StreamEnd) -> None:
        """Let the stream end with `end`."""
        if not self._stopped.done():
            self._stopped.set_result(end)

    async def run(self) -> StreamEnd:
        """Serve the stream; return how it ended. Both sides are closed then."""
        metrics.streams_open.inc()
        log.info("Stream opened", event="stream.opened", transport=self._transport)
        for message in filter(self._feed.is_readable, self._first_messages):
            self._feed.hold(message)
        client = asyncio.create_task(self._read_client(), name="client's messages")
        bot = asyncio.create_task(self._serve_bot(), name="bot's messages")
        limits = asyncio.create_task(self._watch_limits(), name="limits of a stream")
        end = StreamEnd("edge", closing.FAILED, "The edge failed.")
        try:
            # The order counts if two end at once: a side's own close code is more specific than a failure to send.
            end = await _first_result(client, bot, limits, self._stopped)
        except asyncio.CancelledError:
            end = StreamEnd("edge", closing.RESTART, "The edge stops.")
            raise
        finally:
            self._is_ending = True
            await _cancel(client, limits)
            # Before its task is cancelled: aiohttp omits the closing handshake after a cancelled receive().
            await self._close(end)
            await _cancel(bot)
            await self._close_bot(end)  # it may have been attached meanwhile
            metrics.streams_open.dec()
            self._log_end(end)
        return end

    @property
    def _transport(self) -> str:
        """The carrier of a phone call, else ``websocket``."""
        kind, _, name = self._target.room_url.partition(":")
        return name.partition(":")[0] if kind == "phone" else "websocket"

    async def _read_client(self) -> StreamEnd:
        """Pass the client's messages to the bot, or let them wait; return how the client's side ended."""
        pace = Pace(self._limits, "client")
        while True:
            received = await self._websocket.receive()
            if received["type"] == "websocket.disconnect":
                # With a close frame, uvicorn gives a reason, if only an empty one.
                is_lost = received.get("reason") is None
                code = closing.LOST if is_lost else received.get("code", closing.NO_CODE)
                # Without a bot, nobody else notices that the person has hung up.
                is_over = self._bot is None and self._feed.start.has_stopped
                reason = received.get("reason") or ""
                return StreamEnd("client", code, reason, is_lost=is_lost, ends_session=is_over)
            text: str | None = received.get("text")
            message: Message = text if text is not None else received["bytes"]
            await self._feed.add(message)
            self._read_at = time.monotonic()
            await pace.keep(len(message))

    async def _serve_bot(self) -> StreamEnd:
        """Attach the bot, and the next one if it dies; return how the bot's side ended."""
        gap: _Gap | None = None
        while True:
            try:
                bot = await self._connector.connect(self._target, again=gap is not None)
            except StreamRefusedError as error:
                return error.end
            self._bot = bot
            adopt(epoch=bot.epoch)
            if gap is None and bot.silence_ms is not None:
                spoke_at = time.monotonic() - bot.silence_ms / 1000
                gap = _Gap("edge", None, spoke_at, None, self._feed.held.dropped)
            end = await self._serve_one(bot, gap)
            is_restart = end.by == "bot" and end.code == closing.RESTART
            if self._is_ending or not is_restart or not self._feed.start.may_go_on:
                return end
            self._bot = None
            gap = self._note_loss(bot, end)
            await bot.close(closing.RESTART, "")

    async def _serve_one(self, bot: BotConnection, gap: _Gap | None) -> StreamEnd:
        """Pass the messages of one bot to the client until its end."""
        self._feed.attach(bot)
        try:
            return await self._read_bot(bot, gap)
        finally:
            self._feed.detach()

    async def _read_bot(self, bot: BotConnection, gap: _Gap | None) -> StreamEnd:
        pace = Pace(self._limits, "bot")
        if self._spoke_at is None:
            self._spoke_at = time.monotonic()
        while True:
            message = await bot.receive()
            if isinstance(message, StreamEnd):
                return message
            self._from_bot.add(message)
            try:
                if gap is not None:
                    await self._resume(bot, gap)
                    gap = None
                await self._send(message)
            except GONE:
                # The task that reads from the client has the close code, unless it waits for the bot.
                await asyncio.sleep(self._limits.close_s)
                return StreamEnd("client", closing.LOST, is_lost=True)
            self._spoke_at = time.monotonic()
            await pace.keep(len(message))

    async def _send(self, message: Message) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        await self._websocket.send({"type": "websocket.send", kind: message})

    def _note_loss(self, bot: BotConnection, end: StreamEnd) -> _Gap:
        metrics.streams_lost.inc()
        log.warning(
            "The bot of a call was lost; waiting for the next one",
            event="stream.lost",
            by=end.by,
            code=end.code,
            epoch=bot.epoch,
            died="runner",
        )
        now = time.monotonic()
        spoke_at = self._spoke_at if self._spoke_at is not None else now
        return _Gap("runner", bot.epoch, spoke_at, now, self._feed.held.dropped)

    async def _resume(self, bot: BotConnection, gap: _Gap) -> None:
        """End a gap with the first message of `bot`: the carrier drops what the bot before had sent ahead."""
        is_new = gap.epoch is not None and bot.epoch != gap.epoch
        if is_new and self._feed.start.clear_message is not None:
            await self._send(self._feed.start.clear_message)
        now = time.monotonic()
        gap_s = now - gap.lost_at if gap.lost_at is not None else None
        # The same bot after a gap: only the connection to it had broken.
        died = gap.died if gap.epoch is None or is_new else "connection"
        metrics.streams_resumed.labels(died).inc()
        if gap_s is not None:
            metrics.stream_gap.observe(gap_s)
        log.info(
            "The call goes on",
            event="stream.resumed",
            epoch=bot.epoch,
            silence_ms=round((now - gap.spoke_at) * 1000),
            gap_ms=round(gap_s * 1000) if gap_s is not None else None,
            died=died,
            dropped=self._feed.held.dropped - gap.dropped,
        )

    async def _watch_limits(self) -> StreamEnd:
        """Return when the client has been silent, or the bot has read nothing, for too long.

        A call can go on with another bot, or with the same one once it reads again: its connection is given up.
        """
        limits, feed = self._limits, self._feed
        while True:
            now = time.monotonic()
            if feed.blocked_since is not None and now - feed.blocked_since >= limits.stall_s:
                if self._bot is None or not feed.start.may_go_on:
                    return StreamEnd("edge", closing.FAILED, "The bot does not read.")
                log.warning("The bot of a call does not read; giving up its connection")
                self._bot.abort()
            is_silent = feed.blocked_since is None and now - self._read_at >= limits.idle_s
            if self._is_phone and is_silent:
                reason = "The carrier sends nothing."
                return StreamEnd("edge", closing.SILENT, reason, ends_session=True)
            # Half of a limit, as a message may begin to wait just after this look.
            await asyncio.sleep(min(limits.stall_s, limits.idle_s) / 2)

    async def _close(self, end: StreamEnd) -> None:
        """Close the sides that have not ended themselves."""
        if end.by != "client":
            with suppress(*GONE):  # TimeoutError is an OSError: the client does not read
                async with asyncio.timeout(self._limits.close_s):
                    await self._websocket.close(
                        closing.code_to_send(end.code), closing.reason_to_send(end.reason)
                    )
        await self._close_bot(end)

    async def _close_bot(self, end: StreamEnd) -> None:
        if self._bot is None:
            return
        code = closing.code_to_send(end.code)
        if end.by == "client" and end.is_lost and self._feed.start.may_go_on:
            # The carrier may open its stream again, at any edge; the bot's process keeps its side for that.
            code = closing.RESTART
        await self._bot.close(code, closing.reason_to_send(end.reason))

    def _log_end(self, end: StreamEnd) -> None:
        metrics.streams_closed.labels(end.by).inc()
        self._feed.traffic.flush()
        self._from_bot.flush()
        if end.is_lost:
            epoch = self._bot.epoch if self._bot is not None else None
            log.warning("Stream lost", event="stream.lost", by=end.by, code=end.code, epoch=epoch)
        log.info(
            "Stream closed",
            event="stream.closed",
            by=end.by,
            code=end.code,
            reason=end.reason or None,
            seconds=round(time.monotonic() - self._began_at, 3),
            messages_in=self._feed.traffic.messages,
            bytes_in=self._feed.traffic.size,
            messages_out=self._from_bot.messages,
            bytes_out=self._from_bot.size,
            dropped=self._feed.held.dropped,
            unreadable=self._feed.unreadable,
        )


async def _first_result(*futures: asyncio.Future[StreamEnd]) -> StreamEnd:
    """Return the result of the future that is done first; of several, that of the first in this order."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    return next(future for future in futures if future.done()).result()


async def _cancel(*tasks: asyncio.Task[StreamEnd]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
