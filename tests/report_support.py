"""Sessions as their lines tell of them, made by hand after what the services really say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cordboard.logs.coverage import Answer, Coverage, Shortfall
from cordboard.logs.line import Line
from cordboard.logs.report import Header, hand_over, html
from cordboard.logs.report.entry import clean_record
from cordboard.logs.report.model import ModelMaker
from cordboard.logs.report.prices import prices_from
from cordboard.logs.timespec import timestamp_of

ZERO_US = 1_795_500_000_000_000  # 2026-11-24, half past eight or so
STACK = (
    "Traceback (most recent call last):\n"
    '  File "/app/bot.py", line 41, in on_user_turn\n'
    "    answer = await tools.lookup(order)\n"
    "ValueError: no order 4711\n"
)


@dataclass
class Told:
    """Records in the order in which they are said.

    Attributes:
        epoch: Goes onto each record that does not say another; None for none.
    """

    session_id: str = "call-7"
    epoch: int | None = 1
    records: list[dict[str, Any]] = field(default_factory=list)
    seqs: dict[str, int] = field(default_factory=dict)

    def say(
        self,
        at_ms: float,
        service: str,
        message: str,
        *,
        event: str | None = None,
        level: str = "info",
        tag: str | None = None,
        **more: Any,
    ) -> "Told":
        """Add a record; ``error`` and the record's own keys stand apart, the rest is meta."""
        self.seqs[service] = self.seqs.get(service, 0) + 1
        record: dict[str, Any] = {
            "timestamp": timestamp_of(ZERO_US + round(at_ms * 1000)),
            "level": level,
            "message": message,
            "service": service,
            "tag": tag or service,
            "sessionId": self.session_id,
            "userId": "u-1",
            "userName": "Ada Lovelace",
            "room": "webrtc:standup",
        }
        if self.epoch is not None:
            record["epoch"] = self.epoch
        if event:
            record["event"] = event
        if "error" in more:
            record["error"] = more.pop("error")
        if more:
            record["meta"] = more
        record |= {
            "boot": f"{sum(service.encode('utf-8', 'surrogatepass')) % 2**32:08x}",
            "seq": self.seqs[service],
        }
        self.records.append(record)
        return self

    def event(self, at_ms: float, service: str, event: str, **meta: Any) -> "Told":
        """Add an event, its name as its message."""
        return self.say(at_ms, service, event.replace(".", " ").capitalize(), event=event, **meta)

    def lines(self) -> list[Line]:
        """Return them as the reader gives them: in time order."""
        ordered = sorted(self.records, key=lambda record: str(record["timestamp"]))
        return [line(record) for record in ordered]


def line(record: dict[str, Any], source: str | None = None) -> Line:
    """Return a record as the reader gives it."""
    import json

    raw = json.dumps(record).encode()
    return Line(record, raw, source or f"/var/log/cordboard/{record.get('service')}.jsonl")


def joined(told: Told, *, browser: bool = True) -> Told:
    """Tell of a join up to the bot's start, 140 ms after the click."""
    if browser:
        told.epoch = None
        told.event(-3200, "browser", "page.opened", path="/rooms/standup")
        told.event(0, "browser", "join.clicked")
        told.event(24, "interface", "join.requested", gateway="http://gateway:4444")
    told.epoch = None
    told.event(31, "gateway", "join.received", bot="default")
    told.epoch = 1
    told.event(38, "gateway", "join.accepted", reused=False, bot="default")
    told.event(44, "operator", "launch.claimed", attempt=1, operator="op-1")
    told.event(61, "runner", "start.received", bot="default")
    told.event(90, "runner", "bot.forked", pid=4242, ms=28.4)
    told.event(94, "runner", "bot.started", pid=4242, attempt=1)
    told.event(97, "operator", "launch.assigned", runner="runner-a")
    return told


def connected(told: Told) -> Told:
    """Tell of media up to the bot's first audio, 348 ms after the click."""
    told.event(330, "bot", "bot.connected", transport="webrtc")
    told.event(338, "bot", "user.connected")
    told.event(348, "bot", "bot.first_audio")
    told.event(402, "bot", "user.first_audio")
    if any(record["service"] == "browser" for record in told.records):
        told.say(410, "browser", "First audio of the bot heard", ms=410)
    return told


def turn(told: Told, ms: float, number: int, latency_ms: int | None = 612) -> Told:
    """Tell of one turn, 4 s long."""
    told.event(ms, "bot", "turn.started", turn=number)
    told.event(
        ms + 4000,
        "bot",
        "turn.ended",
        turn=number,
        duration_ms=4000,
        interrupted=number == 2,
        user_bot_latency_ms=latency_ms,
        ttfb_ms={"DeepgramSTT#0": 120, "OpenAILLM#0": 310, "CartesiaTTS#0": 140 + 10 * number},
    )
    return told


