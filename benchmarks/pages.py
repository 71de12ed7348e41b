"""Each page of the interface in a real Chromium: when it is interactive, and what following a call costs.

`benchmarks/page.py` measures the room page and a call. A page is interactive when its scripts have run.

An open page of a live session costs the process that reads its log, and the interface, which relays the lines and
renders the state. The interface also serves the call itself, so what it takes without the page is subtracted.
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
from tests_support import until

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
        pages, shares = asyncio.run(
            _measure(url, Path(folder), running.pid, args.rounds, args.seconds)
        )
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
    show(
        f"an open page of a live session, for {args.seconds} s (goal: both together under 1 % of a core)",
        ("process", "% of a core"),
        [(name, f"{share:.2f}") for name, share in shares.items()],
    )
    print(
        f"load of the machine, of {os.cpu_count()} cores: {os.getloadavg()[1]:.1f} (five minutes)"
    )


async def _measure(
    url: str, folder: Path, up_pid: int, rounds: int, seconds: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
    """Return what each load of each page took, and the processor time of a followed session by process."""
    async with chromium(spoken(folder, after_s=2 * seconds + 180)) as browser:
        room = await enter(browser, url, NAME)
        paths = {"rooms": "/rooms", "sessions": "/sessions", "health": "/health"}
        paths["session"] = f"/sessions/{await room.call()}"
        page = await room.context.new_page()
        tools = await room.context.new_cdp_session(page)
        await tools.send("Network.setCacheDisabled", {"cacheDisabled": True})
        found = {name: await _loads(page, f"{url}{path}", rounds) for name, path in paths.items()}
        shares = await _shares(page, f"{url}{paths['session']}", up_pid, seconds)
        await room.leave()
    return found, shares


async def _loads(page: Page, url: str, rounds: int) -> list[dict[str, Any]]:
    loads = []
    for _ in range(rounds + 1):
        await page.goto(url, wait_until="load")
        loads.append(await page.evaluate(COSTS))
    return loads[1:]


async def _shares(page: Page, url: str, up_pid: int, seconds: int) -> dict[str, float]:
    """Return the processor time, in percent, of each process that works for an open page of a live session."""
    reader = await _follow(page, url, up_pid)
    interface = _parent(reader)
    await page.goto("about:blank")
    await asyncio.sleep(SETTLE_S)
    (alone,) = await _percent([interface], seconds)
    reader = await _follow(page, url, up_pid)
    await asyncio.sleep(SETTLE_S)
    reading, serving = await _percent([reader, interface], seconds)
    return {
        "reader of the log": reading,
        "interface, for the page": serving - alone,
        "both": reading + serving - alone,
        "interface, for the call alone": alone,
    }


async def _follow(page: Page, url: str, up_pid: int) -> int:
    """Open the page of a live session; return the process that reads its log, when it is the only one."""
    await page.goto(url)
    await page.wait_for_selector("#rows li", timeout=60_000)
    await until(lambda: len(_readers(up_pid)) == 1, 60)
    return _readers(up_pid).pop()


async def _percent(pids: list[int], seconds: int) -> list[float]:
    """Return how much of a core each of some processes takes, in percent."""
    before = [_cpu_s(pid) for pid in pids]
    await asyncio.sleep(seconds)
    return [(_cpu_s(pid) - began) / seconds * 100 for pid, began in zip(pids, before, strict=True)]


def _parent(pid: int) -> int:
    """Return the process that has started another one: of a reader, the interface."""
    return int(_stat(pid)[1])


def _readers(up_pid: int) -> set[int]:
    """Return the processes that read logs for the pages of a `cordboard up`."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            pid = int(path.parent.name)
            if READER in path.read_bytes() and _parent(_parent(pid)) == up_pid:
                found.add(pid)
    return found


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return the fields of a process behind its name: its state, its parent and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


if __name__ == "__main__":
    main()
