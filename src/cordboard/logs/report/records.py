"""What the records of a call add up to: words, tools, usage, who spoke when, and the network at both ends."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

from cordboard.contract.call_events import MEDIA_ENDS
from cordboard.contract.media_quality import RULES
from cordboard.logs.report.entry import Entry, as_text, earlier, length, microseconds, one_line
from cordboard.logs.values import number

COUNTED: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cache_read_tokens",
    "characters",
    "audio_s",
)
SPEAKERS: Final = ("user", "bot")
FREQUENT: Final = frozenset({"media.stats", "speech.started", "speech.ended", "service.usage"})
"""Events that come every few seconds, or with each sentence."""
WORDS_MAX: Final = 2_000
SPANS_MAX: Final = 1_000
"""So many spans of speech a lane shows."""
SAMPLES_MAX: Final = 240
"""So many samples a lane of the network shows; of more, the worst of each part."""
_KINDS_MAX: Final = 200
_PERCENT: Final = 100.0
_RULES: Final = {rule.member: rule for rule in RULES}


# --- tools


@dataclass(frozen=True, slots=True)
class Tool:
    """One call of a tool.

    Attributes:
        started_us: When it began; None where no line tells.
        ms: How long it took.
        status: How it ended; empty where no line tells.
        arguments: With content alone, as its result.
        place: Process and number of its last line.
    """

    name: str
    index: int
    started_us: int | None = None
    ms: float | None = None
    status: str = ""
    arguments: str = ""
    result: str = ""
    place: Mapping[str, Any] = field(default_factory=dict)


def tools(events: Iterable[Entry]) -> tuple[Tool, ...]:
    """Return the calls of tools that `events` tell of, in the order in which they began."""
    found: dict[tuple[int | None, str], Tool] = {}
    for item in events:
        if item.event not in {"tool.started", "tool.ended"}:
            continue
        meta = item.meta
        call_id = as_text(meta.get("call_id", f"line {item.index}"))
        name = as_text(meta.get("name", "?"))
        tool = found.get((item.epoch, call_id)) or Tool(name, item.index)
        if item.event == "tool.started":
            tool = replace(tool, started_us=item.us, arguments=_said(item, "arguments"))
        else:
            result = _said(item, "result") or _said(item, "text")
            status = as_text(meta.get("status", "ended"))
            tool = replace(tool, ms=number(meta.get("ms")), status=status, result=result)
        found[item.epoch, call_id] = replace(tool, place=item.place)
    return tuple(found.values())


def _said(item: Entry, name: str) -> str:
    value = item.meta.get(name)
    return "" if value is None else one_line(as_text(value), WORDS_MAX)


# --- usage


@dataclass(frozen=True, slots=True)
class Usage:
    """What one service consumed in the whole call.

    Attributes:
        processor: The service, as the pipeline names it.
        model: Its model; empty where no line tells.
        amounts: Sums, by the names of COUNTED; what was never reported is absent.
    """

    processor: str
    model: str
    amounts: Mapping[str, float]

    @property
    def words(self) -> list[str]:
        """The amounts for people."""
        return [
            f"{length(amount * 1000)} audio"
            if name == "audio_s"
            else f"{amount:,.0f} {name.replace('_', ' ')}"
            for name, amount in self.amounts.items()
        ]


def usage(events: Iterable[Entry]) -> tuple[Usage, ...]:
    """Return what each service consumed, as `events` tell, in the order of the first reports."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for item in events:
        if item.event != "service.usage":
            continue
        key = _text(item, "processor") or "?", _text(item, "model")
        if key not in found and len(found) >= _KINDS_MAX:
            continue
        sums = found.setdefault(key, {})
        for name in COUNTED:
            if (amount := number(item.meta.get(name))) is not None and amount >= 0:
                sums[name] = sums.get(name, 0.0) + amount
    return tuple(
        Usage(processor, model, {name: sums[name] for name in COUNTED if name in sums})
        for (processor, model), sums in found.items()
    )


def _text(item: Entry, name: str) -> str:
    value = item.meta.get(name)
    return one_line(value, 200) if isinstance(value, str) else ""


# --- speech

