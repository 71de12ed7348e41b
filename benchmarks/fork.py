"""Compare two ways to start a bot process: a fork of the fork server, and a fresh process that imports."""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
from _table import median, quantile, show
from _up import ROOT, Running, environment, up

BOT_FILE = ROOT / "src" / "cordboard" / "bots" / "parrot.py"
FRESH = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("bot", {str(BOT_FILE)!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print("ready", flush=True)
sys.stdin.read()
"""
KB_PER_MB = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--fresh-rounds", type=int, default=5)
    options = parser.parse_args()
    with up() as running:
        forked, private = asyncio.run(_forks(running, options.rounds))
    fresh, fresh_private = _fresh(options.fresh_rounds)
    show(
        f"start of a bot process, {options.rounds} forks and {options.fresh_rounds} fresh "
        "processes with byte code (goal: fork under 20 ms)",
        ("", "ms p50", "ms p90", "ms worst", "private MB p50"),
        [
            ("fork", median(forked), quantile(forked, 0.9), max(forked), median(private)),
            (
                "fresh process",
                *(median(fresh), quantile(fresh, 0.9), max(fresh), median(fresh_private)),
            ),
            (
                "ratio",
                *(median(fresh) / median(forked), "", "", median(fresh_private) / median(private)),
            ),
        ],
    )
    print("  (private: Private_Clean + Private_Dirty of the waiting process, before media)")


async def _forks(running: Running, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each fork, as the runner logs them, and each bot's private memory in MB."""
    private = []
    headers = {"Authorization": f"Bearer {running.secret}"}
    async with aiohttp.ClientSession(running.addresses["gateway"], headers=headers) as client:
        for number in range(rounds + 1):
            join = {"room_url": f"webrtc:fork-{number}", "sessionId": f"fork-{number}"}
            async with client.post("/join?wait=30", json=join) as answer:
                assert (await answer.json())["status"] == "running"
            await asyncio.sleep(0.2)  # until the bot waits for its user, and its lines are written
            private.append(_private_mb(_bots(running)[f"fork-{number}"][0]))
            async with client.post("/leave", json={"sessionId": join["sessionId"]}) as answer:
                await answer.read()
    forked = [ms for _, ms in _bots(running).values()]
    return forked[1:], private[1:]  # the first fork fills the caches


def _bots(running: Running) -> dict[str, tuple[int, float]]:
    """Return the process id and the milliseconds of each fork, by session, from the runner's lines."""
    forks = {}
    for line in (Path(running.addresses["logs"]) / "runner.jsonl").read_text().splitlines():
        if '"event":"bot.forked"' in line:
            record = json.loads(line)
            forks[record["sessionId"]] = (record["meta"]["pid"], record["meta"]["ms"])
    return forks


def _fresh(rounds: int) -> tuple[list[float], list[float]]:
    times, private = [], []
    for _ in range(rounds + 1):
        began_at = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", FRESH],
            env=environment("/nonexistent", "none"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            times.append((time.perf_counter() - began_at) * 1000)
            private.append(_private_mb(process.pid))
            process.kill()
    return times[1:], private[1:]


def _private_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return kilobytes / KB_PER_MB


if __name__ == "__main__":
    main()
