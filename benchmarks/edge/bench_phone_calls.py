"""How many simultaneous phone calls this machine bears: calls to the built-in bot, in which callers ask and listen.

    python benchmarks/edge/bench_phone_calls.py [--seconds 24] [--rounds 2] [--levels 5 10 15 20 25]

A level is borne if 99 % of its calls have no gap over 40 ms, and each question an answer. Cordboard and Pipecat's own
runner (one process, the same bot) climb until they bear no more. The calls begin a quarter of a second apart, and all
are there for the given seconds. The callers run on the same cores, in a process of their own, with priority where that
is permitted. Their processor time is shown, and their own lateness, since a late caller measures gaps that are not the
bot's.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import median, show

from edge import peers, phone

GAP_MAX_S = 0.04
GOOD_SHARE = 0.99
GOAL = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--levels", type=int, nargs="+", default=[2, 5, 10, 15, 20, 25, 30])
    options = parser.parse_args()
    load = peers.load()
    rows = []
    with peers.cordboard() as ours:
        rows += _climb(ours, options)
    with peers.pipecat_runner(peers.HERE / "built_in_bot.py", answers_phone=True) as theirs:
        rows += _climb(theirs, options)
    show(
        f"simultaneous phone calls, {options.rounds} rounds of {options.seconds:.0f} s each, {load} (goal: {GOAL})",
        (
            "",
            "calls",
            "good %",
            "gap p50 ms",
            "worst ms",
            "first audio ms",
            "late ms",
            "busy %",
            "callers %",
            "borne",
        ),
        rows,
    )
    borne = {"cordboard": 0, "pipecat runner": 0}
    for row in rows:
        if row[-1] == "yes":
            borne[str(row[0])] = int(str(row[1]))
    peer = borne["pipecat runner"]
    print(f"  borne: {borne}; ratio {borne['cordboard'] / peer if peer else float('inf'):.1f}")


def _climb(server: peers.Server, options: argparse.Namespace) -> list[tuple[object, ...]]:
    """Return a row for each level, up to the first that is not borne."""
    _call_all(server, 1, 3)  # warms everything up
    rows = []
    for level in options.levels:
        used = _used_s()
        calls = [
            one for _ in range(options.rounds) for one in _call_all(server, level, options.seconds)
        ]
        shares = [round(100 * share) for share in _shares(used, _used_s())]
        rows.append(_row(server.name, level, calls, options.seconds, shares))
        if rows[-1][-1] == "no":
            break
    return rows


def _call_all(server: peers.Server, level: int, seconds: float) -> list[phone.Call]:
    streams = [server.take_call() for _ in range(level)]
    done = subprocess.run(
        [sys.executable, phone.__file__],
        input=json.dumps({"streams": streams, "seconds": seconds}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [phone.Call(**one) for one in json.loads(done.stdout)]


def _used_s() -> tuple[float, float, float]:
    """Return the seconds that have passed, and the processor time of this machine and of the callers."""
    callers = resource.getrusage(resource.RUSAGE_CHILDREN)
    user, nice, system = (
        int(ticks) / os.sysconf("SC_CLK_TCK")
        for ticks in Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    )
    return time.monotonic(), user + nice + system, callers.ru_utime + callers.ru_stime


def _shares(before: tuple[float, ...], after: tuple[float, ...]) -> list[float]:
    """Return what was used of all processors, by the machine and by the callers."""
    passed, *used = (later - earlier for earlier, later in zip(before, after, strict=True))
    return [seconds / passed / (os.cpu_count() or 1) for seconds in used]


def _is_good(call: phone.Call, seconds: float) -> bool:
    answers = int(seconds // phone.QUESTION_EVERY_S)
    return not call.failure and len(call.gaps_s) >= answers and max(call.gaps_s) <= GAP_MAX_S


def _row(
    name: str, level: int, calls: Sequence[phone.Call], seconds: float, shares: Sequence[int]
) -> tuple[object, ...]:
    good = sum(_is_good(one, seconds) for one in calls) / len(calls)
    gaps = [max(one.gaps_s, default=float("inf")) for one in calls]
    first = [one.first_audio_s or float("inf") for one in calls]
    return (
        name,
        level,
        f"{100 * good:.0f}",
        1000 * median(gaps),
        1000 * max(gaps),
        1000 * median(first),
        1000 * max(one.lateness_s for one in calls),
        *shares,
        "yes" if good >= GOOD_SHARE else "no",
    )


if __name__ == "__main__":
    main()
