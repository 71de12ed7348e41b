"""The report as one page: self-contained, offline, on a phone, on paper, with scripts or without.

Its policy allows exactly the page's own style and script, by their hashes, and no network at all;
every text of a log passes ``markup``, which escapes whatever is not markup already.
"""

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Final

from cordboard.logs.coverage import REASONS, Answer, count
from cordboard.logs.report import html_call
from cordboard.logs.report.markup import Markup, el, scrolled
from cordboard.logs.report.model import Model, Session
from cordboard.logs.report.rows import RowMaker
from cordboard.logs.report.units import clock, day_and_clock, length, microseconds
from cordboard.logs.report.visible import one_line

MARKS: Final = {"ok": "✓", "warn": "!", "bad": "✗", "unknown": "?"}
_LOGO: Final = Markup(
    '<svg viewBox="0 0 16 16" aria-hidden="true"><g fill="currentColor"><rect x="1" y="6" width="2"'
    ' height="4" rx="1"/><rect x="5" y="2" width="2" height="12" rx="1"/><rect x="9" y="4" width="2"'
    ' height="8" rx="1"/><rect x="13" y="6" width="2" height="4" rx="1"/></g></svg>'
)


def page(model: Model, rows: RowMaker) -> Iterator[str]:
    """Give the page, piece by piece."""
    style, script = _own("page.css"), _script()
    yield "<!doctype html>\n"
    yield '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield el("meta", http_equiv="Content-Security-Policy", content=_policy(style, script))
    yield '\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="referrer" content="no-referrer">\n'
    yield el("title", _title(model)) + "\n"
    yield f"<style>{style}</style>\n</head>\n<body>\n"
    sections = _sections(model)
    yield _bar([(name, label) for name, label, _ in sections])
    yield "\n<main>\n"
    for _, _, section in sections:
        yield section + "\n"
    yield _lines(model, rows)
    yield "\n</main>\n" + _footer(model)
    yield f'\n<script type="application/json" id="lines-data">{rows.data()}</script>\n'
    yield f"<script>{script}</script>\n</body>\n</html>\n"


@cache
def _own(name: str) -> str:
    return files("cordboard.logs.report").joinpath(name).read_text("utf-8")


def _script() -> str:
    return _own("page_lines.js") + _own("page.js")