def ended(told: Told, ms: float, reason: str, state: str = "ended", **meta: Any) -> Told:
    """Tell of the end."""
    return told.event(ms, "runner", "session.ended", state=state, reason=reason, **meta)


def good_call() -> Told:
    """A call that worked: two warnings, five turns."""
    told = connected(joined(Told()))
    told.say(360, "bot", "No video transceiver is available", level="warn", tag="pipecat")
    for number in range(1, 6):
        turn(told, 500 + number * 5000, number, 560 + 35 * number)
        told.say(900 + number * 5000, "bot", "Transcribed", level="debug", words=7)
    told.say(9000, "runner", "The bot's event loop is late", level="warn", loop_lag_ms=1210.4)
    told.event(31_000, "bot", "bot.finished", stopped="left")
    return ended(told, 31_020, "left", detail=None, seconds=30.9)


def crashed_call() -> Told:
    """A bot that raised in its second turn."""
    told = turn(connected(joined(Told())), 2000, 1)
    told.event(6500, "bot", "turn.started", turn=2)
    told.say(8300, "bot", "Looking the order up", tag="tools", order=4711)
    error = {"type": "ValueError", "message": "no order 4711", "stack": STACK}
    told.say(8600, "bot", "Bot crashed", event="bot.crashed", level="error", error=error)
    told.say(
        8650,
        "runner",
        "Session ended",
        event="session.ended",
        level="error",
        state="failed",
        reason="bot_crashed",
        detail="ValueError: no order 4711",
        seconds=8.6,
    )
    return told


def recovered_call() -> Told:
    """A call whose runner died, and which went on under a higher epoch."""
    told = turn(connected(joined(Told())), 1000, 1)
    told.say(
        21_000, "operator", "Lease expired", event="lease.expired", level="warn",
        overdue_ms=1200, sign="refused", runner="runner-a",
    )  # fmt: skip
    told.epoch = 2
    told.say(
        21_010,
        "operator",
        "Session queued again",
        event="session.recovered",
        level="warn",
        attempt=2,
        why="died",
        sign="the runner's port is closed",
        seen_ms=1200,
        runner="runner-a",
    )
    told.event(21_030, "operator", "launch.claimed", attempt=2, operator="op-1")
    told.event(21_060, "runner", "start.received", bot="default")
    told.event(21_090, "runner", "bot.forked", pid=977)
    told.event(21_100, "runner", "bot.started", pid=977, attempt=2)
    told.event(21_110, "operator", "launch.assigned", runner="runner-b")
    told.event(21_900, "bot", "bot.first_audio")
    return ended(told, 40_000, "left", seconds=18.9)


def recorded_call(hostile: str = "") -> Told:
    """A call with all its records, words and arguments included; two people speak at once, the page loses packets."""
    told = connected(joined(Told()))
    for number in (1, 2):
        at = number * 5000
        told.event(at, "bot", "turn.started", turn=number)
        _spoke(told, "user", at, at + 1500)
        _spoke(told, "bot", at + 1000 * number, at + 4000)
        told.event(
            at + 1510, "bot", "turn.user_text", turn=number, text=f"Where is my order? {hostile}"
        )
        told.event(
            at + 1700,
            "bot",
            "tool.started",
            name="look_up",
            call_id=f"c{number}",
            arguments={"order": 4711, "why": hostile},
        )
        told.event(
            at + 1900,
            "bot",
            "tool.ended",
            name="look_up",
            call_id=f"c{number}",
            status="completed" if number == 1 else "timeout",
            ms=200,
            result=f"on its way {hostile}",
        )
        told.event(
            at + 2000,
            "bot",
            "service.usage",
            processor="OpenAILLMService#0",
            model="gpt-x",
            prompt_tokens=1000,
            completion_tokens=500,
            cache_read_tokens=400,
        )
        told.event(
            at + 2000,
            "bot",
            "service.usage",
            processor="CartesiaTTSService#0",
            characters=120,
            audio_s=6.0,
        )
        told.event(
            at + 3900,
            "bot",
            "turn.bot_text",
            turn=number,
            text=f"It is on its way. {hostile}",
            interrupted=False,
        )
        told.event(
            at + 4000,
            "bot",
            "turn.ended",
            turn=number,
            duration_ms=4000,
            interrupted=False,
            user_bot_latency_ms=600,
            total_ms=600,
            measured_from="user_silence",
            outcome="completed",
            contributions=[
                {"key": "turn_detection", "owner": "user turn", "ms": 200},
                {"key": "ttft", "owner": f"OpenAILLMService#0{hostile}", "ms": 300},
                {"key": "ttfb", "owner": "CartesiaTTSService#0", "ms": 100},
            ],
        )
        began = timestamp_of(ZERO_US + (at + 2150) * 1000)
        delays = {"network_ms": 12, "buffer_ms": 40, "device_ms": 20}
        heard = {"turn": number, "heard_ms": 650, "bot_began_at": began, **delays}
        told.event(at + 2200, "browser", "turn.heard", **heard)
    for end, service in (("page", "browser"), ("bot", "bot")):
        for at in (5000, 10_000, 15_000):
            lost = 30 if end == "page" and at == 10_000 else 0
            told.event(
                at,
                service,
                "media.stats",
                end=end,
                state="connected",
                interval_ms=5000,
                path="host",
                packets_received=250 - lost,
                packets_lost=lost,
                packets_sent=250,
                jitter_ms=12,
                rtt_ms=40,
                mos=4.3,
                samples=240_000,
                concealed_samples=lost * 100,
            )
    told.event(
        9000,
        "browser",
        "media.warning",
        end="page",
        name="high_loss",
        state="raised",
        value=12.0,
        threshold=1.0,
    )
    told.event(
        11_000,
        "browser",
        "media.warning",
        end="page",
        name="high_loss",
        state="cleared",
        value=0,
        threshold=1.0,
    )
    told.event(31_000, "bot", "bot.finished", stopped="left")
    return ended(told, 31_020, "left", seconds=30.9)


