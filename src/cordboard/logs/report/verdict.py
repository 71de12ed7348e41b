"""The verdict: one sentence of how a session went, no more than its lines prove."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cordboard.contract.state import REASONS
from cordboard.logs.coverage import count
from cordboard.logs.report.entry import Entry, as_text, clock, length, one_line
from cordboard.logs.report.stages import NAMES, PATH, Stay, between
from cordboard.logs.session import BROWSER
from cordboard.logs.takeovers import TakeOver

Tone = Literal["ok", "warn", "bad", "unknown"]

WORDS_MAX: Final = 300  # of one sentence
_HAD_JOINED: Final = frozenset(
    {"user.connected", "user.first_audio", "turn.started", "turn.ended", "bot.first_audio"}
)
_BEFORE_A_CRASH: Final[dict[str, str]] = {
    "turn.started": "the user began to speak",
    "turn.ended": "the last turn",
    "bot.first_audio": "its first audio",
    "user.connected": "the user connected",
    "bot.connected": "it connected",
    "bot.started": "it started",
    "bot.forked": "its process was forked",
}
_ASKED_TO_END: Final[dict[str, str]] = {
    "left": "the bot was asked to leave",
    "bot_finished": "the bot finished on its own",
    "max_duration": "the maximum duration was reached",
}
_LOST: Final[dict[str, str]] = {
    "runner": "its runner died",
    "bot process": "its bot process died",
    "edge": "its edge died",
    "draining": "its runner was stopped",
}
_ZEROS: Final[dict[str, str]] = {
    "join.clicked": "the click",
    "join.requested": "the join was requested",
    "join.received": "the join was received",
    "join.accepted": "the join was accepted",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it went.

    Attributes:
        tone: ``ok``, ``warn`` (it worked, with trouble), ``bad``, ``unknown``.
        headline: One sentence.
        details: Further sentences.
    """

    tone: Tone
    headline: str
    details: tuple[str, ...] = ()


def judge(stay: Stay, lines: int, errors: int, *, heard: bool) -> Verdict:
    """Return the verdict on one stay.

    Args:
        stay: Its events.
        lines: How many lines of the session there are.
        errors: How many of them are at error.
        heard: Whether a page heard the bot; where one spoke, its word counts on what was heard.
    """
    if not lines:
        return Verdict("unknown", "No lines were found.")
    if not stay.events:
        return Verdict("unknown", "The outcome is unknown: none of the lines is an event.")
    if stay.ended is None:
        return _unended(stay)
    reason = as_text(stay.ended.meta.get("reason") or "")
    if reason == "user_absent":
        return _nobody(stay)
    if reason in _ASKED_TO_END:
        return _asked(stay, reason, errors, heard=heard)
    return _failed(stay, stay.ended, reason)


def _asked(stay: Stay, reason: str, errors: int, *, heard: bool) -> Verdict:
    page = any(item.event == "join.clicked" and item.service == BROWSER for item in stay.events)
    spoke = stay.has("bot.first_audio")
    span = f" after {length(stay.span_ms)}" if stay.span_ms is not None else ""
    why = f"The session ended{span}: {_ASKED_TO_END[reason]}."
    if page and spoke and not heard:
        said = "The bot spoke, but the page received no sound from it."
    elif spoke or heard:
        return _worked(stay, why, errors)
    elif stay.has("user.connected", "bot.connected"):
        said = "Connected, but no line records audio of the bot."
    elif not stay.has("bot.started"):
        said = "The session ended, but no line shows that a bot started."
    else:
        said = "The bot started, but no line shows that anyone connected."
    return Verdict("warn", said, (why,))


def _worked(stay: Stay, why: str, errors: int) -> Verdict:
    path, heard = stay.startup, "the bot spoke"
    if path.origin is not None and path.total_ms is not None:
        zero = _ZEROS.get(path.origin.event or "", "the first line")
        heard = f"first audio {length(path.total_ms)} after {zero}"
    if stay.take_overs or stay.recoveries:
        said = f"The call worked, but {_lost(stay.take_overs)}: {heard}."
        return Verdict("warn", said, (_recovery(stay), why))
    if errors:
        return Verdict("warn", f"The call worked, with {count(errors, 'error')}: {heard}.", (why,))
    return Verdict("ok", f"The call worked: {heard}.", (why,))


def _lost(take_overs: Sequence[TakeOver]) -> str:
    """Say what the call lost, in the order in which that died first."""
    counts = Counter(item.died for item in take_overs)
    losses = [
        f"{_LOST[died]} {times} times" if times > 1 else _LOST[died]
        for died, times in counts.items()
    ]
    return ", and ".join(losses) or "the session was queued again"


