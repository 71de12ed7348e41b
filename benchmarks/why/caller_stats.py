"""Statistics of a call's media at the caller's end, and what the bot's end reports by RTCP, in the documented shape.

For versions of `cordboard call` that write none themselves.
"""

import asyncio
from collections import deque
from importlib.util import find_spec
from typing import Any

from cordboard.call.peer import Peer
from cordboard.emit import get_logger

SAMPLE_S = 1.0
LINE_SAMPLES = 5
RAISE, WINDOW = 3, 5
CLOCK_HZ = 48_000
LOSS_PERCENT, JITTER_MS = 1.0, 30.0

log = get_logger("media")


def install() -> None:
    """Sample each connection from its answer on, unless the product does that itself."""
    if find_spec("cordboard.call.measuring") is not None:
        return
    accept = Peer.accept

    async def accepted(self: Peer, answer: dict[str, str]) -> None:
        await accept(self, answer)
        self._spawn(_watch(self))

    Peer.accept = accepted  # type: ignore[method-assign]


async def _watch(peer: Peer) -> None:
    before: dict[str, dict[str, float]] = {}
    ends = {end: _End(end) for end in ("call", "bot")}
    state = ""
    try:
        while True:
            await asyncio.sleep(SAMPLE_S)
            connection = peer._pc  # noqa: SLF001 - it has no public name
            now = _figures(await connection.getStats())
            for end, figures in now.items():
                older = before.get(end, {})
                # A report of RTCP comes about once a second: without news, its figures say nothing.
                ends[end].add(
                    {
                        key: value - older.get(key, 0.0)
                        for key, value in figures.items()
                        if key != "jitter_ms"
                    },
                    figures.get("jitter_ms"),
                )
            before = now
            if connection.connectionState != state or ends["call"].samples >= LINE_SAMPLES:
                state = connection.connectionState
                for one in ends.values():
                    one.write(state)
    finally:
        for one in ends.values():
            one.write(peer._pc.connectionState)  # noqa: SLF001


def _figures(stats: Any) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    sent = next((one.packetsSent for one in stats.values() if one.type == "outbound-rtp"), 0)
    for one in stats.values():
        jitter_ms = getattr(one, "jitter", 0) * 1000 / CLOCK_HZ
        if one.type == "inbound-rtp":
            received = {"packets_received": one.packetsReceived, "packets_lost": one.packetsLost}
            found["call"] = {"packets_sent": sent, **received, "jitter_ms": jitter_ms}
        elif one.type == "remote-outbound-rtp":
            found.setdefault("bot", {})["packets_sent"] = one.packetsSent
        elif one.type == "remote-inbound-rtp":
            received = {"packets_received": sent - one.packetsLost, "packets_lost": one.packetsLost}
            found.setdefault("bot", {}).update({**received, "jitter_ms": jitter_ms})
    found.setdefault("call", {"packets_sent": sent, "packets_received": 0, "packets_lost": 0})
    return found


class _End:
    """One end: the sums since the last line, and its warnings."""

    def __init__(self, end: str) -> None:
        self.end = end
        self.samples = 0
        self._sums: dict[str, float] = {}
        self._jitter_ms: float | None = None
        self._beyond: dict[str, deque[bool]] = {}
        self._raised: set[str] = set()

    def add(self, deltas: dict[str, float], jitter_ms: float | None) -> None:
        self.samples += 1
        for key, value in deltas.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        self._jitter_ms = jitter_ms
        lost = deltas.get("packets_lost", 0)
        due = lost + deltas.get("packets_received", 0)
        if due > 0:
            self._judge("high_loss", 100 * lost / due, LOSS_PERCENT)
        if jitter_ms is not None:
            self._judge("high_jitter", jitter_ms, JITTER_MS)

    def _judge(self, name: str, value: float, threshold: float) -> None:
        window = self._beyond.setdefault(name, deque(maxlen=WINDOW))
        window.append(value > threshold)
        state = "raised" if sum(window) >= RAISE else "cleared" if not any(window) else ""
        if (state == "raised") == (name in self._raised) or not state:
            return
        self._raised ^= {name}
        log.info(
            "Media warning",
            event="media.warning",
            name=name,
            state=state,
            value=round(value, 1),
            threshold=threshold,
            end=self.end,
        )

    def write(self, state: str) -> None:
        if not self.samples:
            return
        jitter = {} if self._jitter_ms is None else {"jitter_ms": round(self._jitter_ms, 1)}
        log.info(
            "Media figures",
            event="media.stats",
            end=self.end,
            state=state,
            interval_ms=self.samples * 1000,
            **{key: round(value) for key, value in self._sums.items()},
            **jitter,
        )
        self.samples, self._sums = 0, {}
