"""The stock browser client, from `startBotAndConnect()` to the bot's first audio: Cordboard and Pipecat's own runner
take turns, with the same bot. Needs Chromium and the npm packages of scripts/clients.sh.

    python benchmarks/edge/bench_client.py [--rounds 11]
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from _table import median, quantile, show

from browser.browser_support import chromium, spoken
from clients.clients_support import AUTOPLAY, ClientPages, missing_parts, serve_page
from edge import peers

Times = dict[str, list[dict[str, float]]]
# The request for the bot; what follows it is `connect()`.
START_MS = "() => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/start'))[0].duration"
START = {"transport": "webrtc", "enableDefaultIceServers": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    if missing := missing_parts():
        sys.exit(f"client: {missing}")
    load = peers.load()
    with peers.cordboard() as ours, peers.pipecat_runner(peers.HERE / "built_in_bot.py") as theirs:
        times = asyncio.run(_calls([ours, theirs], rounds))
    heard = {name: [one["heard"] for one in calls] for name, calls in times.items()}
    connected = {
        name: [one["heard"] - one["start"] for one in calls] for name, calls in times.items()
    }
    show(
        f"client-js in Chromium, startBotAndConnect() to first audio, {rounds} rounds, {load}",
        (
            *("", "bot ready ms", "heard p50 ms", "p90 ms", "worst ms", "ratio"),
            *("of which /start", "from connect() p50", "ratio"),
        ),
        [
            (
                name,
                median([one["ready"] for one in times[name]]),
                median(values),
                quantile(values, 0.9),
                max(values),
                f"{median(values) / median(heard[ours.name]):.2f}",
                median([one["start"] for one in times[name]]),
                median(connected[name]),
                f"{median(connected[name]) / median(connected[ours.name]):.2f}",
            )
            for name, values in heard.items()
        ],
    )


async def _calls(servers: list[peers.Server], rounds: int) -> Times:
    times: Times = {server.name: [] for server in servers}
    with tempfile.TemporaryDirectory() as folder:
        microphone = spoken(Path(folder))
        async with chromium(microphone, AUTOPLAY) as browser, serve_page() as origin:
            pages = ClientPages(browser, origin)
            for number in range(rounds + 1):  # the first warms everything up
                for server in servers if number % 2 else servers[::-1]:
                    measured = await _call(pages, server)
                    if number:
                        times[server.name].append(measured)
    return times


async def _call(pages: ClientPages, server: peers.Server) -> dict[str, float]:
    """Call from a new page, whose microphone is open; return the milliseconds."""
    person = await pages.enter("webrtc")
    await person.do("() => person.client.initDevices()")
    measured = await person.call(f"{server.url}/start", START)
    measured["start"] = await person.do(START_MS)
    await person.do("() => person.client.disconnect()")
    await person.page.context.close()
    return measured


if __name__ == "__main__":
    main()
