"""The table of the rules: one for each cause, in the order of precedence. docs/why.md shows this table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cordboard.logs.why import ends, media, services
from cordboard.logs.why.finding import Finding
from cordboard.logs.why.story import Story

EVERYONE: Final = ("*",)
"""The lines of all services."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one cause is found.

    Attributes:
        cause: Its name, for programs.
        title: Its name, for people.
        proof: The lines that prove it, in words.
        advice: What to do about it.
        check: The rule itself.
        told_by: The services whose lines tell of it.
        rivals: The causes that would explain the same lines: while lines that could prove one of them are
            missing, this cause is not blamed.
    """

    cause: str
    title: str
    proof: str
    advice: str
    check: Callable[[Story], Finding]
    told_by: tuple[str, ...]
    rivals: tuple[str, ...] = ()


_SERVICE_ERRORS: Final = ("service_authentication", "rate_limit", "tool_timeout", "service_failed")
_DEVICE: Final = ("page_frozen", "microphone_muted")

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "queue_full",
        "Queue full",
        "`join.refused` with the reason `queue_full`, and no accepted join",
        "Add runners, or raise queue_max.",
        ends.queue_full,
        ("gateway",),
    ),
    Rule(
        "redis_away",
        "Redis away",
        "`join.refused` with the reason `store_unavailable`; or a lost lease, or a session that never ran, "
        "while a server logs that Redis is unavailable",
        "Look at Redis and at the network to it. Calls survive outages that are shorter than a lease.",
        ends.redis_away,
        ("gateway", "operator", "runner"),
    ),
    Rule(
        "join_refused",
        "Join refused",
        "`join.refused` with any other reason, and no accepted join; or the page's line that its join was refused",
        "The reason is an error code of the contract, which says what to do.",
        ends.join_refused,
        ("gateway",),
    ),
    Rule(
        "out_of_memory",
        "Out of memory",
        "`bot.crashed` of the type `MemoryError`; `out_of_memory` in it or in `session.ended`; or a pod that the kernel killed (`OOMKilled`)",
        "Raise bot_memory_mb or the memory of the pod, or let the bot need less.",
        ends.out_of_memory,
        ("bot", "runner", "operator"),
    ),
    Rule(
        "service_authentication",
        "Authentication of a service",
        "`service.error` of the category `authentication` from which the bot did not recover",
        "Check the key of the service that the line names.",
        services.service_authentication,
        ("bot",),
    ),
    Rule(
        "rate_limit",
        "Rate limit of a service",
        "`service.error` of the category `rate_limit` from which the bot did not recover",
        "Ask the vendor for a higher limit, or spread the load.",
        services.rate_limit,
        ("bot",),
    ),
    Rule(
        "tool_timeout",
        "Tool timed out",
        "`tool.ended` with the status `timeout`",
        "Look at what the tool calls, or raise its timeout.",
        services.tool_timeout,
        ("bot",),
    ),
    Rule(
        "service_failed",
        "Service failed",
        "`service.error` of any other category from which the bot did not recover",
        "Look at the service that the line names.",
        services.service_failed,
        ("bot",),
        rivals=("service_authentication", "rate_limit", "tool_timeout"),
    ),
    Rule(
        "bot_raised",
        "Bot raised an exception",
        "`bot.crashed` with an exception, an exit status, or a signal that a process causes itself",
        "The line has the exception and its stack.",
        ends.bot_raised,
        ("bot", "runner"),
        rivals=_SERVICE_ERRORS,
    ),
    Rule(
        "page_frozen",
        "Page frozen",
        "`device.changed` of the kind `frozen`",
        "The browser stops pages in the background. Keep the page visible, or use a wake lock.",
        media.page_frozen,
        ("browser",),
    ),
    Rule(
        "microphone_muted",
        "Microphone muted or disconnected",
        "`device.changed` of the kind `muted`, or with `settings.readyState` `ended`; "
        "or the page's line that it got no microphone",
        "Unmute the microphone in the system, permit the page to use it, or connect it again.",
        media.microphone_muted,
        ("browser",),
    ),
    Rule(
        "bot_late",
        "Bot late",
        "the runner's lines that the event loop of the bot is late, for a large part of the call",
        "Give the runner more processor time or fewer calls, or move blocking work of the bot into threads.",
        ends.bot_late,
        ("runner",),
        rivals=("page_frozen", "runner_killed"),
    ),
    Rule(
        "no_path",
        "No path for the media",
        "a failed connection of the media before any packet arrived; a bot that answered and got no media; "
        "or an interruption without an end although the bot lived",
        "Open UDP to the runner, or add a TURN server (ice_servers).",
        media.no_path,
        ("browser", "bot"),
        rivals=("page_frozen", "bot_raised", "out_of_memory", "runner_killed", "bot_late"),
    ),
    Rule(
        "one_way_sound",
        "Sound in one direction only",
        "`media.warning` `one_way`; an end without a received packet while the other one sends; or a caller who "
        "sends, and no `user.first_audio`",
        "Look for a firewall or a NAT that lets one direction pass.",
        media.one_way_sound,
        ("browser", "bot"),
        rivals=(*_DEVICE, "bot_late"),
    ),
    Rule(
        "runner_killed",
        "Runner killed",
        "`session.recovered` because its runner died, or an end with the reason `runner_lost`",
        "Look at why the machine or the pod of the runner ended.",
        ends.runner_killed,
        ("operator", "runner"),
        rivals=("redis_away",),
    ),
    Rule(
        "speech_service_slow",
        "Speech service slow",
        "`turn.ended` of turns that the transcription made slow",
        "Look at the latency of the speech service, and at its region.",
        services.speech_service_slow,
        ("bot",),
        rivals=(*_SERVICE_ERRORS, "bot_late"),
    ),
    Rule(
        "language_model_slow",
        "Language model slow",
        "`turn.ended` of turns that the language model made slow",
        "Use a faster model, a shorter context, or another region.",
        services.language_model_slow,
        ("bot",),
        rivals=(*_SERVICE_ERRORS, "bot_late"),
    ),
    Rule(
        "voice_slow",
        "Voice slow",
        "`turn.ended` of turns that the speech synthesis made slow",
        "Look at the latency of the voice service, and at its region.",
        services.voice_slow,
        ("bot",),
        rivals=(*_SERVICE_ERRORS, "bot_late"),
    ),
    Rule(
        "packet_loss",
        "Packet loss",
        "`media.stats` of one end with too many lost packets, or `media.warning` `high_loss`",
        "Look at the network of the end that lost them, and at the processor time of the runner.",
        media.packet_loss,
        ("browser", "bot"),
        rivals=(*_DEVICE, "bot_late", "one_way_sound"),
    ),
    Rule(
        "jitter",
        "Jitter",
        "`media.stats` of one end with a high jitter, or `media.warning` `high_jitter`",
        "Look at the network of that end, and at the processor time of the runner.",
        media.jitter,
        ("browser", "bot"),
        rivals=(*_DEVICE, "bot_late", "packet_loss"),
    ),
    Rule(
        "cold_start_slow",
        "Cold start slow",
        "`launch.job_created` or a cold `start.received`, and a bot that ran late or never",
        "Keep warm runners, or make the image and the imports of the bot smaller.",
        ends.cold_start_slow,
        ("gateway", "operator", "runner"),
        rivals=("redis_away",),
    ),
    Rule(
        "start_failed",
        "Start failed",
        "an end as `failed` or `expired` before a bot ran, with the reasons of the launches",
        "The lines of the launches say why no runner took the session.",
        ends.start_failed,
        ("gateway", "operator", "runner"),
        rivals=("redis_away", "cold_start_slow", "out_of_memory"),
    ),
    Rule(
        "user_left",
        "User left",
        "a closed page; an end before the bot was heard; or a caller who was absent for too long",
        "Nothing, unless the caller waited for long: look at the stages.",
        ends.user_left,
        ("browser", "gateway", "runner"),
        rivals=EVERYONE,
    ),
    Rule(
        "healthy",
        "Healthy",
        "the bot's first audio, answers in time, a proper end, no other cause, and complete lines",
        "",  # there is nothing to do
        ends.healthy,
        EVERYONE,
        rivals=EVERYONE,
    ),
)
"""Of the proved causes the one with the worst effect is the answer; of several, the first in this table."""

LINES_LOST: Final = "lines_lost"
UNKNOWN: Final = "unknown"

TITLES: Final[dict[str, str]] = {
    **{rule.cause: rule.title for rule in RULES},
    LINES_LOST: "Lines lost",
    UNKNOWN: "Not enough evidence",
}
"""The closed list of all causes, with `lines_lost`, and `unknown` for none of them."""

BY_CAUSE: Final = {rule.cause: rule for rule in RULES}
