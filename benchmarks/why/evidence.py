"""What was measured of each planted call, apart from the lines that `cordboard why` reads: whether the plant took.

A cause that did not come about, or did not come alone, says nothing about the rules: such calls are counted apart, by
these measures only, whatever the answer is.
"""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from why.plantings import OF_THE_PLANE, Planting

TICK_S = 0.02
"""The interval of Opus packets."""

JITTER_MS, LOSS_SHARE, PACKETS_MIN, GAP_MS, SLOW_S = 30.0, 0.01, 250, 1000.0, 2.0
"""What counts as such: Twilio's thresholds, 5 s of Opus, waits that callers notice. As the rules have it."""

TOLERANCE = 0.75
"""By chance fewer packets are lost than the planted share says."""


@dataclass
class Evidence:
    """What was measured of one call.

    Attributes:
        began: When the call began, seconds since 1970.
        ended: When its session had ended.
        packets: Of each direction: how many packets of media came by, how many of them were dropped, and the jitter
            that was planted, in milliseconds. ``blocked``: messages of ICE that were dropped.
        requests: What the doubles were asked: the service, when, when they answered, the status.
        did: What the bot said that it does, right before; ``cold`` if a cold runner was seen.
        removed: How many lines were taken out of the logs.
        late: How uneven a process got the processor that does nothing but wait for the next 20 ms, as RTP measures
            jitter, in milliseconds: of this process, in which the callers are, and of the machine.
        arrivals: Of the packets from the bot, before anything planted happens to them: how many there should have been,
            how many of them were missing, the longest time without one, and the jitter.
    """

    began: float = 0.0
    ended: float = 0.0
    packets: dict[str, Any] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    did: list[str] = field(default_factory=list)
    removed: int = 0
    late: dict[str, float] = field(default_factory=dict)
    arrivals: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# --- whether it took


def not_planted(planting: Planting, evidence: Evidence) -> str:
    """Return why the planted cause did not come about; empty if it did."""
    kind = _MEASURES.get(planting.cause)
    return kind(planting, evidence) if kind else ""


def second_cause(planting: Planting, evidence: Evidence) -> str:
    """Return what else befell the call: a machine that was too busy to send, or to take, a packet each 20 ms."""
    found = {**evidence.late, "packets from the bot": evidence.arrivals.get("jitter_ms", 0.0)}
    for what, jitter_ms in found.items():
        if jitter_ms > JITTER_MS:
            return f"a jitter of {jitter_ms:.0f} ms that was not planted ({what})"
    if planting.cause in OF_THE_PLANE:  # what is killed or stopped sends nothing
        return ""
    expected, missing = evidence.arrivals.get("expected", 0), evidence.arrivals.get("missing", 0)
    if missing > LOSS_SHARE * max(expected, PACKETS_MIN):
        return f"{missing} of {expected} packets never reached the caller"
    if evidence.arrivals.get("gap_ms", 0) > GAP_MS:
        return f"nothing reached the caller for {evidence.arrivals['gap_ms']} ms"
    return ""


def _lost(planting: Planting, evidence: Evidence) -> str:
    assert planting.impairment is not None
    for way in ("in", "out"):
        seen, lost = _seen(evidence, way)
        share = getattr(planting.impairment, f"loss_{way}")
        if share and seen >= PACKETS_MIN and lost >= max(TOLERANCE * share, LOSS_SHARE) * seen:
            return ""
    return f"too few packets were dropped: {evidence.packets}"


def _uneven(_planting: Planting, evidence: Evidence) -> str:
    for way in ("in", "out"):
        jitter_ms = evidence.packets.get(f"jitter_{way}_ms", 0.0)
        if jitter_ms > JITTER_MS and _seen(evidence, way)[0] >= PACKETS_MIN:
            return ""
    return f"the packets were not delayed unevenly: {evidence.packets}"


def _one_way(planting: Planting, evidence: Evidence) -> str:
    assert planting.impairment is not None
    way, other = ("in", "out") if planting.impairment.loss_in == 1.0 else ("out", "in")
    seen, lost = _seen(evidence, way)
    passed = _seen(evidence, other)[0] - _seen(evidence, other)[1]
    if seen >= PACKETS_MIN and lost == seen and passed >= PACKETS_MIN:
        return ""
    return f"the media did not pass in one direction only: {evidence.packets}"


