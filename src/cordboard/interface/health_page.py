"""The page that says how the plane is: each figure with its meaning."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from cordboard.interface import plain_words, rendering
from cordboard.interface.access import OperatorOnly
from cordboard.interface.gateway_reads import read_overview, read_sessions
from cordboard.interface.log_sources import NOT_CHECKED, SourceState
from cordboard.interface.plain_words import Tone
from cordboard.interface.services import Services

EXAMINED: Final = 200
"""The newest sessions, in which recoveries are looked for."""
SHOWN_RECOVERIES: Final = 10
SLOW_WAIT_S: Final = 5.0
"""From this wait on a caller notices: the gateway's goal for an accepted join is under a second."""

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the page.

    Attributes:
        name: What it counts.
        value: Its value.
        tone: Whether it is good.
        meaning: What the value means, and what to do if it is bad.
    """

    name: str
    value: str
    tone: Tone
    meaning: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """One time that a session was queued again.

    Attributes:
        session_id: The session.
        at: When.
        cause: Why, in words.
        runner: The runner that had it.
        is_bad: Whether the session failed afterwards.
    """

    session_id: str
    at: str
    cause: str
    runner: str
    is_bad: bool


@router.get("/health")
async def health_page(request: Request, services: Services, person: OperatorOnly) -> Response:
    """Show the queue, the runners, the operators, recoveries and log sources.

    Args:
        request: The request.
        services: The interface's services.
        person: The operator.
    """
    overview, (newest, _), sources = await asyncio.gather(
        read_overview(services.gateway),
        read_sessions(services.gateway, person, {"limit": EXAMINED}),
        services.source_checks.states(),
    )
    recoveries = sorted(_recoveries(newest), key=lambda item: item.at, reverse=True)
    return rendering.render_page(
        request,
        "health.html",
        figures=figures(overview, len(recoveries), sources),
        overview=overview,
        recoveries=recoveries[:SHOWN_RECOVERIES],
        examined=len(newest),
        sources=sources,
    )


def _recoveries(records: Iterable[dict[str, Any]]) -> Iterable[Recovery]:
    for record in records:
        for item in record["takeOvers"] or ():
            yield Recovery(
                session_id=record["sessionId"],
                at=item["at"],
                cause=plain_words.recovery_words(item["cause"]),
                runner=item.get("runner", ""),
                is_bad=plain_words.tone(record) == "bad",
            )


def figures(overview: dict[str, Any], recoveries: int, sources: list[SourceState]) -> list[Figure]:
    """Return the figures of the page, each with its meaning.

    Args:
        overview: The gateway's answer to ``GET /overview``.
        recoveries: How many of the newest sessions were recovered.
        sources: The sources of log lines.
    """
    return [
        _queue(overview),
        _slots(overview),
        _operators(overview),
        _overdue(overview),
        _recovered(recoveries),
        _dead_letters(overview),
        _sources(sources),
    ]


def _queue(overview: dict[str, Any]) -> Figure:
    waiting, wait_s = overview["queued"], overview["oldestWaitSeconds"]
    if not waiting:
        return Figure("Queue", "0", "ok", "No join waits for a runner.")
    words = f"The oldest of these joins has waited for {plain_words.length(wait_s)}."
    if wait_s < SLOW_WAIT_S:
        return Figure("Queue", str(waiting), "ok", f"{words} That is usual while bots start.")
    return Figure("Queue", str(waiting), "bad", f"{words} Callers wait: add runners, or end calls.")


def _slots(overview: dict[str, Any]) -> Figure:
    alive = [runner for runner in overview["runners"] if runner["alive"]]
    free = sum(runner["free"] for runner in alive)
    of = sum(runner["capacity"] for runner in alive)
    cold = sum(item["coldRunners"] for item in overview["operators"] if item["alive"])
    value = f"{free} of {of}"
    if free:
        return Figure("Free slots", value, "ok", "So many calls can start at once.")
    if cold:
        more = f"Operators may start up to {cold} cold runners, which takes longer."
        return Figure("Free slots", value, "warn", f"No warm runner is free. {more}")
    return Figure(
        "Free slots", value, "bad", "No runner is free: new calls wait in the queue. Add runners."
    )


def _operators(overview: dict[str, Any]) -> Figure:
    alive = sum(1 for item in overview["operators"] if item["alive"])
    if alive:
        return Figure(
            "Operators", str(alive), "ok", "They give joins to runners, and recover calls."
        )
    return Figure(
        "Operators", "0", "bad", "Nobody gives joins to runners. Start `cordboard operator`."
    )


def _overdue(overview: dict[str, Any]) -> Figure:
    return _bad_count(
        "Overdue sessions",
        overview["overdue"],
        "Each running bot has renewed its lease.",
        "Their bots have not renewed their leases. Operators recover them, once they can tell that the bots are gone.",
    )


def _recovered(number: int) -> Figure:
    return _bad_count(
        "Recoveries",
        number,
        "No bot of the newest sessions was lost.",
        "Their bots were lost, and others continued the sessions.",
    )


def _dead_letters(overview: dict[str, Any]) -> Figure:
    return _bad_count(
        "Dead letters",
        overview["deadLetters"],
        "Operators could read every launch.",
        "No operator could read these launches, usually because another release wrote them.",
    )


def _bad_count(name: str, number: int, none: str, some: str) -> Figure:
    """Return a figure that should be 0, with its meaning if there are none and if there are some."""
    return Figure(name, str(number), "warn" if number else "ok", some if number else none)


def _sources(sources: list[SourceState]) -> Figure:
    readable = sum(1 for source in sources if source.state == "readable")
    unknown = sum(1 for source in sources if source.state == NOT_CHECKED)
    if not sources:
        return Figure(
            "Log sources", "0", "warn", "No log environment is configured: pages show no lines."
        )
    if readable == len(sources):
        return Figure("Log sources", str(readable), "ok", "The lines of calls come from these.")
    value = f"{readable} of {len(sources)}"
    if readable + unknown == len(sources):
        meaning = "The others have not answered yet. This page asks them once a minute."
        return Figure("Log sources", value, "warn", meaning)
    return Figure(
        "Log sources",
        value,
        "bad",
        "Lines of calls may be missing: a source cannot be read.",
    )
