"""The sections of the page that draw a call: waterfall, turns, lanes, attempts, troubles, events."""

from collections.abc import Sequence
from typing import Any, Final

from cordboard.contract.record import SERVICES
from cordboard.logs.coverage import count
from cordboard.logs.report.attempts import Attempt
from cordboard.logs.report.entry import Entry
from cordboard.logs.report.lanes import BUCKETS, Lane, Mark
from cordboard.logs.report.markup import Markup, el, scrolled
from cordboard.logs.report.model import Model, Session
from cordboard.logs.report.stages import Stage, Startup
from cordboard.logs.report.trouble import Block, Troubles
from cordboard.logs.report.turns import Turn
from cordboard.logs.report.units import clock, day_and_clock, length
from cordboard.logs.report.visible import one_line, pairs
from cordboard.logs.takeovers import TakeOver

WIDTH: Final = 1000
SLOW_SHARE: Final = 0.3
SLOW_LEAST_MS: Final = 20.0
TURNS_SHOWN: Final = 400
EVENTS_SHOWN: Final = 400
PART_COLOURS: Final = 6
TALL: Final = {"event": 14, "warn": 18, "error": 22}
_ZERO_WORDS: Final = {
    "join.clicked": "the click",
    "join.requested": "the interface's request (no line for the click)",
    "join.received": "the receipt of the join by the gateway (no line for a click)",
    "join.accepted": "the acceptance of the join (no line for a click)",
}


def service_name(service: str) -> Markup:
    """Return a service in its colour."""
    return el("span", one_line(service, 40), class_=f"svc {_colour(service)}")


def _colour(service: str) -> str:
    return f"s-{service}" if service in SERVICES else "s-other"


def _svg(*shapes: Any, width: int, height: int, **attributes: Any) -> Markup:
    """Return a drawing that takes the width it gets."""
    return el(
        "svg",
        *shapes,
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        **attributes,
    )


# --- startup


def startup(path: Startup) -> Markup | None:
    """Draw the way from the click to the first audio."""
    if not path.stages:
        return None
    total = el("b", length(path.total_ms)) if path.total_ms is not None else None
    about = f"measured from {_ZERO_WORDS.get(path.zero, 'the first event')}; each service uses its own clock"
    head = el(
        "li",
        [
            el("span", name, class_=css)
            for name, css in (
                ("Stage", ""),
                ("Service", "who"),
                ("At", "num"),
                ("Step", "num"),
                ("", ""),
            )
        ],
        class_="head",
    )
    end = max((item.ms for item in path.stages if item.ms is not None), default=0.0)
    before, rows = 0.0, []
    for item in path.stages:
        rows.append(_stage(item, before, max(end, 1.0), path))
        before = item.ms if item.ms is not None else before
    return el(
        "section",
        el("h2", "From click to first audio", total, el("small", about)),
        el("ol", head, rows, class_="fall"),
        id="startup",
    )


def _stage(item: Stage, before: float, end: float, path: Startup) -> Markup:
    if item.ms is None:
        return el(
            "li",
            el(
                "span",
                item.label,
                " ",
                el("span", item.event, class_="mono dim"),
                class_="name",
                title=item.meaning,
            ),
            el("span", class_="who"),
            el("span", "no line", class_="num"),
            class_="none",
        )
    step = item.step_ms or 0.0
    slow = step >= SLOW_LEAST_MS and step >= end * SLOW_SHARE and item is not path.stages[0]
    css = " ".join(
        filter(None, ["setback" if item.setback else "", "slow" if slow and item.ms > 0 else ""])
    )
    times = f" ({item.times} times)" if item.times > 1 else ""
    return el(
        "li",
        el(
            "span",
            el("a", item.label, times, href=f"#L{(item.index or 0) + 1}"),
            class_="name",
            title=f"{item.event}: {item.meaning} {one_line(item.note, 300)}",
        ),
        el("span", service_name(item.service), class_="who"),
        el("span", length(item.ms), class_="num"),
        el(
            "span",
            f"+{length(item.step_ms)}" if item.step_ms is not None else "",
            class_="num step dim",
        ),
        el("span", _stage_bar(item, before, end), class_="graph"),
        el("span", one_line(item.note, 300), class_="note dim wrap")
        if item.setback and item.note
        else None,
        class_=css or None,
    )


