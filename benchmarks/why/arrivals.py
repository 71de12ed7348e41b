"""What reached a caller's socket, below all that is planted: a busy machine sends late, or drops what nobody reads."""

import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

CLOCK = 48_000  # of Opus in RTP, RFC 7587
SAMPLE = 250  # packets of 5 s
WRAP = 1 << 16


@dataclass
class Arrivals:
    """The RTP packets of one call, as they arrive.

    Attributes:
        seen: How many there were.
        expected: How many the sequence numbers show.
        gap_s: The longest time without a packet.
        jitters: The jitter, RFC 3550, each 5 s, in seconds.
    """

    seen: int = 0
    expected: int = 0
    gap_s: float = 0.0
    jitters: list[float] = field(default_factory=list)
    _last: tuple[bytes, int, float, float] | None = None
    _jitter: float = 0.0

    def add(self, packet: bytes) -> None:
        """Take a packet that has arrived now."""
        now = time.monotonic()
        number, stamp = int.from_bytes(packet[2:4]), int.from_bytes(packet[4:8])
        source = packet[8:12]
        if self._last is None or self._last[0] != source:  # another bot goes on
            self.seen, self.expected, self._last = 1, 1, (source, number, stamp, now)
            return
        _, last_number, last_stamp, last_at = self._last
        self.seen += 1
        step = (number - last_number + WRAP // 2) % WRAP - WRAP // 2
        self.gap_s = max(self.gap_s, now - last_at)
        difference = abs((now - last_at) - (stamp - last_stamp) / CLOCK)
        if difference < 60:  # or the time stamps began anew
            self._jitter += (difference - self._jitter) / 16
        if self.seen % SAMPLE == 0:
            self.jitters.append(self._jitter)
        if step > 0:
            self.expected += step
            self._last = (source, number, stamp, now)

    def measured(self) -> dict[str, Any]:
        """Return what the machine did to the packets."""
        jitter_s = median(self.jitters or [self._jitter])
        return {
            "expected": self.expected,
            "missing": max(self.expected - self.seen, 0),
            "gap_ms": round(1000 * self.gap_s),
            "jitter_ms": round(1000 * jitter_s, 1),
        }
