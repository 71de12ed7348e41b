"""What the relay costs: the time that it adds to a message, and the edge's processor time for a call.

    python benchmarks/edge/bench_relay.py [--rounds 5] [--calls 10] [--seconds 10]

A bot sends each message back at once. One caller's messages go through edge and runner's door to the bot's process,
the other's straight to the same bot in Pipecat's runner; both send a message of a phone call every 20 ms. What the
relay adds to one way is half of the difference.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import websockets

sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import median, quantile, show

from edge import peers, phone

GOAL_MS = 0.3
GOAL_CORE_PERCENT = 0.5
MESSAGE = json.dumps(
    {
        "event": "media",
        "sequenceNumber": "7",
        "media": {"track": "inbound", "chunk": "7", "timestamp": "140", "payload": phone.SILENCE},
        "streamSid": "MZ0",
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    load, bot = peers.load(), peers.HERE / "echo_bot.py"
    with (
        peers.cordboard("--bot", str(bot)) as ours,
        peers.pipecat_runner(bot, answers_phone=True) as theirs,
    ):
        relayed: list[float] = []
        direct: list[float] = []
        for _ in range(options.rounds):
            relayed += asyncio.run(_echoes(*ours.take_call(), options.seconds / 2))
            direct += asyncio.run(_echoes(*theirs.take_call(), options.seconds / 2))
        share = asyncio.run(_edge_share(ours, options.calls, options.seconds))
    added = (median(relayed) - median(direct)) / 2
    show(
        f"there and back, {len(relayed)} messages each, {load}",
        ("", "p50 ms", "p99 ms", "ratio"),
        [
            ("straight to the bot", *_numbers(direct), "1.00"),
            (
                "through edge and runner",
                *_numbers(relayed),
                f"{median(relayed) / median(direct):.2f}",
            ),
        ],
    )
    print(f"  added to one way: {1000 * added:.3f} ms (goal: under {GOAL_MS})")
    print(
        f"  the edge's processor time: {100 * share:.2f} % of a core a call, {options.calls} calls "
        f"(goal: under {GOAL_CORE_PERCENT})"
    )


def _numbers(values: list[float]) -> tuple[str, str]:
    return f"{1000 * median(values):.3f}", f"{1000 * quantile(values, 0.99):.3f}"


async def _echoes(url: str, call_sid: str, seconds: float) -> list[float]:
    """Send a message every 20 ms; return the seconds until each came back."""
    async with websockets.connect(url, compression=None) as stream:
        for message in phone.opening(call_sid, "MZ0"):
            await stream.send(message)
            await stream.recv()
        times = []
        for _ in range(round(seconds / phone.FRAME_S)):
            began = time.perf_counter()
            await stream.send(MESSAGE)
            await stream.recv()
            times.append(time.perf_counter() - began)
            await asyncio.sleep(max(0.0, phone.FRAME_S - times[-1]))
        return times


async def _edge_share(server: peers.Server, calls: int, seconds: float) -> float:
    """Return the share of a core that the edge uses for a call with audio both ways."""
    streams = [server.take_call() for _ in range(calls)]
    running = [asyncio.create_task(_echoes(*stream, seconds + 2)) for stream in streams]
    await asyncio.sleep(1)  # without the opening of the streams
    before, began = peers.cpu_s(server.pids["edge"]), time.perf_counter()
    await asyncio.sleep(seconds)
    used, passed = peers.cpu_s(server.pids["edge"]) - before, time.perf_counter() - began
    await asyncio.gather(*running)
    return used / passed / calls


if __name__ == "__main__":
    main()
