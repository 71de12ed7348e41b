"""Stop a bot in steps: its cancellation, SIGTERM and SIGKILL, each after a grace period."""

import signal
from typing import Final, Protocol

from cordboard.emit import get_logger
from cordboard.runner.control_channel import ControlChannel
from cordboard.runner.pipes import DRAINING

# How long a bot may take to handle its cancellation, for example to leave its room.
CANCEL_GRACE_S: Final = 5.0

# How long a bot process may take after SIGTERM. By default SIGTERM ends it at once.
TERM_GRACE_S: Final = 2.0

# How long a bot may take to handle its cancellation when its session goes on elsewhere. Meanwhile the caller
# hears nothing, so it is shorter: most bots end within 0.1 s.
HAND_OVER_GRACE_S: Final = 1.0

log = get_logger("session")


class BotProcess(Protocol):
    """A bot process that can be stopped."""

    @property
    def pid(self) -> int:
        """The process."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group of the bot."""

    async def is_gone_within(self, seconds: float) -> bool:
        """Wait for the end of the process; return whether it came in time."""


def terminate(bot: BotProcess, channel: ControlChannel, reason: str) -> None:
    """Send SIGTERM. What a bot reports because of it does not end a session that goes on elsewhere."""
    if reason == DRAINING:
        channel.ignore_end()
    bot.signal(signal.SIGTERM)


async def stop_in_steps(
    bot: BotProcess, channel: ControlChannel, reason: str, grace_s: float, *, imports_bot: bool
) -> None:
    """Stop a bot process.

    Args:
        bot: The process.
        channel: Its control channel.
        reason: Why its session ends.
        grace_s: How long the bot may take to handle its cancellation, in seconds.
        imports_bot: Whether the process imports its bot file itself; until it has, nothing handles a cancellation.
    """
    await channel.send_stop(reason)
    if imports_bot and not channel.is_loaded.is_set():
        log.info("The bot file is still being imported; sending SIGTERM", pid=bot.pid)
        terminate(bot, channel, reason)
    elif not await bot.is_gone_within(grace_s):
        if channel.end_report is None:
            log.warning("The bot ignores its cancellation; sending SIGTERM", pid=bot.pid)
        else:
            log.warning("The bot's exit handlers are still running; sending SIGTERM", pid=bot.pid)
        terminate(bot, channel, reason)
    if not await bot.is_gone_within(min(TERM_GRACE_S, grace_s)):
        log.warning("The bot ignores SIGTERM; sending SIGKILL", pid=bot.pid)
        bot.signal(signal.SIGKILL)
