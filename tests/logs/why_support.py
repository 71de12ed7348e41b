"""Calls with one planted cause, told by lines in the documented shape; and what else lines may say."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cordboard.logs.coverage import Answer, Coverage, Shortfall
from report_support import Told, connected, ended, good_call, joined

Records = list[dict[str, Any]]

COMPLETE = Coverage((Answer("bot", "service", 9),), attribution={"explicit": 9})


def incomplete(services: Iterable[str]) -> Coverage:
    """Return a coverage in which lines of these services are missing."""
    gap = (Shortfall("gap", "boot 9f31c2aa: seq 17"),)
    answers = tuple(Answer(name, "service", 1, shortfalls=gap) for name in sorted(set(services)))
    return Coverage(answers, attribution={"explicit": 9})


@dataclass
class Planted:
    """A call with a known cause."""

    told: Told
    servers: Records


def stats(told: Told, **changes: dict[str, Any]) -> Told:
    """Tell of the media every 5 s, at both ends; ``changes`` are by end."""
    for number in range(6):
        for service, end in (("browser", "page"), ("bot", "bot")):
            meta: dict[str, Any] = {
                "end": end,
                "state": "connected",
                "interval_ms": 5000,
                "packets_sent": 250,
                "packets_received": 249,
                "packets_lost": 0,
                "jitter_ms": 4,
                "rtt_ms": 20,
                "path": "host",
            }
            meta |= changes.get(end, {})
            told.event(5400 + 5000 * number, service, "media.stats", **meta)
    return told


def slow_turns(
    told: Told, key: str, *, count: int = 3, ms: int = 4200, detection_ms: int = 0
) -> Told:
    """Tell of turns, most of whose time one part took."""
    for number in range(count):
        told.event(
            6000 + 7000 * number,
            "bot",
            "turn.ended",
            turn=number + 1,
            duration_ms=5000,
            interrupted=False,
            total_ms=ms + detection_ms + 600,
            measured_from="user_silence",
            contributions=[
                {"key": "endpointing_wait", "owner": "config: VAD stop_secs", "ms": 200},
                {"key": key, "owner": "Service#0", "ms": ms},
                {"key": "turn_detection", "owner": "config: strategies", "ms": detection_ms},
                {"key": "pipeline", "owner": "pipeline", "ms": 400},
            ],
        )
    return told


def _talk() -> Told:
    return connected(joined(Told()))


def _left(told: Told, reason: str = "left") -> Told:
    return ended(told, 31_020, reason, seconds=30.9)


def _error(category: str, **meta: Any) -> Told:
    told = stats(_talk())
    told.event(
        9000, "bot", "service.error", category=category, processor="OpenAILLMService#0",
        usable=False, **{"recovered": False, **meta},
    )  # fmt: skip
    return _left(told)


def _warning(name: str, **ends: dict[str, Any]) -> Told:
    told = stats(_talk(), **ends)
    told.event(
        8000,
        "browser",
        "media.warning",
        name=name,
        state="raised",
        value=9,
        threshold=1,
        end="page",
    )
    told.event(20_000, "browser", "media.warning", name=name, state="cleared", end="page")
    return _left(told)


def _some_lost(told: Told, *lost: int) -> Told:
    """Let the page lose so many packets in its first intervals, and none after them."""
    samples = [
        record["meta"]
        for record in told.records
        if record.get("event") == "media.stats" and record["meta"]["end"] == "page"
    ]
    for meta, packets in zip(samples, lost, strict=False):
        meta["packets_lost"] = packets
    return told


def _device(begin: str, end: str, ms: float) -> Told:
    told = stats(_talk())
    told.event(9000, "browser", "device.changed", kind=begin)
    told.event(9000 + ms, "browser", "device.changed", kind=end, duration_ms=ms)
    return _left(told)


def _unplugged(told: Told, at_ms: float) -> Told:
    """Tell of a microphone that was disconnected."""
    lost = {"kind": "microphone", "settings": {"readyState": "ended"}}
    return told.event(at_ms, "browser", "device.changed", **lost)


def _refused(code: str) -> Told:
    told = Told(epoch=None)
    told.event(0, "browser", "join.clicked")
    told.event(24, "interface", "join.requested", gateway="http://gateway:4444")
    told.event(31, "gateway", "join.received", bot="default")
    return told.event(38, "gateway", "join.refused", reason=code)


def _crashed(
    error: dict[str, str] | None = None,
    status: str = "",
    reason: str = "bot_crashed",
    *,
    ends: bool = True,
    **facts: Any,
) -> Told:
    told = stats(_talk())
    more: dict[str, Any] = {"error": error, **facts} if error else {"status": status, **facts}
    told.say(
        9000,
        "bot" if error else "runner",
        "Bot crashed",
        event="bot.crashed",
        level="error",
        **more,
    )
    return ended(told, 9050, reason, "failed") if ends else told


def _cold(ran_ms: float | None) -> Told:
    told = Told(epoch=None)
    told.event(0, "browser", "join.clicked")
    told.event(24, "interface", "join.requested", gateway="http://gateway:4444")
    told.epoch = 1
    told.event(38, "gateway", "join.accepted", reused=False, bot="default")
    told.event(44, "operator", "launch.claimed", attempt=1, operator="op-1")
    told.event(61, "operator", "launch.job_created", job="bot-7")
    if ran_ms is None:
        return ended(told, 60_000, "deadline", "expired")
    told.event(ran_ms, "runner", "bot.started", pid=4242, attempt=1)
    told.event(ran_ms + 100, "bot", "bot.connected", transport="webrtc")
    told.event(ran_ms + 120, "bot", "user.connected")
    told.event(ran_ms + 200, "bot", "bot.first_audio")
    told.event(ran_ms + 220, "bot", "user.first_audio")
    return _left(stats(told))


def _recovered(*, reason: str, state: str = "ended") -> Told:
    told = stats(_talk())
    told.say(
        12_000, "operator", "Lease expired", event="lease.expired", sign="refused", level="warn"
    )
    told.epoch = 2
    told.event(
        12_010, "operator", "session.recovered", attempt=2, why="confirmed", runner="runner-a"
    )
    if state == "ended":
        told.event(13_000, "runner", "bot.started", pid=5, attempt=2)
        told.event(13_300, "bot", "bot.first_audio")
        told.event(13_310, "browser", "call.resumed", epoch=2, silence_ms=1310)
    return ended(told, 31_020, reason, state)


def _unanswered() -> Told:
    told = joined(Told())
    told.event(330, "bot", "bot.connected", transport="webrtc")
    told.say(15_400, "browser", "No path for media was found", level="warn")
    return ended(told, 15_500, "left")


def _unanswered_without_a_word() -> Told:
    told = joined(Told(), browser=False)
    offer: dict[str, Any] = {"method": "POST", "path": "/sessions/call-7/offer", "status": 200}
    told.say(330, "gateway", "Request served", tag="http", **offer)
    return ended(told, 15_500, "left")


def _unstarted() -> Told:
    told = _cold(None)
    told.records.pop()
    told.epoch = 2
    told.event(30_000, "operator", "session.recovered", attempt=2, why="died", runner=None)
    return ended(told, 60_000, "launch_failed", "failed")


def _outage(*, by: str = "runner", **meta: Any) -> Planted:
    told = stats(_talk())
    told.event(22_000, by, "lease.lost", **meta)
    ended(told, 40_000, "lease_lost", "failed")
    servers = Told(session_id="server:host-1", epoch=None)
    servers.say(6000, "runner", "Redis is unavailable; running bots continue", level="warn")
    return Planted(told, servers.records)


def _never_heard() -> Told:
    told = stats(_talk(), bot={"packets_received": None})
    told.records = [item for item in told.records if item.get("event") != "user.first_audio"]
    return _left(told)


def _late() -> Told:
    told = stats(_talk())
    for number in range(5):
        told.say(
            5000 + 5000 * number,
            "runner",
            "The bot's event loop is late",
            level="warn",
            loop_lag_ms=2100 + number,
        )
    return _left(told)


def _stalled(told: Told) -> Told:
    """Tell of a bot whose event loop stands still; each line says for how long by now."""
    for number in range(8):
        words = "The bot's event loop is late"
        at_ms, lag_ms = 7000 + 2000 * number, 1500 + 2000 * number
        told.say(at_ms, "runner", words, level="warn", loop_lag_ms=lag_ms)
    return told


def _stalled_at_once() -> Told:
    """Tell of a bot that stands still before its caller's media arrives."""
    told = joined(Told(), browser=False)
    offer: dict[str, Any] = {"method": "POST", "path": "/sessions/call-7/offer", "status": 200}
    told.say(330, "gateway", "Request served", tag="http", **offer)
    return ended(_stalled(told), 25_500, "left")


