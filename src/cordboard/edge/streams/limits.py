"""The limits of streams."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """The limits of each stream.

    Attributes:
        first_message_s: Seconds for the messages that name a call. Carriers send them at once.
        first_message_bytes: Their size. The custom parameters of a call have a few hundred bytes each.
        connect_s: Seconds until a bot must have taken the stream. A session that does not run by its deadline,
            by default after 60 s, ends; these are some more, so that the end is known.
        unconfirmed_s: Seconds for which a bot that was lost may still count as running, because nobody can confirm
            its death: a frozen runner is given up after 90 s.
        held_audio_s: Seconds of a phone call's audio that wait for the bot. More would be a recording of
            somebody who waits.
        held_bytes: Bytes that wait for the bot; then the client is not read until the bot is there.
        idle_s: Seconds without a message from a carrier after which the call counts as over. Carriers send
            50 messages a second, also in silence.
        stall_s: Seconds for which a bot may read nothing while its client sends. Its client's pings stay
            unanswered meanwhile, and common clients give up after 40 s. The bot of a call counts as lost then.
        close_s: Seconds for a closing handshake, which takes one round trip.
        message_bytes: The size of one message, as at the public side.
        messages_per_s: Messages that a side may send in a second. Audio has 50.
        bytes_per_s: The same in bytes. Audio has 200 KB at most: 48 kHz, 16 bits, stereo. A side that sends half
            of the one may send half of the other.
        burst_s: Seconds whose messages may come at once.
    """

    first_message_s: float = 10.0
    first_message_bytes: int = 64 * 1024
    connect_s: float = 65.0
    unconfirmed_s: float = 95.0
    held_audio_s: float = 2.0
    held_bytes: int = 1024 * 1024
    idle_s: float = 60.0
    stall_s: float = 30.0
    close_s: float = 2.0
    message_bytes: int = 1024 * 1024
    messages_per_s: float = 1000.0
    bytes_per_s: float = 16.0 * 1024 * 1024
    burst_s: float = 1.0


DEFAULT_STREAM_LIMITS: Final = StreamLimits()
"""The limits of an edge outside of tests."""
