"""A warm join through the gateway: accepted, running, ended, as the caller measures it."""

import argparse
import asyncio
import time

import aiohttp
from _table import median, quantile, show
from _up import Running, up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with up() as running:
        measured = asyncio.run(_joins(running, rounds))
    show(
        f"a warm join, {rounds} rounds one after another (goal: running p50 under 50 ms)",
        ("ms", "p50", "p90", "p99", "worst"),
        [
            (name, median(values), quantile(values, 0.9), quantile(values, 0.99), max(values))
            for name, values in measured.items()
        ],
    )


async def _joins(running: Running, rounds: int) -> dict[str, list[float]]:
    gateway = running.addresses["gateway"]
    measured: dict[str, list[float]] = {
        "join to accepted": [],
        "join to running": [],
        "leave to ended": [],
    }
    headers = {"Authorization": f"Bearer {running.secret}"}
    async with aiohttp.ClientSession(gateway, headers=headers) as client:
        await _one(client, "warm", measured)
        for values in measured.values():
            values.clear()
        for number in range(rounds):
            await _one(client, f"{number}", measured)
    return measured


async def _one(client: aiohttp.ClientSession, name: str, measured: dict[str, list[float]]) -> None:
    """Join twice (accepted, running) in two rooms; leave both."""
    accepted = await _join(client, f"a-{name}", "", measured["join to accepted"], "queued")
    await _leave(client, accepted, [])
    ran = await _join(client, f"r-{name}", "?wait=30", measured["join to running"], "running")
    await _leave(client, ran, measured["leave to ended"])


async def _join(
    client: aiohttp.ClientSession, room: str, query: str, times: list[float], wanted: str
) -> str:
    began = time.perf_counter()
    async with client.post(f"/join{query}", json={"room_url": f"webrtc:{room}"}) as answer:
        body = await answer.json()
    times.append((time.perf_counter() - began) * 1000)
    if body.get("status") != wanted:
        raise SystemExit(f"{wanted} was expected: {body}")
    return str(body["sessionId"])


async def _leave(client: aiohttp.ClientSession, session_id: str, times: list[float]) -> None:
    began = time.perf_counter()
    async with client.post("/leave", json={"sessionId": session_id}) as answer:
        body = await answer.json()
    times.append((time.perf_counter() - began) * 1000)
    if body.get("status") not in {"ended", "cancelled"}:
        raise SystemExit(f"An end was expected: {body}")


if __name__ == "__main__":
    main()
