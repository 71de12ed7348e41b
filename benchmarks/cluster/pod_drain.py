"""A pod with 50 calls is replaced: from the end of its runner's grace period until all calls have their next bot."""

from collections import defaultdict

from _table import median, show

from cluster_support import Cluster
from faults.faults_support import BOT
from scaling.warm_runners import warm_runners

CALLS = 50
KILL_S = 30
GRACE_S = KILL_S - 15


async def measure(cluster: Cluster, redis_url: str) -> None:
    """Drain a runner, and print how soon its calls went on."""
    bot = cluster.folder / "slow_bot.py"
    history = cluster.folder / "history.jsonl"
    # 50 bots that write every 20 ms would be a measurement of the disk.
    bot.write_text(BOT.replace("FILE", repr(str(history))).replace("sleep(0.02)", "sleep(0.1)"))
    async with warm_runners(cluster, cluster.folder, redis_url, bot=str(bot)) as warm:
        await warm.deploy(1, capacity=CALLS, grace_s=GRACE_S, kill_s=KILL_S)
        await warm.call(*(f"call-{number}" for number in range(CALLS)))
        warm.roll_out()
        await warm.settled(1)
        await warm.moved()
        written = warm.plane.written()
        records = [await warm.plane.store.session(name) for name in warm.calls]
        handed_on = [take.at_ms for record in records for take in record.take_overs]
        await warm.hang_up(*warm.calls)
        broken = warm.verdict(handed_over=True)
        attempts = warm.attempts()
    lasts: defaultdict[tuple[str, int], float] = defaultdict(float)
    firsts: dict[tuple[str, int], float] = {}
    for event in written:
        key = (event["sid"], event["epoch"])
        lasts[key] = max(lasts[key], event["at"])
        if event["kind"] == "enter":
            firsts[key] = event["at"]
    epochs = {name: sorted(epoch for sid, epoch in firsts if sid == name) for name in warm.calls}
    gaps = [firsts[name, own[-1]] - lasts[name, own[0]] for name, own in epochs.items()]
    stopped = min(lasts[name, own[0]] for name, own in epochs.items())
    took = max(firsts[name, own[-1]] for name, own in epochs.items()) - stopped
    print(f"broken promises: {len(broken)}; ends: {sorted(attempts)}")
    show(
        f"{CALLS} calls of a pod with {KILL_S} s of grace, of which calls may use {GRACE_S} s",
        [
            "",
            "calls",
            "all handed on, s",
            "all with the next bot, s",
            "without a bot: p50, s",
            "longest, s",
        ],
        [
            [
                "drain",
                len(gaps),
                (max(handed_on) - min(handed_on)) / 1000,
                took,
                median(gaps),
                max(gaps),
            ]
        ],
    )
