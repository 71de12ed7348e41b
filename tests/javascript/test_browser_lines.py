"""The two receivers of browsers' lines, Python's and the npm package's, judge numbers and times alike."""

import json
import random
from datetime import UTC, datetime

from cordboard.interface.browser_log import NUMBERS_KEPT, TakenNumbers, with_server_time
from javascript.node_support import node

NOW_MS = 1_790_000_000_000
WAITED_MS = (
    0,
    500,
    599_999,
    600_001,
    3_600_000,
    86_399_999,
    86_400_001,
    10**11,
    -599_999,
    -600_001,
)
OFF_MS = (None, 0, 1999, 2000, -3_600_000, 10**10, -(10**12))


def stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_receivers_judge_alike() -> None:
    """Numbers in any order, with jumps; lines that waited, of clocks that are right, wrong, or not told."""
    draw = random.Random(14)
    highest, numbers = 1, []
    for _ in range(6000):
        highest += draw.choice((0, 0, 1, 1, 2, 50, NUMBERS_KEPT - 1, NUMBERS_KEPT, 10**6))
        numbers.append(
            max(1, highest - draw.choice((0, 1, 2, 200, NUMBERS_KEPT - 1, NUMBERS_KEPT, 10**5)))
        )
    times = [
        (stamp(NOW_MS + (off or 0) - waited), None if off is None else NOW_MS + off, NOW_MS)
        for waited in WAITED_MS
        for off in OFF_MS
    ]
    times.append(("2026-02-31T00:00:00.000000Z", NOW_MS, NOW_MS))
    told = json.loads(node("browser_lines.js", json.dumps({"numbers": numbers, "times": times})))
    taken = TakenNumbers()
    ours = [taken.take("u-1", "9f31c2aa", seq) for seq in numbers]
    assert told["numbers"] == ours
    assert {True, False} == {*ours}
    for (timestamp, sent_ms, now_ms), judged in zip(times, told["times"], strict=True):
        sent = None if sent_ms is None else sent_ms / 1000
        assert judged == with_server_time({"timestamp": timestamp}, sent, now_ms / 1000), (
            timestamp,
            sent_ms,
        )