Span = tuple[int, int]
"""Microseconds since 1970: where something begins and ends."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Who spoke when.

    Attributes:
        spans: Of each speaker, in time order.
        overlap: When both spoke.
    """

    spans: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    overlap: Sequence[Span] = ()

    @property
    def lanes(self) -> list[tuple[str, Sequence[Span]]]:
        """Each lane with its name: the speakers, and both at once."""
        return [*self.spans.items(), ("both", self.overlap)] if self.spans else []

    @property
    def first_us(self) -> int:
        """When the first of them began to speak."""
        return min(span[0] for spans in self.spans.values() for span in spans)

    @property
    def last_us(self) -> int:
        """When the last of them stopped."""
        return max(span[1] for spans in self.spans.values() for span in spans)


def speech(events: Sequence[Entry]) -> Speech:
    """Return who spoke when, by the times of the speech itself that `events`, in time order, tell."""
    spans = {who: found for who in SPEAKERS if (found := _spoken(events, who))}
    overlap = _overlap(spans["user"], spans["bot"]) if len(spans) == len(SPEAKERS) else []
    return Speech(spans, overlap)


def _spoken(events: Sequence[Entry], who: str) -> list[Span]:
    found: list[Span] = []
    began: int | None = None
    for item in events:
        if item.event not in {"speech.started", "speech.ended"} or item.meta.get("who") != who:
            continue
        at = microseconds(item.meta.get("at"))
        at = item.us if at is None else at
        if item.event == "speech.started":
            began = at
            continue
        ms = number(item.meta.get("ms"))
        if began is None and at is not None and ms is not None:
            began = earlier(at, ms)
        if began is not None and at is not None and at >= began:
            found.append((began, at))
        began = None
    last = max((item.us for item in events if item.us is not None), default=None)
    if began is not None and last is not None and last > began:
        found.append((began, last))  # the end is not in these lines
    return _joined(found)


def _joined(spans: Iterable[Span]) -> list[Span]:
    whole: list[Span] = []
    for begin, end in sorted(spans):
        if whole and begin <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], end))
        else:
            whole.append((begin, end))
    return whole