def _spoke(told: Told, who: str, begin: int, end: int) -> None:
    """Tell of speech; its detector is 200 ms late."""
    for name, at in (("started", begin), ("ended", end)):
        told.event(at + 200, "bot", f"speech.{name}", who=who, at=timestamp_of(ZERO_US + at * 1000))


PRICES = prices_from(
    {
        "currency": "USD",
        "gpt-x": {"prompt": 2.0, "cached": 0.5, "completion": 8.0},
        "CartesiaTTSService": {"characters": 50},
    }
)
HEADER = Header(
    command="cordboard logs --local --session call-7 --report call-7.html",
    session_id="call-7",
    made_at="2026-11-24 09:00:00 UTC",
    prices=PRICES,
)
COMPLETE = Coverage(
    (Answer("gateway", "service", 2), Answer("runner", "service", 5)), {"late": 0}, {"explicit": 7}
)
MISSING = Coverage(
    (
        Answer("gateway", "service", 2, "2026-11-24T08:00:00.031000Z", "2026-11-24T08:00:00.038000Z"),
        Answer("prod/runner-a-x2/runner", "container", 0, None, None, (Shortfall("gone", "deleted 08:00:20"),)),
        Answer("bot", "service", 12, None, None, (Shortfall("gap", "boot 9f31c2aa: seq 17 to 21"),)),
    ),
    {"late": 3, "malformed": 1},
    {"explicit": 20, "inherited": 2},
    ("The limit of 10000 lines was reached.",),
)  # fmt: skip

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<!--<script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "'\" onmouseover=alert(1) x='",
    "&lt;b&gt; &amp; ]]> <![CDATA[",
    "line\u2028separator\u2029paragraph",
    "\u202egnp.exe\u202c \u2066isolated",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "nul\x00 bell\x07 del\x7f c1\x9b31m",
    "lone \ud800 surrogate \udfff and \ude00\ud83d",
    "\ufeffzero\u200bwidth\u00adsoft",
    "\U000e0041tag \ufffe nonchar",
    "javascript:alert(1)",
    "${alert(1)} {{7*7}} %s %(x)s",
    "a\r\nb\tc\rd",
    "日本語 \U0001f600 עברית مرحبا",
)
"""Texts that want to be more than text."""


def write_report(path: Path | str, lines: Iterable[Line], coverage: Any, header: Header) -> None:
    """Write one report."""
    hand_over(lines, coverage, header, reports=[path])


def page_of(
    records: Iterable[Mapping[str, Any]], coverage: Coverage = COMPLETE, header: Header = HEADER
) -> str:
    """Return the page of records, which are cleaned before."""
    maker, rows = ModelMaker(header), html.RowMaker()
    for record in records:
        clean = clean_record(record)
        maker.add(clean)
        rows.add(clean, str(record.get("service")), "explicit")
    source = "".join(html.page(maker.model(coverage), rows))
    source.encode()  # a lone surrogate would raise here
    return source


KINDS = ("good", "crashed", "recovered", "recorded", "several")


def report_of_kind(folder: Path, kind: str) -> Path:
    """Write a report of one of the kinds that look different; return its path."""
    told = {"crashed": crashed_call, "recovered": recovered_call, "recorded": recorded_call}.get(
        kind, good_call
    )()
    lines, header = told.lines(), HEADER
    if kind == "several":
        other = crashed_call()
        other.records = [{**record, "sessionId": "call-8"} for record in other.records]
        lines, header = [*lines, *other.lines()], Header(made_at="now")
    write_report(folder / "call.html", lines, MISSING, header)
    return folder / "call.html"
