"""What lines are wanted, as bytes for the search.

Lines are found by bytes at the speed of memory, so that only hits are decoded. A term is sound: no line without
its bytes can be wanted. Where that holds for our own encoding alone (compact JSON, one spelling), the term is
for lines in our own form, and all others are decoded.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from cordboard.contract.record import LEVELS
from cordboard.logs.patterns import pattern
from cordboard.logs.query import Query

Term = tuple[bytes, ...]
"""One of these must be in the line."""

SAFE: Final = pattern(r"[A-Za-z0-9_.~:@ -]+", re.ASCII)
"""Characters that every encoder writes as they are."""
_LEAST_CHARS: Final = 2  # a shorter text is in nearly every line


class Prefilter(NamedTuple):
    """Terms that must all hold.

    Attributes:
        anywhere: For a line in any form.
        uncolored: Further ones for a line without escape sequences, which may part a text.
        own: Further ones for a line in our own form.
    """

    anywhere: tuple[Term, ...] = ()
    uncolored: tuple[Term, ...] = ()
    own: tuple[Term, ...] = ()


def prefilter(query: Query) -> Prefilter:
    """Return the terms of `query` without its session, whose lines may be found by other marks than its id."""
    anywhere: list[Term] = []
    for text in (query.user, query.room and _behind_host(query.room)):
        if text is not None:
            anywhere += [(part,) for part in _safe_part(text)]
    uncolored = [] if query.grep is None else [(part,) for part in _literal_of(query.grep)]
    own: list[Term] = []
    if query.services:
        own.append(tuple(f'"service":"{name}"'.encode() for name in query.services))
    if query.level is not None and LEVELS[query.level] > LEVELS["debug"]:
        least = LEVELS[query.level]
        own.append(tuple(f'"level":"{name}"'.encode() for name in LEVELS if LEVELS[name] >= least))
    own += query.where_terms
    return Prefilter(tuple(anywhere), tuple(uncolored), tuple(own))


def _safe_part(text: str) -> list[bytes]:
    """Return the longest part of a text that every encoder writes as it is."""
    parts = SAFE.findall(text)
    longest = max(parts, key=len, default="")
    return [longest.encode()] if len(longest) >= _LEAST_CHARS else []


def _behind_host(room: str) -> str:
    """Return the part of a room's name that has one spelling: not the host's letters."""
    _, slashes, rest = room.partition("://")
    return rest.partition("/")[2] if slashes else room.partition(":")[2]


def _literal_of(expression: re.Pattern[str]) -> list[bytes]:
    """Return the longest literal that whatever matches must hold; nothing where none is sure."""
    if expression.flags & re.IGNORECASE:
        return []
    import re._parser as parser  # type: ignore[import-not-found]

    runs = [""]
    for kind, value in parser.parse(expression.pattern, expression.flags):
        if kind is parser.LITERAL:
            runs[-1] += chr(value)
        else:
            runs.append("")
    return _safe_part(
        max((part for run in runs for part in SAFE.findall(run)), key=len, default="")
    )


def holds(line: bytes, terms: Sequence[Any]) -> bool:
    """Return whether `line` holds one of the bytes of each of `terms`."""
    return all(any(part in line for part in term) for term in terms)
