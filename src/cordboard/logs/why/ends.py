"""The rules about joins, starts, ends, and the parts of Cordboard that died."""

from collections.abc import Sequence
from typing import Final

from cordboard.contract.terminal import escape_to_one_line
from cordboard.logs.takeovers import take_overs
from cordboard.logs.why.finding import Effect, Finding, not_shown, proved, ruled_out
from cordboard.logs.why.owners import (
    BOT_LATE,
    CALL_FAILED,
    JOB_ENDED,
    MICROPHONE_REFUSED,
    PAGE_CLOSED,
)
from cordboard.logs.why.story import OFFER_ANSWERED, OFFER_REFUSED, REDIS_AWAY, Fact, Story
from cordboard.logs.why.thresholds import (
    INTERRUPTED_MS,
    LATE_SHARE,
    SLOW_START_MS,
    UNANSWERED_MS,
)

PROPER_ENDS: Final = frozenset({"left", "bot_finished", "max_duration"})
_STORE_AWAY: Final = frozenset({"store_unavailable", "store_forbidden"})
_DIED: Final = frozenset({"confirmed", "died"})
_MEMORY: Final = frozenset({"MemoryError", "MemoryLimitError"})
_KILLED_BY_KERNEL: Final = "OOMKilled"
# What ends a process from outside, so that its signal does not tell why.
_FROM_OUTSIDE: Final = frozenset({"killed by SIGKILL", "killed by SIGTERM", "killed by SIGINT"})
_WORDS_MAX: Final = 300


def short(text: str) -> str:
    """Return a text of a line on one line, and cut."""
    flat = escape_to_one_line(text)
    return flat if len(flat) <= _WORDS_MAX else f"{flat[: _WORDS_MAX - 1]}…"


# --- joins


def _refusal(story: Story) -> Fact | None:
    """Return the line of a refused join, if no join of the session was accepted."""
    return None if story.accepted or story.first("join.reused") else story.last("join.refused")


def _is_accepted(story: Story) -> Finding:
    accepted = story.accepted or story.first("join.reused")
    if accepted is not None:
        return ruled_out("The join was accepted.", accepted)
    if (refused := story.last("join.refused")) is not None:
        return ruled_out(f"The join was refused as {short(refused.text('reason'))}.", refused)
    return not_shown("No line of a gateway shows the join.")


def queue_full(story: Story) -> Finding:
    """Judge whether the launch queue was full."""
    refused = _refusal(story)
    if refused is not None and refused.text("reason") == "queue_full":
        return proved(
            "The gateway refused the join: the launch queue was full.", refused, effect="ended"
        )
    return _is_accepted(story)


def join_refused(story: Story) -> Finding:
    """Judge whether the join was refused for a reason that is no cause of its own."""
    refused = _refusal(story)
    if refused is not None:
        code = refused.text("reason")
        if code == "queue_full" or code in _STORE_AWAY:
            return ruled_out(f"The join was refused as {code}, which is a cause of its own.")
        return proved(f"The gateway refused the join: {short(code)}.", refused, effect="ended")
    failed = story.last(CALL_FAILED)
    if failed is not None and failed.text("code") and not story.accepted:
        code = short(failed.text("code"))
        return proved(
            f"The page's join was refused before a gateway saw it: {code}.", failed, effect="ended"
        )
    return _is_accepted(story)


def redis_away(story: Story) -> Finding:
    """Judge whether Redis was away when the call needed it."""
    refused = story.last("join.refused")
    # Redis may carry a join out when it is back, after the caller got an error and left.
    is_unheard = story.user is None or not story.accepted
    if refused is not None and is_unheard and refused.text("reason") in _STORE_AWAY:
        return proved("The gateway refused the join: Redis was away.", refused, effect="ended")
    outage = _outage(story)
    unrenewed = story.where("lease.lost", _is_unrenewed)
    if unrenewed and outage:
        said = "The runner ended the bot: its lease could not be renewed while Redis was away."
        return proved(said, *outage, *unrenewed, story.end, effect="ended")
    if outage and story.accepted and story.ran is None and story.end:
        said = "The session did not start while Redis was away."
        return proved(said, story.accepted, *outage, story.end, effect="ended")
    if unrenewed or story.reason == "lease_lost":
        said = "The lease was lost, and no line of its runner says that Redis was away."
        return not_shown(said, *unrenewed, story.end)
    if story.end and story.ran:
        return ruled_out(f"The lease was kept until the end ({story.reason}).", story.end)
    return _is_accepted(story)