def _policy(style: str, script: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _title(model: Model) -> str:
    what = model.session.session_id if model.session else model.header.session_id or "sessions"
    return f"{one_line(what, 80)} · Cordboard report"


def _sections(model: Model) -> list[tuple[str, str, Markup]]:
    """Return id, name and content of each section that has something to show."""
    session = model.session
    found: list[tuple[str, str, Markup | None]] = [
        ("verdict", "Verdict", _verdict(model)),
        ("about", "About", _about(session) if session else None),
        ("sessions", "Sessions", None if session else html_call.sessions(model)),
        ("startup", "Startup", html_call.startup(session.startup) if session else None),
        ("turns", "Turns", html_call.turns(session) if session else None),
        ("attempts", "Attempts", html_call.attempts(session.attempts) if session else None),
        ("take-overs", "Take-overs", html_call.take_overs(session.take_overs) if session else None),
        ("services", "Services", html_call.lanes(model)),
        ("trouble", "Errors", html_call.troubles(model.troubles, named=session is None)),
        ("events", "Events", html_call.events(session) if session else None),
        ("coverage", "Coverage", _coverage(model)),
    ]
    return [(name, label, section) for name, label, section in found if section is not None]


def _bar(links: list[tuple[str, str]]) -> Markup:
    nav = [el("a", label, href=f"#{name}") for name, label in [*links, ("lines", "Lines")]]
    return el(
        "header",
        el(
            "div",
            el("div", _LOGO, el("span", "Cordboard"), class_="brand"),
            el("nav", nav, aria_label="Sections"),
            el(
                "button",
                "◐",
                aria_label="Switch between light and dark",
                title="Switch between light and dark",
                id="theme",
                type="button",
                class_="js-only",
            ),
        ),
        class_="bar",
    )


def _verdict(model: Model) -> Markup:
    verdict = model.verdict
    return el(
        "section",
        el("h1", verdict.headline, data_mark=MARKS[verdict.tone]),
        [el("p", sentence, class_="wrap") for sentence in verdict.details],
        el("div", [_tile(*tile) for tile in _figures(model)], class_="tiles"),
        id="verdict",
        class_=f"verdict tone-{verdict.tone}",
    )


def _tile(value: str, label: str, tone: str = "") -> Markup:
    return el(
        "div", el("b", value), el("span", label), class_=f"tile tone-{tone}" if tone else "tile"
    )


def _figures(model: Model) -> list[tuple[str, str, str]]:
    session, troubles = model.session, model.troubles
    figures: list[tuple[str, str, str]] = []
    if session is not None:
        figures = [
            (length(session.startup.total_ms), "to the bot's first audio", ""),
            (length(session.length_ms), "from the bot's start to the end", ""),
            _counted(len(session.turns), "turn"),
        ]
        if session.latency is not None:
            figures.append((length(session.latency.median_ms), "user to bot, median", ""))
            figures.append((length(session.latency.worst_ms), "user to bot, worst", ""))
        if len(session.attempts) > 1:
            figures.append((str(len(session.attempts)), "attempts", "warn"))
    else:
        figures = [_counted(len(model.sessions) + model.others, "session")]
    complete = model.coverage.complete
    return [
        *figures,
        _counted(troubles.errors, "error", "bad"),
        _counted(troubles.warnings, "warning", "warn"),
        (
            f"{model.lines:,}",
            f"{'line' if model.lines == 1 else 'lines'}, {'complete' if complete else 'incomplete'}",
            "" if complete else "warn",
        ),
    ]


def _counted(number: int, noun: str, tone: str = "") -> tuple[str, str, str]:
    return f"{number:,}", noun if number == 1 else f"{noun}s", tone if number else ""


def _about(session: Session) -> Markup:
    facts = [
        ("Session", el("code", session.session_id)),
        ("User", " · ".join(filter(None, [session.user_name, session.user_id])) or None),
        ("Room", session.room),
        ("Bot", session.bot or None),
        ("First line", day_and_clock(session.first_us)),
        ("Last line", day_and_clock(session.last_us)),
        ("End", " · ".join(filter(None, [session.state, session.reason])) or "not in these lines"),
        *_hosts(session),
    ]
    rows = [
        el("div", el("dt", name), el("dd", value)) for name, value in facts if value is not None
    ]
    return el("section", el("h2", "About this session"), el("dl", rows), id="about")


def _hosts(session: Session) -> list[tuple[str, str | None]]:
    last = session.attempts[-1] if session.attempts else None
    if last is None:
        return []
    return [
        ("Runner", last.runner or None),
        ("Process", last.pid or None),
        ("Operator", last.operator or None),
        ("Epoch", str(last.epoch)),
    ]


def _coverage(model: Model) -> Markup:
    coverage = model.coverage
    chip = (
        el("span", "complete", class_="chip tone-ok")
        if coverage.complete
        else el("span", "incomplete", class_="chip tone-warn")
    )
    table = el(
        "table",
        el(
            "thead",
            el(
                "tr",
                [el("th", name) for name in ("Source", "Kind")],
                el("th", "Lines", class_="num"),
                [el("th", name) for name in ("First", "Last", "Missing")],
            ),
        ),
        el("tbody", [_answer(answer) for answer in coverage.answers]),
    )
    notes = [
        *(count(number, f"{name} line") for name, number in coverage.counts.items() if number),
        *(
            f"attribution {name}: {count(number, 'line')}"
            for name, number in coverage.attribution.items()
            if number
        ),
        *coverage.notes,
    ]
    return el(
        "section",
        el("h2", "Coverage", chip, el("small", "what each source, service and container returned")),
        scrolled(table, "Coverage")
        if coverage.answers
        else el("p", "No source was queried.", class_="dim"),
        [el("p", note, class_="dim wrap") for note in notes],
        id="coverage",
    )


def _answer(answer: Answer) -> Markup:
    missing = [
        el(
            "li",
            el("b", item.reason),
            ": ",
            REASONS.get(item.reason, ""),
            el("div", item.detail, class_="dim wrap") if item.detail else None,
        )
        for item in answer.shortfalls
    ]
    return el(
        "tr",
        el("td", answer.name, class_="wrap"),
        el("td", answer.kind, class_="dim"),
        el(
            "td",
            f"{answer.lines:,}",
            class_="num",
            data_unit="line" if answer.lines == 1 else "lines",
        ),
        [
            el("td", clock(microseconds(at)) if at else "-", class_="mono" if at else "mono none")
            for at in (answer.first, answer.last)
        ],
        el("td", el("ul", missing) if missing else el("span", "nothing", class_="dim")),
    )


def _lines(model: Model, rows: RowMaker) -> Markup:
    zero = _zero_us(model)
    left_out = (
        f"{count(rows.left_out, 'line in the middle is', 'lines in the middle are')} not in this file. Use a shorter window, or --collect to get all lines."
        if rows.left_out
        else None
    )
    levels = [
        ("debug", "all levels"),
        ("info", "info and above"),
        ("warn", "warnings and errors"),
        ("error", "errors"),
    ]
    tools = el(
        "div",
        el(
            "input",
            type="search",
            id="search",
            placeholder="Search in all lines  ( / )",
            aria_label="Search",
        ),
        el(
            "select",
            [el("option", label, value=value) for value, label in levels],
            id="least",
            aria_label="Level",
        ),
        el("label", el("input", type="checkbox", id="events-only"), " events only"),
        el("span", id="counted", class_="dim", role="status"),
        class_="tools",
    )
    detail = el(
        "div",
        el(
            "header",
            el("span", id="detail-title"),
            el("button", "Copy", id="copy", type="button"),
            el("button", "Close", id="close", type="button"),
        ),
        el("pre", id="detail-text"),
        id="detail",
        class_="detail",
        hidden=True,
    )
    viewer = el(
        "div",
        tools,
        el("div", id="chips", class_="tools services"),
        el(
            "div",
            el("div", id="space", class_="space"),
            id="list",
            class_="list",
            tabindex="0",
            data_zero=None if zero is None else str(zero),
            aria_label="Lines",
        ),
        detail,
        class_="js-only",
    )
    return el(
        "section",
        el(
            "h2",
            "All lines",
            el("small", "time in UTC, then seconds since the click or the first line"),
        ),
        el("p", left_out, class_="chip tone-warn") if left_out else None,
        viewer,
        el("div", id="paper", class_="print-rows"),
        el(
            "p",
            f"{_embedded(model.lines)} below as JSON. Displaying them requires JavaScript, which does not run in this viewer. The sections above are complete without it.",
            class_="no-js dim",
        ),
        id="lines",
    )


def _embedded(lines: int) -> str:
    return "The one line is embedded" if lines == 1 else f"The {lines:,} lines are embedded"


def _zero_us(model: Model) -> int | None:
    path = model.session.startup if model.session else None
    stages = path.stages if path else ()
    return next((item.us for item in stages if path and item.event == path.zero), None)


def _footer(model: Model) -> Markup:
    header = model.header
    window = " to ".join(filter(None, [header.since, header.until]))
    parts = [
        f"Created {header.made_at}",
        f"environment {header.environment}",
        f"window {window}" if window else None,
    ]
    return el(
        "footer",
        el("p", " · ".join(filter(None, parts))),
        el("p", "Command: ", el("code", header.command)) if header.command else None,
    )
