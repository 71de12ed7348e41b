"""What should have answered against what did: the proof that an answer is complete, or is not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

REASONS: Final[dict[str, str]] = {
    "no_such_pod": "there is no such pod",
    "gone": "it has been deleted, and its lines with it",
    "never_started": "its container never started",
    "rotated": "its earlier lines were rotated away",
    "starts_after_window": "what is kept of it begins after the window does",
    "forbidden": "this user may not read it",
    "group_missing": "there is no such log group",
    "not_settled": "its newest lines may not have arrived yet",
    "truncated": "lines were cut",
    "unreadable": "it cannot be read",
    "unreachable": "it does not answer",
    "gap": "lines are missing: their numbers have a gap",
    "out_of_order": "lines stand far from where their time belongs; --exact shows them",
    "left_out": "it is outside of the folder, and was left out",
    "no_session_id": "lines have no session id",
    "silent": "it should have spoken of this session and did not",
    "no_source": "there is nothing to read it from",
}
"""Why a source returned nothing, or less than it should have; the contract's words and ours."""


class Shortfall(NamedTuple):
    """One reason why something is missing.

    Attributes:
        reason: A key of REASONS.
        detail: What exactly: ``boot 9f31c2aa: seq 17 to 21``, a path, an error's words.
    """

    reason: str
    detail: str = ""


class Answer(NamedTuple):
    """What one service, file, pod or container returned.

    Attributes:
        name: The service, path, or ``namespace/pod/container``.
        kind: ``service``, ``file`` or ``container``.
        lines: Lines that it returned.
        first: Timestamp of its first line in the window, if any.
        last: Timestamp of its last.
        shortfalls: Why it returned nothing or less; empty where nothing is missing.
    """

    name: str
    kind: str
    lines: int = 0
    first: str | None = None
    last: str | None = None
    shortfalls: tuple[Shortfall, ...] = ()


_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Coverage(NamedTuple):
    """Whether an answer is complete, and if not, what is missing and why.

    Attributes:
        answers: One for each that should have answered, and for each that did.
        counts: Lines that were ``late``, ``malformed``, ``cut``, ``undecodable``, ``duplicate``.
        attribution: Lines by how their session is known.
        notes: Further sentences for the reader, such as a limit that was reached.
    """

    answers: tuple[Answer, ...]
    counts: Mapping[str, int] = _NONE
    attribution: Mapping[str, int] = _NONE
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not any(answer.shortfalls for answer in self.answers)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        answers = [
            {**answer._asdict(), "shortfalls": [why._asdict() for why in answer.shortfalls]}
            for answer in self.answers
        ]
        return {
            "answers": answers,
            "counts": dict(self.counts),
            "attribution": dict(self.attribution),
            "notes": list(self.notes),
        }


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 error``, ``3 errors``."""
    return f"{number} {one}" if number == 1 else f"{number:,} {many or one + 's'}"
