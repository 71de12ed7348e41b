"""Click to first audio on this machine, with the time of each stage: real media, no browser."""

import argparse
import asyncio

from _table import median, quantile, show
from _up import ROOT, Running, up

from cordboard.call import CallOptions, CallResult, place_call

STAGES = (
    "joined",
    "running",
    "answered",
    "connected",
    "first_audio",
    "spoken",
    "heard_back",
    "left",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    with up() as running:
        results = asyncio.run(_calls(running, rounds))
    show(
        f"a call to the built-in bot, {rounds} rounds (goal: first audio under 1500 ms)",
        ("stage", "step ms", "since click ms", "p95", "worst"),
        [_row(name, results) for name in STAGES],
    )
    print("  (spoken takes as long as the greeting's end and the spoken file do)")


async def _calls(running: Running, rounds: int) -> list[CallResult]:
    options = CallOptions(
        room="webrtc:bench",
        gateway_url=running.addresses["gateway"],
        control_secret=running.secret,
        say=ROOT / "examples" / "hello.wav",
    )
    await place_call(options)  # the first call warms both ends
    results = [await place_call(options) for _ in range(rounds)]
    for result in results:
        if not result.ok:
            raise SystemExit(f"A call failed at {result.failed}: {result.reason} {result.hint}")
    return results


def _row(name: str, results: list[CallResult]) -> tuple[str, float, float, float, float]:
    found = [stage for result in results for stage in result.stages if stage.name == name]
    total = [stage.ms for stage in found]
    return (
        name,
        median([stage.step_ms for stage in found]),
        median(total),
        quantile(total, 0.95),
        max(total),
    )


if __name__ == "__main__":
    main()
