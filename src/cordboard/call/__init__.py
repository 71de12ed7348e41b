"""A call without a browser: enter a ``webrtc:`` room as a person would, speak, and listen.

The command line (``cordboard call``), tests and benchmarks use it. All need the same two facts: whether
audio came back, and when each stage was reached.
"""

from cordboard.call.conversation import place_call
from cordboard.call.options import CallOptions, CallResult, CallTimeouts, target_of

__all__ = ["CallOptions", "CallResult", "CallTimeouts", "place_call", "target_of"]
