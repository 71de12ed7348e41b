"""Lines in VictoriaLogs, over its HTTP interface (LogsQL).

    [[environments.prod]]
    type = "victorialogs"
    url = "http://victorialogs:9428"
    filter = '{namespace="voice"}'      # optional, LogsQL

A line that an agent stored whole, as the text ``_msg``, is returned byte for byte. One that an agent took apart
into fields is put together again; the store keeps all values as text, so that a text in ``meta`` that looks
like a number is read as one.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from cordboard.contract.errors import SettingsError
from cordboard.contract.job_name import job_prefix
from cordboard.contract.record import (
    BOOT,
    EPOCH,
    KEYS,
    MESSAGE,
    META,
    RAW,
    SEQ,
    SESSION_ID,
    TIMESTAMP,
    TRUNCATED,
    USER_ID,
    USER_NAME,
)
from cordboard.logs.coverage import Shortfall
from cordboard.logs.formats.codec import decode, encode, escaped
from cordboard.logs.formats.wrappers import unwrap
from cordboard.logs.query import Query
from cordboard.logs.sources._http import Store, clock_fact
from cordboard.logs.sources._options import checked, checked_url
from cordboard.logs.sources._proof import Count
from cordboard.logs.sources._secrets import checked_variable
from cordboard.logs.sources._slices import (
    Page,
    Slice,
    Terms,
    nanoseconds,
    quoted,
    read_slices,
    understood,
)
from cordboard.logs.sources._store import StoreSource, StoreStream
from cordboard.logs.timespec import HIGHEST, key_of_parts, nano_timestamp
from cordboard.logs.timestamps import own_key

_QUERY: Final = "/select/logsql/query"
# The server sorts a slice in memory, of which it takes 60 % of the machine's by default; 100,000 lines
# of the longest kind that Cordboard writes (16 KiB) are 1.6 GB, of the usual kind 30 MB.
SLICE_LINES: Final = 100_000
# A new stream's rows are counted at once and returned 1 to 2 s later (VictoriaLogs 1.12).
TRIES_PAUSES_S: Final = (0.5, 1.0, 2.0)
# Lines arrive 1 to 3 s after they were written; what an agent held back longer is found by a later query.
_OVERLAP_S: Final = 30.0
POLL_S: Final = 2.0
_END_NS: Final = 1 << 62  # in the year 2116
# The fields of Promtail and Alloy, Vector, Fluent Bit, and OpenTelemetry.
_POD_FIELDS: Final = ("pod", "kubernetes.pod_name", "kubernetes_pod_name", "k8s.pod.name")
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_LABEL: Final = re.compile(r'(?:^\{|",)([^="]+)="')
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
# A process and a number, of a row with fields or of a text, also within another one's JSON. A letter goes before
# the process, as groups lose the zeros at the beginning of digits; `math` makes the text a number, whose lowest and
# highest value are otherwise those of whole blocks.
_NUMBERED: Final = (
    r'| extract_regexp "boot[^0-9a-f]+(?P<boot>[0-9a-f]{8})[^0-9a-z]+seq[^0-9a-z]+(?P<seq>[0-9]+)}" from _msg '
    r'keep_original_fields | format "b<boot>" as process | math seq + 0 as number'
)
_COUNTED: Final = (
    "| stats by (process) count() lines, min(number) first, max(number) last, sum(number) total"
)


class VictoriaLogs(StoreSource):
    """A server of VictoriaLogs.

    Args:
        store: Its HTTP interface.
        filter_text: What is asked for beside the query's window and session, in LogsQL.
        name: What messages call it; its URL if empty.
        slice_lines: How many lines are sorted at once by the server.
        pauses_s: How long to wait before rows that were counted and not returned are asked for again.
    """

    def __init__(
        self,
        store: Store,
        filter_text: str = "*",
        *,
        name: str = "",
        slice_lines: int = SLICE_LINES,
        pauses_s: Sequence[float] = TRIES_PAUSES_S,
    ) -> None:
        super().__init__(name or store.shown, lookback_s=0, overlap_s=_OVERLAP_S, poll_s=POLL_S)
        self.store = store
        self.filter_text = filter_text
        self.slice_lines = slice_lines
        self.pauses_s = tuple(pauses_s)

    def explain(self, query: Query) -> Sequence[str]:
        """Return the requests for `query` as ``curl`` makes them."""
        begin, end = query.since or "1970-01-01T00:00:00Z", query.until or "2262-01-01T00:00:00Z"
        window = [f"_time:[{begin}, {end})"] if query.since or query.until else []
        conditions = ["| sort by (_time)"]
        if query.session is not None:
            conditions = [
                f"{_condition({query.session: SESSION_ID})} | sort by (_time)",
                f"{_of_jobs(job_prefix(query.session))} | sort by (_time)",
                f"{_condition({'BOOT': BOOT})} {_NUMBERED} {_COUNTED}",
            ]
        url = shlex.quote(f"{self.store.shown}{_QUERY}")
        return [
            f"curl -s {url} --data-urlencode "
            + shlex.quote(f"query={' '.join([self.filter_text, *window, condition])}")
            for condition in conditions
        ]

    def facts(self) -> Sequence[str]:
        """Return the identity and the clock, for ``cordboard doctor --env``."""
        return (self.store.identity, clock_fact(self.store.clock_skew_s))

    def rows(self, window: Slice, text: str) -> Iterator[dict[str, str]]:
        """Yield the rows of a query.

        Args:
            window: When.
            text: A condition, and what is done with the rows that fulfil it, in LogsQL.

        Raises:
            StoreError: The server does not answer as asked.
        """
        times = f"_time:[{nano_timestamp(window.begin)}, {nano_timestamp(window.end)})"
        query = f"{self.filter_text} {times} {text}"
        for row in self.store.lines(_QUERY, {"query": query}, post=True):
            if row:
                yield decode(row)

    def interrupt(self) -> None:
        """End all requests."""
        self.store.close()

    def window(self, query: Query) -> Slice:
        """Return the window of `query`; without an end, up to that of all times: rows may be of the future."""
        window = super().window(query)
        return window if query.end < HIGHEST else Slice(window.begin, _END_NS)

    def lines(self, window: Slice, terms: Terms, stream: StoreStream) -> Iterator[bytes]:
        """Yield the lines of `window` with one of `terms`, in slices that the server can sort; `stream` asks."""
        yield from self._found(window, _condition(terms), stream)

    def job_lines(self, window: Slice, prefix: str, stream: StoreStream) -> Iterator[bytes]:
        """Yield the rows in `window` of pods beginning with `prefix`, in any of the fields that agents use.

        Args:
            window: The slice.
            prefix: How the names of the pods begin.
            stream: The one that asks.
        """
        yield from self._found(window, _of_jobs(prefix), stream)

    @understood()
    def counts(
        self,
        window: Slice,
        boots: Sequence[str],
        stream: StoreStream,  # noqa: ARG002 - counts are whole or refused
    ) -> Mapping[str, Count]:
        """Return the counts of the processes `boots` in `window`, of rows with fields and of texts; `stream` asks."""
        rows = self.rows(window, f"{_condition(dict.fromkeys(boots, BOOT))} {_NUMBERED} {_COUNTED}")
        return {
            row["process"][1:]: Count(*(int(float(row[name])) for name in Count._fields))
            for row in rows
            if row["process"][1:] in boots and row["first"] not in {"", "NaN"}
        }

    def numbers(
        self,
        window: Slice,
        boot: str,
        stream: StoreStream,  # noqa: ARG002 - rows are whole or refused
    ) -> Iterator[tuple[int, int]]:
        """Yield number and time of each line of the process `boot` in `window`, and fetch no more; `stream` asks."""
        rows = self.rows(
            window, f"{_condition({boot: BOOT})} {_NUMBERED} | fields _time, process, seq"
        )
        with understood():
            for row in rows:
                key = _key_of(row.get("_time", ""))
                if row["process"][1:] == boot and _WHOLE.fullmatch(row.get("seq", "")) and key:
                    yield int(row["seq"]), nanoseconds(key)

    def _found(self, window: Slice, condition: str, stream: StoreStream) -> Iterator[bytes]:
        for line in read_slices(
            window, lambda part: self._page(part, condition, stream), stream.missing
        ):
            yield line + b"\n"

    @understood()
    def _page(self, part: Slice, condition: str, stream: StoreStream) -> Page:
        """Return the rows of a slice; not whole where they are too many to be sorted at once."""
        # The server sends one row, also for no lines; an empty response is that of a proxy.
        (counted,) = self.rows(part, f"{condition} | count() as n")
        expected = int(counted["n"])
        if expected == 0:
            return Page([], whole=True)
        if expected > self.slice_lines and part.end - part.begin > 1:
            return Page([], whole=False)
        lines = self._sorted(part, condition, stream)
        for pause_s in self.pauses_s:
            if len(lines) >= expected or stream.closed.wait(pause_s):
                break
            lines = self._sorted(part, condition, stream)
        if len(lines) < expected:
            detail = f"{expected - len(lines)} of {expected} counted lines were not returned"
            stream.missing.append(Shortfall("not_settled", detail))
        return Page(lines, whole=True)

    def _sorted(self, part: Slice, condition: str, stream: StoreStream) -> list[bytes]:
        lines = []
        for row in self.rows(part, f"{condition} | sort by (_time)"):
            lines.append(line_of(row))
            stream.note_pod(next((row[name] for name in _POD_FIELDS if name in row), ""), lines[-1])
        return lines


def open_source(options: Mapping[str, Any]) -> VictoriaLogs:
    """Return the source of one entry of ``[environments]``; nothing is asked of it yet.

    Args:
        options: ``url``; ``filter``, a filter of LogsQL; ``token_env``, the environment variable with a
            bearer token; ``account`` and ``project``, the numbers of a tenant; ``name``.

    Raises:
        SettingsError: An option is missing, unknown or of another type.
    """
    values = checked(
        "victorialogs",
        options,
        url=str,
        filter=str,
        token_env=str,
        account=int,
        project=int,
        name=str,
    )
    headers = {}
    for name, header in (("account", "AccountID"), ("project", "ProjectID")):
        if values[name] < 0:
            raise SettingsError(f"victorialogs: {name}: expected 0 or more, got {values[name]}.")
        if name in options:
            headers[header] = str(values[name])
    url = checked_url("victorialogs", values["url"])
    token_env = checked_variable("victorialogs", "token_env", values["token_env"])
    store = Store(url, headers=headers, token_env=token_env)
    return VictoriaLogs(
        store, f"({values['filter']})" if values["filter"] else "*", name=values["name"]
    )


# --- rows as lines


def line_of(row: Mapping[str, str]) -> bytes:
    """Return a row as a line: the text that was stored, or the record that was taken apart.

    Args:
        row: The fields of a row, all of them texts.
    """
    text = row.get("_msg", "")
    if BOOT in row and SEQ in row and _WHOLE.fullmatch(row[SEQ]):
        return escaped(encode(_record(row)))
    carried = {"log": f"{text}\n", "stream": "stdout", "time": row.get("_time", "")}
    labels = set(_LABEL.findall(row.get("_stream", "")))
    if text.startswith("{") or row.keys() <= {"_msg", "_time", "_stream", "_stream_id", *labels}:
        return own if own_key(own := unwrap(text.encode()).text) else encode(carried)
    fields = {key: value for key, value in row.items() if not key.startswith("_stream")}
    named = {"_time": "time", "_msg": MESSAGE}
    return encode({named.get(key, key): value for key, value in fields.items()})


def _record(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a record of Cordboard's format from its fields."""
    time_key = _key_of(row.get(TIMESTAMP) or row.get("_time", ""))
    found: dict[str, Any] = {MESSAGE: row.get("_msg", ""), USER_ID: None, USER_NAME: None}
    for key, text in row.items():
        top, *path = key.split(".")
        if top not in KEYS:
            continue
        value = _TYPES.get(top, str)(text)
        if not path:
            found[top] = value
        elif top in {META, "error"} and isinstance(inner := found.setdefault(top, {}), dict):
            _put(inner, path, value)
    found[TIMESTAMP] = time_key.decode() if time_key else ""
    return {key: found[key] for key in KEYS if key in found}


