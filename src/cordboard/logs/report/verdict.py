"""The verdict: one sentence of how a session went, no more than its lines prove."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cordboard.contract.state import REASONS
from cordboard.logs.coverage import count
from cordboard.logs.page import BROWSER
from cordboard.logs.report.entry import Entry, as_text, clock, length, one_line
from cordboard.logs.report.stages import PATH, SETBACKS, Startup, between

Tone = Literal["ok", "warn", "bad", "unknown"]

WORDS_MAX: Final = 300
_HAD_JOINED: Final = (
    *("user.connected", "user.first_audio", "turn.started", "turn.ended", "bot.first_audio"),
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
_ZEROS: Final[dict[str, str]] = {
    "join.clicked": "the click",
    "join.requested": "the interface requested the join",
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


class Story:
    """The events of one stay, to be asked for by name.

    Args:
        events: The events, in time order.
        startup: The startup path.
        heard: Whether a page heard the bot; where one spoke, its word counts on what was heard.

    Attributes:
        first: The first event of each name.
        last: The last event of each name.
        ended: The end; None where no line tells of it.
    """

    def __init__(self, events: Sequence[Entry], startup: Startup, *, heard: bool = False) -> None:
        self.events = events
        self.startup = startup
        self.page = any(item.event == "join.clicked" and item.service == BROWSER for item in events)
        self.heard = heard
        self.first = {item.event or "": item for item in reversed(events)}
        self.last = {item.event or "": item for item in events}
        self.ended = self.last.get("session.ended")

    def has(self, *names: str) -> bool:
        """Say whether there is an event of one of these names."""
        return not self.first.keys().isdisjoint(names)

    @property
    def span_ms(self) -> float | None:
        """From the bot's start, or else from the first event, to the end; None where clocks differ."""
        began = self.first.get("bot.started") or (self.events[0] if self.events else None)
        span = between(began, self.ended)
        return span if span is not None and span >= 0 else None

    @property
    def farthest(self) -> str:
        """The farthest stage that was reached, as a sentence; empty without one."""
        names = [name for name in PATH if name in self.first]
        return f" Last stage reached: {PATH[names[-1]]}." if names else ""

    @property
    def recoveries(self) -> int:
        """How often the session was queued again."""
        return sum(item.event == "session.recovered" for item in self.events)


def judge(story: Story, lines: int, errors: int = 0) -> Verdict:
    """Return the verdict on one stay.

    Args:
        story: Its events.
        lines: How many lines of the session there are.
        errors: How many of them are at error.
    """
    if not lines:
        return Verdict("unknown", "No lines were found.")
    if not story.events:
        return Verdict("unknown", "The outcome is unknown: none of the lines is an event.")
    if story.ended is None:
        return _unended(story)
    reason = as_text(story.ended.meta.get("reason") or "")
    if reason == "user_absent":
        return _nobody(story)
    if reason in _ASKED_TO_END:
        return _asked(story, reason, errors)
    return _failed(story, story.ended, reason)


def _asked(story: Story, reason: str, errors: int) -> Verdict:
    span = f" after {length(story.span_ms)}" if story.span_ms is not None else ""
    why = f"The session ended{span}: {_ASKED_TO_END[reason]}."
    if story.page and not story.heard and story.has("bot.first_audio"):
        said = "The bot spoke, but the page received no sound from it."
    elif story.has("bot.first_audio") or story.heard:
        return _worked(story, why, errors)
    elif story.has("user.connected", "bot.connected"):
        said = "Connected, but no line records audio of the bot."
    elif not story.has("bot.started"):
        said = "The session ended, but no line shows that a bot started."
    else:
        said = "The bot started, but no line shows that anyone connected."
    return Verdict("warn", said, (why,))


def _worked(story: Story, why: str, errors: int) -> Verdict:
    total, zero = story.startup.total_ms, _ZEROS.get(story.startup.zero, "the first line")
    heard = "the bot spoke" if total is None else f"first audio {length(total)} after {zero}"
    if story.recoveries:
        moved = f"The call worked, but moved to another runner: {heard}."
        return Verdict("warn", moved, (_recovery(story), why))
    if errors:
        return Verdict("warn", f"The call worked, with {count(errors, 'error')}: {heard}.", (why,))
    return Verdict("ok", f"The call worked: {heard}.", (why,))


