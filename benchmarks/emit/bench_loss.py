"""Measures the loss by kill -9: the age of the oldest line that was logged and not written.

    python benchmarks/emit/bench_loss.py [--kills 40]

A process stores the time of each line in memory that it shares with the benchmark, and is killed at
a random time; the lines after the last one that arrived are lost. The contract allows 50 ms.
"""

import argparse
import mmap
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from _table import quantile, show  # noqa: E402 - found by the line above

MOMENT = struct.Struct("d")
LINES_MAX = 2_000_000
LOGGING_PROGRAM = """
import mmap, struct, sys, time
from cordboard import emit
emit.configure("bench", format="json", bridges=False)
log = emit.get_logger("bench")
file = open(sys.argv[1], "r+b")
shared = mmap.mmap(file.fileno(), 0)
pause_s, pack = float(sys.argv[2]), struct.Struct("d").pack_into
for i in range(int(sys.argv[3])):
    log.info("Line", i=i)
    pack(shared, 8 * i, time.monotonic())
    if pause_s: time.sleep(pause_s)
    elif not i % 1000: time.sleep(0.005)
"""


def one_kill(pause_s: float, target: str, folder: Path) -> float:
    """Kill a logging program; return the age in ms of its oldest lost line, at its last line."""
    moments, lines = folder / "moments", folder / "lines"
    with moments.open("wb") as file:
        file.truncate(LINES_MAX * MOMENT.size)
    with lines.open("wb") as file:
        speaker = subprocess.Popen(
            [sys.executable, "-c", LOGGING_PROGRAM, str(moments), str(pause_s), str(LINES_MAX)],
            stdout=subprocess.PIPE if target == "pipe" else file,
        )
        reader = threading.Thread(
            target=lambda: [file.write(part) for part in iter(lambda: read(speaker), b"")]
        )
        if target == "pipe":
            reader.start()
        time.sleep(random.uniform(0.4, 0.8))
        speaker.kill()
        assert speaker.wait() == -signal.SIGKILL
        if target == "pipe":
            reader.join()
    written = lines.read_bytes().count(b"\n")
    with moments.open("r+b") as noted, mmap.mmap(noted.fileno(), 0) as shared:
        said = [moment for (moment,) in MOMENT.iter_unpack(shared[: LINES_MAX * MOMENT.size])]
    said = said[: said.index(0.0)]
    return (said[-1] - said[written]) * 1000 if written < len(said) else 0.0


def read(speaker: "subprocess.Popen[bytes]") -> bytes:
    assert speaker.stdout is not None
    return speaker.stdout.read1()  # type: ignore[attr-defined, no-any-return]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    kills = parser.parse_args().kills
    rows = []
    for name, pause_s in (("a line each ms", 0.001), ("as fast as it can", 0.0)):
        for target in ("file", "pipe"):
            with tempfile.TemporaryDirectory() as folder:
                lost = [one_kill(pause_s, target, Path(folder)) for _ in range(kills)]
            rows.append([f"{name}, {target}", quantile(lost, 0.5), quantile(lost, 0.9), max(lost)])
    show("Lost by kill -9, ms", ["", "p50", "p90", "max"], rows)


if __name__ == "__main__":
    main()
