"""What a bot writes is read to its end, whatever it is."""

import asyncio
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard.context import Context
from cordboard.contract.record import KEYS
from cordboard.runner import forkserver_output
from cordboard.runner.forkserver_output import ForkServerOutput
from cordboard.runner.output_capture import LineSink, RecordSink, _forward
from cordboard.runner.session_figures import DROPPED, SessionFigures
from lines_support import Lines, lines
from tests_support import until

__all__ = ["lines"]

CONTEXT = Context(session_id="call-7")
BOOT = "0123abcd"
FIGURES = ("turn.ended", "speech.ended", "service.error", "bot.crashed", None)
MEMBERS = ("user_bot_latency_ms", "who", "ms", "lines")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(min_value=10**400, max_value=10**401) | st.sampled_from(["user", "bot", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def record(**changes: Any) -> dict[str, Any]:
    """A record of a bot."""
    return {
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "level": "info",
        "message": DROPPED,
        "service": "bot",
        "tag": "call",
        "sessionId": CONTEXT.session_id,
        "userId": None,
        "userName": None,
        "boot": BOOT,
        "seq": 1,
        **changes,
    }


@given(
    event=st.sampled_from(FIGURES),
    meta=st.dictionaries(st.sampled_from(MEMBERS), json_values) | json_values,
    other=st.dictionaries(st.sampled_from(KEYS), json_values, max_size=2),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_value_in_any_field_is_a_line(
    lines: Lines, event: str | None, meta: Any, other: dict[str, Any]
) -> None:
    """Each line of a bot becomes a line of its session: a record, or a raw line."""
    figures = SessionFigures()
    sink = RecordSink(CONTEXT, BOOT, figures)
    before = len(lines())
    members = record(meta=meta) | ({"event": event} if event else {}) | other
    sink.write(msgspec.json.encode(members))
    assert len(lines()) == before + 1
    assert figures.summary()["user_speech_s"] >= 0


@dataclass
class Fragile(LineSink):
    """Fails with some lines."""

    context: Context = CONTEXT
    got: list[bytes] = field(default_factory=list)

    def write(self, line: bytes) -> None:
        if line.startswith(b"bad"):
            raise LookupError("expected error")
        self.got.append(line)


@pytest.mark.parametrize(
    ("written", "got"),
    [
        (b"a\nbad\nb\n", [b"a", b"b"]),
        (b"a\nb\nbad", [b"a", b"b"]),
        (b"bad" + b"d" * 300_000 + b"\nb\n", [b"b"]),
    ],
    ids=["between", "last", "long"],
)
async def test_line_that_cannot_be_forwarded_is_reported(
    lines: Lines, written: bytes, got: list[bytes]
) -> None:
    """Reading goes on; a warning has the beginning of the line. A long line is forwarded in pieces."""
    sink = Fragile()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        task = asyncio.create_task(_forward(reading, sink))
        await asyncio.to_thread(pipe.write, written)
        await asyncio.to_thread(pipe.flush)
    await task
    assert [line for line in sink.got if not line.startswith(b"d")] == got
    (warning,) = [line for line in lines() if line["level"] == "warn"]
    assert warning["message"] == "A line of the bot could not be forwarded"
    assert warning["error"]["type"] == "LookupError"
    assert warning["meta"]["line"].startswith("bad")


async def test_line_of_an_import_that_cannot_be_forwarded_is_reported(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that reads what bot files write when they are imported goes on as well."""

    def fail(_line: bytes, **_options: Any) -> bool:
        raise LookupError("expected error")

    monkeypatch.setattr(forkserver_output, "forward_line", fail)
    output = ForkServerOutput()
    os.write(output._write_end, b'{"a":1}\nprinted\n')
    os.close(output._write_end)

    def found() -> list[dict[str, Any]]:
        return [line for line in lines() if line["tag"] in {"output", "stdout"}]

    reported, printed = await until(lambda: len(found()) == 2 and found())
    assert reported["error"]["type"] == "LookupError"
    assert (printed["message"], printed["raw"]) == ("printed", True)
