"""First audio of a phone call: from a carrier's webhook to the first message
with audio. Cordboard and Pipecat's own runner take turns, with the same bot.

    python benchmarks/edge/bench_first_audio.py [--rounds 21]
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import median, quantile, show

from edge import peers, phone

GOAL_MS = 150
PATIENCE_S = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    load = peers.load()
    with (
        peers.cordboard() as ours,
        peers.pipecat_runner(peers.HERE / "built_in_bot.py", answers_phone=True) as theirs,
    ):
        servers = (ours, theirs)
        times: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
        for number in range(rounds + 2):  # the first two warm everything up
            for server in servers if number % 2 else servers[::-1]:
                measured = _call(server)
                if number > 1:
                    times[server.name].append(measured)
    show(
        f"first audio of a phone call, {rounds} rounds, {load} (goal: p50 under {GOAL_MS} ms)",
        ("", "webhook ms", "p50 ms", "p90 ms", "worst ms", "ratio"),
        [_row(name, values, times[ours.name]) for name, values in times.items()],
    )


def _call(server: peers.Server) -> tuple[float, float]:
    """Return the seconds until the webhook's answer, and until the first audio."""
    began = time.perf_counter()
    url, call_sid = server.take_call()
    answered = time.perf_counter() - began
    measured = asyncio.run(_timed_call(url, call_sid, began))
    return answered, measured


async def _timed_call(url: str, call_sid: str, began: float) -> float:
    before = time.perf_counter() - began
    measured = await phone.call(url, call_sid, PATIENCE_S, until_heard=True)
    if measured.first_audio_s is None:
        raise SystemExit(f"A call heard nothing: {measured.failure or 'no error'}")
    return before + measured.connected_s + measured.first_audio_s


def _row(
    name: str, values: list[tuple[float, float]], ours: list[tuple[float, float]]
) -> tuple[object, ...]:
    answers, totals = [1000 * value[0] for value in values], [1000 * value[1] for value in values]
    ratio = median(totals) / median([1000 * value[1] for value in ours])
    return name, median(answers), median(totals), quantile(totals, 0.9), max(totals), f"{ratio:.2f}"


if __name__ == "__main__":
    main()