def _stage_bar(item: Stage, before: float, end: float) -> Markup:
    at = max(item.ms or 0.0, 0.0) / end * WIDTH
    start = min(max(before, 0.0) / end * WIDTH, at)
    return _svg(
        el("rect", x="0", y="6", width=str(WIDTH), height="1", class_="rail"),
        el(
            "rect",
            x=f"{min(start, WIDTH - 4):.1f}",
            y="1",
            width=f"{max(at - start, 4):.1f}",
            height="11",
            rx="1.5",
            class_="fill",
        ),
        width=WIDTH,
        height=13,
        class_=_colour(item.service),
        aria_hidden="true",
    )


# --- turns


def turns(session: Session) -> Markup | None:
    """Draw each turn's latency and its parts."""
    if not session.turns:
        return None
    shown = session.turns[:TURNS_SHOWN]
    names = list(dict.fromkeys(name for turn in shown for name, _ in turn.ttfb_ms))
    longest = max(
        (max(turn.latency_ms or 0.0, sum(part for _, part in turn.ttfb_ms)) for turn in shown),
        default=0.0,
    )
    head = el(
        "tr",
        el("th", "Turn"),
        el("th", "Began"),
        el("th", "Duration", class_="num"),
        el("th", "User to bot", class_="num"),
        el("th", el("span", "Latency as a bar", class_="sr")),
        el("th", "Parts"),
    )
    rows = [_turn(turn, names, longest or 1.0) for turn in shown]
    latency = session.latency
    about = (
        f"{count(latency.measured, 'latency', 'latencies')} measured: median {length(latency.median_ms)}, worst {length(latency.worst_ms)}"
        if latency
        else "no user-to-bot latency was measured"
    )
    more = len(session.turns) - len(shown)
    return el(
        "section",
        el("h2", "Turns", el("small", about)),
        scrolled(el("table", el("thead", head), el("tbody", rows)), "Turns", "scroll tall"),
        el("p", f"{count(more, 'more turn')} in the lines below.", class_="dim") if more else None,
        id="turns",
    )


def _turn(turn: Turn, names: Sequence[str], longest: float) -> Markup:
    state = "interrupted" if turn.interrupted else "open" if turn.ended_us is None else None
    return el(
        "tr",
        el(
            "td",
            el("a", one_line(turn.number, 12), href=f"#L{(turn.index or 0) + 1}"),
            " ",
            el("span", state, class_="chip") if state else None,
        ),
        el("td", clock(turn.started_us), class_="mono"),
        el("td", length(turn.duration_ms), class_="num"),
        el("td", length(turn.latency_ms), class_="num"),
        el("td", _latency_bar(turn, names, longest), class_="latency"),
        el(
            "td",
            el("div", [_part(name, part, names) for name, part in turn.ttfb_ms], class_="parts"),
        ),
    )


def _part(name: str, part: float, names: Sequence[str]) -> Markup:
    return el(
        "span",
        f"{one_line(name, 60)} {length(part)}",
        class_=f"key p{names.index(name) % PART_COLOURS}",
    )


def _latency_bar(turn: Turn, names: Sequence[str], longest: float) -> Markup | None:
    if turn.latency_ms is None and not turn.ttfb_ms:
        return None
    whole = (turn.latency_ms or 0.0) / longest * WIDTH
    shapes, at = [el("rect", x="0", y="0", width=f"{whole:.1f}", height="10", class_="rail")], 0.0
    for name, part in turn.ttfb_ms:
        wide = part / longest * WIDTH
        shapes.append(
            el(
                "rect",
                x=f"{at:.1f}",
                y="0",
                width=f"{wide:.1f}",
                height="10",
                class_=f"fill p{names.index(name) % PART_COLOURS}",
            )
        )
        at += wide
    return _svg(shapes, width=WIDTH, height=10, aria_hidden="true")


# --- lanes


