"""The streams that an edge serves."""

import asyncio
import time
from collections.abc import Callable, Sequence

from starlette.websockets import WebSocket

from cordboard.contract.carrier_streams import Message
from cordboard.contract.errors import CordboardError
from cordboard.edge.sessions import EdgeSessions
from cordboard.edge.streams import closing
from cordboard.edge.streams.bot_connection import BotConnector, StreamTarget
from cordboard.edge.streams.closing import StreamEnd
from cordboard.edge.streams.limits import StreamLimits
from cordboard.edge.streams.stream import PublicStream
from cordboard.emit import get_logger

Clock = Callable[[], float]

log = get_logger("stream")


class StreamRelay:
    """Connects public WebSockets to bots, and ends them when the edge stops.

    Args:
        sessions: Ends sessions whose call is over.
        connector: Connects to bots.
        limits: The limits of streams.
        clock: Returns the seconds since the Unix epoch.

    Attributes:
        limits: The limits of streams.
        clock: Returns the seconds since the Unix epoch.
    """

    def __init__(
        self,
        sessions: EdgeSessions,
        connector: BotConnector,
        limits: StreamLimits,
        clock: Clock = time.time,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self._sessions = sessions
        self._connector = connector
        self._streams: set[PublicStream] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    @property
    def open_streams(self) -> int:
        """The number of open streams."""
        return len(self._streams)

    async def serve(
        self, websocket: WebSocket, target: StreamTarget, first_messages: Sequence[Message] = ()
    ) -> None:
        """Serve a stream until its end.

        Args:
            websocket: The client's WebSocket, accepted.
            target: The bot to which it goes.
            first_messages: Messages that have been read already.
        """
        stream = PublicStream(websocket, target, self._connector, self.limits, first_messages)
        self._streams.add(stream)
        self._none_open.clear()
        try:
            end = await stream.run()
        finally:
            self._streams.discard(stream)
            if not self._streams:
                self._none_open.set()
        if end.ends_session:
            await self._leave(target.session_id)

    async def drain(self, grace_s: float) -> None:
        """Wait until no stream is open, but for at most `grace_s` seconds; then close those that are."""
        try:
            async with asyncio.timeout(grace_s):
                await self._none_open.wait()
        except TimeoutError:
            log.info("Closing the streams that are open", streams=len(self._streams))
            for stream in self._streams:
                stream.stop(StreamEnd("edge", closing.RESTART, "The edge restarts."))
            await self._none_open.wait()

    async def _leave(self, session_id: str) -> None:
        try:
            status = await self._sessions.leave(session_id)
        except CordboardError as error:  # the bot ends by itself once it misses its user
            log.warning("The session of a call that is over could not be ended", reason=str(error))
        else:
            log.info("The session of a call that is over was ended", status=status)
