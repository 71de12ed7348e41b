"""Who should have spoken of a session, concluded from what the others said of it."""

from collections.abc import Iterator
from typing import Final

from cordboard.contract.record import SERVICES
from cordboard.logs.attribution import Step, Trail

_BY_EVENT: Final[dict[str, tuple[str, ...]]] = {
    "join.clicked": ("interface",),
    "join.requested": ("browser", "gateway"),
    "join.accepted": ("operator",),
    "launch.assigned": ("runner",),
    "bot.started": ("bot",),
    "session.recovered": ("operator",),
}
"""Who must have spoken where an event was seen."""

_BEFORE: Final[dict[str, str]] = {"bot": "runner", "runner": "operator", "operator": "gateway"}
"""Who must have spoken before a service could; the last one first."""

_BEGINNINGS: Final = frozenset(
    {"page.opened", "join.clicked", "join.requested", "join.received", "join.accepted"}
)


def began(trail: Trail) -> bool:
    """Say whether the session's beginning is among its lines."""
    return any(step.event in _BEGINNINGS for step in trail.steps)


def over(trail: Trail) -> bool:
    """Say whether the session's end is among its lines."""
    return any(step.event == "session.ended" for step in trail.steps)


def silent(trail: Trail, *, whole: bool, cut_off: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each service that should have spoken and did not, with why it should.

    Args:
        trail: What the session's own lines tell.
        whole: Nothing was left out by a window: who spoke earlier would have been heard.
        cut_off: The window has an end, behind which others may have spoken.
    """
    why: dict[str, str] = {}
    for step in trail.steps if over(trail) or not cut_off else ():
        if not _ended_before_next(step, trail):
            for service in _BY_EVENT.get(step.event, ()):
                why.setdefault(service, f"{step.service} logged {step.event}")
    numbered = set(trail.boots.values())  # a log of another program may be called bot.log
    for service, before in _BEFORE.items() if whole or began(trail) else ():
        if service in numbered:
            why.setdefault(before, f"{service} logged lines of this session")
        elif service in why:
            why.setdefault(before, why[service])
    for service in SERVICES:
        if service in why and service not in trail.services:
            yield service, why[service]
    yield from _silent_attempts(trail)


def _silent_attempts(trail: Trail) -> Iterator[tuple[str, str]]:
    """Yield runners that were given the session for an epoch of which no runner spoke."""
    if "runner" not in trail.services:
        return
    heard = {step.epoch for step in trail.steps if step.service in {"runner", "bot"}}
    for step in trail.steps:
        if step.event == "launch.assigned" and step.epoch is not None and step.epoch not in heard:
            runner = step.meta.get("runner", "a runner")
            yield "runner", f"{runner} was assigned epoch {step.epoch} but logged no line with it"


def _ended_before_next(step: Step, trail: Trail) -> bool:
    """Say whether the gateway cancelled the session before the next service had its turn."""
    return step.event == "join.accepted" and any(
        other.event == "session.ended"
        and other.service == "gateway"
        and other.epoch in {step.epoch, None}
        for other in trail.steps
    )


def unclosed(trail: Trail) -> list[str]:
    """Return, in words, which pages of a session that is over never said how the call ended for them.

    A page that is closed says so with its last lines; one that was killed, or has lost its network, does
    not, and its last lines are lost with it.
    """
    if trail.ended is None:
        return []
    return [
        f"the page (boot {boot}) logged join.clicked, but neither the end of the call nor the closing of the page"
        for boot in sorted(trail.clicked - trail.closed)
    ]