def _recovery(story: Story) -> str:
    """Say what was between the loss of a runner and the bot's next word."""
    times = "once" if story.recoveries == 1 else f"{story.recoveries} times"
    said = f"The session was handed to another runner {times}"
    spoken = [item for item in story.events if item.event == "bot.first_audio"]
    pauses = [between(story.last["session.recovered"], item) for item in spoken]
    again = next((pause for pause in pauses if pause is not None and pause > 0), None)
    if again is None:
        return f"{said}; no line shows that the bot spoke again after that."
    return f"{said}; the bot spoke again {length(again)} later."


def _nobody(story: Story) -> Verdict:
    if story.has(*_HAD_JOINED):
        return Verdict("warn", "The session ended as user_absent, although its lines show a user.")
    waited = between(story.first.get("bot.started"), story.ended)
    words = f" {length(waited)}" if waited is not None else ""
    return Verdict("bad", f"Nobody joined: the bot waited{words}, and no offer arrived.")


def _failed(story: Story, ended: Entry, reason: str) -> Verdict:
    detail = as_text(ended.meta.get("detail") or "")
    if reason == "bot_crashed":
        return _crashed(story, story.last.get("bot.crashed", ended), detail)
    said = _failure(story, reason)
    state = as_text(ended.meta.get("state") or REASONS.get(reason, "ended"))
    if said is None:
        words = f"The session ended as {state}" + (f": {reason}." if reason else ".")
        bad = state in {"failed", "expired"}
        return Verdict("bad" if bad else "warn", one_line(words, WORDS_MAX))
    tone: Tone = "warn" if state == "cancelled" else "bad"
    return Verdict(tone, said, (one_line(detail, WORDS_MAX),) if detail else ())


def _failure(story: Story, reason: str) -> str | None:
    match reason:
        case "deadline":
            waited = between(story.first.get("join.accepted"), story.ended)
            words = f" {length(waited)} after the join was accepted" if waited is not None else ""
            late = "the bot was not running by the deadline"
            return f"Expired{words}: {late}.{story.farthest}"
        case "launch_failed":
            last = story.last.get("launch.failed")
            why = f": {as_text(last.meta.get('why', last.message))}" if last else ""
            return one_line(f"No bot was started, because every launch failed{why}", WORDS_MAX)
        case "runner_lost":
            tries = story.recoveries
            again = f" after {count(tries, 'recovery', 'recoveries')}" if tries else ""
            return f"The runner was lost, and the session was given up{again}."
        case "lease_lost":
            return "The bot was stopped: its runner no longer held the room's lease."
        case "cancelled":
            ran = story.has("bot.started")
            return "Cancelled." if ran else f"Cancelled before the bot ran.{story.farthest}"
    return None


def _crashed(story: Story, crash: Entry, detail: str) -> Verdict:
    words = one_line(crash.error or as_text(crash.meta.get("status") or detail), WORDS_MAX)
    when = ""
    for item in reversed(story.events):
        since = between(item, crash)
        if item.event in _BEFORE_A_CRASH and since is not None and since >= 0:
            when = f" {length(since)} after {_BEFORE_A_CRASH[item.event]}"
            break
    return Verdict("bad", f"The bot crashed{when}{f': {words}' if words else '.'}")


def _unended(story: Story) -> Verdict:
    crash, refused = story.last.get("bot.crashed"), story.last.get("join.refused")
    if crash is not None:
        return _crashed(story, crash, "")
    if refused is not None and not story.has("join.accepted", "join.reused"):
        why = one_line(as_text(refused.meta.get("reason") or ""), WORDS_MAX)
        return Verdict("bad", f"The join was refused{f': {why}' if why else '.'}")
    reused = story.last.get("join.reused")
    if reused is not None and not story.has("join.accepted"):
        return _reused(reused)
    last = story.events[-1]
    name = last.event or ""
    where = PATH.get(name) or SETBACKS.get(name) or one_line(name, 60)
    audio = " The bot had already sent its first audio." if story.has("bot.first_audio") else ""
    return Verdict(
        "unknown",
        f"The end is not in these lines: the last event is “{where}” at {clock(last.us)} UTC.{audio}",
    )


def _reused(reused: Entry) -> Verdict:
    holder = as_text(reused.meta.get("holder") or "")
    if holder and holder != reused.session_id:
        known = f"the room was in use, and the join returned session {one_line(holder, 140)}"
        return Verdict("ok", f"No new session: {known}.")
    return Verdict(
        "unknown",
        "The join returned its own live session; the outcome of that session is not in these lines.",
    )
