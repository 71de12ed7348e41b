"""What is written of a bot that loops: a bounded number of records, and how many others there were."""

from typing import Any

from cordboard.contract.call_events import LEFT_OUT
from cordboard.runner.call_log import BURST, RATE_PER_S, REPORT_S, CallLog
from cordboard.runner.turn_log import TurnLog
from lines_support import Lines, lines

__all__ = ["lines"]


class Clock:
    """A time that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def written(lines: Lines, event: str) -> int:
    """How many lines of an event there are."""
    return sum(line.get("event") == event for line in lines())


def counted(lines: Lines) -> dict[str, int]:
    """How many records were left out, by event."""
    found: dict[str, int] = {}
    for line in lines():
        if line["message"] == LEFT_OUT:
            for event, number in line["meta"]["events"].items():
                found[event] = found.get(event, 0) + number
    return found


def test_rate_of_each_event_is_bounded(lines: Lines) -> None:
    """A number at once, then so many a second; another event is not concerned."""
    clock = Clock()
    log = CallLog("off", clock)
    at_once, a_second = int(BURST), int(RATE_PER_S)
    for _ in range(at_once + 50):
        log.write("Service used", "service.usage")
    assert written(lines, "service.usage") == at_once
    log.write("Tool called", "tool.started")
    assert written(lines, "tool.started") == 1
    for second in range(1, 4):
        clock.now += 1
        for _ in range(50):
            log.write("Service used", "service.usage")
        assert written(lines, "service.usage") == at_once + second * a_second
    log.report_left_out()
    assert counted(lines) == {"service.usage": 50 + 3 * (50 - a_second)}


def test_records_left_out_are_reported_now_and_then(lines: Lines) -> None:
    """One line in each period, not one for each record."""
    clock = Clock()
    log = CallLog("off", clock)
    for _ in range(5):
        for _ in range(1000):
            log.write("Service used", "service.usage")
        clock.now += REPORT_S
    assert sum(line["message"] == LEFT_OUT for line in lines()) == 5
    log.report_left_out()
    total = written(lines, "service.usage") + counted(lines)["service.usage"]
    assert total == 5000


async def test_turns_are_bounded_like_other_events(lines: Lines) -> None:
    """A pipeline whose turns begin and end in a loop."""
    log = CallLog("off", Clock())
    turns = TurnLog(log)
    observer: Any = None
    number = int(BURST) + 70
    for turn in range(1, number + 1):
        await turns.on_turn_started(observer, turn)
        await turns.on_turn_ended(observer, turn, 0.1, interrupted=False)
    log.report_left_out()
    for event in ("turn.started", "turn.ended"):
        assert written(lines, event) == BURST
    assert counted(lines) == {"turn.started": 70, "turn.ended": 70}
