"""Whether this runner keeps up with its calls: how late event loops run, how busy processors are.

Measured with ``examples/echo.py`` on two cores that other programs used too, callers on the same
machine: with two, four, six and eight calls an event loop ran 6, 10, 20 and 27 ms late on average, and
4, 8, 20 and 6 % of the sound was lost. Sound comes in frames of 20 ms, from which the default is.
"""

import asyncio
import contextlib
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cordboard.emit import get_logger
from cordboard.runner import metrics
from cordboard.runner.registry import Registry

SAMPLE_S: Final = 1.0
WINDOW: Final = 10  # samples; one late second, at the start of a call for example, is no overload
BUSY: Final = 0.85
"""Use of the processors from which they, and not the bots' code, are taken as the cause of late loops."""
BUSY_RECOVERED: Final = 0.70
LAG_RECOVERED: Final = 0.5  # of the limit
LAG_COUNTED: Final = (
    4.0  # of the limit: a tenth of the window then adds 0.4, less than either bound
)

log = get_logger("load")


@dataclass(slots=True)
class Load:
    """Decides from the mean of a window, and needs a whole new window to change its mind.

    Attributes:
        limit_ms: From which lag on, on busy processors, a runner is overloaded; 0 for never.
    """

    limit_ms: float
    overloaded: bool = False
    _samples: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    @property
    def lag_ms(self) -> float:
        """The mean lag of the window."""
        return statistics.fmean(lag for lag, _ in self._samples) if self._samples else 0.0

    @property
    def busy(self) -> float:
        """The mean use of the processors in the window, from 0 to 1."""
        return statistics.fmean(busy for _, busy in self._samples) if self._samples else 0.0

    def sample(self, lag_ms: float, busy: float) -> bool:
        """Take a sample; return whether ``overloaded`` has changed by it."""
        self._samples.append((min(lag_ms, self.limit_ms * LAG_COUNTED), busy))
        if not self.limit_ms or len(self._samples) < WINDOW:
            return False
        if self.overloaded:
            changed = self.lag_ms < self.limit_ms * LAG_RECOVERED or self.busy < BUSY_RECOVERED
        else:
            changed = self.lag_ms >= self.limit_ms and self.busy >= BUSY
        if changed:
            self.overloaded = not self.overloaded
        return changed

    def begin_window(self) -> None:
        """Forget the samples."""
        self._samples.clear()


class Processors:
    """The use, by all processes, of the processors that this process may use.

    The machine's use counts, and where there is a limit (a cgroup's, a container's) the use below it.
    """

    def __init__(self) -> None:
        self._group = _cgroup()
        self._last = self._read()

    def busy(self) -> float:
        """Return the use since the last call, from 0 to 1; 0 if the system does not say."""
        before, self._last = self._last, self._read()
        shares = [
            (used - used_before) / (might - might_before)
            for (used, might), (used_before, might_before) in zip(self._last, before, strict=False)
            if might > might_before
        ]
        return min(max(shares, default=0.0), 1.0)

    def _read(self) -> list[tuple[float, float]]:
        """Return, for the machine and for the limit, seconds used and seconds there were."""
        return [_of_machine(), _of_group(self._group)]


def _of_machine() -> tuple[float, float]:
    with contextlib.suppress(OSError, ValueError):
        words = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:9]
        ticks = [int(word) for word in words]  # user nice system idle iowait irq softirq steal
        return float(sum(ticks) - ticks[3] - ticks[4]), float(sum(ticks))
    return 0.0, 0.0


def _of_group(group: Path | None) -> tuple[float, float]:
    if group is None:
        return 0.0, 0.0
    with contextlib.suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        used = (group / "cpu.stat").read_text(encoding="ascii").split()[1]  # usage_usec first
        if quota != "max":
            return int(used) / 1e6, time.monotonic() * int(quota) / int(period)
    return 0.0, 0.0


def _cgroup() -> Path | None:
    """Return the control group of this process (version 2), where there is one."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                return Path("/sys/fs/cgroup") / line[3:].lstrip("/")
    return None


def lag_of_bots(registry: Registry) -> float:
    """Return the lag of the bot in the middle, in ms: one that hangs by itself is no overload."""
    lags = [session.loop_lag_ms for session in registry.live if session.status == "running"]
    return statistics.median_low(lags) if lags else 0.0


async def watch(registry: Registry, limit_ms: float, tell: Callable[[], Awaitable[None]]) -> None:
    """Measure the load forever; keep ``registry.overloaded``, and tell the store when it changes.

    Args:
        registry: The sessions.
        limit_ms: See ``Load``.
        tell: Registers this runner with what it takes now.
    """
    load, processors = Load(limit_ms), Processors()
    while True:
        due = time.monotonic() + SAMPLE_S
        await asyncio.sleep(SAMPLE_S)
        own_ms = (time.monotonic() - due) * 1000
        if load.sample(max(own_ms, lag_of_bots(registry)), processors.busy()):
            registry.overloaded = load.overloaded
            metrics.overloaded.set(load.overloaded)
            _say(load, len(registry.live))
            load.begin_window()
            await tell()


def _say(load: Load, sessions: int) -> None:
    lag_ms, busy = round(load.lag_ms, 1), round(load.busy, 2)
    words = "This runner cannot keep up: sound is late; it takes no more sessions"
    if load.overloaded:
        log.warning(words, lag_ms=lag_ms, busy=busy, sessions=sessions)
        return
    words = "This runner keeps up again; it takes sessions"
    log.info(words, lag_ms=lag_ms, busy=busy, sessions=sessions)
