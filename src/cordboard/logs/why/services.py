"""The rules about the services and the tools of a bot."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from cordboard.logs.session import HEARD
from cordboard.logs.values import number
from cordboard.logs.why.ends import short
from cordboard.logs.why.finding import Effect, Finding, not_shown, proved, ruled_out
from cordboard.logs.why.story import Fact, Story
from cordboard.logs.why.thresholds import CRASH_AFTER_MS, SLOW_PART, SLOW_TURN_MS, SLOW_TURNS

# The keys of Pipecat's `UserBotLatencyObserver`, 1.14.
_PARTS: Final[dict[str, str]] = {
    "transcription": "speech",
    "llm_inference": "language",
    "llm_tool_call": "language",
    "turn_completion": "language",
    "awaiting_speakable_text": "language",
    "speech_synthesis": "voice",
}
# Of records without contributions: the names of Pipecat's classes.
_CLASSES: Final = (("STT", "speech"), ("LLM", "language"), ("TTS", "voice"))
_NAMES: Final = {
    "speech": "speech service",
    "language": "language model",
    "voice": "voice service",
}
_NO_TURNS: Final = "No turn has a latency."


# --- slow services


def _slow(part: str, story: Story) -> Finding:
    """Judge whether one kind of service made turns slow."""
    timed = [(fact, ms) for fact in story.all("turn.ended") if (ms := _total_ms(fact)) is not None]
    if not timed:
        return not_shown(_NO_TURNS)
    slow = [fact for fact, ms in timed if ms > SLOW_TURN_MS.value and _is_slow_by(fact, part, ms)]
    name = _NAMES[part]
    if slow and len(slow) >= SLOW_TURNS.value * len(timed):
        worst = max(_parts(fact).get(part, 0.0) for fact in slow) / 1000
        turns = "1 turn" if len(slow) == 1 else f"{len(slow)} turns"
        words = f"The {name} took up to {worst:.1f} s, and made {turns} of {len(timed)} slow."
        return proved(words, *slow, effect="disturbed")
    longest = max(timed, key=lambda item: _parts(item[0]).get(part, 0.0))[0]
    took = _parts(longest).get(part)
    if took is None:
        return ruled_out(f"No slow turn waited for the {name}.", longest)
    return ruled_out(f"The {name} took at most {took / 1000:.1f} s in a turn.", longest)


speech_service_slow = partial(_slow, "speech")
language_model_slow = partial(_slow, "language")
voice_slow = partial(_slow, "voice")


def _total_ms(fact: Fact) -> float | None:
    total = fact.number("total_ms")
    return fact.number("user_bot_latency_ms") if total is None else total


def _is_slow_by(fact: Fact, part: str, total_ms: float) -> bool:
    """Return whether one kind of service made a turn slow: by most of its time, or by more than a turn may take."""
    parts = _parts(fact)
    took_ms = parts.get(part, 0.0)
    if took_ms >= SLOW_PART.value * total_ms:
        return True
    return took_ms > SLOW_TURN_MS.value and took_ms == max(parts.values())


def _parts(fact: Fact) -> dict[str, float]:
    """Return the milliseconds of a turn that each kind of service took."""
    parts: dict[str, float] = {}
    told = fact.meta.get("contributions")
    for item in told if isinstance(told, list) else ():
        if isinstance(item, Mapping) and (ms := number(item.get("ms"))) is not None:
            kind = _PARTS.get(str(item.get("key")))
            if kind:
                parts[kind] = parts.get(kind, 0.0) + ms
    ttfb = fact.meta.get("ttfb_ms")
    if not parts and isinstance(ttfb, Mapping):
        for name, value in ttfb.items():
            kind = next((kind for word, kind in _CLASSES if word in str(name)), None)
            ms = number(value)
            if kind and ms is not None:
                parts[kind] = max(parts.get(kind, 0.0), ms)
    return parts


# --- errors


def _error(categories: frozenset[str], what: str, story: Story) -> Finding:
    """Judge whether errors of some categories cost the caller an answer."""
    errors = story.where("service.error", lambda fact: fact.text("category") in categories)
    unrecovered = [fact for fact in errors if fact.meta.get("recovered") is not True]
    if unrecovered:
        first = unrecovered[0]
        words = f"{short(first.text('processor')) or 'A service'} failed: {what}."
        crash = _crash_after(story, unrecovered[-1])
        return proved(words, *unrecovered, crash, effect=_effect(story, unrecovered[-1]))
    if errors:
        return ruled_out("The bot recovered from the errors.", *errors)
    if story.ran is None:
        return ruled_out("No bot ran.", story.end)
    return ruled_out("No service reported such an error.", story.ran)


service_authentication = partial(
    _error, frozenset({"authentication"}), "it did not accept the bot's key"
)
rate_limit = partial(_error, frozenset({"rate_limit"}), "its rate limit was reached")
_failed = partial(
    _error,
    frozenset({"timeout", "connection", "server", "request", "other"}),
    "it did not answer as it should",
)


def service_failed(story: Story) -> Finding:
    """Judge whether a service failed in another way than those that are causes of their own."""
    found = _failed(story)
    slow = [judge(story) for judge in (speech_service_slow, language_model_slow, voice_slow)]
    is_slow = any(item.status == "proved" for item in slow)
    if is_slow and found.effect == "disturbed" and all(map(_is_vague, found.lines)):
        return ruled_out("The service was slow, and answered after the error.", *found.lines)
    return found


def _is_vague(fact: Fact) -> bool:
    """Return whether an error may stand for a late answer: Pipecat reports late audio as no audio."""
    return fact.kind == "service.error" and fact.text("category") in {"other", "timeout"}


def tool_timeout(story: Story) -> Finding:
    """Judge whether a tool did not answer in time."""
    tools = story.all("tool.ended")
    late = [fact for fact in tools if fact.text("status") == "timeout"]
    if late:
        words = f"The tool {short(late[-1].text('name'))} did not answer in time."
        return proved(words, *late, effect="disturbed")
    if tools:
        return ruled_out("Each tool answered in time.", *tools)
    if story.ran is None:
        return ruled_out("No bot ran.", story.end)
    return ruled_out("The bot called no tool.", story.ran)


def _effect(story: Story, error: Fact) -> Effect:
    """Return ``ended`` if the bot crashed with an error, or was not heard after it."""
    if _crash_after(story, error) is not None:
        return "ended"
    heard = story.all("bot.first_audio", HEARD, "turn.heard", "turn.ended", "speech.started")
    later = [fact for fact in heard if fact.at_ms > error.at_ms and _is_bot_heard(fact)]
    return "disturbed" if later else "ended"


def _is_bot_heard(fact: Fact) -> bool:
    if fact.kind == "speech.started":
        return fact.text("who") == "bot"
    return fact.kind != "turn.ended" or _total_ms(fact) is not None


def _crash_after(story: Story, error: Fact) -> Fact | None:
    """Return the crash that an error of a service caused: its line may come first, as errors are written late."""
    crash = story.last("bot.crashed")
    if crash is None or abs(crash.at_ms - error.at_ms) > CRASH_AFTER_MS.value:
        return None
    return crash
