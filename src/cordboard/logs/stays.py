"""The stays under one session id: an id may be used again after its session has ended. Pure."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from cordboard.logs.session import BEGINNINGS


class Event(Protocol):
    """One line of a session, as far as its event counts."""

    @property
    def event(self) -> str | None:
        """Its name."""

    @property
    def epoch(self) -> int | None:
        """The epoch of the session."""


T = TypeVar("T", bound=Event)


def stays(events: Sequence[T]) -> list[list[T]]:
    """Part the events of an id that was used again after its session had ended.

    A later session has a higher epoch: an end that stands before its own join, because two clocks
    differ, parts nothing.

    Args:
        events: The events, or all lines, in time order.
    """
    newest = max((item.epoch or 0 for item in events if item.event == "join.accepted"), default=0)
    found: list[list[T]] = [[]]
    over = False
    for item in events:
        if over and item.event in BEGINNINGS:
            found.append([])
            over = False
        found[-1].append(item)
        over |= item.event == "session.ended" and (item.epoch or 0) < newest
    return found