def _overlap(ones: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Return where two lists of spans, each in order, overlap."""
    found, one, other = [], 0, 0
    while one < len(ones) and other < len(others):
        begin = max(ones[one][0], others[other][0])
        end = min(ones[one][1], others[other][1])
        if begin < end:
            found.append((begin, end))
        if ones[one][1] < others[other][1]:
            one += 1
        else:
            other += 1
    return found


def total_ms(spans: Iterable[Span]) -> float:
    """Return how many milliseconds `spans` are together."""
    return sum(end - begin for begin, end in spans) / 1000


# --- the network


@dataclass(frozen=True, slots=True)
class Sample:
    """One report of one end.

    Attributes:
        begin_us: Where its interval begins.
        us: When it was made.
        values: ``loss_percent``, ``jitter_ms``, ``rtt_ms``, ``mos``; what is not known is absent.
        bad: The names of the values that are beyond the thresholds of the warnings.
        state: Of the connection.
    """

    begin_us: int
    us: int
    index: int
    values: Mapping[str, float]
    bad: tuple[str, ...] = ()
    state: str = ""

    @property
    def words(self) -> str:
        """The values for people."""
        forms = {"loss_percent": "loss {:.1f} %", "mos": "MOS {:.1f}"}
        said = [
            forms.get(name, f"{name.removesuffix('_ms')} {{:.0f}} ms").format(value)
            for name, value in self.values.items()
        ]
        return ", ".join(filter(None, [self.state, *said])) or "no values"


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning, from its raise until it was cleared.

    Attributes:
        until_us: When it was cleared; None where no line tells.
    """

    name: str
    index: int
    us: int | None
    until_us: int | None = None
    value: str = ""
    threshold: str = ""


@dataclass(frozen=True, slots=True)
class NetworkEnd:
    """What one end of the media connection reported.

    Attributes:
        name: ``page``, ``call``, ``bot``.
        worst: The worst of each value.
        paths: The types of ICE candidates that were in use, in order.
        lost_percent: Of all packets that were due; None where none were counted.
        concealed_percent: Of all samples that were played.
    """

    name: str
    samples: Sequence[Sample]
    warnings: Sequence[Warned]
    worst: Mapping[str, float]
    paths: Sequence[str]
    lost_percent: float | None
    concealed_percent: float | None

    @property
    def shown(self) -> list[Sample]:
        """The samples; of many, the worst one of each part of the time."""
        step = -(-len(self.samples) // SAMPLES_MAX)
        parts = [self.samples[at : at + step] for at in range(0, len(self.samples), step or 1)]
        return [
            replace(
                max(part, key=lambda item: len(item.bad)), begin_us=part[0].begin_us, us=part[-1].us
            )
            for part in parts
        ]

    @property
    def facts(self) -> dict[str, str]:
        """The sums and the worst values, for people; empty where nothing was measured."""
        worst = self.worst
        percents = {"lost": self.lost_percent, "concealed": self.concealed_percent}
        return {
            "path": " then ".join(self.paths),
            **{name: "" if p is None else f"{p:.1f} %" for name, p in percents.items()},
            "worst jitter": length(worst["jitter_ms"]) if "jitter_ms" in worst else "",
            "worst round trip": length(worst["rtt_ms"]) if "rtt_ms" in worst else "",
            "lowest MOS": f"{worst['mos']:.1f}" if "mos" in worst else "",
        }


def network(events: Sequence[Entry]) -> tuple[NetworkEnd, ...]:
    """Return what each end of the media connection reported in `events`, which are in time order."""
    lanes: dict[str, list[Entry]] = {}
    for item in events:
        if item.event in {"media.stats", "media.warning"}:
            lanes.setdefault(_text(item, "end") or item.service, []).append(item)
    order = [*MEDIA_ENDS, *sorted(lanes.keys() - set(MEDIA_ENDS))]
    return tuple(_end(name, lanes[name]) for name in order[:_KINDS_MAX] if name in lanes)


def _end(name: str, items: Sequence[Entry]) -> NetworkEnd:
    stats = [item for item in items if item.event == "media.stats"]
    samples = [sample for item in stats if (sample := _sample(item)) is not None]
    paths = [path for item in stats if (path := _text(item, "path"))]
    worst: dict[str, float] = {}
    for sample in samples:
        for key, value in sample.values.items():
            worse: Callable[[float, float], float] = min if key == "mos" else max
            worst[key] = worse(worst.get(key, value), value)
    return NetworkEnd(
        name,
        samples,
        list(_warned(item for item in items if item.event == "media.warning")),
        worst,
        paths[:1] + [path for before, path in pairwise(paths) if path != before],
        _percent(_sum(stats, "packets_lost"), _sum(stats, "packets_received")),
        _percent(concealed := _sum(stats, "concealed_samples"), _sum(stats, "samples"), concealed),
    )


def _sample(item: Entry) -> Sample | None:
    if item.us is None:
        return None
    meta = item.meta
    loss = _percent(number(meta.get("packets_lost")), number(meta.get("packets_received")))
    named = {name: number(meta.get(name)) for name in ("jitter_ms", "rtt_ms", "mos")}
    values = {n: v for n, v in {"loss_percent": loss, **named}.items() if v is not None}
    bad = tuple(name for name, value in values.items() if _RULES[name].is_bad(value))
    interval = number(meta.get("interval_ms")) or 0.0
    begin = earlier(item.us, interval)
    return Sample(begin, item.us, item.index, values, bad, _text(item, "state"))


def _sum(items: Iterable[Entry], name: str) -> float | None:
    """Return the sum of a value, and None where nobody reported it."""
    amounts = [a for item in items if (a := number(item.meta.get(name))) is not None]
    return sum(amounts) if amounts else None


def _percent(part: float | None, rest: float | None, within: float | None = None) -> float | None:
    """Return a part in percent of itself and the rest; ``within``: what of the rest is the part itself."""
    if part is None or rest is None or part < 0 or rest < 0:
        return None
    whole = part + rest - (within or 0.0)
    return min(part / whole * _PERCENT, _PERCENT) if whole > 0 else None


def _warned(items: Iterable[Entry]) -> Iterator[Warned]:
    """Yield each warning with its end."""
    open_ones: dict[str, Warned] = {}
    for item in items:
        name = _text(item, "name") or "?"
        if item.meta.get("state") == "cleared":
            if (raised := open_ones.pop(name, None)) is not None:
                yield replace(raised, until_us=item.us)
            continue
        value, threshold = (_said(item, key) for key in ("value", "threshold"))
        if name in open_ones:  # raised again, without a clear in these lines
            yield open_ones.pop(name)
        open_ones[name] = Warned(name, item.index, item.us, None, value, threshold)
    yield from open_ones.values()
