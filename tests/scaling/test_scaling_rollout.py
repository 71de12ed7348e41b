"""Pods of warm runners are replaced while calls are live."""

import pytest

from scaling.warm_runners import WarmRunners
from tests_support import until

pytestmark = pytest.mark.timeout(400)


async def test_rollout_hands_calls_over_and_marks_follow(warm: WarmRunners) -> None:
    """A call that is longer than its runner's grace period goes on in the new pod, which becomes busy."""
    await warm.deploy(1, capacity=4)
    await until(lambda: warm.costs() == ["0"], 60)
    await warm.call("a", "b", "c")
    await until(lambda: warm.costs() == ["10"], 60)
    warm.roll_out()
    await warm.settled(1)
    await warm.moved()
    await until(lambda: warm.costs() == ["10"], 60)
    await warm.hang_up("a", "b", "c")
    await until(lambda: warm.costs() == ["0"], 60)
    assert warm.verdict(handed_over=True) == []
    assert warm.attempts() == {("ended", "left", 1)}
