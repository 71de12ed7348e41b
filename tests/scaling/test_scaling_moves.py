"""Ten live calls go through everything that moves pods: none is lost, none has two bots, each ends once.

These take minutes (`-m cluster_full`); a rollout with three calls is in every run (test_scaling_rollout.py).
"""

import pytest

from cluster_support import lose_node_of, need_faults
from scaling.external_metrics import autoscaler, slots_wanted
from scaling.warm_runners import KUBECTL, LABELS, WarmRunners
from tests_support import until

pytestmark = [pytest.mark.cluster_full, pytest.mark.timeout(1800)]
CALLS = [f"call-{number}" for number in range(10)]


async def test_rollout(warm: WarmRunners) -> None:
    """All calls move to pods of the new template."""
    await warm.deploy(3, capacity=4)
    await warm.call(*CALLS)
    warm.roll_out()
    await warm.settled(3)
    await warm.moved()
    await warm.hang_up(*CALLS)
    assert warm.verdict(handed_over=True) == []
    assert warm.attempts() == {("ended", "left", 1)}


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed; KUBECTL may name it")
async def test_drained_nodes_under_a_disruption_budget(warm: WarmRunners) -> None:
    """All nodes of the runners are drained but one; the budget lets one pod go at a time."""
    await warm.deploy(3, capacity=5)
    await warm.call(*CALLS)
    warm.limit_disruption()
    before = {pod.metadata.name for pod in warm.pods() if pod.metadata}
    busy = {str(pod.spec.nodeName) for pod in warm.pods() if pod.spec}
    drained = sorted(busy)[:2]
    selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
    try:
        warm.kubectl("drain", *drained, f"--pod-selector={selector}", "--timeout=200s")
        await warm.settled(3)
        assert not {pod.spec.nodeName for pod in warm.pods() if pod.spec} & set(drained)
        assert {pod.metadata.name for pod in warm.pods() if pod.metadata} != before
        await until(warm.all_run, 60)
        await warm.hang_up(*CALLS)
    finally:
        warm.kubectl("uncordon", *drained)
    assert warm.verdict(handed_over=True) == []
    assert warm.attempts() == {("ended", "left", 1)}


async def test_autoscaler_follows_the_wanted_slots(warm: WarmRunners) -> None:
    """Calls that wait make it add pods; calls that end make it remove them, and the others' go on."""
    operators = [operator.url for operator in warm.operators]
    await warm.deploy(None, capacity=4)
    async with autoscaler(warm, capacity=4, most=3):
        await warm.call(*CALLS)  # the first pod has four slots
        await warm.settled(3)
        assert slots_wanted(operators) == len(CALLS) + 1
        staying = CALLS[::4]
        await warm.hang_up(*(name for name in CALLS if name not in staying))
        await warm.settled(1)
        await until(warm.all_run, 60)
        assert slots_wanted(operators) == len(staying) + 1
        await warm.hang_up(*staying)
    assert warm.verdict(handed_over=True) == []
    assert warm.attempts() == {("ended", "left", 1)}


async def test_lost_node(warm: WarmRunners) -> None:
    """The calls of its runner go on elsewhere, as their next attempt."""
    need_faults()
    await warm.deploy(2, capacity=10)
    await warm.call(*CALLS)
    holders = {(await warm.plane.store.session(name)).runner_id for name in CALLS}
    assert len(holders) == 1  # the operators pack
    (pod,) = [
        p.metadata.name for p in warm.pods() if p.metadata and str(p.metadata.name) in str(holders)
    ]
    lose_node_of(warm.cluster, str(pod))
    await warm.moved()
    await warm.hang_up(*CALLS)
    assert warm.verdict(handed_over=False) == []
    assert warm.attempts() == {("ended", "left", 2)}
