"""The thresholds of the rules, each with its source. docs/why.md shows this table."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold.

    Attributes:
        value: Its value.
        unit: The unit.
        meaning: What is compared with it.
        source: Where the value is from.
    """

    value: float
    unit: str
    meaning: str
    source: str


_TWILIO: Final = "Twilio's Voice Insights, which warns of it after 3 of 5 samples"

LOSS_PERCENT: Final = Threshold(
    1.0, "%", "packets that one end lost, of all that were sent to it", _TWILIO
)
JITTER_MS: Final = Threshold(30.0, "ms", "the median jitter that one end measured", _TWILIO)
LATE_JITTERS: Final = Threshold(
    10.0,
    "x the jitter",
    "the time whose packets count as lost because they were overtaken: by the first one that an end took, or on their way",
    "of calls with planted delays of up to 0.4 s and no loss, the worst of 30 ends had 6.1 times its jitter",
)
PACKETS_MIN: Final = Threshold(
    250.0, "packets", "the packets that a share of lost ones is computed of", "5 s of Opus"
)
RAISED_SHARE: Final = Threshold(
    0.3,
    "of the call",
    "the time in which a warning of the media was raised",
    "our choice: shorter disturbances have many harmless causes",
)
ONE_WAY_MS: Final = Threshold(
    5_000.0,
    "ms",
    "the time in which an end received no packet although the other one sent some",
    "the interval of `media.stats`",
)
FROZEN_MS: Final = Threshold(
    3_000.0, "ms", "the time for which a page was frozen", "after it Pipecat takes a client as gone"
)
MUTED_MS: Final = Threshold(
    2_000.0,
    "ms",
    "the time for which the system muted the microphone",
    "our choice: longer than a short answer",
)
SLOW_TURN_MS: Final = Threshold(
    2_000.0,
    "ms",
    "the time from the caller's last word to the bot's first one, or of one service of it",
    "our choice; of a call with fast services it is about 1 s",
)
SLOW_PART: Final = Threshold(
    0.5, "of the turn", "the part of one service in a slow turn", "more than all others together"
)
SLOW_TURNS: Final = Threshold(
    0.1, "of the turns", "the turns that are slow by the same service", "our choice"
)
SLOW_START_MS: Final = Threshold(
    8_000.0,
    "ms",
    "the time from the accepted join until a cold runner's bot ran",
    "a cold runner on two cores starts in 4 s; twice that",
)
NO_PATH_MS: Final = Threshold(
    10_000.0,
    "ms",
    "the time from the bot's answer to the end of the session, in which no media arrived",
    "checks of ICE take seconds; `cordboard call` waits for 15 s",
)
INTERRUPTED_MS: Final = Threshold(
    1_000.0,
    "ms",
    "the silence of an interruption after which a call is not healthy",
    "our choice: a person notices it",
)
UNANSWERED_MS: Final = Threshold(
    5_000.0,
    "ms",
    "the wait for an answer after which a call is not healthy, although no rule explains it",
    "Pipecat ends a turn of the user after so long, if it has heard no words (`user_turn_stop_timeout`)",
)
LATE_SHARE: Final = Threshold(
    0.2,
    "of the call",
    "the time for which the bot's event loop was late by more than 1 s, as the runner logs it",
    "our choice",
)
CRASH_AFTER_MS: Final = Threshold(
    5_000.0, "ms", "the time from an error of a service to the crash that it caused", "our choice"
)

THRESHOLDS: Final[dict[str, Threshold]] = {
    name: value for name, value in globals().items() if isinstance(value, Threshold)
}
"""All of them, by name."""
