"""What should have answered against what did: the proof that an answer is complete, or is not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

REASONS: Final[dict[str, str]] = {
    "no_such_pod": "the pod does not exist",
    "gone": "it was deleted together with its lines",
    "never_started": "the container never started",
    "rotated": "earlier lines were removed by log rotation",
    "starts_after_window": "the log begins after the start of the window",
    "forbidden": "this user is not allowed to read it",
    "group_missing": "the log group does not exist",
    "not_settled": "the newest lines may not have arrived yet",
    "truncated": "the result was cut short",
    "unreadable": "it cannot be read",
    "unreachable": "it does not respond",
    "gap": "lines are missing: the sequence numbers have a gap",
    "out_of_order": "lines are stored far out of chronological order; --exact shows them",
    "unproved": "no sequence numbers prove that no line was delivered late; --exact reads everything",
    "left_out": "it is outside the directory and was skipped",
    "no_session_id": "the lines have no session id",
    "silent": "expected lines of this session are missing",
    "no_source": "there is no source for it",
}
"""Why a source returned nothing, or less than it should have; the contract's words and ours."""


MAY_ARRIVE: Final = "lines arrive up to"
"""How the detail of ``not_settled`` begins where nothing but the newest lines may be missing."""


class Shortfall(NamedTuple):
    """One reason why something is missing.

    Attributes:
        reason: A key of REASONS.
        detail: What exactly: ``boot 9f31c2aa: seq 17 to 21``, a path, an error's words.
    """

    reason: str
    detail: str = ""

    @property
    def words(self) -> str:
        """The reason, what it means, and the detail."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.reason}: {REASONS.get(self.reason, '')}{detail}"


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
    """Return `number` with its noun, `one` or `many` (by default `one` with an s): ``1 error``, ``1,200 errors``."""
    return f"{number} {one}" if number == 1 else f"{number:,} {many or one + 's'}"
