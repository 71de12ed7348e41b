"""A page in a real Chromium on this machine: its load, its size, and click to first audio by stage."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from _table import median, quantile, show
from _up import ROOT, up

sys.path.insert(0, str(ROOT / "tests"))
from browser.browser_support import chromium, enter, find_chromium, spoken

# When a person can press Join, in ms since the page was requested.
WHEN_READY = """
new MutationObserver(() => {
  const join = document.querySelector("#join");
  if (join && !join.disabled) window.ready ??= performance.now();
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
WEIGHT = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((entry) => entry.initiatorType !== "fetch" && entry.initiatorType !== "beacon")
  .map((entry) => [entry.encodedBodySize, entry.decodedBodySize])"""
STAGES = ("microphone", "joined", "running", "answered", "connected", "first_audio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    if find_chromium() is None:
        sys.exit("page: needs Chromium (Debian: apt-get install chromium), or CHROMIUM=/path/to/it")
    with up() as running, tempfile.TemporaryDirectory() as folder:
        url = running.addresses["interface"]
        loads, sizes = asyncio.run(_loads(url, rounds))
        calls = asyncio.run(_calls(url, Path(folder), rounds))
    show(
        f"the room page with an empty cache, {rounds} rounds (goals: ready within 1000 ms, under 120 KB)",
        ("", "p50", "p90", "worst"),
        [("ready, ms", *(f"{pick(loads):.0f}" for pick in (median, _p90, max)))],
    )
    sent, unpacked = (sum(column) / 1000 for column in zip(*sizes, strict=True))
    print(f"{len(sizes)} files, {sent:.0f} KB on their way, {unpacked:.0f} KB unpacked")
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


def _p90(values: list[float]) -> float:
    return quantile(values, 0.9)


async def _loads(url: str, rounds: int) -> tuple[list[float], list[list[int]]]:
    """Load the page with an empty cache each time; return the times, and the sizes of its files."""
    times, sizes = [], []
    async with chromium() as browser:
        context = (await enter(browser, url, "Bench")).context
        for _ in range(rounds + 1):
            page = await context.new_page()
            tools = await context.new_cdp_session(page)
            await tools.send("Network.setCacheDisabled", {"cacheDisabled": True})
            await page.add_init_script(WHEN_READY)
            await page.goto(url)
            await page.wait_for_function("window.ready !== undefined")
            times.append(float(await page.evaluate("window.ready")))
            sizes = await page.evaluate(WEIGHT)
            await page.close()
    return times[1:], sizes


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
