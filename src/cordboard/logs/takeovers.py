"""The take-overs of a session: what died, how that was known, who continued, and how long nobody spoke.

Pure. The plane's own events tell of the deaths, those of callers and edges of the silence; both are joined by the epoch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cordboard.logs.stays import Event
from cordboard.logs.timespec import timestamp_of
from cordboard.logs.values import number

RECOVERED: Final = "session.recovered"
RESUMED: Final = frozenset({"call.resumed", "stream.resumed"})

# The causes with which the plane queues a session again because its bot is gone; the others are hand-overs that failed.
DIED: Final = {
    "confirmed": "runner",
    "died": "runner",
    "bot_died": "bot process",
    "draining": "draining",
}
_RAN_OUT: Final = "the lease ran out"
_EDGE_KNOWN: Final = "the carrier's next stream"


class TimedEvent(Event, Protocol):
    """One event of a session, with its time."""

    @property
    def us(self) -> int | None:
        """Its time, in microseconds since 1970."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """Its members."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """One time that another process continued the session.

    Attributes:
        epoch: The epoch under which the bot ran next.
        us: When the plane, or the edge, logged it, in microseconds since 1970.
        died: ``runner``, ``bot process`` or ``edge``; ``draining`` if the runner was stopped and handed over.
        known: How this was known, in words.
        lost: The id of the runner that had the bot.
        runner: The id of the runner, or the Job, that took it; empty if no line tells.
        attempt: The number of the attempt.
        silence_ms: For how long nobody spoke, in milliseconds; None if it cannot be told.
        silence_from: Who measured it: ``caller``, ``edge``, or ``plane`` if no caller told, which cannot know
            when the last sound arrived.
    """

    epoch: int
    us: int | None
    died: str
    known: str
    lost: str = ""
    runner: str = ""
    attempt: int | None = None
    silence_ms: int | None = None
    silence_from: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program."""
        at = None if self.us is None else timestamp_of(self.us)
        return {
            "at": at,
            "epoch": self.epoch,
            "attempt": self.attempt,
            "died": self.died,
            "known": self.known,
            "lost": self.lost or None,
            "runner": self.runner or None,
            "silenceMs": self.silence_ms,
            "silenceFrom": self.silence_from or None,
        }

    @property
    def died_words(self) -> str:
        """What died, for a sentence."""
        if self.died == "draining":
            return f"the runner {self.lost} was stopped, and handed the session over".replace(
                "  ", " "
            )
        return (
            f"the {self.died}{f' {self.lost}' if self.died == 'runner' and self.lost else ''} died"
        )

    @property
    def silence_words(self) -> str:
        """For how long nobody spoke, and who measured it."""
        if self.silence_ms is None:
            return "the length of the silence is unknown"
        seconds = f"{self.silence_ms / 1000:.2f} s"
        if self.silence_from == "plane":
            return f"no caller reported the silence; {seconds} by the plane's own times"
        return f"silence {seconds}, measured by the {self.silence_from}"


def take_overs(events: Iterable[TimedEvent]) -> tuple[TakeOver, ...]:
    """Return the take-overs in the order of their epochs; ``events`` are in time order."""
    found = list(events)
    recovered = [item for item in found if item.event == RECOVERED and _text(item, "why") in DIED]
    epochs = [item.epoch or 0 for item in recovered]
    taken = [
        _recovered(item, found, min((e for e in epochs if e > (item.epoch or 0)), default=None))
        for item in recovered
    ]
    taken += [_edge(item, found) for item in found if _is_edge(item)]
    return tuple(sorted(taken, key=lambda item: (item.epoch, item.us or 0)))


def _recovered(item: TimedEvent, events: Sequence[TimedEvent], until: int | None) -> TakeOver:
    """Return what an event of the plane and the events of its epochs tell; a refused start raises the epoch again."""
    first = item.epoch or 0
    own = [
        other
        for other in events
        if (epoch := _epoch(other)) is not None
        and epoch >= first
        and (until is None or epoch < until)
    ]
    started = next((other for other in own if other.event == "bot.started"), None)
    silence_ms, silence_from = _silence(item, own, started)
    return TakeOver(
        epoch=started.epoch or first if started else first,
        us=item.us,
        died=DIED[str(item.meta["why"])],
        known=known_words(str(item.meta["why"]), _text(item, "sign")),
        lost=_text(item, "runner"),
        runner=_runner(own),
        attempt=_whole(item.meta.get("attempt")),
        silence_ms=silence_ms,
        silence_from=silence_from,
    )


def known_words(cause: str, sign: str) -> str:
    """Return how an end was known, in words.

    Args:
        cause: The cause with which the session was queued again.
        sign: What was known of its holder; empty if nothing was.
    """
    if cause == "died":
        return f"{_RAN_OUT}; {sign}" if sign else _RAN_OUT
    return sign or {"draining": "the runner announced it"}.get(cause, "")


def _runner(own: Sequence[TimedEvent]) -> str:
    """Return who took the session last: a start that was refused came before."""
    names = {"launch.assigned": "runner", "launch.job_created": "job"}
    takers = [_text(item, names[item.event]) for item in own if item.event in names]
    return takers[-1] if takers else ""


def _silence(
    item: TimedEvent, own: Sequence[TimedEvent], started: TimedEvent | None
) -> tuple[int | None, str]:
    """Return the silence as a caller measured it, the longest of several; else by the times of the plane."""
    for event, teller in (("call.resumed", "caller"), ("stream.resumed", "edge")):
        told = [
            ms
            for other in own
            if other.event == event
            # Not that of a later edge, nor of a connection that broke under the same bot.
            and other.meta.get("died", "runner") == "runner"
            and (ms := _whole(other.meta.get("silence_ms"))) is not None
        ]
        if told:
            return max(told), teller
    spoke = next((other for other in own if other.event == "bot.first_audio"), started)
    if spoke is None or spoke.us is None or item.us is None or spoke.us < item.us:
        return None, ""
    # Before that the plane looked for a while, which it says.
    return round((spoke.us - item.us) / 1000) + (_whole(item.meta.get("seen_ms")) or 0), "plane"


def _is_edge(item: TimedEvent) -> bool:
    return item.event in RESUMED and item.meta.get("died") == "edge" and _epoch(item) is not None


def _edge(item: TimedEvent, events: Sequence[TimedEvent]) -> TakeOver:
    """Return a take-over by another edge: the bot and its epoch stay."""
    epoch = _epoch(item) or 0
    silence_ms = _whole(item.meta.get("silence_ms"))
    runner = _runner([other for other in events if other.epoch == epoch])
    return TakeOver(
        epoch, item.us, "edge", _EDGE_KNOWN, runner=runner,
        silence_ms=silence_ms, silence_from="edge" if silence_ms is not None else "",
    )  # fmt: skip


def _epoch(item: TimedEvent) -> int | None:
    """Return the epoch of an event. A caller's session is bound before it has one: its events name it in ``meta``."""
    if item.epoch is None and item.event in RESUMED:
        return _whole(item.meta.get("epoch"))
    return item.epoch


def _text(item: TimedEvent, name: str) -> str:
    value = item.meta.get(name)
    return value if isinstance(value, str) else ""


def _whole(value: Any) -> int | None:
    """Return a member as a whole number that is not negative; None if it is none."""
    found = number(value)
    return None if found is None or found < 0 else round(found)
