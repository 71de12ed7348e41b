"""Detect that this runner cannot keep up with its calls: event loops are late, processors are busy.

Measured with ``examples/echo.py`` on two cores that other programs used as well, with the callers on the same
machine: with two, four, six and eight calls an event loop was 6, 10, 20 and 27 ms late on average, and 4, 8,
20 and 6 % of the sound was lost. Sound comes in frames of 20 ms; hence the default limit of 20 ms.
"""

import asyncio
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from cordboard.emit import get_logger
from cordboard.runner import metrics
from cordboard.runner.cpu_usage import CpuUsage
from cordboard.runner.heartbeat import Heartbeat
from cordboard.runner.registry import Registry

SAMPLE_S: Final = 1.0

# Samples in a window. One late second, for example at the start of a call, is not an overload.
WINDOW: Final = 10

# The processor usage from which the processors, and not the bots' code, count as the cause of late
# loops.
BUSY: Final = 0.85

# Below ``BUSY`` by a margin, so that a runner does not change its mind with every call that ends.
BUSY_RECOVERED: Final = 0.70

# In limits: the lag below which a runner has recovered.
LAG_RECOVERED: Final = 0.5

# In limits: the most that one sample counts. A tenth of a window then adds 0.4 limits to the mean, which
# is less than either threshold.
LAG_COUNTED_MAX: Final = 4.0

log = get_logger("load")


@dataclass(slots=True)
class OverloadDetector:
    """Decides from the mean of a window, and needs a whole new window to change its mind.

    Attributes:
        limit_ms: The lag from which a runner with busy processors is overloaded; 0 for never.
        is_overloaded: The last decision.
    """

    limit_ms: float
    is_overloaded: bool = False
    _samples: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    @property
    def lag_ms(self) -> float:
        """The mean lag in the window, in milliseconds."""
        return statistics.fmean(lag for lag, _ in self._samples) if self._samples else 0.0

    @property
    def usage(self) -> float:
        """The mean processor usage in the window, from 0 to 1."""
        return statistics.fmean(usage for _, usage in self._samples) if self._samples else 0.0

    def add_sample(self, lag_ms: float, usage: float) -> bool:
        """Add a sample.

        Args:
            lag_ms: How late an event loop was, in milliseconds.
            usage: The processor usage, from 0 to 1.

        Returns:
            Whether the sample has changed ``is_overloaded``.
        """
        self._samples.append((min(lag_ms, self.limit_ms * LAG_COUNTED_MAX), usage))
        if not self.limit_ms or len(self._samples) < WINDOW:
            return False
        if self.is_overloaded:
            has_recovered = self.lag_ms < self.limit_ms * LAG_RECOVERED
            changes = has_recovered or self.usage < BUSY_RECOVERED
        else:
            changes = self.lag_ms >= self.limit_ms and self.usage >= BUSY
        if changes:
            self.is_overloaded = not self.is_overloaded
        return changes

    def start_window(self) -> None:
        """Discard the samples."""
        self._samples.clear()


@dataclass(frozen=True, slots=True)
class OverloadMonitor:
    """Keeps ``Registry.is_overloaded``, and registers the runner again when it changes.

    Attributes:
        registry: The sessions of this runner.
        heartbeat: Registers this runner.
        limit_ms: See ``OverloadDetector``.
    """

    registry: Registry
    heartbeat: Heartbeat
    limit_ms: float

    async def run(self) -> None:
        """Measure until cancelled."""
        detector, cpu_usage = OverloadDetector(self.limit_ms), CpuUsage()
        while True:
            due_at = time.monotonic() + SAMPLE_S
            await asyncio.sleep(SAMPLE_S)
            own_lag_ms = (time.monotonic() - due_at) * 1000
            lag_ms = max(own_lag_ms, median_bot_lag_ms(self.registry))
            if detector.add_sample(lag_ms, cpu_usage.measure()):
                self.registry.is_overloaded = detector.is_overloaded
                metrics.overloaded.set(detector.is_overloaded)
                self._log_change(detector)
                detector.start_window()
                await self.heartbeat.beat()

    def _log_change(self, detector: OverloadDetector) -> None:
        write, message = (
            (log.warning, "This runner cannot keep up: audio is late; accepting no more sessions")
            if detector.is_overloaded
            else (log.info, "This runner keeps up again; accepting sessions")
        )
        write(
            message,
            lag_ms=round(detector.lag_ms, 1),
            busy=round(detector.usage, 2),
            sessions=len(self.registry.live),
        )


def median_bot_lag_ms(registry: Registry) -> float:
    """Return the median lag of the bots in `registry`: a single bot that hangs is not an overload."""
    lags = [session.loop_lag_ms for session in registry.live if session.status == "running"]
    return statistics.median_low(lags) if lags else 0.0