def _blocked(_planting: Planting, evidence: Evidence) -> str:
    return "" if evidence.packets.get("blocked") else "no message of ICE was dropped"


def _seen(evidence: Evidence, way: str) -> tuple[int, int]:
    return evidence.packets.get(f"seen_{way}", 0), evidence.packets.get(f"lost_{way}", 0)


def _slow(planting: Planting, evidence: Evidence) -> str:
    """A service made the caller wait: an answer was given, and it took that long because of the planted delay."""
    (service,) = planting.plan["delays"]
    done = [one for one in evidence.requests if 0 < one["answered"] < evidence.ended]
    answers = [one for one in done if one["service"] == "voice"]
    slow = [
        one for one in done if one["service"] == service and one["answered"] - one["asked"] > SLOW_S
    ]
    if any(answer["answered"] >= one["answered"] for answer in answers for one in slow):
        return ""
    return f"no answer waited for the {service} service: {len(answers)} answers, {len(slow)} slow requests"


def _refused(planting: Planting, evidence: Evidence) -> str:
    (status,) = planting.plan["errors"].values()
    return (
        "" if any(one["status"] == status for one in evidence.requests) else f"nobody got {status}"
    )


def _did(planting: Planting, evidence: Evidence) -> str:
    what = {"tool_timeout": "tool", "cold_start_slow": "cold"}.get(planting.cause)
    what = what or planting.plan["bot"]["what"]
    return "" if what in evidence.did else f"never seen: {what}"


def _removed(_planting: Planting, evidence: Evidence) -> str:
    return "" if evidence.removed else "no line was removed"


_MEASURES: dict[str, Callable[[Planting, Evidence], str]] = {
    "packet_loss": _lost,
    "jitter": _uneven,
    "one_way_sound": _one_way,
    "no_path": _blocked,
    "speech_service_slow": _slow,
    "language_model_slow": _slow,
    "voice_slow": _slow,
    "rate_limit": _refused,
    "service_authentication": _refused,
    "service_failed": _refused,
    "tool_timeout": _did,
    "bot_raised": _did,
    "out_of_memory": _did,
    "cold_start_slow": _did,
    "lines_lost": _removed,
}
"""The other causes come about by construction: a killed runner, a stopped Redis, lines of a page."""


# --- how late the machine is


def prefer(pid: int, nice: int) -> None:
    """Set the nice value of a kernel session, sched(7): a machine that others use must not spoil the calls."""
    if nice:
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


_PROBE = """
import sys, time
due = time.time()
while True:
    due = max(due + 0.02, time.time())
    time.sleep(max(due - time.time(), 0))
    print(due, time.time() - due, flush=True)
"""


@dataclass
class Lateness:
    """How late this process, and one that does nothing else, wake up each 20 ms."""

    callers: list[tuple[float, float]] = field(default_factory=list)
    machine: list[tuple[float, float]] = field(default_factory=list)

    def of(self, began: float, ended: float) -> dict[str, float]:
        """Return the median jitter of a span of time by both, in milliseconds."""
        found = {"callers' process": self.callers, "machine": self.machine}
        return {
            name: round(1000 * _jitter([late for at, late in ticks if began <= at <= ended]), 1)
            for name, ticks in found.items()
        }

    @contextlib.contextmanager
    def measured(self, nice: int) -> Iterator[None]:
        """Measure while the block runs, at the nice value that bots have."""
        command = [sys.executable, "-c", _PROBE]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        prefer(process.pid, nice)
        tasks = [asyncio.create_task(self._own()), asyncio.create_task(self._probe(process))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            process.kill()
            process.wait()

    async def _own(self) -> None:
        due = time.time()
        while True:
            due = max(due + TICK_S, time.time())
            await asyncio.sleep(max(due - time.time(), 0))
            self.callers.append((due, time.time() - due))

    async def _probe(self, process: subprocess.Popen[bytes]) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, process.stdout)
        async for line in reader:
            due, late = line.split()
            self.machine.append((float(due), float(late)))


def _jitter(late: list[float]) -> float:
    """Return the median of the jitter, RFC 3550, of packets that are sent at these delays; of each 5 s the last."""
    values, estimate = [], 0.0
    for number, (before, after) in enumerate(itertools.pairwise(late), start=1):
        estimate += (abs(after - before) - estimate) / 16
        if number % round(5 / TICK_S) == 0:
            values.append(estimate)
    return median(values or [estimate])
