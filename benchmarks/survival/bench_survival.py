"""The silence that a caller hears when something dies in the middle of a sentence, from recorded sound.

The bot plays a tone that never pauses. Something is killed; the silence is the longest pause in what the caller
recorded. A history of the bots is judged as in tests/faults: no two in one room.

  python benchmarks/survival/bench_survival.py                      200 kills of each kind: some hours
  python benchmarks/survival/bench_survival.py --kills 20           a quick run
  python benchmarks/survival/bench_survival.py --caller phone --dies runner edge
  python benchmarks/survival/bench_survival.py --dies gateway operator interface    nobody should hear anything

Chromium is that of CHROMIUM, or of the PATH.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import quantile, show
from survival.call_plane import Plane, http_client
from survival.callers import CALLERS, NewCall

from browser.browser_support import find_chromium
from cordboard.up.embedded import EmbeddedServer
from plane_support import Processes
from tests_support import until

BOTS_END = ("runner", "bot", "drain")
# With ``nothing``, what is measured is the machine.
DIES = (*BOTS_END, "edge", "gateway", "operator", "interface", "nothing")
BEFORE_S, AFTER_S = 1.0, 1.5  # of sound, on both sides of the silence
HEADER = ("", "kills", "p50, s", "p99, s", "worst, s", "doubled bots", "ended calls", "other")
# The goal at p99; what happened in a longer silence is printed.
LONG_S = 3.0
# As long as a caller's side waits for the next bot.
PATIENCE_S = 22.0


@dataclass
class Row:
    """The kills of one kind.

    Attributes:
        silences: In seconds, of the calls that went on.
        ended: The calls in which the bot was not heard again.
        doubled: Times at which two bots were in one room.
        other: Other promises that were broken.
    """

    caller: str
    dies: str
    silences: list[float] = field(default_factory=list)
    ended: int = 0
    doubled: int = 0
    other: list[str] = field(default_factory=list)

    def note(self, silence_s: float | None) -> None:
        """Count one kill: the silence in seconds, None if the bot was not heard again."""
        if silence_s is None:
            self.ended += 1
        else:
            self.silences.append(silence_s)

    def cells(self) -> list[object]:
        pick = self.silences
        figures = [quantile(pick, 0.5), quantile(pick, 0.99), max(pick)] if pick else []
        shown = [f"{value:.2f}" for value in figures] or ["-"] * 3
        kills = len(pick) + self.ended
        return [
            f"{self.caller}: {self.dies}",
            kills,
            *shown,
            self.doubled,
            self.ended,
            len(self.other),
        ]


async def measure(plane: Plane, row: Row, kills: int) -> None:
    """Kill so often, each time in a call of its own."""
    session_ids: list[str] = []
    async with CALLERS[row.caller](plane) as new_call:
        try:
            for number in range(kills):
                await plane.settle()
                silence_s, session_id = await one_kill(plane, new_call, row.dies)
                session_ids.append(session_id)
                row.note(silence_s)
                words = "not heard again" if silence_s is None else f"{silence_s:.2f} s"
                print(f"  {row.caller}, {row.dies}, {number + 1}: {words}", flush=True)
                if silence_s is None or silence_s > LONG_S:
                    print(plane.lines(session_id), flush=True)
                plane.replace()
        finally:
            for violation in plane.verdict(session_ids):
                print(f"  broken promise {violation.promise}: {violation.words}", flush=True)
                row.doubled += violation.promise == 2
                row.other += [violation.words] if violation.promise != 2 else []


async def one_kill(plane: Plane, new_call: NewCall, dies: str) -> tuple[float | None, str]:
    """Return the silence in seconds, None if the bot was not heard again, and the session."""
    async with new_call() as heard:
        began = time.monotonic()
        await asyncio.sleep(BEFORE_S + random.random())
        parts = heard.parts()
        if dies == "drain":
            plane.events.append({"kind": "drain", "sid": heard.session_id})
        await plane.kill(dies, heard.session_id)
        with contextlib.suppress(AssertionError):  # it is not heard again
            if dies == "edge":
                await until(lambda: heard.parts() > parts + 5, PATIENCE_S)
            elif dies in BOTS_END:
                await plane.speaking(heard.session_id, times=2, timeout_s=PATIENCE_S)
        await asyncio.sleep(AFTER_S)
        if dies not in {*BOTS_END, "edge"}:
            await plane.settle()
        lasted_s = time.monotonic() - began
    plane.events.append({"kind": "leave", "sid": heard.session_id, "at": 0.0})
    await plane.note_end(heard.session_id)
    if heard.sound is None or heard.sound.span_s() < lasted_s - AFTER_S / 2:
        return None, heard.session_id
    return heard.sound.longest_silence_s(), heard.session_id


async def run(processes: Processes, options: argparse.Namespace) -> None:
    async with http_client() as client:
        plane = Plane(processes, client)
        await plane.start()
        rows = [
            Row(caller, dies)
            for caller in options.caller
            for dies in options.dies
            if dies != "edge" or caller == "phone"  # the others reach their bot without an edge
        ]
        load = os.getloadavg()[0]
        try:
            for row in rows:
                await measure(plane, row, options.kills)
        finally:  # Ctrl-C prints what was measured until then
            show(
                f"Silence in the recorded sound; {os.cpu_count()} cores, load {load:.1f} before, "
                f"{os.getloadavg()[0]:.1f} after",
                HEADER,
                [row.cells() for row in rows],
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="of each kind (default 200)")
    parser.add_argument("--caller", nargs="+", choices=[*CALLERS], default=[*CALLERS])
    parser.add_argument("--dies", nargs="+", choices=DIES, default=[*BOTS_END, "edge"])
    options = parser.parse_args()
    if "chromium" in options.caller and find_chromium() is None:
        sys.exit("survival: needs Chromium (Debian: apt-get install chromium), or CHROMIUM=/path")
    with tempfile.TemporaryDirectory(prefix="cordboard-survival-") as directory:
        server = EmbeddedServer()
        server.start()
        processes = Processes(Path(directory), server.url)
        try:
            asyncio.run(run(processes, options))
        finally:
            processes.stop()
            server.stop()


if __name__ == "__main__":
    main()
