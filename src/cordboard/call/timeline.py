"""The stages of a call: which were reached, when, and which one a failure belongs to."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from cordboard.contract.errors import CordboardError


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that was reached: ``ms`` after the click, ``step_ms`` after the one before."""

    name: str
    ms: float
    step_ms: float


class StageFailedError(CordboardError):
    """A stage of the call was not reached."""

    def __init__(self, stage: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage


class Timeline:
    """The stages so far, and the one we are on the way to."""

    def __init__(self, on_stage: Callable[[Stage], None]) -> None:
        self.stages: list[Stage] = []
        self.towards = ""
        self._on_stage = on_stage
        self._began = time.monotonic()

    @contextlib.asynccontextmanager
    async def stage(
        self, name: str, timeout_s: float | None = None, late: tuple[str, str] = ("", "")
    ) -> AsyncIterator[None]:
        """Do what leads to a stage; any error on the way names it.

        Args:
            name: The stage.
            timeout_s: How long it may take.
            late: Words and way out for when it takes longer.
        """
        self.towards = name
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError as error:
            raise StageFailedError(name, *late) from error
        except CordboardError as error:
            raise at_stage(name, error) from error
        self.reach(name, time.monotonic())

    def reach(self, name: str, at: float) -> None:
        """Note a stage that was reached at a monotonic time."""
        ms = (at - self._began) * 1000
        before = self.stages[-1].ms if self.stages else 0.0
        stage = Stage(name, round(ms, 1), round(ms - before, 1))
        self.stages.append(stage)
        self._on_stage(stage)


def at_stage(stage: str, error: CordboardError) -> StageFailedError:
    """Return an error as the failure of a stage."""
    if isinstance(error, StageFailedError):
        return error
    return StageFailedError(stage, error.message, error.hint)
