"""Records that a bot did not write because there were too many: what is made of the others is at least that."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from cordboard.contract.call_events import LEFT_OUT
from cordboard.contract.record import BOT_EVENTS, EVENT, MESSAGE, META, SERVICE
from cordboard.logs.coverage import count
from cordboard.logs.values import number

_COUNT_MAX: Final = 10**9
_LINES_MAX: Final = 1000
"""So many of a bot's lines are read; it writes one in 10 s."""


class LeftOut:
    """Adds up how many records were left out."""

    def __init__(self) -> None:
        self._found: list[tuple[float, Counter[str]]] = []

    def add(self, record: Mapping[str, Any], at: float) -> None:
        """Take a record, and its time in any unit; most say nothing about it."""
        if record.get(MESSAGE) != LEFT_OUT or record.get(SERVICE) != "bot" or record.get(EVENT):
            return
        meta = record.get(META)
        events = meta.get("events") if isinstance(meta, Mapping) else None
        found = Counter[str]()
        for event, told in events.items() if isinstance(events, Mapping) else ():
            records = number(told)
            if event in BOT_EVENTS and records is not None and 1 <= records <= _COUNT_MAX:
                found[event] = int(records)
        if found and len(self._found) < _LINES_MAX:
            self._found.append((at, found))

    def since(self, begin: float) -> Counter[str]:
        """Return how many records of each event were left out from a time on."""
        return sum((found for at, found in self._found if at >= begin), Counter[str]())


def words_of(found: Counter[str]) -> str:
    """Return a sentence about the records that were left out; empty without any."""
    if not found:
        return ""
    each = ", ".join(f"{event} {records:,}" for event, records in found.most_common())
    said = "was" if found.total() == 1 else "were"
    return f"The bot wrote too many records: {count(found.total(), 'record')} {said} left out ({each})."
