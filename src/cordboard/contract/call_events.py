"""The records of a call: the members of ``meta`` of each event, in the order of docs/contract/events.md.

Numbers carry their unit in the name (``_ms``, ``_s``); ``ms`` is a duration. A value that is not known is left out.
"""

from typing import Final, Literal

Content = Literal["off", "words", "all"]
"""What the records of a call may contain of what was said: the setting ``content``."""

CALL_META: Final[dict[str, tuple[str, ...]]] = {
    "pipeline.started": ("ms", "setup_ms", "start_ms", "processors"),
    "turn.ended": (
        "turn",
        "duration_ms",
        "interrupted",
        "user_bot_latency_ms",
        "ttfb_ms",
        "contributions",
        "total_ms",
        "measured_from",
        "outcome",
    ),
    "turn.user_text": ("turn", "text", "interrupted"),
    "turn.bot_text": ("turn", "text", "interrupted"),
    "turn.heard": (
        "turn",
        "heard_ms",
        "user_ended_at",
        "bot_began_at",
        "network_ms",
        "buffer_ms",
        "device_ms",
    ),
    "speech.started": ("who", "at"),
    "speech.ended": ("who", "at", "ms"),
    "service.usage": (
        "processor",
        "model",
        "prompt_tokens",
        "completion_tokens",
        "cache_read_tokens",
        "characters",
        "audio_s",
    ),
    "service.error": ("category", "processor", "usable", "recovered", "at", "text"),
    "tool.started": ("name", "call_id", "arguments"),
    "tool.ended": ("name", "call_id", "status", "ms", "result", "text"),
    "media.stats": (
        "end",
        "state",
        "interval_ms",
        "packets_sent",
        "packets_received",
        "packets_lost",
        "concealed_samples",
        "samples",
        "jitter_ms",
        "rtt_ms",
        "level_in",
        "level_out",
        "path",
        "mos",
    ),
    "media.warning": ("name", "state", "value", "threshold", "end"),
    "device.changed": ("kind", "label_hash", "settings", "duration_ms"),
}
"""The members of ``meta`` of each record."""

CONTENT_META: Final[dict[str, Content]] = {"text": "words", "arguments": "all", "result": "all"}
"""Members that hold what was said, with the lowest level of ``content`` at which they are written."""

LEFT_OUT: Final = "Records were left out"
"""The message of a line of a bot that wrote too many records: `count`, and `events`, the number of each."""

TURN_OUTCOMES: Final = ("completed", "no_output", "interrupted", "error")
"""How a turn ended: ``outcome`` of ``turn.ended``."""

LATENCY_STARTS: Final = ("user_silence", "client_connected")
"""Where a latency begins, for an answer and for a greeting: ``measured_from`` of ``turn.ended``."""

ERROR_CATEGORIES: Final = (
    "authentication",
    "rate_limit",
    "timeout",
    "connection",
    "server",
    "request",
    "other",
)
"""Why a service failed: ``category`` of ``service.error``."""

TOOL_STATUSES: Final = ("completed", "error", "timeout", "cancelled")
"""How the call of a tool ended: ``status`` of ``tool.ended``."""

MEDIA_ENDS: Final = ("page", "call", "bot")
"""Who measured: ``end`` of ``media.stats`` and ``media.warning``."""

MEDIA_PATHS: Final = ("host", "srflx", "prflx", "relay")
"""The type of the local ICE candidate in use: ``path`` of ``media.stats``."""

DEVICE_CHANGES: Final = (
    "microphone",
    "settings",
    "muted",
    "unmuted",
    "frozen",
    "resumed",
    "audio_interrupted",
    "audio_resumed",
    "permission",
)
"""What changed: ``kind`` of ``device.changed``."""

BUILD_META: Final = ("bot", "package", "pipecat", "cordboard", "image")
"""The members of ``build``: hashes of 12 hexadecimal digits, versions, and the digest of the image."""
