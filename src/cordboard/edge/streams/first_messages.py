"""Which carrier a stream comes from, and which call it carries, by its first two messages.

These are the rules of ``pipecat.runner.utils.parse_telephony_websocket``, with which the bot reads the same
messages. `tests/edge/test_edge_first_messages.py` compares both. Pipecat itself is no dependency of an edge.
"""

from dataclasses import dataclass

from cordboard.contract.carrier_streams import Message, decoded, start_of


@dataclass(frozen=True, slots=True)
class CarrierCall:
    """The call that a start message names.

    Attributes:
        carrier: The carrier.
        call_id: The carrier's id of the call.
    """

    carrier: str
    call_id: str


def call_of(message: Message) -> CarrierCall | None:
    """Return the call that `message` starts; None if it is not the start message of a carrier."""
    start = start_of(decoded(message))
    return CarrierCall(start.form.carrier, start.call_id) if start is not None else None


def is_eval_connect(message: Message) -> bool:
    """Return whether `message` is the first one of Pipecat's eval harness."""
    values = decoded(message)
    data = values.get("data")
    return (
        values.get("label") == "rtvi-ai"
        and values.get("type") == "client-message"
        and isinstance(data, dict)
        and data.get("t") == "eval-connect"
    )
