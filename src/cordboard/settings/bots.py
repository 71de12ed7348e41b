"""What the table ``[bots]`` says about a bot beside its file."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

Restart = Literal["on-death", "never"]
"""Whether a session goes on when its bot process was killed. ``on-death``: another process continues it, with
a higher epoch. ``never``: it fails as ``bot_crashed``, as it does in any case when the bot raised an
exception."""

RESTARTS: Final[tuple[str, ...]] = get_args(Restart)


@dataclass(frozen=True, slots=True)
class BotPolicy:
    """The policy of one bot.

    Attributes:
        restart: Whether a session goes on when its bot process was killed.
        keep_context: Whether what was said is kept in Redis, encrypted, for the bot process that continues it.
    """

    restart: Restart = "on-death"
    keep_context: bool = False
