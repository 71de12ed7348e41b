"""What the records of a call may contain, in a bot process. Set before the bot's pipeline starts.

Pipecat executes ``pipeline_observers.py`` as a file of its own, so the options cannot be there.
"""

from dataclasses import dataclass

from cordboard.contract.call_events import Content


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """The settings that concern records of a call.

    Attributes:
        content: What may be logged of what was said.
        measures: Whether the pipelines measure their services.
    """

    content: Content = "off"
    measures: bool = True


OPTIONS = RecordOptions()
"""The options of this process."""


def use_options(options: RecordOptions) -> None:
    """Use `options` for the pipelines that start from now on."""
    global OPTIONS  # noqa: PLW0603 - one for each process, like its session
    OPTIONS = options
