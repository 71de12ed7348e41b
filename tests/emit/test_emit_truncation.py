"""Records that are too long are truncated: the longest values first, and the line is marked."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cordboard import emit
from cordboard.contract.record import LINE_MAX_BYTES

Lines = Callable[[], list[dict[str, Any]]]
log = emit.get_logger("gateway")
HUGE: dict[str, Any] = {
    "text": "x" * 3_000_000,
    "escapes": "\x01" * 100_000,
    "numbers": list(range(100_000)),
    "mapping": {f"k{i}": i for i in range(100_000)},
    "bytes": b"\xff" * 1_000_000,
    "nested": {"deep": [{"text": "y" * 100_000, "small": 1}]},
}
SMALL = {"turn": 3, "model": "gpt", "who": {"id": "u-1"}, "tags": ["a", "b"]}


def fail(error: Exception, cause: Exception | None = None) -> None:
    raise error from cause


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("first", [True, False])
def test_short_values_beside_a_huge_one_are_complete(lines: Lines, name: str, first: bool) -> None:
    """Whatever their order is."""
    huge = {"huge": HUGE[name]}
    log.info("Long", **({**huge, **SMALL} if first else {**SMALL, **huge}))
    (record,) = lines()
    assert record["truncated"] is True
    assert {key: record["meta"][key] for key in SMALL} == SMALL
    assert len(json.dumps(record["meta"]["huge"])) > 1000


def test_short_members_beside_a_huge_one_are_complete(lines: Lines) -> None:
    """The same is true among the members of a value."""
    log.info("Long", outer={"inner": [{"huge": "x" * 90_000, **SMALL}], "after": 1}, last=2)
    (record,) = lines()
    inner = record["meta"]["outer"]["inner"][0]
    assert {key: inner[key] for key in SMALL} == SMALL
    assert (record["meta"]["outer"]["after"], record["meta"]["last"]) == (1, 2)


def test_several_huge_values_are_truncated_to_one_length(lines: Lines) -> None:
    """Values that are too long together get the same length."""
    log.info("Long", **{f"v{i}": "x" * 50_000 for i in range(5)}, small="whole")
    (record,) = lines()
    sizes = {len(record["meta"][f"v{i}"]) for i in range(5)}
    assert len(sizes) == 1
    assert sizes.pop() > 1000
    assert record["meta"]["small"] == "whole"


def test_removed_items_are_counted(lines: Lines) -> None:
    """A truncated list or mapping contains the number of the items that are missing."""
    log.info("Long", numbers=list(range(100_000)), names={f"k{i}": "v" * 90 for i in range(500)})
    (record,) = lines()
    numbers, names = record["meta"]["numbers"], record["meta"]["names"]
    assert "items)" in numbers[-1]
    assert "items)" in names["…"]


def test_truncated_key_marks_the_line(lines: Lines) -> None:
    """Even if the line is short."""
    log.info("Long", **{"k" * 300: {1, 2}})  # type: ignore[arg-type]  # no event
    log.info("Long", outer={"k" * 300: {1, 2}})
    log.info("Whole", **{"k" * 200: {1, 2}})  # type: ignore[arg-type]  # no event
    first, second, whole = lines()
    assert first["truncated"] is second["truncated"] is True
    assert "truncated" not in whole


def test_truncated_error_marks_the_line(lines: Lines) -> None:
    """A truncated message or stack does, and a stack without all of its frames."""

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("deep")

    log.error("Failed", error=ValueError("m" * 3000))
    try:
        deep(100)
    except ValueError as error:
        log.error("Failed", error=error)
    try:
        fail(ValueError("x" * 1900 + "\n" + "y" * 50), KeyError("z" * 5000))
    except ValueError as error:
        log.error("Failed", error=error)
    log.error("Failed", error=ValueError("short"))
    *cut, whole = lines()
    assert [record.get("truncated") for record in cut] == [True, True, True]
    assert cut[2]["error"]["stack"].startswith("KeyError")
    assert "yyyy" in cut[2]["error"]["stack"][-200:]
    assert "truncated" not in whole


@pytest.mark.cordboard_log_exempt("an event too long is none of the contract's")
def test_truncated_event_marks_the_line(lines: Lines) -> None:
    """``raw`` keeps its place before ``truncated``; each line is marked, not just the first with this event."""
    for _ in range(2):
        log.info("Long", event="e" * 200)
    assert [record["truncated"] for record in lines()] == [True, True]


def test_redaction_after_truncation_keeps_the_mark(lines: Lines) -> None:
    """A text that was truncated and then redacted is short, and marked all the same."""
    log.info("Long", url="https://x.test/?token=" + "s" * 90_000)
    (record,) = lines()
    assert record["truncated"] is True
    assert "sss" not in record["meta"]["url"]


def test_forwarded_record_is_truncated_alike(lines: Lines) -> None:
    """A record of a browser keeps its short values beside a huge one, and is marked."""
    log.info("Template")
    (template,) = lines()
    emit.forward({**template, "meta": {"huge": "x" * 90_000, **SMALL}, "seq": 7})
    emit.forward({**template, "meta": {"k" * 300: 1}, "seq": 8})
    first, second = lines()[-2:]
    assert {key: first["meta"][key] for key in SMALL} == SMALL
    assert first["truncated"] is second["truncated"] is True
    assert list(first)[-3:] == ["truncated", "boot", "seq"]


def test_truncated_stack_keeps_both_ends(lines: Lines) -> None:
    """The last frame shows where the error was raised."""
    try:
        fail(ValueError("the last words"))
    except ValueError as error:
        log.error("m" * 9000, error=error, a="\x01" * 9000)
    (record,) = lines()
    assert len(json.dumps(record, ensure_ascii=False).encode()) <= LINE_MAX_BYTES
    assert record["error"]["stack"].rstrip().endswith("ValueError: the last words")
