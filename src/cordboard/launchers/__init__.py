"""Launchers: they start cold runners, each for one session, when no warm runner is free."""

from dataclasses import dataclass
from typing import Literal, Protocol

from cordboard.contract.launch import Launch

# Whether a cold runner may still run. ``unknown``: the launcher cannot tell; nothing follows from it.
LaunchStatus = Literal["alive", "ended", "unknown"]


@dataclass(frozen=True, slots=True)
class ColdRunnerEnd:
    """The end of a cold runner, as its launcher noticed it.

    Attributes:
        session_id: The session that it was started for.
        epoch: The epoch of that session.
    """

    session_id: str
    epoch: int


class Launcher(Protocol):
    """Starts cold runners.

    The operator takes a start's name before the start and writes it to Redis. So any operator that finds the
    session later can ask for the status of its start by that name.
    """

    @property
    def max_runners(self) -> int:
        """How many cold runners may live at once."""

    @property
    def bots(self) -> frozenset[str] | None:
        """The bots that the cold runners have; None if the launcher does not know them."""

    def job_name(self, launch: Launch) -> str:
        """Return the name of the start of ``launch``: the same for the same session and epoch."""

    async def start(self, name: str, launch: Launch) -> None:
        """Start a runner for one session. A start that is repeated has no effect.

        Args:
            name: The name of the start, from ``job_name``.
            launch: The session.

        Raises:
            LaunchError: The runner cannot be started; the message says why.
        """

    async def status(self, name: str) -> LaunchStatus:
        """Return whether the runner of the start ``name`` lives."""

    async def next_end(self) -> ColdRunnerEnd:
        """Wait until a cold runner ends, and return it. Some ends may be missed, others returned twice."""

    async def stop(self, name: str) -> None:
        """Stop the runner of the start ``name``, after its grace period if need be."""

    async def reserve(self) -> bool:
        """Return whether a runner may be started now; if so, it counts as started for a moment."""

    async def close(self) -> None:
        """Release the launcher's resources. Cold runners continue."""


def has_bot(launcher: Launcher | None, bot: str) -> bool:
    """Return whether a launcher can start a runner for a bot, as far as the launcher knows.

    Args:
        launcher: The launcher; None starts nothing.
        bot: The name of the bot.
    """
    return launcher is not None and (launcher.bots is None or bot in launcher.bots)
