"""Each page of the interface in a real Chromium: when it is interactive, and what following a call costs.

`benchmarks/page.py` measures the room page and a call. A page is interactive when its scripts have run.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from _table import median, show
from _up import ROOT, up
from playwright.async_api import Page

sys.path.insert(0, str(ROOT / "tests"))
from browser.browser_support import chromium, enter, find_chromium, spoken

NAME = "Bench"
SETTLE_S = 10  # the start of the reader is no part of what an open page costs
READER = b"cordboard.interface.log_reader"
COSTS = """() => ({ ms: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd })"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=int, default=60, help="how long a live session is followed"
    )
    args = parser.parse_args()
    if find_chromium() is None:
        sys.exit(
            "pages: needs Chromium (Debian: apt-get install chromium), or CHROMIUM=/path/to/it"
        )
    with up(CORDBOARD_INTERFACE_OPERATORS=NAME) as running, tempfile.TemporaryDirectory() as folder:
        url = running.addresses["interface"]
        pages, share = asyncio.run(_measure(url, Path(folder), args.rounds, args.seconds))
    show(
        f"each page, {args.rounds} loads with an empty cache (goal: interactive within 1000 ms)",
        ("page", "p50 ms", "worst ms"),
        [
            (
                name,
                f"{median([load['ms'] for load in loads]):.0f}",
                f"{max(load['ms'] for load in loads):.0f}",
            )
            for name, loads in pages.items()
        ],
    )
    print(
        f"An open page of a live session took {share:.2f} % of a core for {args.seconds} s (goal: under 1 %)."
    )


async def _measure(
    url: str, folder: Path, rounds: int, seconds: int
) -> tuple[dict[str, list[dict[str, Any]]], float]:
    """Return what each load of each page took, and the processor time of a followed session in percent."""
    async with chromium(spoken(folder, after_s=seconds + 120)) as browser:
        room = await enter(browser, url, NAME)
        paths = {"rooms": "/rooms", "sessions": "/sessions", "health": "/health"}
        paths["session"] = f"/sessions/{await room.call()}"
        page = await room.context.new_page()
        tools = await room.context.new_cdp_session(page)
        await tools.send("Network.setCacheDisabled", {"cacheDisabled": True})
        found = {name: await _loads(page, f"{url}{path}", rounds) for name, path in paths.items()}
        share = await _share_of_reader(page, seconds)
        await room.leave()
    return found, share


async def _loads(page: Page, url: str, rounds: int) -> list[dict[str, Any]]:
    loads = []
    for _ in range(rounds + 1):
        await page.goto(url, wait_until="load")
        loads.append(await page.evaluate(COSTS))
    return loads[1:]


async def _share_of_reader(page: Page, seconds: int) -> float:
    """Return the processor time of the process that follows the session of the open page."""
    others = _readers()
    await page.reload()
    await page.wait_for_selector("#rows li", timeout=60_000)
    await asyncio.sleep(SETTLE_S)
    (reader,) = _readers() - others
    before = _cpu_s(reader)
    await asyncio.sleep(seconds)
    return (_cpu_s(reader) - before) / seconds * 100


def _readers() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if READER in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
