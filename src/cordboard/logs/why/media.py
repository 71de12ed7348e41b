"""The rules about the media and the caller's device."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from cordboard.logs.session import BROWSER
from cordboard.logs.why.ends import microphone_refused
from cordboard.logs.why.finding import Finding, not_shown, proved, ruled_out
from cordboard.logs.why.owners import NO_PATH
from cordboard.logs.why.story import OFFER_ANSWERED, Fact, Story
from cordboard.logs.why.thresholds import (
    FROZEN_MS,
    JITTER_MS,
    LATE_JITTERS,
    LOSS_PERCENT,
    MUTED_MS,
    NO_PATH_MS,
    ONE_WAY_MS,
    PACKETS_MIN,
    RAISED_SHARE,
    Threshold,
)

_STATS: Final = "media.stats"
_NO_STATS: Final = "No line has statistics of the media."
_UNCONNECTED: Final = frozenset({"new", "checking", "connecting", "failed", "disconnected"})
_LOST: Final = frozenset({"failed", "disconnected"})


def _by_end(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    ends: dict[str, list[Fact]] = {}
    for fact in facts:
        ends.setdefault(fact.end, []).append(fact)
    return ends


def _sum(facts: Iterable[Fact], name: str) -> float:
    return sum(fact.number(name) or 0.0 for fact in facts)


# --- states that something raises and clears


def _spans(
    story: Story, raised: Sequence[Fact], cleared: Sequence[Fact]
) -> list[tuple[Fact, float]]:
    """Return each beginning of a state with how long it lasted, in milliseconds.

    Args:
        story: The story.
        raised: The lines that begin the state.
        cleared: The lines that end it. A state that nothing ends lasts until the end of the call.
    """
    spans = []
    until = float("-inf")
    for fact in raised:
        if fact.at_ms < until:
            continue  # raised again while it is
        ends = (other.at_ms for other in cleared if other.at_ms >= fact.at_ms)
        until = min(ends, default=fact.at_ms + story.until_end_ms(fact))
        spans.append((fact, until - fact.at_ms))
    return spans


def _warned(story: Story, name: str) -> list[Fact]:
    """Return the lines of a warning if it was raised for long enough."""
    warnings = story.where("media.warning", lambda fact: fact.text("name") == name)
    lines: list[Fact] = []
    begin = story.user or story.ran
    length_ms = story.until_end_ms(begin) if begin else 0.0
    for facts in _by_end(warnings).values():
        raised = [fact for fact in facts if fact.text("state") != "cleared"]
        cleared = [fact for fact in facts if fact.text("state") == "cleared"]
        if sum(ms for _, ms in _spans(story, raised, cleared)) > RAISED_SHARE.value * length_ms:
            lines += facts
    return lines


# --- the network


def packet_loss(story: Story) -> Finding:
    """Judge whether packets were lost."""
    ends, warned = _by_end(story.all(_STATS)), _warned(story, "high_loss")
    shares = {
        end: share
        for end, facts in ends.items()
        if (share := _share_lost(facts, warned)) is not None
    }
    if not shares:
        return (
            not_shown(_NO_STATS)
            if not warned
            else proved("An end warned of lost packets.", *warned, effect="disturbed")
        )
    end = max(shares, key=lambda name: shares[name])
    facts, lost = ends[end], shares[end]
    if lost > LOSS_PERCENT.value:
        lossy = [fact for fact in facts if (fact.number("packets_lost") or 0) > 0]
        said = f"The {end} lost {lost:.1f} % of its packets."
        return proved(said, *warned, *lossy, effect="disturbed")
    late = max(_late_packets(ends[name]) for name in shares)
    words = f"No end lost more than {lost:.1f} % of its packets"
    but = f", besides up to {late:.0f} that may have been late" if late >= 1 else ""
    return ruled_out(f"{words}{but}.", facts[0], facts[-1])


def _share_lost(facts: Sequence[Fact], warned: Sequence[Fact]) -> float | None:
    """Return how many percent of the packets to one end were lost, in all or while it warned of that."""
    own = [fact for fact in warned if fact.end == facts[0].end]
    shares = [_lost_percent(facts)]
    if sum((fact.number("packets_lost") or 0) > 0 for fact in facts) == 1 and not own:
        shares = [
            0.0 if shares[0] is not None else None
        ]  # once, as by an end that is not ready yet
    if own:
        is_over = any(fact.text("state") == "cleared" for fact in own)
        first = min(fact.at_ms for fact in own)
        last = max(fact.at_ms for fact in own) if is_over else float("inf")
        spell = [fact for fact in facts if first <= fact.at_ms <= last]
        shares.append(_lost_percent(spell, least=1))  # three bad samples were enough to warn
    return max((share for share in shares if share is not None), default=None)


def _lost_percent(facts: Sequence[Fact], least: float = PACKETS_MIN.value) -> float | None:
    """Return how many percent of the packets to one end were lost; None if these are fewer than ``least``."""
    lost, received = max(_sum(facts, "packets_lost"), 0.0), _sum(facts, "packets_received")
    total = lost + received
    if total < least:
        return None
    return 100 * max(lost - _late_packets(facts), 0.0) / total


def _late_packets(facts: Sequence[Fact]) -> float:
    """Return how many packets may count as lost because they are late: as many in a call of any length."""
    jitter_ms = max((fact.number("jitter_ms") or 0.0 for fact in facts), default=0.0)
    span_ms = _sum(facts, "interval_ms")
    rate = _sum(facts, "packets_received") / span_ms if span_ms > 0 else 0.0
    return LATE_JITTERS.value * jitter_ms * rate


def jitter(story: Story) -> Finding:
    """Judge whether packets arrived at uneven intervals."""
    medians = {
        _median_jitter_ms(facts): facts
        for facts in _by_end(story.all(_STATS)).values()
        if any(fact.number("jitter_ms") is not None for fact in facts)
    }
    warned = _warned(story, "high_jitter")
    if not medians:
        return (
            not_shown(_NO_STATS)
            if not warned
            else proved("An end warned of jitter.", *warned, effect="disturbed")
        )
    worst = max(medians)
    facts = medians[worst]
    said = f"The {facts[0].end} measured a median jitter of {worst:.0f} ms."
    if worst <= JITTER_MS.value and warned:
        highest = max(fact.number("value") or 0.0 for fact in warned)
        said = f"The {warned[0].end} warned of a jitter of up to {highest:.0f} ms."
    if worst > JITTER_MS.value or warned:
        uneven = [fact for fact in facts if (fact.number("jitter_ms") or 0) > JITTER_MS.value]
        return proved(said, *warned, *uneven, effect="disturbed")
    return ruled_out(f"No end measured a median jitter above {worst:.0f} ms.", facts[0], facts[-1])


def _median_jitter_ms(facts: Sequence[Fact]) -> float:
    values = [ms for fact in facts if (ms := fact.number("jitter_ms")) is not None]
    return median(values) if values else 0.0


def no_path(story: Story) -> Finding:
    """Judge whether the media found no path, or lost it for good."""
    said = [*story.all(NO_PATH)]
    stats = story.all(_STATS)
    flowed = [fact for fact in stats if (fact.number("packets_received") or 0) > 0]
    failed = [fact for fact in stats if fact.text("state") == "failed"]
    answered = story.first(OFFER_ANSWERED, "bot.connected")
    if story.user is None and not flowed and story.heard is None:
        if said or failed:
            words = "No path for the media was found."
            return proved(words, answered, *said, *failed, story.end, effect="ended")
        if answered is not None and story.end is not None and _is_unconnected(answered, stats):
            waited_ms = story.end.at_ms - answered.at_ms
            words = (
                f"The bot answered the offer, and no media arrived within {waited_ms / 1000:.0f} s."
            )
            if waited_ms > NO_PATH_MS.value:
                return proved(words, answered, *stats[-1:], story.end, effect="ended")
            return not_shown(words, answered, story.end)
        return not_shown("No line shows that the caller's media connected.")
    lost = _lost_for_good(story)
    if lost:
        words = "The path of the media was lost, and not found again; the bot's process lived."
        return proved(words, *lost, *failed, story.end, effect="ended")
    return ruled_out("The media found a path.", story.user, *flowed[:1])


def _is_unconnected(answered: Fact, stats: Sequence[Fact]) -> bool:
    if answered.text("transport") not in {"", "webrtc"}:
        return False
    return all(fact.text("state") in {*_UNCONNECTED, ""} for fact in stats)


def _lost_for_good(story: Story) -> list[Fact]:
    """Return the interruption with which a call ended although its bot was alive."""
    interrupted = story.last("call.interrupted")
    if interrupted is None or interrupted.text("sign") == "event":
        return []
    later = story.all(
        "call.resumed", "session.recovered", "bot.crashed", "lease.lost", "turn.heard"
    )
    if any(fact.at_ms >= interrupted.at_ms for fact in later) or story.reason not in {
        "user_absent",
        "left",
        "bot_finished",
    }:
        return []
    stats = [fact for fact in story.all(_STATS) if fact.at_ms >= interrupted.at_ms]
    if any((fact.number("packets_received") or 0) > 0 and fact.end != "bot" for fact in stats):
        return []
    return [interrupted]


def one_way_sound(story: Story) -> Finding:
    """Judge whether the packets of one direction did not arrive."""
    warned = _warned(story, "one_way")
    if warned:
        return proved("Sound passed in one direction only.", *warned, effect="disturbed")
    ends = _by_end(story.all(_STATS))
    caller = [fact for end, facts in ends.items() if end != "bot" for fact in facts]
    unheard = _unheard(story, caller)
    if unheard:
        words = "The bot received no audio of the caller, who sent some."
        return proved(words, *unheard, effect="disturbed")
    bot = ends.get("bot", [])
    for name, here, there in (("bot", bot, caller), ("caller", caller, bot)):
        deaf = _deaf(here, there)
        if deaf:
            words = f"The {name} received no packet although the other end sent some."
            return proved(words, *deaf, effect="disturbed")
    if caller and bot:
        return ruled_out("Both ends received packets.", *caller[:1], *bot[:1])
    return not_shown(
        _NO_STATS if not caller and not bot else "One end has no statistics of the media."
    )


def _unheard(story: Story, caller: Sequence[Fact]) -> list[Fact]:
    """Return the lines of a caller whose audio never arrived, although the connection stood for a while."""
    user = story.first("user.connected")
    if user is None or story.first("user.first_audio", "turn.heard") is not None:
        return []
    sent = [fact for fact in caller if (fact.number("packets_sent") or 0) > 0]
    is_long = _sum(sent, "interval_ms") > ONE_WAY_MS.value
    return [user, *sent] if is_long else []


def _deaf(here: Sequence[Fact], there: Sequence[Fact]) -> list[Fact]:
    """Return the lines of one end that received nothing for a while in which the other one sent packets."""
    quiet: list[Fact] = []
    for fact in here:
        # An end to which no packet has come yet has no figures of its reception.
        received, sent = fact.number("packets_received") or 0.0, fact.number("packets_sent") or 0.0
        if received <= 0 >= sent or fact.text("state") in _UNCONNECTED:
            continue
        if received > 0:
            if _is_deaf(quiet, there):
                break
            quiet = []
        else:
            quiet.append(fact)
    return quiet if _is_deaf(quiet, there) else []


def _is_deaf(quiet: Sequence[Fact], there: Sequence[Fact]) -> bool:
    if not quiet or _sum(quiet, "interval_ms") < ONE_WAY_MS.value:
        return False
    first, last = quiet[0].at_ms, quiet[-1].at_ms
    slack = ONE_WAY_MS.value / 2
    meanwhile = [fact for fact in there if first - slack <= fact.at_ms <= last + slack]
    return _sum(meanwhile, "packets_sent") > 0


# --- the caller's device


def page_frozen(story: Story) -> Finding:
    """Judge whether the browser froze the page."""
    said, unsaid = "The browser froze the page", "The page was not frozen."
    return _changed(story, ("frozen", "resumed"), FROZEN_MS, said, unsaid)


def microphone_muted(story: Story) -> Finding:
    """Judge whether the system muted the microphone or refused it, or the caller disconnected it."""
    refused = microphone_refused(story)
    if refused is not None:
        return proved("The page got no microphone.", refused, story.end, effect="ended")
    lost = [fact for fact in story.all("device.changed") if _is_microphone_lost(fact)]
    lost = [fact for fact in lost if story.until_end_ms(fact) > MUTED_MS.value]
    if lost:
        return proved("The microphone was disconnected.", *lost, effect="disturbed")
    said, unsaid = "The system muted the microphone", "The system did not mute the microphone."
    return _changed(story, ("muted", "unmuted"), MUTED_MS, said, unsaid)


def _is_microphone_lost(fact: Fact) -> bool:
    settings = fact.meta.get("settings")
    return isinstance(settings, Mapping) and settings.get("readyState") == "ended"


def _changed(
    story: Story, kinds: tuple[str, str], over: Threshold, said: str, unsaid: str
) -> Finding:
    """Judge whether the caller's device was in a state for too long.

    Args:
        story: The story.
        kinds: The kinds of `device.changed` which begin the state and end it.
        over: For how long is too long.
        said: That the state was there, without a full stop.
        unsaid: That it was not.
    """
    begun, ended = (
        [fact for fact in story.all("device.changed") if fact.text("kind") == kind]
        for kind in kinds
    )
    # A page may tell of the state only when it is over.
    told = [(fact, ms) for fact in ended if (ms := fact.number("duration_ms")) is not None]
    spans = [*_spans(story, begun, ended), *told]
    long = [(fact, ms) for fact, ms in spans if ms > over.value]
    if long:
        words = f"{said} for {max(ms for _, ms in long) / 1000:.1f} s."
        return proved(words, *(fact for fact, _ in long), *ended, effect="disturbed")
    if begun or ended:
        return ruled_out(f"{said} for a moment only.", *begun, *ended)
    return _no_change(story, unsaid)


def _no_change(story: Story, words: str) -> Finding:
    """Return that nothing happened to the caller's device, if the page would have told of it."""
    if not story.has_page:
        return ruled_out("No page took part in the call.", story.user)
    told = next((fact for fact in story.facts if fact.service == BROWSER), None)
    if told is None:
        return not_shown("No line of the page is there.")
    return ruled_out(words, told)