def _is_unrenewed(fact: Fact) -> bool:
    """Return whether a lease was lost because nobody renewed it, by the runner or by the guard in the bot's process."""
    return fact.number("seconds") is not None or fact.service == "bot"


def _outage(story: Story) -> list[Fact]:
    """Return the lines of servers that say that Redis was away while the session lived."""
    begin = story.facts[0].at_ms if story.facts else 0.0
    end = story.end.at_ms if story.end else float("inf")
    lines = story.all(REDIS_AWAY)
    # The one at the start of an outage may be older than the session.
    return lines if any(begin <= fact.at_ms <= end for fact in lines) else []


# --- starts


def cold_start_slow(story: Story) -> Finding:
    """Judge whether the call waited for a cold runner."""
    cold = story.last("launch.job_created") or _first_cold(story)
    accepted = story.first("join.accepted")
    if cold is None:
        if story.ran is None:
            return not_shown("The bot did not run, and no line shows a cold runner.")
        return ruled_out("A warm runner took the session.", story.ran)
    if story.ran is None:
        said = "The session ended before the bot of a cold runner ran."
        return (
            proved(said, accepted, cold, story.end, effect="ended")
            if story.end
            else not_shown(said, cold)
        )
    if accepted is None:
        return not_shown("No line shows when the join was accepted.", story.ran)
    waited_ms = story.ran.at_ms - accepted.at_ms
    said = f"The bot of a cold runner ran {waited_ms / 1000:.1f} s after the join was accepted."
    if waited_ms <= SLOW_START_MS.value:
        return ruled_out(said, accepted, cold, story.ran)
    spoke = story.heard is not None
    return proved(said, accepted, cold, story.ran, effect="disturbed" if spoke else "ended")


def _first_cold(story: Story) -> Fact | None:
    cold = story.where("start.received", lambda fact: fact.meta.get("cold") is True)
    return cold[0] if cold else None


def start_failed(story: Story) -> Finding:
    """Judge whether no runner, warm or cold, could start the bot."""
    if story.ran is not None:
        return ruled_out("The bot ran.", story.ran)
    end = story.end
    if end is None or end.text("state") not in {"failed", "expired"}:
        return _is_accepted(story)
    failed = story.all("launch.failed")
    why = f": {short(failed[-1].text('why'))}" if failed and failed[-1].text("why") else ""
    detail = f" {short(end.text('detail'))}" if end.text("detail") else ""
    said = f"The session ended as {short(story.reason)} before a bot ran{why}.{detail}"
    return proved(said, *failed, *story.all("bot.crashed"), end, effect="ended")


# --- bots and runners


def out_of_memory(story: Story) -> Finding:
    """Judge whether the bot's process, or its runner, had no memory left."""
    crashes = story.all("bot.crashed")
    lost = story.all("bot.crashed", JOB_ENDED, "session.ended")
    found = [fact for fact in lost if _tells_of_memory(fact)]
    if found:
        said = "The bot's process had no memory left."
        return proved(said, *found, story.end, effect=effect_of(story, found[-1]))
    unclear = [fact for fact in crashes if fact.text("status") == "killed by SIGKILL"]
    if unclear:
        said = "The process was killed by SIGKILL, as the kernel does when memory runs out; no line shows who did that."
        return not_shown(said, *unclear)
    if crashes:
        return ruled_out("The bot ended for another reason.", *crashes)
    return _is_unharmed(story)


