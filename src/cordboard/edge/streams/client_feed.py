"""The way of a client's messages to its bot."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from cordboard.contract.carrier_streams import Message
from cordboard.contract.ids import room_kind
from cordboard.edge.streams import metrics
from cordboard.edge.streams.bot_connection import GONE, BotConnection
from cordboard.edge.streams.call_start import CallStart
from cordboard.edge.streams.held_messages import HeldMessages
from cordboard.edge.streams.limits import StreamLimits
from cordboard.edge.streams.pace import IN_A_ROW
from cordboard.edge.streams.traffic import Traffic
from cordboard.emit import get_logger

# Between two looks at a bot that does not read: the time of one message of a carrier.
_LOOK_S: Final = 0.02

log = get_logger("stream")


class ClientFeed:
    """Passes the messages of a client to its bot. While there is none, they wait.

    Those of a call wait as well while its bot does not read, because a carrier is read on: its pings must be
    answered, and a bot that reads again should hear the present. Any other client is not read meanwhile.

    Args:
        room_url: The room of the session.
        limits: The limits of streams.

    Attributes:
        start: The first messages of a carrier's stream.
        held: The messages that wait.
        traffic: What the client has sent.
        unreadable: How many messages of a carrier were dropped because no bot can read them.
        blocked_since: Since when a message has waited for the bot to read; None while none does.
    """

    def __init__(self, room_url: str, limits: StreamLimits) -> None:
        held_audio_s = limits.held_audio_s if room_kind(room_url) == "phone" else None
        self.start = CallStart(room_url, limits.first_message_bytes)
        self.held = HeldMessages(held_audio_s, limits.held_bytes)
        self.traffic = Traffic("client")
        self.unreadable = 0
        self.blocked_since: float | None = None
        self._bot: BotConnection | None = None
        self._first_sent = 0  # how many of the first messages the bot has
        self._passing: asyncio.Task[None] | None = None  # of the messages that wait
        self._is_direct = asyncio.Event()  # set while none waits

    def attach(self, bot: BotConnection) -> None:
        """Pass the first messages, those that wait, and all further ones to `bot`."""
        self._bot = bot
        self._first_sent = 0
        self._pass_on(bot)

    def detach(self) -> None:
        """Let the messages wait from now on."""
        self._bot = None
        self._is_direct.clear()
        if self._passing is not None:
            self._passing.cancel()

    async def add(self, message: Message) -> None:
        """Take a message of the client; return when the next one may be read."""
        if not self.is_readable(message):
            return
        bot = self._bot
        if bot is not None and self._is_direct.is_set() and not bot.is_closing:
            if not self._is_behind(bot):
                self.traffic.add(message)
                self._first_sent += self.start.take(message)
                await self._send(bot, message)
                return
            self._pass_on(bot)
        self.hold(message)
        # The client is not read on, so that it stops to send.
        if self.held.is_full:
            await self._is_direct.wait()

    def hold(self, message: Message) -> None:
        """Let a message wait."""
        self.traffic.add(message)
        if not self.start.take(message):  # each bot gets the first messages
            self.held.add(message, time.monotonic())

    def is_readable(self, message: Message) -> bool:
        """Return whether the bot can read a message of the client. If not, the message ends here, not the call."""
        if self.start.is_readable(message):
            return True
        metrics.stream_unreadable.inc()
        if not self.unreadable:
            log.warning(
                "A carrier sent a message that no bot can read; such messages are dropped",
                kind="text" if isinstance(message, str) else "binary",
                bytes=len(message),
            )
        self.unreadable += 1
        return False

    def _is_behind(self, bot: BotConnection) -> bool:
        """Return whether a message has to wait here, because the bot of a call does not read."""
        return self.start.may_go_on and bot.is_behind

    def _pass_on(self, bot: BotConnection) -> None:
        self._is_direct.clear()
        self._passing = asyncio.create_task(self._pass(bot), name="held messages")

    async def _pass(self, bot: BotConnection) -> None:
        """Pass the first messages and those that wait; those that arrive from then on need not wait."""
        passed = 0
        first = self.start.messages
        while self._first_sent < len(first) or self.held:
            if self._is_behind(bot):
                await self._until_read(bot)
            if bot.is_closing:
                return
            if self._first_sent < len(first):
                message = first[self._first_sent]
                self._first_sent += 1
            else:
                message = self.held.pop()
            await self._send(bot, message)
            passed += 1
            if passed % IN_A_ROW == 0:
                await asyncio.sleep(0)
        # Without an await since the last look, so no message can overtake another.
        self._is_direct.set()

    async def _until_read(self, bot: BotConnection) -> None:
        self.blocked_since = time.monotonic()
        try:
            while bot.is_behind and not bot.is_closing:  # noqa: ASYNC110  # a transport sets no event for it
                await asyncio.sleep(_LOOK_S)
        finally:
            self.blocked_since = None

    async def _send(self, bot: BotConnection, message: Message) -> None:
        self.blocked_since = time.monotonic()
        try:
            with suppress(*GONE):  # the task that reads from this bot notices its end
                await bot.send(message)
        finally:  # also if it is cancelled: nothing waits for this bot then
            self.blocked_since = None
