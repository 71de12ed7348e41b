"""Observe, plan, act: the operator's loops, each of which can start from nothing."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from cordboard import faults
from cordboard.context import bound_context
from cordboard.context.launch import context_of
from cordboard.contract.errors import NotFoundError, StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.operator import metrics
from cordboard.operator.placement import HandOver, Placer
from cordboard.operator.recovery import Sweeper
from cordboard.operator.transfer import PassOn
from cordboard.store import Outage, QueueEntry, RedisStore

READ_BLOCK_MS: Final = 1000
READ_COUNT: Final = 64
AT_ONCE: Final = 64  # hand-overs whose answer is awaited
WAITING_MAX: Final = 256  # more stays in the stream, for operators that have hands free
RETRY_S: Final = 0.05  # how soon the oldest join that waits for a free runner is tried again
HOLD_S: Final = 1.0
ABANDONED_MS: Final = 5_000  # five times HOLD_S: its operator is gone
CONSUMER_KEPT_MS: Final = 3_600_000
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
    store: RedisStore
    placer: Placer
    sweeper: Sweeper
    _waiting: dict[str, QueueEntry] = field(default_factory=dict)
    _busy: dict[asyncio.Task[None], QueueEntry] = field(default_factory=dict)
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _claiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    _passing: PassOn = field(init=False)
    _stopping: bool = False
    _outage: Outage = field(
        default_factory=lambda: Outage(log, "Redis is away; trying again until it is back")
    )

    def __post_init__(self) -> None:
        """Set what this operator can start."""
        self._passing = PassOn(self.placer.launcher)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, step in (
                ("read", self._read),
                ("place", self._place_waiting),
                ("hold", self._hold),
                ("sweep", self._sweep),
                ("cold", self._cold),
            ):
                group.create_task(self._forever(name, step), name=name)

    async def drain(self) -> None:
        """Finish the hand-overs that are under way; what waits is another operator's then."""
        self._stopping = True
        async with self._claiming:  # what was assigned a moment ago is to be asked for, too
            pass
        if self._busy:
            await asyncio.wait(self._busy, timeout=15)
        with contextlib.suppress(StoreUnavailableError):
            await self.store.release_entries(self.consumer, list(self._waiting))
            await self.store.remove_consumer(self.consumer)

    async def _forever(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        pause = 0.1
        while not self._stopping:
            try:
                await step()
                self._outage.record_success(name)
                pause = 0.1
            except StoreUnavailableError as error:
                self._outage.record_failure(error, name)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX_S)
            except Exception:
                log.exception("A step of the operator failed", loop=name)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX_S)

    async def _read(self) -> None:
        room = WAITING_MAX - len(self._waiting)
        if room <= 0:
            await asyncio.sleep(RETRY_S)
            return
        for entry in await self.store.read_entries(
            self.consumer, count=min(room, READ_COUNT), block_ms=READ_BLOCK_MS
        ):
            self._claimed(entry)

    def _claimed(self, entry: QueueEntry) -> None:
        if entry.entry_id in self._waiting or entry in self._busy.values():
            return
        faults.point("operator.claim")
        if entry.launch is not None:
            with bound_context(context_of(entry.launch)):
                log.info(
                    "Join claimed",
                    event="launch.claimed",
                    attempt=entry.launch.attempt,
                    operator=self.consumer,
                )
        self._waiting[entry.entry_id] = entry
        self._came.set()

    async def _place_waiting(self) -> None:
        """Place what waits, the oldest first; a bot without a free runner is not asked for twice."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), RETRY_S)
        self._came.clear()
        full: set[str] = set()
        for entry in sorted(self._waiting.values(), key=_age):
            bot = entry.launch.bot if entry.launch else ""
            if self._stopping or bot in full:
                continue
            if len(self._busy) >= AT_ONCE:
                await asyncio.wait(self._busy, return_when=asyncio.FIRST_COMPLETED)
            async with self._claiming:
                if entry.entry_id not in self._waiting:
                    continue
                handing_over = None if self._stopping else await self._claim(entry)
                if handing_over is not None:
                    del self._waiting[entry.entry_id]
                    self._start(entry, handing_over)
            if handing_over is None:
                full.add(bot)

    async def _claim(self, entry: QueueEntry) -> HandOver | None:
        try:
            return await self.placer.claim(entry)
        except StoreUnavailableError:
            raise
        except Exception:
            log.exception("A join could not be placed", entry=entry.entry_id)
            return None

    def _start(self, entry: QueueEntry, handing_over: HandOver) -> None:
        task = asyncio.create_task(
            self._hand_over(entry, handing_over), name=f"place {entry.entry_id}"
        )
        self._busy[task] = entry
        task.add_done_callback(self._busy.pop)

    async def _hand_over(self, entry: QueueEntry, handing_over: HandOver) -> None:
        """Finish a hand-over. When it fails the entry is looked at again: the store knows best."""
        done = False
        try:
            done = await handing_over()
        except StoreUnavailableError as error:
            log.warning("Redis went away in a hand-over", error=error)
        except Exception:
            log.exception("A join could not be handed over", entry=entry.entry_id)
        if not done:
            self._waiting[entry.entry_id] = entry

    async def _hold(self) -> None:
        await asyncio.sleep(HOLD_S)
        if self.placer.launcher is not None:  # others may pass joins on to it
            await self.store.announce(self.consumer)
        await self._pass_on()
        ours = [*self._waiting, *(entry.entry_id for entry in self._busy.values())]
        await self.store.hold_entries(self.consumer, ours)
        for entry in await self.store.claim_abandoned(
            self.consumer, idle_ms=ABANDONED_MS, count=READ_COUNT
        ):
            if self._passing.was_passed_on(entry):
                await self.store.release_entries(self.consumer, [entry.entry_id])
            else:
                self._claimed(entry)
        await self.store.remove_dead_consumers(CONSUMER_KEPT_MS)

    async def _pass_on(self) -> None:
        """Pass on joins that this operator cannot start to operators that can."""
        async with self._claiming:
            stuck = self._passing.stuck(self._waiting.values())
            if not stuck:
                return
            others = set(await self.store.active_consumers(ABANDONED_MS)) - {self.consumer}
            passed = [entry.entry_id for entry in self._passing.for_others(stuck, others)]
            await self.store.release_entries(self.consumer, passed)
            for entry_id in passed:
                del self._waiting[entry_id]

    async def _sweep(self) -> None:
        due = time.monotonic() + SWEEP_S
        await asyncio.sleep(SWEEP_S)
        metrics.loop_lag.set(max(time.monotonic() - due, 0.0))
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


def _age(entry: QueueEntry) -> tuple[int, int]:
    """The order in which joins were accepted."""
    at_ms, _, number = entry.entry_id.partition("-")
    return int(at_ms), int(number or 0)