def _recovery(stay: Stay) -> str:
    """Say how often another process continued, and the longest silence."""
    taken = stay.take_overs
    if not taken:
        return f"A start failed {_times(stay.recoveries)}, and was repeated."
    said = f"Another process continued it {_times(len(taken))}"
    last = stay.last.get("session.recovered")
    spoken = [between(last, item) for item in stay.events if item.event == "bot.first_audio"]
    if last is not None and not any(pause is not None and pause > 0 for pause in spoken):
        return f"{said}; no line shows that the bot spoke again after that."
    longest = max(taken, key=lambda item: -1 if item.silence_ms is None else item.silence_ms)
    if longest.silence_ms is None:
        return f"{said}; {longest.silence_words}."
    by = (
        "the plane's own times"
        if longest.silence_from == "plane"
        else f"the {longest.silence_from}"
    )
    which = "longest silence" if len(taken) > 1 else "silence"
    return f"{said}; the {which} was {length(longest.silence_ms)}, measured by {by}."


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _nobody(stay: Stay) -> Verdict:
    if stay.has(*_HAD_JOINED):
        return Verdict("warn", "The session ended as user_absent, although its lines show a user.")
    waited = between(stay.first.get("bot.started"), stay.ended)
    words = f" {length(waited)}" if waited is not None else ""
    return Verdict("bad", f"Nobody joined: the bot waited{words}, and no offer arrived.")


def _failed(stay: Stay, ended: Entry, reason: str) -> Verdict:
    detail = as_text(ended.meta.get("detail") or "")
    if reason == "bot_crashed":
        return _crashed(stay, stay.last.get("bot.crashed", ended), detail)
    said = _failure(stay, reason)
    state = as_text(ended.meta.get("state") or REASONS.get(reason, "ended"))
    if said is None:
        words = f"The session ended as {state}" + (f": {reason}." if reason else ".")
        bad = state in {"failed", "expired"}
        return Verdict("bad" if bad else "warn", one_line(words, WORDS_MAX))
    tone: Tone = "warn" if state == "cancelled" else "bad"
    return Verdict(tone, said, (one_line(detail, WORDS_MAX),) if detail else ())


def _farthest(stay: Stay) -> str:
    names = [name for name in PATH if name in stay.first]
    return f" Last stage reached: {PATH[names[-1]]}." if names else ""


def _failure(stay: Stay, reason: str) -> str | None:
    match reason:
        case "deadline":
            waited = between(stay.first.get("join.accepted"), stay.ended)
            words = f" {length(waited)} after the join was accepted" if waited is not None else ""
            late = "the bot was not running by the deadline"
            return f"Expired{words}: {late}.{_farthest(stay)}"
        case "launch_failed":
            last = stay.last.get("launch.failed")
            why = f": {as_text(last.meta.get('why', last.message))}" if last else ""
            return one_line(f"No bot was started, because every launch failed{why}", WORDS_MAX)
        case "runner_lost":
            tries = stay.recoveries
            again = f" after {count(tries, 'recovery', 'recoveries')}" if tries else ""
            return f"The runner was lost, and the session was given up{again}."
        case "lease_lost":
            return "The bot was stopped: its runner no longer held the room's lease."
        case "cancelled":
            ran = stay.has("bot.started")
            return "Cancelled." if ran else f"Cancelled before the bot ran.{_farthest(stay)}"
    return None


def _crashed(stay: Stay, crash: Entry, detail: str) -> Verdict:
    words = one_line(crash.error or as_text(crash.meta.get("status") or detail), WORDS_MAX)
    when = ""
    for item in reversed(stay.events):
        since = between(item, crash)
        if item.event in _BEFORE_A_CRASH and since is not None and since >= 0:
            when = f" {length(since)} after {_BEFORE_A_CRASH[item.event]}"
            break
    return Verdict("bad", f"The bot crashed{when}{f': {words}' if words else '.'}")


def _unended(stay: Stay) -> Verdict:
    crash, refused = stay.last.get("bot.crashed"), stay.last.get("join.refused")
    if crash is not None:
        return _crashed(stay, crash, "")
    if refused is not None and not stay.has("join.accepted", "join.reused"):
        why = one_line(as_text(refused.meta.get("reason") or ""), WORDS_MAX)
        return Verdict("bad", f"The join was refused{f': {why}' if why else '.'}")
    reused = stay.last.get("join.reused")
    if reused is not None and not stay.has("join.accepted"):
        holder = as_text(reused.meta.get("holder") or "")
        if holder and holder != reused.session_id:
            known = f"the room was in use, and the join returned session {one_line(holder, 140)}"
            return Verdict("ok", f"No new session: {known}.")
        said = "The join returned its own live session; the outcome of that session is not in these lines."
        return Verdict("unknown", said)
    last = (stay.timeline or stay.events)[-1]
    where = NAMES.get(last.event or "") or one_line(last.event or "", 60)
    audio = " The bot had already sent its first audio." if stay.has("bot.first_audio") else ""
    said = f"the last event is “{where}” at {clock(last.us)} UTC.{audio}"
    return Verdict("unknown", f"The end is not in these lines: {said}")
