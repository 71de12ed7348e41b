"""The report as one page: self-contained, offline, on a phone, on paper, with scripts or without.

Its policy allows exactly the page's own style and script, by their hashes, and no network at all. The templates
escape each text of a log, and show what would steer or hide as its code point.

The page embeds the lines: texts that repeat are said once, a line is a short list of numbers. A row is
``[time, level, service, tag, context, event, message, source, attribution, rest]``: microseconds after the
first line, then places in tables, then an object of what a line has besides. Where a table is full, the value
itself stands in the row; -1 stands for none.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from cordboard.contract.record import EVENTS, SERVICES
from cordboard.logs.coverage import REASONS, count
from cordboard.logs.report.entry import (
    HeadTail,
    clock,
    day_and_clock,
    length,
    microseconds,
    one_line,
    visible,
)
from cordboard.logs.report.lanes import BUCKETS, is_warning
from cordboard.logs.report.model import Model
from cordboard.logs.report.records import SPANS_MAX, total_ms
from cordboard.logs.report.stages import NAMES, SETBACKS
from cordboard.logs.why.rules import TITLES
from cordboard.logs.why.text import references

if TYPE_CHECKING:
    from jinja2 import Environment

LINES_MAX: Final = 50_000  # embedded in a page: the first half and the last
LINES_MAX_CHARS: Final = 24_000_000  # of all of them as JSON
TABLE_MAX: Final = 20_000  # texts that are said once; further ones stand in their rows
TABLE_TEXT_MAX: Final = 1_000
"""A longer text is said where it stands: it seldom repeats."""
SHOWN_MAX: Final = 400
"""So many turns, events, calls of tools and warnings a section shows."""
CONTEXT: Final = ("sessionId", "userId", "userName", "room", "epoch", "traceId", "spanId", "boot")
FIELDS: Final = ("level", "service", "tag", "event", "message")
TABLES: Final = (*FIELDS[:3], "context", *FIELDS[3:], "source", "attribution")
_CANONICAL: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_SCRIPT_ENDS: Final = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


def page(model: Model, rows: "RowMaker") -> Iterator[str]:
    """Give the page of `model` with its `rows`, piece by piece."""
    template = _environment().get_template("page.html")
    style, script = own_file("page.css"), own_script()
    return template.generate(
        model=model,
        session=model.session,
        rows=rows,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def sections(model: Model) -> list[tuple[str, str, str]]:
    """Return the sections of the page of `model` before the lines: of each its id, its label and its HTML.

    Links lead to the lines: ``#L1`` is the first one.
    """
    values = {
        "model": model,
        "session": model.session,
        "rows": RowMaker(),
        **dict.fromkeys(("style", "script", "style_hash", "script_hash"), ""),
    }
    module: Any = _environment().get_template("page.html").make_module(values)
    return [(name, label, str(content)) for name, label, content in module.sections]


@cache
def own_file(name: str) -> str:
    """Return the text of a file of the page, by its `name`."""
    return files("cordboard.logs.report").joinpath(name).read_text("utf-8")


def own_script() -> str:
    """Return the page's script."""
    return own_file("page_lines.js") + own_file("page.js")


@cache
def _environment() -> "Environment":
    # Imported only where a page is written: it would take a third of the time of a short query.
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(own_file),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = (clock, day_and_clock, one_line, microseconds)
    environment.filters |= {function.__name__: function for function in texts}
    environment.filters |= {"duration": length, "thousands": "{:,}".format}
    environment.filters |= {"svc": _service_class, "total_ms": total_ms}
    environment.tests["warning"] = is_warning
    environment.globals |= {"count": count, "reasons": REASONS, "buckets": BUCKETS}
    environment.globals |= {"spans_max": SPANS_MAX, "shown_most": SHOWN_MAX}
    environment.globals |= {"names": NAMES, "setbacks": SETBACKS, "meanings": EVENTS}
    environment.globals |= {"causes": TITLES, "references": references}
    return environment


def _shown(value: Any) -> Any:
    """Return what stands in the page for a value; markup is the templates' own."""
    return value if hasattr(value, "__html__") else visible(str(value))


def _service_class(service: str) -> str:
    return f"s-{service}" if service in SERVICES else "s-other"


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


class RowMaker:
    """Takes records; gives them as JSON for the page, at most LINES_MAX of them."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, int]] = {name: {} for name in TABLES}
        self._rows: HeadTail[str] = HeadTail(LINES_MAX, LINES_MAX_CHARS)
        self._origin: int | None = None

    @property
    def left_out(self) -> int:
        """Lines of the middle that are not embedded."""
        return self._rows.left_out

    def add(self, record: Mapping[str, Any], source: str, attribution: str) -> None:
        """Take one line.

        Args:
            record: Its record, clean already.
            source: Where it was found.
            attribution: How its session is known, and from what, in words.
        """
        rest = dict(record)
        us = self._time(rest)
        cells: dict[str, Any] = {"source": source, "attribution": attribution}
        cells["context"] = {key: rest.pop(key) for key in CONTEXT if key in rest}
        cells |= {name: rest.pop(name) for name in FIELDS if isinstance(rest.get(name), str)}
        row = [us, *(self._place(name, cells.get(name)) for name in TABLES)]
        text = _script_json([*row, rest] if rest else row)
        self._rows.add(text, len(text))

    def data(self) -> Iterator[str]:
        """Give the lines as JSON that may stand inside a script element, piece by piece."""
        tables: dict[str, list[Any]] = {name: list(table) for name, table in self._tables.items()}
        tables["context"] = [json.loads(text) for text in self._tables["context"]]
        left_out, split = self._rows.left_out, self._rows.split
        head = {"origin": self._origin, "tables": tables, "split": split, "left_out": left_out}
        yield _script_json(head).removesuffix("}") + ',"rows":['
        separator = "\n"
        for row in self._rows:
            yield separator + row
            separator = ",\n"
        yield "\n]}"

    def _time(self, rest: dict[str, Any]) -> int | None:
        """Return the time after the first line; another form of it stays in the rest."""
        us = microseconds(rest.get("timestamp"))
        if us is None or not _CANONICAL.fullmatch(rest["timestamp"]):
            return None
        del rest["timestamp"]
        self._origin = us if self._origin is None else self._origin
        return us - self._origin

    def _place(self, name: str, value: Any) -> Any:
        """Return a value's place in its table; the value itself where that is full; -1 for none."""
        if value is None:
            return -1
        table = self._tables[name]
        text = value if isinstance(value, str) else json.dumps(value)
        if text not in table and (len(table) >= TABLE_MAX or len(text) > TABLE_TEXT_MAX):
            return value
        return table.setdefault(text, len(table))


def _script_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in, nor hide in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _SCRIPT_ENDS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
