"""The silence that callers hear when pods of runners are moved, from the sound that `cordboard call` records."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from _table import median, show
from survival.sound import from_wav

from cluster_support import close_cluster, lose_node_of, open_cluster
from plane_support import own_database
from scaling.warm_runners import KUBECTL, LABELS, WarmRunners, warm_runners

TONE = Path(__file__).parents[1] / "survival" / "tone_bot.py"
# Of sound, before and after the move.
BEFORE_S = AFTER_S = 3.0


async def rollout(warm: WarmRunners) -> None:
    warm.roll_out()
    await warm.settled(2)


async def drained_node(warm: WarmRunners) -> None:
    """Drain the node of a pod with calls, under a disruption budget."""
    warm.limit_disruption()
    node = await _busy_node(warm)
    selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
    try:
        await asyncio.to_thread(warm.kubectl, "drain", node, f"--pod-selector={selector}")
        await warm.settled(2)
    finally:
        warm.kubectl("uncordon", node)


async def scaled_down(warm: WarmRunners) -> None:
    """Let the cluster choose a pod to delete, as an autoscaler does; each of both has half of the calls."""
    warm.patch({"spec": {"replicas": 1}})
    await warm.settled(1)


async def lost_node(warm: WarmRunners) -> None:
    lose_node_of(warm.cluster, await _busy_pod(warm))


async def _busy_pod(warm: WarmRunners) -> str:
    holder = str((await warm.plane.store.session(warm.calls[0])).runner_id)
    return next(
        str(p.metadata.name) for p in warm.pods() if p.metadata and str(p.metadata.name) in holder
    )


async def _busy_node(warm: WarmRunners) -> str:
    name = await _busy_pod(warm)
    return next(
        str(p.spec.nodeName)
        for p in warm.pods()
        if p.spec and p.metadata and p.metadata.name == name
    )


Move = Callable[[WarmRunners], Awaitable[None]]
MOVES: dict[str, Move] = {
    "rollout": rollout,
    "kubectl drain": drained_node,
    "fewer replicas": scaled_down,
    "lost node": lost_node,
}


@dataclass
class Caller:
    """A `cordboard call` that records."""

    name: str
    file: Path
    process: asyncio.subprocess.Process


async def measure(redis_url: str, folder: Path, *, calls: int) -> None:
    """Move the pods of live calls in each way, and print what the callers heard."""
    rows = []
    for number, (name, move) in enumerate(MOVES.items()):
        if move is drained_node and KUBECTL is None:
            print("kubectl drain: left out, as there is no kubectl")
            continue
        own = folder / str(number)
        own.mkdir()
        cluster = open_cluster(own)
        try:
            placement = "spread" if move is scaled_down else "pack"
            async with warm_runners(
                cluster, own, own_database(redis_url), bot=str(TONE), placement=placement
            ) as warm:
                rows.append([name, *await _one_move(warm, move, calls)])
                print(rows[-1], flush=True)
        finally:
            close_cluster(cluster)
    header = ["", "calls", "silence: p50, s", "longest, s", "other bot", "broken promises", "ends"]
    show(f"{calls} calls while pods are moved", header, rows)


async def _one_move(warm: WarmRunners, move: Move, calls: int) -> list[object]:
    await warm.deploy(2, capacity=calls)
    callers = [await _call(warm, f"call-{number}") for number in range(calls)]
    warm.calls = [caller.name for caller in callers]
    await warm.have_bots(*warm.calls)
    await asyncio.sleep(BEFORE_S)
    await move(warm)
    await asyncio.sleep(AFTER_S)
    bots = [warm.plane.entered(name) for name in warm.calls]
    await asyncio.sleep(AFTER_S)
    await warm.hang_up(*warm.calls)
    for caller in callers:
        await asyncio.wait_for(caller.process.wait(), 60)
    silences = [from_wav(caller.file).longest_silence_s() for caller in callers]
    broken = warm.verdict(handed_over=move is not lost_node)
    ends = ", ".join(f"{reason} at attempt {n}" for _, reason, n in sorted(warm.attempts()))
    moved = sum(count > 1 for count in bots)
    return [calls, median(silences), max(silences), moved, len(broken), ends]


async def _call(warm: WarmRunners, name: str) -> Caller:
    file = warm.cluster.folder / f"{name}.wav"
    words = (f"webrtc:{name}", "--session", name, "--record", str(file), "--seconds", "900")
    output = file.with_suffix(".out").open("wb")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cordboard", "call", *words, "--gateway", warm.plane.gateways[0]),
        env=warm.plane.processes.environment(),
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
    )
    return Caller(name, file, process)
