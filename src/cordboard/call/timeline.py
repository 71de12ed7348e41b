"""The stages of a call: when each was reached, and to which one a failure belongs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from cordboard.contract.errors import CordboardError


@dataclass(frozen=True, slots=True)
class CallStage:
    """A stage that was reached.

    Attributes:
        name: Its name, such as ``connected``.
        ms: Milliseconds from the start of the call.
        step_ms: Milliseconds from the stage before.
    """

    name: str
    ms: float
    step_ms: float


class StageFailedError(CordboardError):
    """A stage of the call was not reached.

    Args:
        stage: The name of the stage.
        message: Why.
        hint: What to do about it.
    """

    def __init__(self, stage: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage


class Timeline:
    """The stages of one call, from its start.

    Args:
        on_stage: Called with each stage when it is reached.

    Attributes:
        stages: The stages that were reached.
        next_stage: The name of the stage that comes next; a failure belongs to it.
        began_at: The start of the call, by the monotonic clock.
    """

    def __init__(self, on_stage: Callable[[CallStage], None]) -> None:
        self.stages: list[CallStage] = []
        self.next_stage = ""
        self.began_at = time.monotonic()
        self._on_stage = on_stage

    @contextlib.asynccontextmanager
    async def stage(
        self, name: str, timeout_s: float | None = None, late: tuple[str, str] = ("", "")
    ) -> AsyncIterator[None]:
        """Reach a stage by the block's end. Any error in the block becomes a failure of the stage.

        Args:
            name: The name of the stage.
            timeout_s: Seconds for the block; None for no limit.
            late: The message and the hint of the failure after ``timeout_s``.

        Raises:
            StageFailedError: The block failed or took too long.
        """
        self.next_stage = name
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError as error:
            raise StageFailedError(name, *late) from error
        except CordboardError as error:
            raise at_stage(name, error) from error
        self.reach(name, time.monotonic())

    def reach(self, name: str, at: float) -> None:
        """Record that the stage ``name`` was reached at ``at``, a monotonic time in seconds."""
        ms = (at - self.began_at) * 1000
        # ``at`` may be earlier than now: a sound is dated when it arrived, not when it was noticed.
        before = self.stages[-1].ms if self.stages else 0.0
        stage = CallStage(name, round(ms, 1), round(ms - before, 1))
        self.stages.append(stage)
        self._on_stage(stage)


def at_stage(stage: str, error: CordboardError) -> StageFailedError:
    """Return ``error`` as a failure of ``stage``; one that names its stage already is unchanged."""
    if isinstance(error, StageFailedError):
        return error
    return StageFailedError(stage, error.message, error.hint)
