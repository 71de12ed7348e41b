"""How a call whose connection broke gets another one, to the same bot or to the next one.

aiortc cannot restart ICE. So a call whose own address has changed does what one does whose bot has died: it opens
another connection. The runner accepts it from the caller of a running bot, as from a page that was reloaded.
"""

import asyncio
import contextlib
import time
from http import HTTPStatus
from typing import Final

from cordboard.call.gateway import CallGateway, OfferRefusedError
from cordboard.call.peer import Peer
from cordboard.call.peers import Offered, Peers
from cordboard.call.session_state import SessionState
from cordboard.call.timeline import StageFailedError
from cordboard.contract.errors import CordboardError
from cordboard.contract.lease import SILENCE_S

# Seconds within which a call must be heard again: a hand-over takes 1 s, a runner that has to load Pipecat up to 9 s.
RECOVERY_S: Final = 20.0
# The same while the session keeps its epoch and its runner does not answer: such a session is given to another runner
# after `SILENCE_S`, and starts within 5 s.
UNCONFIRMED_S: Final = SILENCE_S + 5.0
# Seconds between two offers to the same bot. A runner accepts another connection 3 s after the last ping of the first
# one, and refuses any after 64 offers.
RETRY_S: Final = 1.0
# Seconds within which a connection brings media. The runner accepts another offer after the same time.
CONNECT_S: Final = 5.0
# Seconds after which a peer that is not used yet is replaced: it has only the addresses that the machine had then.
SPARE_S: Final = 5.0
POLL_S: Final = 0.05

_NOT_ANSWERED: Final = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
_HINT: Final = "The command below prints its log lines."


class Recovery:
    """One recovery of a call's connection.

    Args:
        gateway: The gateway of the session.
        session: The state of the session.
        peers: Opens the connections.
        broken: The connection that broke.
        epoch: The epoch of its bot.
    """

    def __init__(
        self, gateway: CallGateway, session: SessionState, peers: Peers, broken: Peer, epoch: int
    ) -> None:
        self._gateway = gateway
        self._session = session
        self._peers = peers
        self._broken = broken
        self._epoch = epoch
        self._began_at = time.monotonic()
        self._newest = (epoch, self._began_at)  # the newest epoch, and when it was seen first
        self._tried = (epoch, float("-inf"))  # the epoch to which an offer was made last, and when
        self._is_runner_silent = False
        self._is_spent = False  # whether the spare's offer has been sent
        self._spare_at = self._began_at
        self._spare: asyncio.Task[Offered] = asyncio.create_task(peers.open_again())

    async def run(self) -> Peer:
        """Return the connection by which a bot is heard again: another one, or the broken one.

        Raises:
            StageFailedError: No bot is, within the bounds of this module.
        """
        hint = asyncio.create_task(self._hint())
        try:
            peer = await self._next_peer()
        except BaseException:
            self._drop_spare()
            raise
        finally:
            hint.cancel()
            await asyncio.gather(hint, return_exceptions=True)
        if peer is self._broken:
            self._drop_spare()
        return peer

    async def _next_peer(self) -> Peer:
        while True:
            if await self._is_broken_back():
                return self._broken
            if self._is_past_bound():
                raise self._lost_error()
            if self._is_due():
                peer = await self._attempt()
                if peer is not None:
                    return peer
            await self._session.wait(POLL_S)

    async def _hint(self) -> None:
        with contextlib.suppress(CordboardError):
            await self._gateway.suspect()

    async def _is_broken_back(self) -> bool:
        """Return whether the broken connection brings packets again, of the bot that still has the room."""
        await self._broken.count_packets(time.monotonic())
        return (
            self._session.is_running
            and self._session.epoch <= self._epoch
            and not self._broken.is_broken
            and self._broken.last_packet_at > self._began_at
        )

    def _is_past_bound(self) -> bool:
        if self._session.is_final:
            return False  # the call ends, and reports the reason
        now = time.monotonic()
        if self._session.epoch > self._newest[0]:
            self._newest = (self._session.epoch, now)
        epoch, seen_at = self._newest
        is_unconfirmed = self._is_runner_silent and epoch == self._epoch
        return now - seen_at > (UNCONFIRMED_S if is_unconfirmed else RECOVERY_S)

    def _is_due(self) -> bool:
        """Return whether to make an offer now."""
        epoch, at = self._tried
        has_waited = time.monotonic() - at >= RETRY_S
        # The gateway gives an offer to the present bot. With an older state the answer would be taken for that of the
        # lost one, and dropped; the bot would then refuse others for CONNECT_S.
        is_running = self._session.is_current and self._session.is_running
        return is_running and (self._session.epoch > epoch or has_waited)

    async def _attempt(self) -> Peer | None:
        """Return a connection that works; None if there is none yet."""
        self._renew_spare()
        epoch = self._session.epoch
        connecting = asyncio.create_task(self._connect())
        try:
            while not connecting.done():
                await asyncio.wait({connecting}, timeout=POLL_S)
                if self._session.epoch > epoch or not self._session.is_running:
                    return None
                if self._is_past_bound() or await self._is_broken_back():
                    return None
            return connecting.result()
        except (CordboardError, TimeoutError):
            return None
        finally:
            self._tried = (epoch, time.monotonic())
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)

    async def _connect(self) -> Peer:
        peer, offer = await asyncio.shield(self._spare)
        if self._session.epoch > self._epoch:
            self._peers.hush()
        self._is_spent = True
        try:
            answer = await self._gateway.offer(offer)
        except OfferRefusedError as error:
            self._is_runner_silent = error.http_status in _NOT_ANSWERED
            self._is_spent = error.http_status == HTTPStatus.GATEWAY_TIMEOUT
            raise
        self._is_runner_silent = False
        async with asyncio.timeout(CONNECT_S):
            await peer.accept(answer)
            await peer.connected()
        # A bot that is silent on purpose is taken as it is after a while.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await peer.media.wait()
        await peer.count_packets(time.monotonic())
        return peer

    def _renew_spare(self) -> None:
        """Replace the spare peer if it was used, failed to open, or may lack an address."""
        is_old = time.monotonic() - self._spare_at > SPARE_S
        has_failed = self._spare.done() and self._spare.exception() is not None
        if not (self._is_spent or is_old or has_failed):
            return
        self._drop_spare()
        self._is_spent, self._spare_at = False, time.monotonic()
        self._spare = asyncio.create_task(self._peers.open_again())

    def _drop_spare(self) -> None:
        self._spare.cancel()  # while it opens; the peer is closed then
        if self._spare.done() and not self._spare.cancelled() and not self._spare.exception():
            self._peers.drop(self._spare.result()[0])

    def _lost_error(self) -> StageFailedError:
        waited_s = time.monotonic() - self._began_at
        if not self._session.is_current:
            why = "the gateway does not report the state of the session"
        elif not self._session.is_running:
            state = self._session.last_change.get("status", "unknown")
            why = f"the session is {state}, and no runner continues it"
        elif self._is_runner_silent:
            why = "it does not answer, and nobody can confirm that it is dead"
        else:
            why = "no path for media was found"
        return StageFailedError(
            "resumed", f"The bot was not heard again within {waited_s:.0f} s: {why}.", _HINT
        )
