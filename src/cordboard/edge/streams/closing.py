"""How a stream ends: by which side, with which close code."""

from dataclasses import dataclass
from typing import Final, Literal

# Close codes: RFC 6455, section 7.4.1, and IANA's registry. 4000 to 4999 are for private use.
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
NO_CODE: Final = 1005  # stands for a close frame without a code; never sent
LOST: Final = 1006  # stands for the loss of a connection; never sent
POLICY: Final = 1008
TOO_BIG: Final = 1009
FAILED: Final = 1011
RESTART: Final = 1012
TRY_LATER: Final = 1013
ENDED: Final = 4404
SILENT: Final = 4408
REPLACED: Final = 4409

_PRIVATE: Final = range(3000, 5000)
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
# The payload of a control frame has 125 bytes, of which the code takes two (RFC 6455, section 5.5).
_REASON_MAX_BYTES: Final = 123

Side = Literal["client", "bot", "edge"]


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The end of a stream.

    Attributes:
        by: The side that ended it.
        code: The close code.
        reason: The reason in words, of at most 123 bytes on the network; empty if there is none.
        is_lost: Whether the connection broke without a closing handshake.
        ends_session: Whether the session ends with it, because its client is assumed to be gone.
    """

    by: Side
    code: int
    reason: str = ""
    is_lost: bool = False
    ends_session: bool = False


class StreamRefusedError(Exception):
    """A stream cannot be connected to a bot.

    Args:
        end: How it ends.
    """

    def __init__(self, end: StreamEnd) -> None:
        super().__init__(end.reason)
        self.end = end

    @classmethod
    def with_code(cls, code: int, reason: str) -> "StreamRefusedError":
        """Return a refusal by the edge.

        Args:
            code: The close code.
            reason: The reason in words.
        """
        return cls(StreamEnd("edge", code, reason))


def code_to_send(code: int) -> int:
    """Return the close code with which the end with `code` is passed on to the other side.

    Codes that only describe an end, such as that of a lost connection, cannot be sent.

    Args:
        code: The code of the first side.
    """
    if code in _SENDABLE or code in _PRIVATE:
        return code
    return NORMAL if code == NO_CODE else GOING_AWAY


def reason_to_send(reason: str) -> str:
    """Return `reason`, cut to what fits into a close frame."""
    return reason.encode()[:_REASON_MAX_BYTES].decode(errors="ignore")
