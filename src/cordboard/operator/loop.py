"""Observe, plan, act: the operator's loops, each of which can start from nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from cordboard.context import bound_context
from cordboard.contract.errors import NotFoundError, StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.launchers.process import context_of
from cordboard.operator.place import Placer
from cordboard.operator.sweep import Sweeper
from cordboard.store import Entry, Store

READ_BLOCK_MS: Final = 1000
READ_COUNT: Final = 64
AT_ONCE: Final = 64
RETRY_S: Final = 0.25  # how soon a join that waits for a free runner is tried again
HOLD_S: Final = 5.0
ABANDONED_MS: Final = 20_000  # four times HOLD_S: its operator is gone
SWEEP_S: Final = 1.0
PAUSE_MAX_S: Final = 2.0

log = get_logger("operator")


@dataclass(slots=True)
class Loop:
    """Everything that one operator does.

    Attributes:
        consumer: This operator's name in the consumer group.
    """

    consumer: str
    store: Store
    placer: Placer
    sweeper: Sweeper
    _waiting: dict[str, Entry] = field(default_factory=dict)
    _busy: set[asyncio.Task[None]] = field(default_factory=set)
    _free: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, step in (
                ("read", self._read),
                ("retry", self._retry),
                ("hold", self._hold),
                ("sweep", self._sweep),
                ("cold", self._cold),
            ):
                group.create_task(self._forever(name, step), name=name)

    async def drain(self) -> None:
        """Finish the hand-overs that are under way; what waits is another operator's then."""
        self._stopping = True
        if self._busy:
            await asyncio.wait(self._busy, timeout=15)
        with contextlib.suppress(StoreUnavailableError):
            await self.store.forget_consumer(self.consumer)

    async def _forever(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        pause, away = 0.1, False
        while not self._stopping:
            try:
                await step()
                if away:
                    log.info("Redis is back", loop=name)
                pause, away = 0.1, False
            except StoreUnavailableError as error:
                if not away:
                    log.warning(
                        "Redis is away; trying again until it is back", loop=name, error=error
                    )
                away = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX_S)
            except Exception:
                log.exception("A step of the operator failed", loop=name)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX_S)

    async def _read(self) -> None:
        room = AT_ONCE - len(self._busy)
        if room <= 0:
            await asyncio.wait(self._busy, return_when=asyncio.FIRST_COMPLETED)
            return
        for entry in await self.store.entries(
            self.consumer, count=min(room, READ_COUNT), block_ms=READ_BLOCK_MS
        ):
            self._claim(entry)

    def _claim(self, entry: Entry) -> None:
        if entry.launch is not None:
            with bound_context(context_of(entry.launch)):
                log.info(
                    "Join claimed",
                    event="launch.claimed",
                    attempt=entry.launch.attempt,
                    operator=self.consumer,
                )
        self._start(entry)

    def _start(self, entry: Entry) -> None:
        task = asyncio.create_task(self._place(entry), name=f"place {entry.entry_id}")
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _place(self, entry: Entry) -> None:
        try:
            placed = await self.placer.place(entry)
        except StoreUnavailableError:
            placed = False
        except Exception:
            log.exception("A join could not be placed", entry=entry.entry_id)
            placed = False
        if placed:
            self._waiting.pop(entry.entry_id, None)
        else:
            self._waiting[entry.entry_id] = entry

    async def _retry(self) -> None:
        await asyncio.sleep(RETRY_S)
        for entry in list(self._waiting.values())[: AT_ONCE - len(self._busy)]:
            del self._waiting[entry.entry_id]
            self._start(entry)

    async def _hold(self) -> None:
        await asyncio.sleep(HOLD_S)
        await self.store.hold(self.consumer, list(self._waiting))
        for entry in await self.store.abandoned(
            self.consumer, idle_ms=ABANDONED_MS, count=READ_COUNT
        ):
            self._claim(entry)

    async def _sweep(self) -> None:
        await asyncio.sleep(SWEEP_S)
        await self.sweeper.sweep()

    async def _cold(self) -> None:
        """Look at the cold starts, apart from the sweep: a launcher may be slow to answer."""
        await asyncio.sleep(SWEEP_S)
        await asyncio.gather(*map(self._check_cold, list(self.placer.cold.items())))

    async def _check_cold(self, item: tuple[str, tuple[int, str]]) -> None:
        session_id, (epoch, job) = item
        try:
            done = await self.sweeper.check_start(session_id, epoch, job)
        except NotFoundError:
            done = True
        if done and self.placer.cold.get(session_id) == item[1]:
            del self.placer.cold[session_id]
