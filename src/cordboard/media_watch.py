"""Watches the media of a WebRTC connection of aiortc: figures every 5 s, and warnings (docs/contract/events.md)."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cordboard.contract.media_quality import SAMPLE_S, STATS_S, MediaJudge, mos

_OPUS_HZ: Final = 48_000
_COUNTED: Final = ("packets_sent", "packets_received", "packets_lost")
_ENDED: Final = ("closed", "failed")

Write = Callable[..., None]
"""Writes a record: a message, an event, ``is_bad``, and the members of ``meta`` by name."""


@dataclass(slots=True)
class _Interval:
    """What has been measured since the last `media.stats`."""

    began_at: float
    counts: dict[str, int] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)

    def add(self, sample: Mapping[str, Any]) -> None:
        """Add a sample: counts add up, other values are those of now."""
        for name in _COUNTED:
            if name in sample:
                self.counts[name] = self.counts.get(name, 0) + sample[name]
        self.last.update({name: value for name, value in sample.items() if name not in _COUNTED})


class MediaWatch:
    """Takes a sample a second, and writes what it finds.

    Args:
        connection: Returns the connection, which may be replaced during the call.
        end: The end that measures: ``call`` or ``bot``.
        write: Writes a record.
        levels: Returns the levels of sound since the call before, by the names of `media.stats`.
    """

    def __init__(
        self,
        connection: Callable[[], Any],
        end: str,
        write: Write,
        levels: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._connection = connection
        self._end = end
        self._write = write
        self._levels = levels
        self._judge = MediaJudge(end)
        self._changed = asyncio.Event()
        self._watched: Any = None
        self._before: dict[str, int] = {}
        self._state: str | None = None
        self._interval = _Interval(time.monotonic())

    async def run(self) -> None:
        """Watch until the task is cancelled."""
        sample_at = time.monotonic() + SAMPLE_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, sample_at - time.monotonic())):
                    await self._changed.wait()
            self._changed.clear()
            now = time.monotonic()
            if now >= sample_at:
                # After a pause of this process, seconds are not made up for.
                sample_at = now + SAMPLE_S
                await self._sample()
            self._write_stats_if_due(now)

    async def _sample(self) -> None:
        """Take a sample, and judge it while media is expected to flow."""
        connection = self._connection()
        if connection is not self._watched:
            self._watch(connection)
        counts, sample = _figures(await connection.getStats())
        deltas = {name: max(0, count - self._before.get(name, 0)) for name, count in counts.items()}
        self._before = counts
        sample |= {**deltas, **self._levels()}
        if (path := _path(connection)) is not None:
            sample["path"] = path
        self._interval.add(sample)
        if connection.connectionState == "connected":
            score = mos(sample)
            for warning in self._judge.judge(
                {**sample, **({} if score is None else {"mos": score})}
            ):
                self._write(
                    "Media is bad" if warning["state"] == "raised" else "Media is good again",
                    "media.warning",
                    is_bad=warning["state"] == "raised",
                    **warning,
                )

    def _watch(self, connection: Any) -> None:
        self._watched, self._before = connection, {}
        connection.on("connectionstatechange", self._changed.set)
        self._changed.set()

    def _write_stats_if_due(self, now: float) -> None:
        state = None if self._watched is None else self._watched.connectionState
        interval_s = now - self._interval.began_at
        if state == self._state and (interval_s < STATS_S or state in _ENDED):
            return
        self._state = state
        interval, self._interval = self._interval, _Interval(now)
        figures = {**interval.counts, **interval.last}
        self._write(
            "Media measured",
            "media.stats",
            end=self._end,
            state=state,
            interval_ms=round(interval_s * 1000),
            mos=mos(figures),
            **figures,
        )


def _figures(report: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
    """Return the totals of the audio in a report, and what is true now."""
    totals: dict[str, int] = {}
    now: dict[str, Any] = {}
    for one in report.values():
        if getattr(one, "kind", None) != "audio":
            continue
        if one.type == "inbound-rtp":
            _add(totals, packets_received=one.packetsReceived, packets_lost=one.packetsLost)
            now["jitter_ms"] = round(one.jitter * 1000 / _OPUS_HZ, 1)
        elif one.type == "outbound-rtp":
            _add(totals, packets_sent=one.packetsSent)
        elif one.type == "remote-inbound-rtp" and one.roundTripTime:
            now["rtt_ms"] = round(one.roundTripTime * 1000, 1)
    return totals, now


def _add(totals: dict[str, int], **counts: int) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count


def _path(connection: Any) -> str | None:
    """Return the type of the local candidate in use; None if it is not known. aiortc has no public name for it."""
    try:
        transport = connection.getTransceivers()[0].receiver.transport.transport
        pair = transport._connection._nominated[1]  # noqa: SLF001 - see above
        return str(pair.local_candidate.type)
    except (AttributeError, IndexError, KeyError):
        return None
