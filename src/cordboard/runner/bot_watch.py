"""``--reload``: load the bot files again whenever one of their files changes.

The files are polled: no package for file events is installed, an event for the link of a ConfigMap is not one
for the bot file, and the few files of a bot cost 50 us a look.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.runner.bot_environment import ENV_FILE, report_environment_file
from cordboard.runner.bot_file import check_bot_file
from cordboard.runner.bot_imports import find_own_files
from cordboard.runner.forkserver import ForkServer

# A person who saves a file and starts a call takes longer.
POLL_S: Final = 0.25

# How long the files must stay as they are: an editor writes a file in several steps, and replaces it by
# another; `git checkout` changes several files.
SETTLE_S: Final = 0.3

# The identity of a file's content; None for a file that does not exist.
_State = tuple[int, int, int, int] | None

log = get_logger("runner")


@dataclass(frozen=True, slots=True)
class BotWatch:
    """Watches the bot files of a fork server.

    Attributes:
        fork_server: The fork server.
        poll_s: Seconds between two looks at the files.
        settle_s: Seconds without a change after which changed files are loaded.
    """

    fork_server: ForkServer
    poll_s: float = POLL_S
    settle_s: float = SETTLE_S

    async def run(self) -> None:
        """Watch until cancelled."""
        before = await self._states()
        log.info("Watching the bot files", files=len(before))
        while True:
            await asyncio.sleep(self.poll_s)
            if await asyncio.to_thread(_states_of, before) == before:
                continue
            now = await self._settled_states()
            if now != before:
                await self._load(_changed(before, now))
            before = now

    async def _settled_states(self) -> dict[str, _State]:
        """Return the states of all files once they no longer change."""
        states = await self._states()
        while True:
            await asyncio.sleep(self.settle_s)
            before, states = states, await self._states()
            if states == before:
                return states

    async def _load(self, changed: list[str]) -> None:
        log.info("A file of the bots has changed; loading the bot files again", files=changed)
        try:
            for file in self.fork_server.bots.values():
                check_bot_file(file)
                if str(Path(file).parent / ENV_FILE) in changed:
                    report_environment_file(Path(file))
            await self.fork_server.reload()
        except CordboardError as error:
            log.error(error.message, hint=error.hint)
            log.warning("The bot files are not loaded: calls use the earlier version")
        except OSError as error:  # for example no memory for another process
            log.error(
                "The bot files cannot be loaded again; the earlier version stays", error=error
            )
        else:
            log.info("The bot files are loaded again; calls from now on use them")

    async def _states(self) -> dict[str, _State]:
        return await asyncio.to_thread(_watched_states, self.fork_server.bots)


def _watched_states(bots: Mapping[str, str]) -> dict[str, _State]:
    """Return the states of the bot files, of what they import beside them, and of each ``.env``.

    A module that is missing counts as one of them: it may appear.
    """
    paths: set[str] = set()
    for file in map(Path, bots.values()):
        own_files = [file, *find_own_files(file)]
        paths |= {str(path) for path in (*own_files, file.parent / ENV_FILE)}
    return _states_of(paths)


def _states_of(paths: Iterable[str]) -> dict[str, _State]:
    return {path: _state_of(path) for path in paths}


def _state_of(path: str) -> _State:
    try:
        # Follows links, so that a link that leads to another file is a change.
        status = Path(path).stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _changed(before: Mapping[str, _State], now: Mapping[str, _State]) -> list[str]:
    return sorted(path for path in {*before, *now} if before.get(path) != now.get(path))
