"""The bots that the fork server has loaded, and what it reports about them.

The module state belongs to the fork server: ``preload`` fills it before the first fork, and each bot
process finds it in its copy of the memory.
"""

import contextlib
import os
from multiprocessing.connection import Connection
from typing import Any, Final

from cordboard.contract.errors import BotFileError
from cordboard.environment import preload_bare, preload_bots
from cordboard.runner.bot_file import Bot, load_bot
from cordboard.runner.pipes import PreloadReport

# The loaded bots by name; empty if the bot files start threads.
BOTS: Final[dict[str, Bot]] = {}

# The message and the hint for each bot whose file cannot be loaded.
FAILURES: Final[dict[str, tuple[str, str]]] = {}


def load_all() -> None:
    """Load the bot files that the runner named; record the failures."""
    for name, file in preload_bots().items():
        try:
            BOTS[name] = load_bot(name, file)
        except BotFileError as error:
            FAILURES[name] = (error.message, error.hint)


def bot_named(name: str) -> Bot:
    """Return the bot called `name`; load its file now unless it was loaded before the fork.

    Raises:
        BotFileError: The file cannot be loaded, or no bot has this name.
    """
    files = preload_bots()
    if name not in files:
        raise BotFileError(
            f"There is no bot {name!r}; the bots are: {', '.join(files)}.",
            hint="Name it in [bots] of cordboard.toml, or by --bot NAME=FILE.",
        )
    return BOTS.get(name) or load_bot(name, files[name])


def send_report(connection: Connection) -> None:
    """Send the ``PreloadReport`` on `connection`; runs in a process that the fork server has forked."""
    _send(connection, PreloadReport(dict(FAILURES), preload_bare(), os.getppid()))


def send_first_failure(connection: Connection) -> None:
    """Load all bot files; send message and hint of the first failure, or None, on `connection`."""
    failure = None
    try:
        for name in preload_bots():
            bot_named(name)
    except BotFileError as error:
        failure = (error.message, error.hint)
    _send(connection, failure)


def _send(connection: Connection, value: Any) -> None:
    with contextlib.suppress(OSError):  # a runner that is stopped while it starts no longer listens
        connection.send(value)
