"""The usage of the processors that this process may use."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC_STAT: Final = Path("/proc/stat")
_PROC_CGROUP: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Processor time up to now, in units that differ between the machine and a control group.

    Attributes:
        used: Time in use.
        available: Time in use and idle.
    """

    used: float = 0.0
    available: float = 0.0

    def usage_since(self, earlier: "CpuTime") -> float:
        """Return the usage since `earlier`, from 0 to 1; 0 if no time has passed."""
        available = self.available - earlier.available
        return (self.used - earlier.used) / available if available > 0 else 0.0


class CpuUsage:
    """Measures the usage by all processes of the machine and of this process's control group.

    The higher of the two counts: in a container with a limit, the group can be busy on an idle machine.

    Args:
        proc_stat: The file with the machine's processor times.
        cgroup: The directory of the control group (version 2); by default this process's, if it has one.
        clock: Returns seconds.
    """

    def __init__(
        self,
        proc_stat: Path = _PROC_STAT,
        cgroup: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proc_stat = proc_stat
        self._cgroup = cgroup or _own_cgroup()
        self._clock = clock
        self._last = self._read()

    def measure(self) -> float:
        """Return the usage since the last call, from 0 to 1; 0 if the system provides no figures."""
        earlier, self._last = self._last, self._read()
        usages = [now.usage_since(then) for now, then in zip(self._last, earlier, strict=True)]
        return min(max(usages), 1.0)

    def _read(self) -> tuple[CpuTime, CpuTime]:
        return _machine_time(self._proc_stat), _cgroup_time(self._cgroup, self._clock())


def _machine_time(proc_stat: Path) -> CpuTime:
    with contextlib.suppress(OSError, ValueError):
        first_line = proc_stat.read_text(encoding="ascii").partition("\n")[0]
        # user nice system idle iowait irq softirq steal; guest times are part of user and nice.
        ticks = [int(field) for field in first_line.split()[1:9]]
        idle = ticks[3] + ticks[4]
        return CpuTime(float(sum(ticks) - idle), float(sum(ticks)))
    return CpuTime()


def _cgroup_time(cgroup: Path | None, now: float) -> CpuTime:
    if cgroup is None:
        return CpuTime()
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        used_us = (
            (cgroup / "cpu.stat").read_text(encoding="ascii").split()[1]
        )  # usage_usec is first
        if quota != "max":
            return CpuTime(int(used_us) / 1e6, now * int(quota) / int(period))
    return CpuTime()


def _own_cgroup() -> Path | None:
    with contextlib.suppress(OSError):
        for line in _PROC_CGROUP.read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):  # the entry of version 2
                return _CGROUPS / line[3:].lstrip("/")
    return None
