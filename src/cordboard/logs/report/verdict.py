"""The verdict: one sentence of how a session went, no more than its lines prove."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cordboard.contract.state import REASONS
from cordboard.logs.coverage import count
from cordboard.logs.report.entry import Entry, number
from cordboard.logs.report.stages import PATH, SETBACKS, Startup
from cordboard.logs.report.units import clock, length
from cordboard.logs.report.visible import as_text, one_line

Tone = Literal["ok", "warn", "bad", "unknown"]

WORDS_MAX: Final = 300
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
        page: Whether a page spoke: then its word counts on what was heard.
        heard: Whether it heard the bot.
    """

    def __init__(
        self,
        events: Sequence[Entry],
        startup: Startup,
        *,
        page: bool = False,
        heard: bool = False,
    ) -> None:
        self.events = events
        self.startup = startup
        self.page = page
        self.heard = heard
        self._first: dict[str, Entry] = {}
        self._last: dict[str, Entry] = {}
        for item in events:
            name = item.event or ""
            self._first.setdefault(name, item)
            self._last[name] = item

    def first(self, name: str) -> Entry | None:
        """Return the first event of that name."""
        return self._first.get(name)

    def last(self, name: str) -> Entry | None:
        """Return the last event of that name."""
        return self._last.get(name)

    def has(self, *names: str) -> bool:
        """Say whether there is an event of one of these names."""
        return any(name in self._first for name in names)

    @property
    def span_ms(self) -> float | None:
        """From the bot's start, or else from the first event, to the end; None where clocks differ."""
        began = self.first("bot.started") or (self.events[0] if self.events else None)
        span = between(began, self.last("session.ended"))
        return span if span is not None and span >= 0 else None

    @property
    def farthest(self) -> str:
        """The farthest stage that was reached, for a sentence; empty without one."""
        names = [name for name in PATH if name in self._first]
        return PATH[names[-1]] if names else ""


def judge(story: Story, lines: int, errors: int = 0) -> Verdict:
    """Return the verdict on one stay.

    Args:
        story: Its events.
        lines: How many lines of the session there are.
        errors: How many of them are at error.
    """
    ended = story.last("session.ended")
    if not lines:
        return Verdict("unknown", "No lines were found.")
    if not story.events:
        return Verdict("unknown", "The outcome is unknown: none of the lines is an event.")
    if ended is None:
        return _unended(story)
    reason = as_text(ended.meta.get("reason") or "")
    if reason == "user_absent":
        return _nobody(story)
    if reason in _ASKED_TO_END:
        return _asked(story, reason, errors)
    return _failed(story, ended, reason)


def _asked(story: Story, reason: str, errors: int) -> Verdict:
    span = f" after {length(story.span_ms)}" if story.span_ms is not None else ""
    why = f"The session ended{span}: {_ASKED_TO_END[reason]}."
    if story.page and not story.heard and story.has("bot.first_audio"):
        return Verdict("warn", "The bot spoke, but the page received no sound from it.", (why,))
    if story.has("bot.first_audio") or story.heard:
        return _worked(story, why, errors)
    if story.has("user.connected", "bot.connected"):
        return Verdict("warn", "Connected, but no line records audio of the bot.", (why,))
    if not story.has("bot.started"):
        return Verdict("warn", "The session ended, but no line shows that a bot started.", (why,))
    return Verdict("warn", "The bot started, but no line shows that anyone connected.", (why,))


def _worked(story: Story, why: str, errors: int) -> Verdict:
    total = story.startup.total_ms
    known = total is not None
    heard = f"first audio {length(total)} after {_zero(story)}" if known else "the bot spoke"
    recovery = _recovery(story)
    if recovery is not None:
        return Verdict(
            "warn", f"The call worked, but moved to another runner: {heard}.", (recovery, why)
        )
    if errors:
        return Verdict("warn", f"The call worked, with {count(errors, 'error')}: {heard}.", (why,))
    return Verdict("ok", f"The call worked: {heard}.", (why,))


def _recovery(story: Story) -> str | None:
    """Say what was between the loss of a runner and the bot's next word; None without a loss."""
    last = story.last("session.recovered")
    if last is None:
        return None
    tries = sum(item.event == "session.recovered" for item in story.events)
    said = f"The session was handed to another runner {'once' if tries == 1 else f'{tries} times'}"
    again = next((item for item in story.events if _follows(item, last, "bot.first_audio")), None)
    if again is None:
        return f"{said}; no line shows that the bot spoke again after that."
    return f"{said}; the bot spoke again {length(between(last, again))} later."


