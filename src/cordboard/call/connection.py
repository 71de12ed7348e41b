"""The connection of a call to its session's bot, which is replaced when it breaks."""

import asyncio
import time
from typing import Final

from cordboard.call.gateway import CallGateway
from cordboard.call.interruption import Interruptions, Sign
from cordboard.call.peer import Peer
from cordboard.call.peers import Peers
from cordboard.call.recovery import POLL_S, Recovery
from cordboard.call.session_state import SessionState

# Seconds without any packet. In calls of 40 s on two busy cores the longest pause was 0.08 s, and 0.3 s with a bot
# that sends no audio while it is silent, of which only acknowledgements of pings arrive then. Less than `PAUSE_S`, so
# that a lost bot never counts as one that has finished speaking.
NO_PACKETS_S: Final = 0.75
# Seconds which a bot that has closed its connection may take to end its session by itself.
END_S: Final = 1.0


class BotConnection:
    """The connection to the bot of a session.

    Args:
        gateway: The gateway of the session.
        session: The state of the session.
        peers: Opens further connections.
        interruptions: Records the interruptions.
        peer: The first connection, to the bot of the present epoch.
    """

    def __init__(
        self,
        gateway: CallGateway,
        session: SessionState,
        peers: Peers,
        interruptions: Interruptions,
        peer: Peer,
    ) -> None:
        self._gateway = gateway
        self._session = session
        self._peers = peers
        self._interruptions = interruptions
        self._peer = peer
        self._epoch = session.epoch

    @property
    def peer(self) -> Peer:
        """The present connection."""
        return self._peer

    def is_heard(self, now: float) -> bool:
        """Return whether packets arrive at ``now``, a monotonic time, and the call is not interrupted."""
        arrives = now - self._peer.last_packet_at < NO_PACKETS_S
        return arrives and not self._interruptions.is_open

    async def keep(self) -> None:
        """Watch the connection, and replace it whenever it breaks; never return.

        Raises:
            StageFailedError: It broke, and nothing could replace it.
        """
        while True:
            sign = await self._first_sign()
            if sign != "ice" or not await self._ends_by_itself():
                await self._recover(sign)

    async def _first_sign(self) -> Sign:
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(POLL_S)
            now = time.monotonic()
            if now - slept_at > 2 * POLL_S:
                continue  # this process was late itself: it may not have read yet what has arrived
            await self._peer.count_packets(now)
            sign = self._sign(now)
            if sign is not None and not self._session.is_final:
                return sign

    def _sign(self, now: float) -> Sign | None:
        if self._has_moved():
            return "event"
        if self._peer.is_broken:
            return "ice"
        return "silence" if now - self._peer.last_packet_at > NO_PACKETS_S else None

    def _has_moved(self) -> bool:
        return self._session.epoch > self._epoch or not self._session.is_running

    async def _ends_by_itself(self) -> bool:
        """Return whether the session ends with its connection, as it does when the bot has finished."""
        deadline = time.monotonic() + END_S
        while self._peer.is_closed and not self._has_moved() and time.monotonic() < deadline:
            await self._session.wait(POLL_S)
        return self._session.is_final

    async def _recover(self, sign: Sign) -> None:
        self._interruptions.begin(sign, self._epoch, self._peer.last_packet_at)
        # What is open may begin at an address that this machine has lost.
        await self._gateway.reconnect()
        self._session.restart()
        recovery = Recovery(self._gateway, self._session, self._peers, self._peer, self._epoch)
        peer = await recovery.run()
        if peer is not self._peer:
            self._peers.drop(self._peer)
        self._peer, self._epoch = peer, self._session.epoch
        self._interruptions.end(self._epoch)
