"""Lines among those of a call that prove nothing."""

import random
from typing import Any, Final

from logs.why_support import Records

_LOST: Final = {
    "state": "connected", "interval_ms": 5000, "packets_sent": 250, "packets_received": 0,
    "packets_lost": 200, "jitter_ms": 400, "rtt_ms": 900,
}  # fmt: skip
FORGED: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("bot", "media.stats", {"end": "page", **_LOST}),
    ("bot", "media.stats", {"end": "call", **_LOST}),
    ("bot", "media.warning", {"end": "page", "name": "one_way", "state": "raised", "value": 1}),
    ("browser", "media.stats", {"end": "bot", **_LOST}),
    ("gateway", "media.stats", {"end": "page", **_LOST}),
    ("shop", "media.warning", {"end": "call", "name": "high_loss", "state": "raised"}),
    ("shop", "device.changed", {"kind": "frozen"}),
    ("shop", "device.changed", {"kind": "muted"}),
    ("runner", "call.interrupted", {"sign": "silence"}),
    ("edge", "turn.heard", {"heard_ms": 60_000}),
    ("interface", "device.changed", {"kind": "frozen"}),
    ("gateway", "user.first_audio", {}),
    ("gateway", "bot.started", {"pid": 1}),
    ("operator", "join.refused", {"reason": "queue_full"}),
    ("edge", "session.ended", {"state": "failed", "reason": "runner_lost"}),
    ("bot", "A cold runner's Job has ended", {"why": "OOMKilled, exit 137"}),
    ("bot", "The bot's event loop is late", {"loop_lag_ms": 60_000}),
)
"""Records of the right form, by a program that does not write such records."""

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
    *FORGED,
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
            "message": event if " " in event else "A line of no matter",
            "service": service,
            "tag": "noise",
            "meta": meta,
            "boot": "0badcafe",
            "seq": number + 1,
        }
        if event and " " not in event:
            record["event"] = event
        noisy.append(record)
    return sorted(noisy, key=lambda record: str(record["timestamp"]))