def _tells_of_memory(fact: Fact) -> bool:
    """Return whether a line says that memory ran out: by a fact, never by the text of an exception."""
    if fact.kind == JOB_ENDED:
        return fact.text("why").partition(",")[0] == _KILLED_BY_KERNEL
    kind = fact.error.get("type")
    return fact.meta.get("out_of_memory") is True or (isinstance(kind, str) and kind in _MEMORY)


def bot_raised(story: Story) -> Finding:
    """Judge whether `bot()` raised an exception, or its process ended itself."""
    crashes = [fact for fact in story.all("bot.crashed") if not _tells_of_memory(fact)]
    found = [fact for fact in crashes if fact.error or _ended_itself(fact)]
    if found:
        crash = found[-1]
        error = ": ".join(
            str(crash.error[name]) for name in ("type", "message") if crash.error.get(name)
        )
        said = (
            f"The bot raised {short(error)}."
            if error
            else f"The bot's process ended: {short(crash.text('status'))}."
        )
        return proved(said, *found, story.end, effect=effect_of(story, crash))
    if crashes:
        said = "The bot's process was killed from outside, and no line shows who did that."
        return not_shown(said, *crashes)
    return _is_unharmed(story)


def _ended_itself(fact: Fact) -> bool:
    status = fact.text("status")
    return status.startswith(("exit status", "killed by")) and status not in _FROM_OUTSIDE


def effect_of(story: Story, fact: Fact) -> Effect:
    """Return whether the session ended with what a line tells of, or went on in another process."""
    later = story.where("bot.started", lambda start: start.at_ms > fact.at_ms)
    return "disturbed" if later else "ended"


def _is_unharmed(story: Story) -> Finding:
    finished = story.last("bot.finished")
    if finished is not None:
        return ruled_out("The bot finished.", finished)
    if story.reason in PROPER_ENDS:
        return ruled_out(f"The session ended as {story.reason}.", story.end)
    if story.end is not None and story.ran is None:
        return ruled_out("No bot ran.", story.end)
    return not_shown("No line shows how the bot ended.")


def runner_killed(story: Story) -> Finding:
    """Judge whether the runner of the bot died."""
    died = [fact for fact in story.all("session.recovered") if _is_death(story, fact)]
    if story.reason == "runner_lost" and story.ran is not None:
        said = "The runner died, and no other one continued the session."
        return proved(said, *story.all("lease.expired"), *died, story.end, effect="ended")
    if died:
        silences = [item.silence_words for item in take_overs(story.facts) if item.died == "runner"]
        said = "The runner died, and another one continued the call"
        words = f"{said}; {silences[-1]}." if silences else f"{said}."
        resumed = story.all("call.resumed", "stream.resumed")
        return proved(
            words, *story.all("lease.expired"), *died, *resumed, effect=effect_of(story, died[-1])
        )
    if story.reason:
        return ruled_out("No runner of the session died.", story.ran, story.end)
    return not_shown("No line shows how the session ended.")


def bot_late(story: Story) -> Finding:
    """Judge whether the bot's event loop was late for much of the call."""
    lines = story.all(BOT_LATE)
    if story.ran is None:
        return ruled_out("No bot ran.", story.end)
    late_ms = _late_ms(lines)
    if late_ms > LATE_SHARE.value * story.until_end_ms(story.ran):
        words = f"The bot's event loop was late for {late_ms / 1000:.1f} s in all."
        effect: Effect = "disturbed" if story.heard else "ended"
        return proved(words, *lines, story.end, effect=effect)
    return ruled_out("The bot's event loop kept up.", *(lines or [story.ran]))


def _late_ms(lines: Sequence[Fact]) -> float:
    """Return for how long an event loop was late. Each line tells since when: of one stall there are several lines."""
    late_ms, until, told = 0.0, float("-inf"), 0.0
    for fact in lines:
        lag_ms = fact.number("loop_lag_ms") or 0.0
        if lag_ms != told:  # or it is the last report of a process that has ended
            late_ms += max(min(lag_ms, fact.at_ms - until), 0.0)
            until, told = fact.at_ms, lag_ms
    return late_ms


