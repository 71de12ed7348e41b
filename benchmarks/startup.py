"""How long a user waits: `make up` until ready on an installed tree, and the start of commands."""

import argparse
import subprocess
import sys
import time

from _table import median, show
from _up import CORDBOARD, FREE_PORTS, ROOT, environment, up

COMMAND_ROUNDS = 30
# Milliseconds. A user does not notice 60 ms; the imports of one more component would exceed them.
BUDGETS_MS = {"cordboard logs --help": 60}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
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