def _put(into: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        inner = into.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        into = inner
    into[path[-1]] = value


def _value(text: str) -> Any:
    """Return the value that a text looks like: the store keeps no types."""
    if text in {"true", "false"}:
        return text == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if text[:1] in {"[", "{"}:
        try:
            return decode(text)
        except (ValueError, RecursionError):
            return text
    return text


def _is_true(text: str) -> bool:
    return text == "true"


_TYPES: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys((META, EPOCH, SEQ), _value),
    **dict.fromkeys((RAW, TRUNCATED), _is_true),
}
"""What the store's texts were; all others were texts."""


# --- LogsQL


def _condition(terms: Terms) -> str:
    """Return what finds one of some values: in its field, or as a phrase in the text of a line."""
    names = {SESSION_ID: (SESSION_ID, "session_id")}
    found = [
        f"{name}:={quoted(text)}" for text, key in terms.items() for name in names.get(key, (key,))
    ]
    found += [quoted(text) for text in terms]
    return f"({' or '.join(found)})" if found else ""


def _of_jobs(prefix: str) -> str:
    """Return what finds the rows of pods whose names begin with a text."""
    return f"({' or '.join(f'{name}:{quoted(prefix)}*' for name in _POD_FIELDS)})"


def _key_of(text: str) -> bytes | None:
    found = _TIME.fullmatch(text)
    return key_of_parts(found[1], found[2], found[3], found[4], utc=True) if found else None
