"""Watch connections: an operator holds one to each warm runner with live sessions, to see its death at once.

The connection carries comments only. When it closes, the runner may have died, restarted, or lost the network;
a check of its sessions finds out which.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from cordboard.contract.errors import StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.web.http_client import NoAnswerError
from cordboard.web.runner_client import RunnerClient

# A runner sends a comment every 5 s. A connection that is silent for three of them is made again.
SILENT_S: Final = 15.0

CONNECT_S: Final = 2.0

# Pauses before a closed connection is made again, doubled up to the maximum: a runner that restarts is back
# within seconds, and one that is gone is forgotten at the next refresh.
PAUSE_MIN_S: Final = 0.2
PAUSE_MAX_S: Final = 5.0

# A runner of an earlier release has no watch connections; it is asked again after a minute.
UNSUPPORTED_S: Final = 60.0

log = get_logger("operator")

OnClosed = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class RunnerWatches:
    """The watch connections of one operator, for all shards.

    Attributes:
        client: Makes the connections, without a limit on their number.
        on_closed: Called with the id of a runner whose connection has closed or cannot be made.
        silent_s: Seconds of silence after which a connection is made again.
    """

    client: RunnerClient
    on_closed: OnClosed
    silent_s: float = SILENT_S
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _recent: set[str] = field(default_factory=set)

    @property
    def runner_ids(self) -> set[str]:
        """The runners that are watched."""
        return set(self._tasks)

    def add(self, runner_id: str, url: str) -> None:
        """Watch the runner ``runner_id`` at ``url``, which is about to get a session."""
        self._recent.add(runner_id)
        if runner_id not in self._tasks:
            self._tasks[runner_id] = asyncio.create_task(
                self._watch(runner_id, url), name=f"watch {runner_id}"
            )

    def refresh(self, busy: Mapping[str, str]) -> None:
        """Watch the runners that have sessions, whichever operator assigned them, and no others.

        Args:
            busy: The URLs of these runners, by runner id.
        """
        for runner_id in self.runner_ids - busy.keys() - self._recent:
            self._tasks.pop(runner_id).cancel()
        for runner_id, url in busy.items():
            self.add(runner_id, url)
        # Those that were added since the last refresh are kept until the next one.
        self._recent.clear()

    async def close(self) -> None:
        """Close all connections."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, runner_id: str, url: str) -> None:
        pause_s = PAUSE_MIN_S
        while True:
            was_open = False
            try:
                was_open = await self._hold_connection(url)
            except Exception:
                log.exception("A watch connection failed", runner=runner_id)
            await self._report_closed(runner_id)
            pause_s = PAUSE_MIN_S if was_open else min(pause_s * 2, PAUSE_MAX_S)
            await asyncio.sleep(pause_s)

    async def _hold_connection(self, url: str) -> bool:
        """Hold a connection until it closes; return whether it was open."""
        was_open = False
        with contextlib.suppress(NoAnswerError):
            async with self.client.stream(
                url, "/watch", connect_timeout_s=CONNECT_S, read_timeout_s=self.silent_s
            ) as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    await asyncio.sleep(UNSUPPORTED_S)
                if answer.status != HTTPStatus.OK:
                    return False
                was_open = True
                async for _ in answer.content.iter_any():
                    pass
        return was_open

    async def _report_closed(self, runner_id: str) -> None:
        try:
            await self.on_closed(runner_id)
        except StoreUnavailableError as error:
            log.debug("A runner cannot be checked while Redis is unavailable", error=error)
        except Exception:
            log.exception("The sessions of a runner could not be checked", runner=runner_id)
