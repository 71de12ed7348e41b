"""Click to first audio in a real Chromium on this machine, with the time of each stage."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from _table import median, quantile, show
from _up import ROOT, up

sys.path.insert(0, str(ROOT / "tests"))
from browser.browser_support import chromium, enter, find_chromium, spoken

STAGES = ("microphone", "joined", "running", "answered", "connected", "first_audio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    if find_chromium() is None:
        sys.exit("page: needs Chromium (Debian: apt-get install chromium), or CHROMIUM=/path/to/it")
    with up() as running, tempfile.TemporaryDirectory() as folder:
        calls = asyncio.run(_calls(running.addresses["interface"], Path(folder), rounds))
    show(
        f"a call in the browser, {rounds} rounds (goal: first audio under 1500 ms after the click)",
        ("ms since click", "p50", "p90", "worst"),
        [
            (
                stage,
                *(f"{pick([call[stage] for call in calls]):.0f}" for pick in (median, _p90, max)),
            )
            for stage in STAGES
        ],
    )


def _p90(values: list[int]) -> float:
    return quantile(values, 0.9)


async def _calls(url: str, folder: Path, rounds: int) -> list[dict[str, int]]:
    """Call from one page, as a person would who calls again; the first call warms both ends."""
    found = []
    async with chromium(spoken(folder)) as browser:
        room = await enter(browser, url, "Bench")
        for _ in range(rounds + 1):
            await room.call()
            found.append(await room.stages())
            await room.leave()
    return found[1:]


if __name__ == "__main__":
    main()
