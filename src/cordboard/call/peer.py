"""The media of a call: one peer connection, as a browser would open it."""

import asyncio
import contextlib
import json
import time
from typing import Any, Final

from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from cordboard.call.audio import Microphone, MicrophoneTrack, SoundDetector
from cordboard.contract.errors import CordboardError
from cordboard.ice_client import UsableServers, bound_gathering

# Pipecat's transport takes a client without a ping for 3 s as disconnected. Each ping is acknowledged, so that packets
# arrive four times a second even from a bot that sends no audio at the moment.
PING_S: Final = 0.25
# For how long a bot that is not heard gets pings.
PINGED_S: Final = 1.5
CLOSE_TIMEOUT_S: Final = 3.0
# The first message of Pipecat's own client. Bots that greet on RTVI's client-ready wait for it.
_CLIENT_READY: Final = {
    "label": "rtvi-ai",
    "type": "client-ready",
    "id": "1",
    "data": {"version": "1.0.0", "about": {"library": "cordboard"}},
}


class Peer:
    """A peer connection that sends the microphone's track and analyses the bot's.

    Args:
        microphone: The track to send.
        bot_sound: Processes every frame of the bot's track.
        servers: The STUN and TURN servers.

    Attributes:
        last_packet_at: When `count_packets` last found packets that it had not counted, by the monotonic clock.
        media: Set when audio, or a message, of the bot has arrived.
    """

    def __init__(
        self, microphone: Microphone, bot_sound: SoundDetector, servers: UsableServers
    ) -> None:
        self.last_packet_at = time.monotonic()
        self.media = asyncio.Event()
        self._packets = 0
        self._bot_sound = bot_sound
        self._voice = MicrophoneTrack(microphone)
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers = servers
        bound_gathering()
        # An empty list, because aiortc's default is a public STUN server.
        self._pc = RTCPeerConnection(
            RTCConfiguration(
                iceServers=[RTCIceServer(**entry) for entry in servers.entries],
                iceTransportPolicy=RTCIceTransportPolicy.RELAY
                if servers.is_relay_only
                else RTCIceTransportPolicy.ALL,
            )
        )
        self._pc.addTrack(self._voice)
        self._channel = self._pc.createDataChannel("cordboard")
        self._channel.on("open", self._opened)
        self._channel.on("message", self._message)
        # Handlers are set before the answer is applied: aiortc reports each event once.
        self._pc.on("track", self._track)
        self._pc.on("connectionstatechange", self._changed.set)

    @property
    def connection(self) -> Any:
        """The connection of aiortc."""
        return self._pc

    @property
    def is_broken(self) -> bool:
        """Whether the connection has ended or failed, on either side."""
        return self._pc.connectionState in {"failed", "closed"}

    @property
    def is_closed(self) -> bool:
        """Whether either side has closed the connection, as a bot does that ends."""
        return bool(self._pc.connectionState == "closed")

    @property
    def no_path_hint(self) -> str:
        """What to do if no path for media was found."""
        if self._servers.faults:
            return _sentences(self._servers)
        if self._servers.has_relay:
            return "The TURN server and the bot must reach each other over UDP."
        return (
            "UDP to the runner must not be blocked (firewall, VPN), or ice_servers must name a TURN "
            "server."
        )

    async def offer(self) -> dict[str, str]:
        """Return a WebRTC offer with this machine's addresses.

        Raises:
            CordboardError: This machine has no address for media, or needs a relay and gets none.
        """
        if self._servers.is_relay_only and not self._servers.has_relay:
            raise self._no_relay_error()
        await self._pc.setLocalDescription(await self._pc.createOffer())
        local = self._pc.localDescription
        if "a=candidate" not in local.sdp:
            if self._servers.is_relay_only:
                raise self._no_relay_error()
            raise CordboardError(
                "This machine has no network address besides loopback, so no media can flow.",
                hint="Bring a network interface up. WebRTC does not use 127.0.0.1.",
            )
        return {"sdp": local.sdp, "type": local.type}

    async def accept(self, answer: dict[str, str]) -> None:
        """Apply the bot's WebRTC answer.

        Args:
            answer: The answer, with ``sdp`` and ``type``.

        Raises:
            CordboardError: It is not a WebRTC answer.
        """
        try:
            await self._pc.setRemoteDescription(
                RTCSessionDescription(sdp=answer["sdp"], type=answer["type"])
            )
        except (KeyError, ValueError, AttributeError) as error:
            raise CordboardError(f"The bot's answer is not a WebRTC answer: {error!r}.") from error

    async def connected(self) -> None:
        """Wait until media can flow.

        Raises:
            CordboardError: There is no path for media, or the bot closed the connection.
        """
        while self._pc.connectionState != "connected":
            if self._pc.connectionState in {"failed", "closed"}:
                raise CordboardError(
                    "No path for media between this machine and the bot was found.",
                    hint=self.no_path_hint,
                )
            self._changed.clear()
            await self._changed.wait()

    async def count_packets(self, now: float) -> None:
        """Note in `last_packet_at` whether any packet of the bot has arrived since the last count.

        Any packet counts, not only audio: some bots send none while they are silent. aiortc itself notices a peer
        that is gone after 30 s.

        Args:
            now: The monotonic time.
        """
        stats = await self._pc.getStats()
        packets = sum(one.packetsReceived for one in stats.values() if one.type == "transport")
        if packets > self._packets:
            self._packets, self.last_packet_at = packets, now

    def stop_media(self) -> None:
        """Send and hear nothing more over this connection."""
        self._voice.stop()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Close the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # aiortc waits for its transports, and one whose peer is gone may not end by itself.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._pc.close()

    def _no_relay_error(self) -> CordboardError:
        return CordboardError(
            "ice_transport_policy is relay, and no TURN server can be used.",
            hint=_sentences(self._servers)
            or "aiortc supports none of the TURN servers in ice_servers.",
        )

    def _track(self, track: Any) -> None:
        if track.kind == "audio":
            self._spawn(self._listen(track))

    async def _listen(self, track: Any) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                self.media.set()
                self._bot_sound.add_frame(frame, self)

    def _opened(self) -> None:
        self._channel.send(json.dumps(_CLIENT_READY))
        self._spawn(self._ping())

    def _message(self, _message: object) -> None:
        self.media.set()

    async def _ping(self) -> None:
        """Send pings, so that the bot notices a lost caller sooner than ICE does.

        A bot that is not heard gets none: while it receives them, it accepts no other connection of this caller.
        """
        while self._channel.readyState == "open":
            if time.monotonic() - self.last_packet_at < PINGED_S:
                self._channel.send("ping")
            await asyncio.sleep(PING_S)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _sentences(servers: UsableServers) -> str:
    return " ".join(str(fault) for fault in servers.faults)