def _follows(item: Entry, other: Entry, event: str) -> bool:
    return item.event == event and (between(other, item) or -1.0) >= 0


def _nobody(story: Story) -> Verdict:
    waited = between(story.first("bot.started"), story.last("session.ended"))
    if story.has(*_HAD_JOINED):
        return Verdict("warn", "The session ended as user_absent, although its lines show a user.")
    words = f" {length(waited)}" if waited is not None else ""
    return Verdict("bad", f"Nobody joined: the bot waited{words}, and no offer arrived.")


def _failed(story: Story, ended: Entry, reason: str) -> Verdict:
    detail = as_text(ended.meta.get("detail") or "")
    if reason == "bot_crashed":
        return _crashed(story, story.last("bot.crashed") or ended, detail)
    said = _failure(story, reason)
    state = as_text(ended.meta.get("state") or REASONS.get(reason, "ended"))
    if said is None:
        words = f"The session ended as {state}" + (f": {reason}." if reason else ".")
        return Verdict(
            "bad" if state in {"failed", "expired"} else "warn", one_line(words, WORDS_MAX)
        )
    tone: Tone = "warn" if state == "cancelled" else "bad"
    return Verdict(tone, said, (one_line(detail, WORDS_MAX),) if detail else ())


def _failure(story: Story, reason: str) -> str | None:
    far = f" Last stage reached: {story.farthest}." if story.farthest else ""
    match reason:
        case "deadline":
            waited = between(story.first("join.accepted"), story.last("session.ended"))
            words = f" {length(waited)} after the join was accepted" if waited is not None else ""
            return f"Expired{words}: the bot was not running by the deadline.{far}"
        case "launch_failed":
            last = story.last("launch.failed")
            why = f": {as_text(last.meta.get('why', last.message))}" if last else ""
            return one_line(f"No bot was started, because every launch failed{why}", WORDS_MAX)
        case "runner_lost":
            tries = sum(item.event == "session.recovered" for item in story.events)
            again = f" after {count(tries, 'recovery', 'recoveries')}" if tries else ""
            return f"The runner was lost, and the session was given up{again}."
        case "lease_lost":
            return "The bot was stopped: its runner no longer held the room's lease."
        case "cancelled":
            return (
                f"Cancelled before the bot ran.{far}"
                if not story.has("bot.started")
                else ("Cancelled.")
            )
    return None


def _crashed(story: Story, crash: Entry, detail: str) -> Verdict:
    words = one_line(crash.error or as_text(crash.meta.get("status") or detail), WORDS_MAX)
    anchor = next(
        (item for item in reversed(story.events) if _earlier(item, crash)),
        None,
    )
    since = between(anchor, crash)
    when = ""
    if anchor is not None and since is not None:
        when = f" {length(since)} after {_BEFORE_A_CRASH[anchor.event or '']}"
    return Verdict("bad", f"The bot crashed{when}{f': {words}' if words else '.'}")


def _earlier(item: Entry, crash: Entry) -> bool:
    at, until = item.us, crash.us
    return item.event in _BEFORE_A_CRASH and at is not None and until is not None and at <= until


def _unended(story: Story) -> Verdict:
    crash = story.last("bot.crashed")
    if crash is not None:
        return _crashed(story, crash, "")
    if story.has("join.refused") and not story.has("join.accepted", "join.reused"):
        refused = story.last("join.refused")
        why = as_text(refused.meta.get("reason") or "") if refused else ""
        return Verdict(
            "bad", f"The join was refused{f': {one_line(why, WORDS_MAX)}' if why else '.'}"
        )
    reused = story.last("join.reused")
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
        return Verdict(
            "ok",
            f"No new session: the room was in use, and the join returned session {one_line(holder, 140)}.",
        )
    return Verdict(
        "unknown",
        "The join returned its own live session; the outcome of that session is not in these lines.",
    )


def _zero(story: Story) -> str:
    return {
        "join.clicked": "the click",
        "join.requested": "the interface requested the join",
        "join.received": "the join was received",
        "join.accepted": "the join was accepted",
    }.get(story.startup.zero, "the first line")


def between(first: Entry | None, last: Entry | None) -> float | None:
    """Return the milliseconds from one entry to another; None where they are not known."""
    if first is None or last is None or first.us is None or last.us is None:
        return None
    return (last.us - first.us) / 1000


def seconds_told(ended: Entry | None) -> float | None:
    """Return how long the session was, as its end says."""
    value = number(ended.meta.get("seconds")) if ended is not None else None
    return None if value is None else value * 1000