def lanes(model: Model) -> Markup | None:
    """Draw what each service said over time."""
    told = model.lanes
    if not told.lanes:
        return None
    span = ((told.last_us or 0) - (told.first_us or 0)) / 1000
    axis = [clock(told.first_us), f"{length(span / 2)} later", clock(told.last_us)]
    legend = [
        el("span", el("i"), "lines"),
        el("span", "▮ taller: events"),
        el("span", el("i"), "warning", class_="tone-warn"),
        el("span", el("i"), "error", class_="tone-bad"),
    ]
    return el(
        "section",
        el(
            "h2",
            "Services over time",
            el("small", f"{day_and_clock(told.first_us)}, {length(span)}"),
        ),
        [_lane(lane) for lane in told.lanes],
        el("div", el("span"), el("div", [el("span", words) for words in axis]), class_="lane axis"),
        el("div", legend, class_="legend"),
        id="services",
    )


def _lane(lane: Lane) -> Markup:
    most = max((mark.lines for mark in lane.marks), default=1)
    return el(
        "div",
        service_name(lane.service),
        _svg(
            [_mark(mark, most) for mark in lane.marks],
            width=BUCKETS * 4,
            height=22,
            role="group",
            aria_label=f"{one_line(lane.service, 40)}: {count(lane.lines, 'line')}, {count(lane.warnings, 'warning')}, {count(lane.errors, 'error')}",
        ),
        el("span", f"{lane.lines:,}", class_="num dim"),
        class_=f"lane {_colour(lane.service)}",
    )


def _mark(mark: Mark, most: int) -> Markup:
    tall = TALL.get(mark.worst) or 3 + 8 * mark.lines / most
    words = f"{one_line(mark.words, 120)} · " if mark.words else ""
    shape = el(
        "rect",
        el("title", f"{words}{count(mark.lines, 'line')}"),
        x=str(mark.at * 4),
        y=f"{(22 - tall) / 2:.1f}",
        width="6" if mark.worst == "error" else "4",
        height=f"{tall:.1f}",
        class_=mark.worst or "some",
    )
    if mark.index < 0:
        return shape
    # The keyboard has the same lines below; hundreds of marks would stand in its way.
    return el("a", shape, href=f"#L{mark.index + 1}", tabindex="-1", aria_label=words or "Line")


# --- attempts


def attempts(all_attempts: Sequence[Attempt]) -> Markup | None:
    """Show who held the session under which epoch; nothing where one attempt went well."""
    if len(all_attempts) < 2 and not any(item.failed for item in all_attempts):  # noqa: PLR2004 - more than one
        return None
    names = ("Epoch", "Attempt", "Began", "Until", "Runner", "Process", "Bot ran", "Outcome")
    return el(
        "section",
        el("h2", "Attempts", el("small", "each grant of the room, and how it ended")),
        scrolled(
            el(
                "table",
                el("thead", el("tr", [el("th", name) for name in names])),
                el("tbody", [_attempt(item) for item in all_attempts]),
            ),
            "Attempts",
        ),
        id="attempts",
    )


def _attempt(item: Attempt) -> Markup:
    outcome = one_line(item.outcome, 400) or "not in these lines"
    return el(
        "tr",
        [el("td", words, class_="num") for words in (str(item.epoch), item.number or "-")],
        [
            el("td", clock(us) if us is not None else "-", class_="mono")
            for us in (item.began_us, item.ended_us)
        ],
        el("td", one_line(item.runner, 100) or "-", class_="wrap"),
        el("td", one_line(item.pid, 20) or "-"),
        el("td", "yes" if item.started else "no"),
        el("td", outcome, class_="wrap"),
    )


# --- take-overs


def take_overs(taken: Sequence[TakeOver]) -> Markup | None:
    """Show each time that another process continued the session; nothing if there was none."""
    if not taken:
        return None
    names = ("Epoch", "At", "What died", "Known by", "Taken by", "Silence")
    return el(
        "section",
        el("h2", "Take-overs", el("small", "another process continued the session")),
        scrolled(
            el(
                "table",
                el("thead", el("tr", [el("th", name) for name in names])),
                el("tbody", [_take_over(item) for item in taken]),
            ),
            "Take-overs",
        ),
        id="take-overs",
    )


def _take_over(item: TakeOver) -> Markup:
    return el(
        "tr",
        el("td", str(item.epoch), class_="num"),
        el("td", clock(item.us), class_="mono"),
        [
            el("td", one_line(words, 200) or "-", class_="wrap")
            for words in (
                item.died_words,
                item.known,
                item.runner,
                item.silence_words,
            )
        ],
    )


# --- troubles and events


