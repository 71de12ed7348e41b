"""How long a user waits: `make up` until ready on an installed tree, a second runner, the start of commands.

python benchmarks/startup.py                        all three
python benchmarks/startup.py --runners --rounds 9   only what a second runner costs
"""

import argparse
import asyncio
import subprocess
import sys
import time
import urllib.request

from _table import median, show
from _up import CORDBOARD, FREE_PORTS, ROOT, Running, environment, memory_mb, up

from cordboard.call import CallOptions, place_call

COMMAND_ROUNDS = 30
FREE_SLOTS = "cordboard_free_slots "
SLOTS = 4  # of each runner, by default
# Milliseconds. A user does not notice 60 ms; the imports of one more component would exceed them.
BUDGETS_MS = {"cordboard logs --help": 60}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runners", action="store_true", help="only what a second runner costs")
    options = parser.parse_args()
    if not options.runners:
        make_up_and_commands(options.rounds)
    second_runner(options.rounds)


def make_up_and_commands(rounds: int) -> None:
    make_up = ("make", "up", f"ARGS={' '.join(FREE_PORTS)}")
    with up(make_up):
        pass  # the first run compiles, and fills the system's file cache
    times = []
    stops = []
    for _ in range(rounds):
        with up(make_up) as running:
            times.append(running.ready_s)
            stopping = time.perf_counter()
        stops.append(time.perf_counter() - stopping)
    show(
        f"make up, warm file cache, {rounds} rounds (goal: ready under 4 s)",
        ("s", "median", "best", "worst"),
        [
            ("make up to up.ready", *_spread(times, 2)),
            ("SIGTERM to all stopped", *_spread(stops, 2)),
        ],
    )
    commands = {
        "python -c pass": (sys.executable, "-c", "pass"),
        "cordboard --help": (CORDBOARD, "--help"),
        "cordboard logs --help": (CORDBOARD, "logs", "--help"),
        "cordboard call --help": (CORDBOARD, "call", "--help"),
    }
    for command in commands.values():
        _run_ms(command)
    measured: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(COMMAND_ROUNDS):
        for name, command in commands.items():
            measured[name].append(_run_ms(command))
    show(
        f"commands, {COMMAND_ROUNDS} interleaved rounds",
        ("ms", "median", "best", "worst", "budget for the median"),
        [(name, *_spread(values, 0), _verdict(name, values)) for name, values in measured.items()],
    )


def second_runner(rounds: int) -> None:
    """Compare one runner with two: the start, a call that begins at `up.ready`, and the memory after it."""
    measured: dict[str, list[list[float]]] = {"1": [], "2": []}
    for number in range(2 * rounds + 1):
        runners = "12"[number % 2]
        # Memory is read from outside, which a runner otherwise forbids.
        command = (CORDBOARD, "up", *FREE_PORTS, "--runners", runners)
        with up(command, CORDBOARD_DUMPABLE="1") as running:
            audio_ms = asyncio.run(_first_audio_ms(running))
            if number:  # the first run fills the system's file cache
                measured[runners].append(
                    [running.ready_s, audio_ms / 1000, _settled_memory_mb(running, int(runners))]
                )
    show(
        f"one runner and two, {rounds} interleaved rounds, medians",
        ("runners", "to up.ready, s", "a call at once, to first audio, s", "memory of all, MB"),
        [
            (name, *(f"{median(column):.2f}" for column in zip(*rows, strict=True)))
            for name, rows in measured.items()
        ],
    )


async def _first_audio_ms(running: Running) -> float:
    result = await place_call(
        CallOptions("webrtc:first", running.addresses["gateway"], control_secret=running.secret)
    )
    return next(stage.ms for stage in result.stages if stage.name == "first_audio")


def _settled_memory_mb(running: Running, runners: int) -> float:
    """The memory when all runners have loaded their bots."""
    secret = {"X-Bot-Secret": running.secret}
    request = urllib.request.Request(f"{running.addresses['operator']}/metrics", headers=secret)
    free = 0.0
    while free < runners * SLOTS:
        time.sleep(0.5)
        with urllib.request.urlopen(request) as answer:
            lines = answer.read().decode().splitlines()
        free = next(float(line.split()[1]) for line in lines if line.startswith(FREE_SLOTS))
    return memory_mb(running.pid)


def _verdict(name: str, values: list[float]) -> str:
    if name not in BUDGETS_MS:
        return ""
    budget = BUDGETS_MS[name]
    return f"{budget}: {'met' if median(values) <= budget else 'EXCEEDED'}"


def _run_ms(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment("/tmp", "none")
    )
    return (time.perf_counter() - began) * 1000


def _spread(values: list[float], digits: int) -> tuple[str, str, str]:
    return tuple(f"{value:.{digits}f}" for value in (median(values), min(values), max(values)))  # type: ignore[return-value]  # three


if __name__ == "__main__":
    main()
