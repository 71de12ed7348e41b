"""A session in a few kilobytes, for tools and coding agents: one JSON object, a fact a line, each with its line.

The same lines give the same bytes. Where all facts are more than the bound, the most telling ones are kept, and the
object says how many were left out.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from cordboard.contract.terminal import escape_controls_in_json
from cordboard.logs.report.entry import Entry, one_line
from cordboard.logs.report.lanes import Troubles
from cordboard.logs.timespec import timestamp_of

if TYPE_CHECKING:
    from cordboard.logs.coverage import Coverage
    from cordboard.logs.report.model import Model, Session
    from cordboard.logs.report.records import NetworkEnd
    from cordboard.logs.report.stages import Stage
    from cordboard.logs.report.turns import Turn
    from cordboard.logs.why import Answer

BYTES: Final = 8 * 1024
BYTES_LEAST: Final = 4 * 1024
_TEXT_MAX: Final = 240
_NAME_MAX: Final = 100
_NUMBER_MAX: Final = 1e15  # sums of a wrong writer may be infinite
_COMMAND_MAX_BYTES: Final = 600
_NAMES_BYTES: Final = 1_000  # of all lists, and the numbers of what is left out

_ORDER: Final = "#"  # the place of a fact in its list, which is not shown
_SEPARATOR_BYTES: Final = 3

Fact = Mapping[str, Any]
Section = tuple[str, Sequence[Fact]]
"""The name of a list, and its facts, the most telling first."""


def brief(model: "Model", command: str, most_bytes: int = BYTES) -> str:
    """Return what is known of a session, or of the sessions of a window.

    Args:
        model: What was found.
        command: The command that prints all lines.
        most_bytes: The bound, at least BYTES_LEAST.

    Returns:
        A JSON object with a newline.
    """
    is_short = len(command.encode()) <= _COMMAND_MAX_BYTES
    head = {**_head(model), **({"logs": command} if is_short else {})}
    made = _Bounded(head, most_bytes)
    for name, facts in _sections(model):
        made.add(name, facts)
    return made.text()


class _Bounded:
    """An object that grows up to a bound.

    Args:
        head: What is always there.
        most_bytes: The bound.
    """

    def __init__(self, head: Fact, most_bytes: int) -> None:
        self._head = head
        self._lists: dict[str, list[tuple[int, str]]] = {}
        self._left_out: dict[str, int] = {}
        self._left = most_bytes - _NAMES_BYTES - len(_json(head).encode())

    def add(self, name: str, facts: Sequence[Fact]) -> None:
        """Add what fits of a list; in the order of time, where the facts say one."""
        if not facts:
            return
        kept: list[tuple[int, str]] = []
        for number, fact in enumerate(facts):
            text = _json({key: value for key, value in fact.items() if key != _ORDER})
            size = len(text.encode()) + _SEPARATOR_BYTES
            if size <= self._left:
                self._left -= size
                kept.append((int(fact.get(_ORDER, number)), text))
        self._lists[name] = sorted(kept)
        if len(kept) < len(facts):
            self._left_out[name] = len(facts) - len(kept)

    def text(self) -> str:
        """Return it, a fact a line."""
        parts = [f'"{name}":{_json(value)}' for name, value in self._head.items()]
        for name, kept in self._lists.items():
            rows = ",\n".join(f" {text}" for _, text in kept)
            if rows:
                parts.append(f'"{name}":[\n{rows}\n]')
        if self._left_out:
            parts.append(f'"left_out":{_json(self._left_out)}')
        return "{\n" + ",\n".join(parts) + "\n}\n"


def _json(value: Any) -> str:
    return escape_controls_in_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


# --- what there is


def _head(model: "Model") -> dict[str, Any]:
    session, coverage = model.session, model.coverage
    wanted = model.header.session_id or (session.session_id if session else None)
    head: dict[str, Any] = {} if wanted is None else {"session": one_line(wanted, 140)}
    head["verdict"] = {"tone": model.verdict.tone, "headline": _said(model.verdict.headline)}
    if session is not None:
        end = {"state": session.state, "reason": session.reason}
        head |= {name: one_line(value, 40) for name, value in end.items() if value}
    head["complete"] = coverage.complete
    head["lines"] = model.lines
    return head


def _sections(model: "Model") -> Iterator[Section]:
    """Yield the lists, the most telling ones first."""
    if model.cause is not None:
        yield "cause", [_cause(model.cause)]
        yield "evidence", [_told(fact.as_dict()) for fact in model.cause.lines]
    yield "missing", list(_missing(model.coverage))
    session = model.session
    if session is not None:
        yield "stages", [_stage(stage) for stage in session.startup.stages]
    yield "errors", list(_troubles(model.troubles, "error"))
    if session is not None:
        yield "turns", _turns(session.turns)
        yield "tools", [fact for fact in _tools(session) if fact["status"] != "completed"]
        yield "network", [_network(end) for end in session.network]
        yield "usage", [_usage(session, number) for number in range(len(session.usage))]
    else:
        yield "sessions", [_session(item) for item in model.sessions]
    yield "warnings", list(_troubles(model.troubles, "warn"))
    if model.cause is not None:
        for name, causes in (
            ("ruled_out", model.cause.ruled_out),
            ("not_checked", model.cause.unchecked),
        ):
            yield name, [{"causes": sorted(causes)}] if causes else []
    yield "details", [{"words": _said(words)} for words in model.verdict.details]
    yield "notes", [{"words": _said(words)} for words in model.coverage.notes]


def _said(text: str) -> str:
    return one_line(text, _TEXT_MAX)


def _some(**values: Any) -> dict[str, Any]:
    """Return the values that there are; numbers to a tenth."""
    return {
        name: _short(value) if isinstance(value, float) else value
        for name, value in values.items()
        if value not in (None, "", {}, [])
    }


def _short(value: float) -> float:
    """Return a number to a tenth, and a whole one without a fraction."""
    value = max(-_NUMBER_MAX, min(value, _NUMBER_MAX))
    return int(value) if value == int(value) else round(value, 1)


def _cause(found: "Answer") -> Fact:
    return _some(
        cause=found.cause,
        words=_said(found.words),
        effect=found.effect,
        advice=_said(found.advice),
        also=sorted(found.also),
    )


def _told(fact: Mapping[str, Any]) -> Fact:
    """Return a line that proves a cause."""
    meta = _said(json.dumps(fact["meta"], ensure_ascii=False)) if fact.get("meta") else ""
    return _some(
        at=fact.get("timestamp"),
        service=one_line(str(fact.get("service", "")), _NAME_MAX),
        event=one_line(str(fact.get("event", "")), _NAME_MAX),
        message=_said(str(fact.get("message", ""))),
        meta=meta,
        boot=fact.get("boot"),
        seq=fact.get("seq"),
    )


def _missing(coverage: "Coverage") -> Iterator[Fact]:
    for answer in coverage.answers:
        for why in answer.shortfalls:
            name = one_line(answer.name, _NAME_MAX)
            yield _some(name=name, reason=why.reason, detail=_said(why.detail))


def _stage(stage: "Stage") -> Fact:
    if stage.line is None:
        return {"event": stage.event, "line": None}
    return _some(
        event=stage.event,
        ms=stage.ms,
        step_ms=stage.step_ms,
        times=stage.times if stage.times > 1 else None,
        service=one_line(stage.line.service, _NAME_MAX),
        note=_said(stage.line.note) if stage.line.bad else "",
        **stage.line.place,
    )


def _troubles(found: Troubles, level: str) -> Iterator[Fact]:
    items = {item.index: item for block in found.blocks for item in block if item.level == level}
    for index in sorted(items):
        item = items[index]
        yield _some(
            at=_at(item),
            service=one_line(item.service, _NAME_MAX),
            event=one_line(item.event or "", _NAME_MAX),
            message=_said(item.message),
            error=_said(item.error),
            stack=_last_of(item.stack),
            **item.place,
        )


def _at(item: Entry) -> str | None:
    return None if item.us is None else timestamp_of(item.us)


def _last_of(stack: str) -> str:
    """Return where an error was raised: the last place that its stack names."""
    places = [line.strip() for line in stack.splitlines() if line.lstrip().startswith("File ")]
    return _said(places[-1]) if places else ""


def _turns(turns: Iterable["Turn"]) -> list[Fact]:
    """Return the turns: those that went wrong first, then the slowest."""
    numbered = list(enumerate(turns))
    numbered.sort(key=lambda pair: (not pair[1].state, -(pair[1].latency_ms or 0.0), pair[0]))
    return [
        {
            _ORDER: number,
            **_some(
                turn=one_line(turn.number, 12),
                at=None if turn.started_us is None else timestamp_of(turn.started_us),
                state=one_line(turn.state, 40),
                latency_ms=turn.latency_ms,
                heard_ms=turn.heard_ms,
                heard_later={name: _short(ms) for name, ms in turn.later_parts},
                parts={one_line(name, 60): _short(ms) for name, ms in turn.parts},
                said={who: _said(text) for who, text in turn.words},
                **turn.place,
            ),
        }
        for number, turn in numbered
    ]


def _tools(session: "Session") -> Iterator[dict[str, Any]]:
    for tool in session.tools:
        yield {
            "name": one_line(tool.name, _NAME_MAX),
            "status": one_line(tool.status, 40) or "no end",
            **_some(
                at=None if tool.started_us is None else timestamp_of(tool.started_us),
                ms=tool.ms,
                result=_said(tool.result),
                **tool.place,
            ),
        }


def _usage(session: "Session", number: int) -> Fact:
    used = session.usage[number]
    least = session.used_at_least or None
    return _some(processor=used.processor, model=used.model, **used.amounts, at_least=least)


def _network(end: "NetworkEnd") -> Fact:
    return _some(
        end=one_line(end.name, 40),
        samples=len(end.samples),
        beyond_threshold=sum(bool(sample.bad) for sample in end.samples) or None,
        lost_percent=end.lost_percent,
        concealed_percent=end.concealed_percent,
        paths=[one_line(path, 40) for path in end.paths[:4]],
        worst=_some(**end.worst),
        warnings=sorted({one_line(item.name, 40) for item in end.warnings})[:12],
    )


def _session(session: "Session") -> Fact:
    return _some(
        session=one_line(session.session_id, 140),
        tone=session.verdict.tone,
        headline=_said(session.verdict.headline),
        errors=session.errors or None,
    )
