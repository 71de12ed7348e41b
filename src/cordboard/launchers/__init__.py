"""Starting a cold runner: one session's process, brought up when no warm runner is free."""

from typing import Literal, Protocol

from cordboard.contract.launch import Launch

Status = Literal["alive", "ended", "unknown"]


class Launcher(Protocol):
    """What an operator asks of a place that can start runners.

    A name is chosen before the start, so that the store knows it first: whoever finds the session
    later can ask for the status of its start by that name.
    """

    @property
    def most(self) -> int:
        """How many of its runners may live at once."""

    @property
    def bots(self) -> frozenset[str] | None:
        """The bots that its runners have; None if they are not known here."""

    def name(self, launch: Launch) -> str:
        """Return the name of this launch's start; the same for the same session and epoch."""

    async def launch(self, name: str, launch: Launch) -> None:
        """Start a runner for one session.

        Raises:
            LaunchError: It cannot be started; with the reason.
        """

    async def status(self, name: str) -> Status:
        """Say whether it lives; ``unknown`` where this launcher cannot tell."""

    async def stop(self, name: str) -> None:
        """End it: politely first. Harmless when it is gone."""

    async def room_for_more(self) -> bool:
        """Say whether one more may be started now."""

    async def close(self) -> None:
        """Let go of resources; what was started goes on."""


def has_bot(launcher: Launcher | None, bot: str) -> bool:
    """Return whether a launcher can start a runner for a bot, as far as this is known here."""
    return launcher is not None and (launcher.bots is None or bot in launcher.bots)
