"""What is planted in which call: about 20 causes, each with variants that a seed chooses."""

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from why.impairment import Impairment

# By whom a cause is made: calls on a plane that is up, or something that happens to the plane as a whole.
MIXED = (
    "healthy",
    "user_left",
    "microphone_muted",
    "page_frozen",
    "no_path",
    "packet_loss",
    "jitter",
    "one_way_sound",
    "speech_service_slow",
    "language_model_slow",
    "voice_slow",
    "rate_limit",
    "service_authentication",
    "service_failed",
    "tool_timeout",
    "bot_raised",
    "out_of_memory",
    "lines_lost",
)
OF_THE_PLANE = (
    "runner_killed",
    "redis_away",
    "start_failed",
    "queue_full",
    "join_refused",
    "cold_start_slow",
)
CAUSES = (*MIXED, *OF_THE_PLANE)


@dataclass
class Planting:
    """One call and what is planted in it.

    Attributes:
        cause: The cause, which the answer must name.
        session: The session id, which tells nothing of it.
        plan: What the doubles and the bot do.
        impairment: What the network of the caller does.
        seconds: How long the caller stays; 0 for as long as it takes to hear an answer.
        how: What else is special, by name.
        lines: Lines that a page writes in this call: seconds after its connection, event or message, meta.
    """

    cause: str
    session: str = field(default_factory=lambda: f"c{secrets.token_hex(8)}")
    plan: dict[str, Any] = field(default_factory=dict)
    impairment: Impairment | None = None
    seconds: float = 0.0
    how: str = ""
    lines: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)


def plantings(count: int, seed: int, causes: tuple[str, ...] = CAUSES) -> list[Planting]:
    """Return so many plantings, spread evenly over the causes, in a random order."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        cause = causes[number % len(causes)]
        planting = Planting(cause, f"c{chance.getrandbits(64):016x}")
        _MAKERS.get(cause, _plain)(planting, number // len(causes), chance)
        found.append(planting)
    chance.shuffle(found)
    return found


def _plain(planting: Planting, number: int, _chance: random.Random) -> None:
    planting.how = str(number)


def _healthy(planting: Planting, number: int, chance: random.Random) -> None:
    """Good calls, some with trouble that harms nobody."""
    if number % 4 == 1:  # services that take their time, but less than what is slow
        names = ("speech", "language", "voice")
        planting.plan = {"delays": {name: chance.uniform(0.1, 0.4) for name in names}}
    elif number % 4 == 2:  # a little of everything that packets suffer
        planting.impairment = Impairment(loss_in=0.002, loss_out=0.002, jitter_s=0.012)
    elif number % 4 == 3:  # somebody looked at another tab
        planting.lines = [(2.0, "frozen", {}), (2.9, "resumed", {"duration_ms": 900})]


def _user_left(planting: Planting, number: int, chance: random.Random) -> None:
    planting.how = ("early", "no offer", "page closed")[number % 3]
    planting.seconds = chance.uniform(3, 6)
    if planting.how == "page closed":
        planting.lines = [(planting.seconds, "Page closed in the call", {})]


def _muted(planting: Planting, number: int, chance: random.Random) -> None:
    planting.seconds, planting.how = 11.0, "mute"
    begin, length_s = chance.uniform(0.5, 2.0), chance.uniform(3, 7)
    planting.lines = [(begin, "muted", {})]
    if number % 2:
        meta = {"duration_ms": round(length_s * 1000)}
        planting.lines.append((begin + length_s, "unmuted", meta))


def _frozen(planting: Planting, number: int, chance: random.Random) -> None:
    planting.seconds = 12.0
    begin, length_s = chance.uniform(1, 3), chance.uniform(4, 8)
    meta = {"duration_ms": round(length_s * 1000)}
    planting.lines = [(begin, "frozen", {}), (begin + length_s, "resumed", meta)]
    if number % 2:  # what a frozen page loses looks like a bad network
        planting.impairment = Impairment(loss_in=0.3, loss_out=0.3)


def _no_path(planting: Planting, _number: int, _chance: random.Random) -> None:
    planting.impairment = Impairment(is_blocked=True)


def _loss(planting: Planting, number: int, chance: random.Random) -> None:
    share = chance.uniform(0.04, 0.25)
    planting.impairment = Impairment(
        loss_in=share if number % 3 != 1 else 0.0, loss_out=share if number % 3 else 0.0
    )
    planting.seconds = 11.0


def _jitter(planting: Planting, _number: int, chance: random.Random) -> None:
    planting.impairment = Impairment(jitter_s=chance.uniform(0.15, 0.4))
    planting.seconds = 11.0


def _one_way(planting: Planting, number: int, _chance: random.Random) -> None:
    planting.impairment = Impairment(loss_in=1.0) if number % 2 else Impairment(loss_out=1.0)
    planting.seconds = 11.0


def _slow(service: str) -> Callable[[Planting, int, random.Random], None]:
    def make(planting: Planting, _number: int, chance: random.Random) -> None:
        planting.plan = {"delays": {service: chance.uniform(4.0, 7.0)}}

    return make


def _errors(*statuses: int) -> Callable[[Planting, int, random.Random], None]:
    def make(planting: Planting, number: int, chance: random.Random) -> None:
        service = ("language", "voice", "speech")[number % 3]
        # The greeting works in half of the calls; speech is heard after it anyway.
        start = 1 if number % 2 or service == "speech" else 2
        planting.plan = {"errors": {service: chance.choice(statuses)}, "from": start}

    return make


def _tool(planting: Planting, _number: int, _chance: random.Random) -> None:
    planting.plan = {"tool": True}
    planting.seconds = 11.0


def _raised(planting: Planting, number: int, chance: random.Random) -> None:
    what = ("ValueError", "KeyError", "RuntimeError", "exit")[number % 4]
    planting.plan = {"bot": {"what": what, "after_s": chance.uniform(0.2, 6), "status": 3}}
    if what == "RuntimeError":  # words of other causes, which the rules must not read
        planting.plan["bot"]["text"] = "CUDA out of memory; MemoryError; rate limit; OOMKilled"
    planting.seconds = 12.0


def _memory(planting: Planting, _number: int, chance: random.Random) -> None:
    planting.plan = {"bot": {"what": "memory", "after_s": chance.uniform(0.5, 6)}}
    planting.seconds = 12.0


def _lost(planting: Planting, number: int, _chance: random.Random) -> None:
    planting.how = ("bot", "gateway", "bot's end", "runner")[number % 4]


_MAKERS: dict[str, Callable[[Planting, int, random.Random], None]] = {
    "healthy": _healthy,
    "user_left": _user_left,
    "microphone_muted": _muted,
    "page_frozen": _frozen,
    "no_path": _no_path,
    "packet_loss": _loss,
    "jitter": _jitter,
    "one_way_sound": _one_way,
    "speech_service_slow": _slow("speech"),
    "language_model_slow": _slow("language"),
    "voice_slow": _slow("voice"),
    "rate_limit": _errors(429),
    "service_authentication": _errors(401),
    "service_failed": _errors(500, 503),
    "tool_timeout": _tool,
    "bot_raised": _raised,
    "out_of_memory": _memory,
    "lines_lost": _lost,
}