def _is_death(story: Story, fact: Fact) -> bool:
    """Return whether a session was queued again because the runner of its bot died: one that never ran has none."""
    ran = story.ran
    return fact.text("why") in _DIED and ran is not None and ran.at_ms <= fact.at_ms


# --- callers


def user_left(story: Story) -> Finding:
    """Judge whether the caller ended the call before it was one, or went away without a word."""
    closed = story.last(PAGE_CLOSED)
    if closed is not None:
        return proved("The caller closed the page in the call.", closed, story.end, effect="left")
    if story.reason == "cancelled" or (story.reason == "left" and story.heard is None):
        said = "The caller left before the bot was heard."
        return proved(said, story.accepted, story.ran, story.end, effect="left")
    if story.reason == "user_absent" and (absent := _absent(story)):
        return absent
    if story.end is None:
        return not_shown("No line shows the end of the session.")
    return ruled_out(_ended_as(story), story.heard, story.end)


def _ended_as(story: Story) -> str:
    if not story.reason:
        return "The session ended, and its last line names no reason."
    return f"The session ended as {short(story.reason)}."


def _absent(story: Story) -> Finding | None:
    """Judge a session that ended because nobody was there; None if the caller may have tried to be."""
    if story.user is not None:
        said = "The caller's connection ended, and the caller did not come back."
        return proved(said, story.user, story.end, effect="left")
    if story.first(OFFER_ANSWERED, "bot.connected") is not None:
        return None
    if refused := story.all(OFFER_REFUSED):
        said = "The caller's offer was refused, and no line shows why."
        return not_shown(said, story.ran, *refused, story.end)
    said = "The caller never connected: no offer reached the bot."
    return proved(said, story.ran, story.end, effect="left")


def healthy(story: Story) -> Finding:
    """Judge whether the call went as it should."""
    heard, end = story.heard, story.end
    if end is None:
        return not_shown("No line shows the end of the session.")
    if story.reason not in PROPER_ENDS:
        return ruled_out(_ended_as(story), end)
    if heard is None:
        return ruled_out("No line shows that the bot spoke.", end)
    silent = story.where("turn.ended", lambda fact: fact.text("outcome") in {"no_output", "error"})
    troubles = (
        ("The bot gave no answer to a turn.", silent),
        ("The caller waited for an answer, and no rule explains that.", _waits(story)),
        ("The call was interrupted, and no rule explains that.", _interruptions(story)),
    )
    for words, lines in troubles:
        if lines:
            return ruled_out(words, *lines)
    return proved(
        f"The bot was heard, and the session ended as {story.reason}.", heard, end, effect="fine"
    )


def _waits(story: Story) -> list[Fact]:
    """Return the answers that came much too late; or the caller's last words, if none came at all."""
    late = [
        fact
        for kind, name in (("turn.ended", "user_bot_latency_ms"), ("turn.heard", "heard_ms"))
        for fact in story.all(kind)
        if (fact.number(name) or 0.0) > UNANSWERED_MS.value
    ]
    spoken = story.all("speech.started", "speech.ended")
    said = [fact for fact in spoken if fact.text("who") == "user"][-1:]
    if said and story.until_end_ms(said[0]) > UNANSWERED_MS.value:
        bot = [fact for fact in (*spoken, *story.all("turn.heard")) if fact.text("who") != "user"]
        if all(fact.at_ms < said[0].at_ms for fact in bot):
            late += said
    return late


def _interruptions(story: Story) -> list[Fact]:
    """Return the interruptions of a call that a person notices."""
    resumed = story.all("call.resumed")
    if len(story.all("call.interrupted")) > len(resumed):
        return story.all("call.interrupted")
    return [fact for fact in resumed if (fact.number("silence_ms") or 0) > INTERRUPTED_MS.value]


def microphone_refused(story: Story) -> Fact | None:
    """Return the line of a page that got no microphone."""
    return story.last(MICROPHONE_REFUSED)
