"""Lines among those of a call that prove nothing."""

import random
from typing import Any

from logs.why_support import Records

NOISE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("bot", "", {"text": "killed by SIGKILL; OOMKilled; rate limit; \x1b[31m<script>"}),
    ("bot", "join.refused", {"reason": "queue_full"}),
    ("browser", "session.ended", {"state": "failed", "reason": "runner_lost"}),
    ("browser", "bot.crashed", {"status": "exit status 1"}),
    ("bot", "device.changed", {"kind": "frozen"}),
    ("shop", "order.lost", {"why": "confirmed"}),
    ("bot", "service.error", {"category": "rate_limit", "recovered": True}),
    ("bot", "tool.ended", {"status": "completed", "ms": 3, "name": "<b>"}),
    ("bot", "service.usage", {"prompt_tokens": 10**400}),
    ("bot", "media.warning", {"name": "high_loss", "state": "cleared", "end": "bot"}),
    ("browser", "media.stats", {"packets_lost": "many", "packets_received": None, "jitter_ms": []}),
    ("bot", "turn.ended", {"contributions": "none", "total_ms": float("nan"), "ttfb_ms": 7}),
    ("gateway", "", {"note": "queue_full"}),
    ("runner", "service.error", {"category": {"a": 1}}),
)
"""Lines that prove nothing: words, claims of others, errors that were overcome, values of no use."""


def with_noise(records: Records, seed: int) -> Records:
    """Return records with lines among them that prove nothing."""
    chance = random.Random(seed)
    noisy = list(records)
    for number in range(chance.randrange(1, 40)):
        service, event, meta = chance.choice(NOISE)
        near = chance.choice(records)
        record = {
            **{key: near[key] for key in ("timestamp", "sessionId", "userId", "userName")},
            "level": chance.choice(["info", "warn", "error"]),
            "message": "A line of no matter",
            "service": service,
            "tag": "noise",
            "meta": meta,
            "boot": "0badcafe",
            "seq": number + 1,
        }
        if event:
            record["event"] = event
        noisy.append(record)
    return sorted(noisy, key=lambda record: str(record["timestamp"]))