def troubles(found: Troubles, *, named: bool = False) -> Markup:
    """Show each warning and error among its neighbours; ``named``: with its session."""
    if not found.blocks:
        words = "These lines contain no warnings or errors."
        return el(
            "section", el("h2", "Errors in context"), el("p", words, class_="dim"), id="trouble"
        )
    about = f"{count(found.errors, 'error')}, {count(found.warnings, 'warning')}"
    ordered = sorted(found.blocks, key=lambda block: block.worst != "error")
    left_out = (
        f"{count(found.left_out, 'more is', 'more are')} among the lines below."
        if found.left_out
        else None
    )
    return el(
        "section",
        el("h2", "Errors in context", el("small", about)),
        [_block(block, named=named) for block in ordered],
        el("p", left_out, class_="dim") if left_out else None,
        id="trouble",
    )


def _block(block: Block, *, named: bool) -> Markup:
    tone = "bad" if block.worst == "error" else "warn"
    return el(
        "div",
        el("ol", [_neighbour(item, named=named) for item in block.entries]),
        class_=f"block tone-{tone}",
    )


def _neighbour(item: Entry, *, named: bool) -> Markup:
    stack = item.stack.strip()
    return el(
        "li",
        el("a", clock(item.us), href=f"#L{item.index + 1}"),
        el("span", item.level, class_=f"lvl {item.level}"),
        service_name(item.service),
        el("span", one_line(_said(item, named=named), 600), class_="what wrap"),
        el("pre", stack, class_="wrap") if item.bad and stack else None,
        class_=item.level if item.bad else None,
    )


def _said(item: Entry, *, named: bool) -> str:
    whose = f"[{item.session_id}]" if named and item.session_id else None
    return "  ".join(filter(None, [whose, item.event, item.said]))


def events(session: Session) -> Markup | None:
    """List the events: the session's timeline, which needs no script."""
    if not session.events:
        return None
    shown = session.events[:EVENTS_SHOWN]
    more = len(session.events) - len(shown)
    return el(
        "section",
        el("h2", "Events", el("small", "the session's timeline")),
        el("div", el("ol", [_event(item) for item in shown]), class_="block tall"),
        el("p", f"{count(more, 'more event')} in the lines below.", class_="dim") if more else None,
        id="events",
    )


def _event(item: Entry) -> Markup:
    return el(
        "li",
        el("a", clock(item.us), href=f"#L{item.index + 1}"),
        service_name(item.service),
        el("b", one_line(item.event or "", 80)),
        el("span", one_line(_words_of(item), 400), class_="what wrap"),
        class_="event",
    )


def _words_of(item: Entry) -> str:
    """Return what an event says besides its name."""
    return " ".join(filter(None, [pairs(item.meta), item.error]))


# --- several sessions


def sessions(model: Model) -> Markup | None:
    """List the sessions of a window."""
    if not model.sessions:
        return None
    names = (
        "Began",
        "Session",
        "User",
        "Room",
        "First audio",
        "Length",
        "Turns",
        "Errors",
        "Verdict",
    )
    more = (
        f"{count(model.others, 'more session is', 'more sessions are')} not listed."
        if model.others
        else None
    )
    return el(
        "section",
        el("h2", "Sessions", el("small", "use --session ID for the report of one session")),
        scrolled(
            el(
                "table",
                el("thead", el("tr", [el("th", name) for name in names])),
                el("tbody", [_session(item) for item in model.sessions]),
            ),
            "Sessions",
        ),
        el("p", more, class_="dim") if more else None,
        id="sessions",
    )


def _session(item: Session) -> Markup:
    return el(
        "tr",
        el("td", day_and_clock(item.first_us), class_="mono"),
        el("td", one_line(item.session_id, 140), class_="mono wrap"),
        el("td", one_line(item.user_name or item.user_id or "-", 60), class_="wrap"),
        el("td", one_line(item.room or "-", 80), class_="wrap"),
        [
            el("td", words, class_="num")
            for words in (
                length(item.startup.total_ms),
                length(item.length_ms),
                str(len(item.turns)),
                str(item.errors),
            )
        ],
        el(
            "td",
            el("span", one_line(item.verdict.headline, 300), class_=f"tone-{item.verdict.tone}"),
            class_="wrap",
        ),
    )
