"""Judges the media of a call: a sample a second, and a table of rules (docs/contract/events.md#media-warnings).

Both ends use these rules. The page's are the same table in JavaScript.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SAMPLE_S: Final = 1.0
"""Seconds between two samples."""

STATS_S: Final = 5.0
"""Seconds between two `media.stats`."""

VOICE_END: Final = {"page": "level_out", "call": "level_out", "bot": "level_in"}
"""The level of the caller's voice, by the end that measures it."""

_BASE_R: Final = 94.2  # of G.711 without delay and loss
_PACKET_MS: Final = 20.0
_KNEE_MS: Final = 177.3


@dataclass(frozen=True, slots=True)
class Rule:
    """When a warning is raised and cleared.

    Attributes:
        name: The warning.
        member: The value of the sample that the rule judges.
        threshold: Its limit.
        is_minimum: Whether smaller values are bad; otherwise greater ones are.
        window: The samples that count.
        raise_at: Bad samples among them that raise the warning; fewer than `clear_at` + 1 clear it.
        clear_at: The most bad samples among them at which a raised warning is cleared.
    """

    name: str
    member: str
    threshold: float
    is_minimum: bool = False
    window: int = 5
    raise_at: int = 3
    clear_at: int = 0

    def is_bad(self, value: float) -> bool:
        """Return whether a value is beyond the limit."""
        return value < self.threshold if self.is_minimum else value > self.threshold


RULES: Final = (
    Rule("high_loss", "loss_percent", 1.0),
    Rule("high_jitter", "jitter_ms", 30.0),
    Rule("high_rtt", "rtt_ms", 400.0),
    Rule("low_mos", "mos", 3.0, is_minimum=True),
    Rule("no_audio_in", "packets_received", 1.0, is_minimum=True, window=3),
    Rule("no_audio_out", "packets_sent", 1.0, is_minimum=True, window=3),
    Rule("one_way", "least_packets", 1.0, is_minimum=True),
    Rule("constant_level", "level_span", 0.0001, is_minimum=True, window=1, raise_at=1),
)
"""The rules. Thresholds and counts are those that Twilio publishes for its voice SDKs."""

LEVEL_SAMPLES: Final = 10
"""Samples over which `constant_level` looks at the level of the caller's voice."""


@dataclass(slots=True)
class MediaJudge:
    """Says which warnings are raised and cleared, sample by sample.

    Attributes:
        end: The end that measures: ``page``, ``call`` or ``bot``.
    """

    end: str
    _seen: dict[str, deque[bool]] = field(default_factory=dict)
    _raised: set[str] = field(default_factory=set)
    _levels: deque[float] = field(default_factory=lambda: deque(maxlen=LEVEL_SAMPLES))
    _path: str | None = None

    def judge(self, sample: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the ``meta`` of each warning that this sample raises or clears.

        Args:
            sample: The figures of one second, with the names of `media.stats`; unknown ones are absent.
        """
        values = {**sample, **self._derived(sample)}
        for rule in RULES:
            value = values.get(rule.member)
            if value is not None and (state := self._state(rule, value)) is not None:
                yield {
                    "name": rule.name,
                    "state": state,
                    "value": round(value, 4),
                    "threshold": rule.threshold,
                    "end": self.end,
                }
        path = sample.get("path")
        if path is not None and self._path not in {None, path}:
            yield {"name": "path_changed", "state": "raised", "value": path, "end": self.end}
        self._path = path or self._path

    def _state(self, rule: Rule, value: float) -> str | None:
        """Return the state to which a value brings a rule; None if it stays."""
        seen = self._seen.setdefault(rule.name, deque(maxlen=rule.window))
        seen.append(rule.is_bad(value))
        if rule.name not in self._raised and sum(seen) >= rule.raise_at:
            self._raised.add(rule.name)
            return "raised"
        if rule.name in self._raised and sum(seen) <= rule.clear_at:
            self._raised.discard(rule.name)
            return "cleared"
        return None

    def _derived(self, sample: Mapping[str, Any]) -> dict[str, float]:
        """Return what the rules judge and a sample does not hold itself."""
        derived: dict[str, float] = {}
        received, sent = sample.get("packets_received"), sample.get("packets_sent")
        if (percent := loss_percent(sample)) is not None:
            derived["loss_percent"] = percent
        if received is not None and sent is not None and (received or sent):
            derived["least_packets"] = min(received, sent)
        level = sample.get(VOICE_END[self.end])
        if level is not None:
            self._levels.append(level)
            if len(self._levels) == LEVEL_SAMPLES:
                derived["level_span"] = max(self._levels) - min(self._levels)
        return derived


def loss_percent(sample: Mapping[str, Any]) -> float | None:
    """Return the share of packets that were lost on their way here, in percent; None if no packet was due."""
    received, lost = sample.get("packets_received"), sample.get("packets_lost")
    if received is None or lost is None or received + lost <= 0:
        return None
    return float(100.0 * max(lost, 0) / (received + lost))


def mos(sample: Mapping[str, Any]) -> float | None:
    """Return the mean opinion score of the sound that arrives here, 1.0 to 4.4; None if it is not known.

    The formula is that of Cole and Rosenbluth, "Voice over IP Performance Monitoring" (ACM SIGCOMM Computer
    Communication Review 31, 2001), a reduction of the E-model (ITU-T G.107), with their factors for G.711 and random
    loss. The delay is half of the round trip, twice the jitter, and one packet.
    """
    percent, rtt_ms = loss_percent(sample), sample.get("rtt_ms")
    if percent is None or rtt_ms is None:
        return None
    delay_ms = rtt_ms / 2 + 2 * sample.get("jitter_ms", 0.0) + _PACKET_MS
    by_delay = 0.024 * delay_ms + 0.11 * max(delay_ms - _KNEE_MS, 0.0)
    by_loss = 30.0 * math.log(1 + 15.0 * percent / 100)
    r = min(max(_BASE_R - by_delay - by_loss, 0.0), 100.0)
    return float(round(max(1.0, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r)), 2))
