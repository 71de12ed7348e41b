"""The bot that this process serves, and what the fork server reports about it.

The module state belongs to one fork server, which serves one bot: ``bot_importer`` sets it before the first
fork, and each bot process finds it in its copy of the memory.
"""

import asyncio
import contextlib
import os
import warnings
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

from cordboard.contract.errors import BotFileError
from cordboard.runner.bot_file import Bot, load_bot
from cordboard.runner.build import bot_build
from cordboard.runner.memory_limit import used_memory_mb
from cordboard.runner.pipes import PreloadReport
from cordboard.runner.readiness import readyz_of_bot, send_readiness


@dataclass(slots=True)
class ServedBot:
    """The bot of one fork server.

    Attributes:
        name: Its name.
        file: Its file.
        arguments: The arguments of the bot files.
        is_confined: Whether Landlock confines its processes.
        bot: Its ``bot``; None if its file cannot be loaded, or is imported in each bot process.
        failure: Message and hint if the file cannot be loaded.
        opened: What the file opens at import that processes must not share; each bot process then imports the
            file itself.
        import_s: How long the import took, in seconds.
        has_readyz: Whether the file defines ``readyz()``.
        importer_pid: The parent of the fork server.
        build: Hashes of the file and its package, and the version of Pipecat, as they were imported.
    """

    name: str
    file: str
    arguments: tuple[str, ...] = ()
    is_confined: bool = False
    bot: Bot | None = None
    failure: tuple[str, str] | None = None
    opened: tuple[str, ...] = ()
    import_s: float = 0.0
    has_readyz: bool = False
    importer_pid: int = 0
    build: dict[str, str] = field(default_factory=dict)

    def load(self) -> None:
        """Import the file; record its ``bot`` or the failure."""
        self.build = bot_build(self.file)
        try:
            self.bot = load_bot(self.file, self.arguments)
            self.has_readyz = readyz_of_bot() is not None
        except BotFileError as error:
            self.failure = (error.message, error.hint)


_SERVED: Final[list[ServedBot]] = []


def serve(bot: ServedBot) -> None:
    """Let this process and those that it forks serve `bot`."""
    _SERVED[:] = [bot]


def served_bot() -> ServedBot:
    """Return the bot that this process serves."""
    return _SERVED[0]


def call_target() -> Bot:
    """Return ``bot`` of the bot file; import the file now unless that was done before the fork.

    Raises:
        BotFileError: The file cannot be loaded.
    """
    served = served_bot()
    return served.bot or load_bot(served.file, served.arguments)


def send_report(connection: Connection) -> None:
    """Send the ``PreloadReport`` on `connection`; runs in a process that the fork server has forked."""
    served = served_bot()
    report = PreloadReport(
        served.failure,
        served.opened,
        _foreign_policy(),
        served.import_s,
        served.has_readyz,
        os.getppid(),
        served.importer_pid,
        served.build or bot_build(served.file),
        used_memory_mb(),
    )
    _send(connection, report)


def send_readyz(connection: Connection) -> None:
    """Call ``readyz()`` of the bot file; send the ``Readiness`` on `connection`."""
    send_readiness(connection, call_target)


def _foreign_policy() -> str:
    """Return the name of the event loop policy that the bot file has installed; empty if it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.14 deprecates policies
        policy = type(asyncio.get_event_loop_policy())
    is_pythons_own = policy.__module__.partition(".")[0] == "asyncio"
    return "" if is_pythons_own else f"{policy.__module__}.{policy.__name__}"


def _send(connection: Connection, value: Any) -> None:
    with contextlib.suppress(OSError):  # a runner that is stopped while it starts no longer listens
        connection.send(value)
