"""States, reasons and times as the pages say them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from cordboard.contract.state import LIVE, TERMINAL

Tone = Literal["live", "ok", "warn", "bad"]

STATES: Final[Mapping[str, str]] = {
    "queued": "Waiting for a bot",
    "starting": "A bot is starting",
    "running": "In the call",
    "ended": "Ended",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "expired": "No bot came in time",
}
"""What each state of a session is called."""

REASONS: Final[Mapping[str, str]] = {
    "bot_finished": "The bot finished.",
    "left": "The caller, or somebody else, ended it.",
    "user_absent": "Nobody was connected to the bot.",
    "max_duration": "It reached its maximum length.",
    "bot_crashed": "The bot raised an error, or its process died.",
    "runner_lost": "Its runner died or was stopped, and no other one took it in time.",
    "lease_lost": "The bot could not prove in time that it still held the room.",
    "launch_failed": "No runner could be started.",
    "deadline": "No runner was free before the deadline of the join.",
    "cancelled": "It was ended before a bot ran.",
}
"""What each reason means."""

RECOVERIES: Final[Mapping[str, str]] = {
    "died": "its runner was lost, and the lease ran out",
    "confirmed": "its runner was confirmed dead",
    "unstarted": "the hand-over to its runner was lost",
    "refused": "its runner refused it",
    "bot_died": "its bot process was killed",
    "draining": "its runner stopped",
}
"""Why a session was queued again."""

STAGES: Final[Mapping[str, str]] = {
    "queued": "Accepted",
    "starting": "Given to a runner",
    "running": "Bot running",
    "recovered": "Queued again",
    "ended": "Ended",
}
"""What each stage of a record is called."""

_BAD: Final = frozenset({"failed", "expired"})
_DOUBTFUL: Final = frozenset({"user_absent", "max_duration"})


def state_words(record: Mapping[str, Any]) -> str:
    """Return the state of the session of `record` in words."""
    status = str(record.get("status", ""))
    if status in LIVE and (record.get("attempt") or 1) > 1 and status != "running":
        return "Its bot was lost. Another one takes over."
    return STATES.get(status, status)


def reason_words(record: Mapping[str, Any]) -> str:
    """Return why the session of `record` ended, in a sentence; empty while it is live."""
    reason = record.get("reason") or ""
    return REASONS.get(reason, str(reason))


def tone(record: Mapping[str, Any]) -> Tone:
    """Return how the session of `record` stands: ``live``, ``ok``, ``warn`` (look at it) or ``bad``."""
    if record.get("status") in _BAD:
        return "bad"
    if record.get("status") not in TERMINAL:
        return "live"
    return "warn" if record.get("reason") in _DOUBTFUL or _was_taken_over(record) else "ok"


def _was_taken_over(record: Mapping[str, Any]) -> bool:
    # By a stage, not by the list of take-overs: that names runners, and callers do not see it.
    return "recovered" in record.get("stages", {})


def recovery_words(cause: str) -> str:
    """Return why a session was queued again for the `cause` of a take-over."""
    return RECOVERIES.get(cause, cause)


def room_name(room: str) -> str:
    """Return the name of `room`, a room URL: of a room of the pages without its scheme."""
    return room.removeprefix("webrtc:")


def parse_time(text: str) -> datetime:
    """Return the time of `text`, a member of a record, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def moment(text: str) -> str:
    """Return the time of `text`, a member of a record, as people read it, in UTC."""
    return parse_time(text).strftime("%Y-%m-%d %H:%M:%S UTC")


def age(text: str, now: datetime | None = None) -> str:
    """Return how long before `now`, by default the present, the time of `text` was."""
    return length(((now or datetime.now(UTC)) - parse_time(text)).total_seconds())


def duration(record: Mapping[str, Any]) -> str:
    """Return how long the session of `record` has run; empty if it never did."""
    stages = record.get("stages", {})
    if "running" not in stages:
        return ""
    begin = record["createdAt"] if _was_taken_over(record) else stages["running"]
    end = parse_time(stages["ended"]) if "ended" in stages else datetime.now(UTC)
    return length((end - parse_time(begin)).total_seconds())


def since_join(record: Mapping[str, Any], at: str) -> str:
    """Return how long after its join the session of `record` reached a stage `at` a time."""
    return f"+{(parse_time(at) - parse_time(record['createdAt'])).total_seconds():.3f} s"


def length(seconds: float) -> str:
    """Return `seconds` with the two units that matter: ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = max(int(seconds), 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), 3)
    shown = [f"{number} {unit}" for number, unit in parts[first : first + 2] if number]
    return " ".join(shown) or "0 s"
