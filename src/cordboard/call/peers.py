"""The peers of one call: each is opened with an offer, and closed at the latest when the call ends."""

import asyncio
import contextlib
from typing import Any

from cordboard.call.audio import Microphone, SoundDetector
from cordboard.call.gateway import CallGateway
from cordboard.call.peer import Peer
from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.ice_client import usable_servers

log = get_logger("call")

Offered = tuple[Peer, dict[str, str]]
"""A peer, and its offer."""


class Peers:
    """Opens and closes the peers of a call.

    Args:
        gateway: The gateway of the session.
        microphone: What the bot hears.
        bot_sound: Processes what the bot sends.
    """

    def __init__(
        self, gateway: CallGateway, microphone: Microphone, bot_sound: SoundDetector
    ) -> None:
        self._gateway = gateway
        self._microphone = microphone
        self._bot_sound = bot_sound
        self._ice_config: dict[str, Any] | None = None
        self._open: set[Peer] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, ice_config: dict[str, Any] | None) -> Offered:
        """Return a peer and its offer.

        Args:
            ice_config: The STUN and TURN servers; None without any.

        Raises:
            CordboardError: This machine has no address for media, or needs a relay and gets none.
        """
        self._ice_config = ice_config
        peer = Peer(self._microphone, self._bot_sound, await usable_servers(ice_config))
        self._open.add(peer)
        try:
            return peer, await peer.offer()
        except BaseException:
            self.drop(peer)
            raise

    async def open_again(self) -> Offered:
        """Return another peer and its offer, with new credentials for the servers of the first one."""
        config = self._ice_config
        if config is not None:
            # Those of the join are valid for hours, so they do if the gateway cannot answer.
            with contextlib.suppress(CordboardError):
                config = await self._gateway.ice_config()
        return await self.open(config)

    def hush(self) -> None:
        """Speak no further: what is being said was meant for a bot that is gone."""
        self._microphone.speak(b"")

    def drop(self, peer: Peer) -> None:
        """Close ``peer`` in the background: its bot may be gone, which takes time to notice."""
        if peer not in self._open:
            return
        self._open.discard(peer)
        peer.stop_media()
        closing: asyncio.Task[None] = asyncio.create_task(peer.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    async def close(self) -> None:
        """Close all peers."""
        for peer in tuple(self._open):
            self.drop(peer)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _closed(self, closing: asyncio.Task[None]) -> None:
        self._closing.discard(closing)
        if not closing.cancelled() and (error := closing.exception()) is not None:
            log.warning("A connection could not be closed properly", error=error)