MEMORY = {"type": "MemoryError", "message": ""}
RAISED = {"type": "ValueError", "message": "no order 4711", "stack": "Traceback"}
CALLS: Mapping[str, Callable[[], Told | Planted]] = {
    "queue_full": lambda: _refused("queue_full"),
    "redis_away": lambda: _outage(seconds=16),
    "redis_away, and the bot ended itself": lambda: _outage(by="bot"),
    "redis_away at the join": lambda: _refused("store_unavailable"),
    "redis_away, and the join carried out later": lambda: ended(
        _refused("store_unavailable")
        .event(9000, "gateway", "join.accepted", reused=False)
        .event(9300, "runner", "bot.started", pid=7, attempt=1)
        .event(9400, "operator", "session.recovered", attempt=2, why="died", runner="runner-a"),
        60_000,
        "runner_lost",
        "failed",
    ),
    "join_refused": lambda: _refused("too_many_sessions"),
    "out_of_memory": lambda: _crashed(MEMORY),
    "out_of_memory before its bot ran": lambda: _crashed(status="no", out_of_memory=True),
    "out_of_memory, and its crash is known by the end alone": lambda: ended(
        stats(_talk()), 9050, "bot_crashed", "failed", out_of_memory=True
    ),
    "out_of_memory of the pod": lambda: ended(
        stats(_talk()).say(
            9000, "operator", "A cold runner's Job has ended", why="OOMKilled, exit 137"
        ),
        9050,
        "runner_lost",
        "failed",
    ),
    "service_authentication": lambda: _error("authentication"),
    "rate_limit": lambda: _error("rate_limit"),
    "service_failed": lambda: _error("server"),
    "tool_timeout": lambda: _left(
        stats(_talk()).event(
            9000, "bot", "tool.ended", name="lookup", call_id="c", status="timeout", ms=5000
        )
    ),
    "bot_raised": lambda: _crashed(RAISED),
    "bot_raised with words about memory": lambda: ended(
        _crashed({"type": "RuntimeError", "message": "CUDA out of memory"}, ends=False),
        9050,
        "bot_crashed",
        "failed",
        detail="RuntimeError: CUDA out of memory; MemoryError; OOMKilled",
    ),
    "bot_raised without its text": lambda: _crashed({"type": "ValueError", "message": ""}),
    "bot_raised by its exit, with words about memory": lambda: _crashed(
        status="exit status 3", note="OOMKilled"
    ),
    "bot_raised by its exit": lambda: _crashed(status="exit status 3"),
    "page_frozen": lambda: _device("frozen", "resumed", 8000),
    "microphone_muted": lambda: _device("muted", "unmuted", 8000),
    "microphone_muted because it was disconnected": lambda: _left(_unplugged(stats(_talk()), 9000)),
    "page_frozen, told when it is over": lambda: _left(
        stats(_talk()).event(17_000, "browser", "device.changed", kind="resumed", duration_ms=8000)
    ),
    "microphone_muted, told when it is over": lambda: _left(
        stats(_talk()).event(17_000, "browser", "device.changed", kind="unmuted", duration_ms=8000)
    ),
    "no_path": _unanswered,
    "no_path by its end": _unanswered_without_a_word,
    "one_way_sound": lambda: _left(stats(_talk(), page={"packets_received": 0})),
    "one_way_sound to the bot": lambda: _left(stats(_talk(), bot={"packets_received": 0})),
    "one_way_sound by a warning": lambda: _warning("one_way"),
    "one_way_sound by the bot's silence": _never_heard,
    "packet_loss": lambda: _left(stats(_talk(), bot={"packets_lost": 20})),
    "packet_loss by a warning": lambda: _warning("high_loss", page={"packets_lost": 9}),
    "packet_loss by a warning, in a short call": lambda: _left(
        _warning("high_loss", page={"packets_lost": 5, "packets_received": 20})
    ),
    "jitter, with late packets": lambda: _left(
        _some_lost(stats(_talk(), page={"jitter_ms": 35}), 7, 9)
    ),
    "jitter by a warning, with late packets": lambda: _some_lost(
        _warning("high_jitter", page={"jitter_ms": 28}), 4, 13
    ),
    "packet_loss, with jitter": lambda: _left(
        stats(_talk(), page={"jitter_ms": 70, "packets_lost": 12})
    ),
    "one_way_sound without a figure": lambda: _left(
        stats(_talk(), page={"packets_received": None, "jitter_ms": None, "packets_lost": None})
    ),
    "jitter": lambda: _left(stats(_talk(), page={"jitter_ms": 70})),
    "jitter by a warning": lambda: _warning("high_jitter"),
    "runner_killed": lambda: _recovered(reason="runner_lost", state="failed"),
    "runner_killed, and continued": lambda: _recovered(reason="left"),
    "speech_service_slow": lambda: _left(slow_turns(stats(_talk()), "transcription")),
    "speech_service_slow, and the turn waited for more words": lambda: _left(
        slow_turns(stats(_talk()), "transcription", ms=3500, detection_ms=3800)
    ),
    "language_model_slow": lambda: _left(slow_turns(stats(_talk()), "llm_inference")),
    "voice_slow, with an error": lambda: _left(
        slow_turns(
            stats(_talk()).event(
                5000, "bot", "service.error", category="other", processor="TTS#0", recovered=False
            ),
            "speech_synthesis",
        )
    ),
    "voice_slow": lambda: _left(slow_turns(stats(_talk()), "speech_synthesis")),
    "cold_start_slow": lambda: _cold(21_000),
    "cold_start_slow beyond the deadline": lambda: _cold(None),
    "cold_start_slow in each attempt": _unstarted,
    "start_failed": lambda: ended(joined_only(), 60_000, "deadline", "expired"),
    "bot_late": _late,
    "bot_late, with jitter and slow turns": lambda: _left(
        _stalled(slow_turns(stats(_talk(), page={"jitter_ms": 300}), "llm_inference"))
    ),
    "bot_late, so that no media arrived": _stalled_at_once,
    "user_left": lambda: ended(joined(Told()), 250, "left"),
    "user_left by its page": lambda: _left(
        stats(_talk()).say(31_000, "browser", "Page closed in the call")
    ),
    "user_left without a word": lambda: ended(stats(_talk()), 90_000, "user_absent"),
    "healthy": lambda: _left(stats(_talk())),
    "healthy without statistics": good_call,
}
"""A call by its cause; what stands behind the first word tells cases of one cause apart."""


def joined_only() -> Told:
    """Tell of a join that no runner took."""
    told = Told(epoch=None)
    told.event(31, "gateway", "join.received", bot="default")
    told.epoch = 1
    told.event(38, "gateway", "join.accepted", reused=False, bot="default")
    return told.event(44, "operator", "launch.failed", runner="runner-a", why="busy")


def planted(name: str) -> Planted:
    """Return the call of one name."""
    made = CALLS[name]()
    return made if isinstance(made, Planted) else Planted(made, [])


def cause_of(name: str) -> str:
    """Return the cause of a call by its name."""
    return name.split(",", maxsplit=1)[0].split(" ", maxsplit=1)[0]
