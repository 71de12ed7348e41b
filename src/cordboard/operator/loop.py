"""The operator's loop: read joins, place them, hold them, sweep, and check cold starts, side by side.

Each step can start from nothing. A step that fails is repeated after a pause and stops no other.
"""

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
from cordboard.operator.death_check import DeathCheck
from cordboard.operator.handover import ColdStart, HandOver
from cordboard.operator.placement import Placer
from cordboard.operator.recovery import Sweeper
from cordboard.operator.transfer import WAIT_S, Transfers
from cordboard.store import Outage, QueueEntry, RedisStore, Suspicion

# Entries that one read takes. More would keep Redis busy for longer with one command.
READ_COUNT: Final = 64

# Hand-overs whose answer is awaited. Each has a connection to a runner; the client has 100.
HANDOVERS_MAX: Final = 64

# Hints that are followed at once. A check takes milliseconds, or seconds if the runner does not answer; further
# hints wait in the connection to Redis.
HINTS_MAX: Final = 64

# Entries that wait here. Further ones stay in the queue, for operators that have capacity.
WAITING_MAX: Final = 256

# A consumer that has read nothing for an hour, and has nothing left, is removed from the group.
CONSUMER_KEPT_MS: Final = 3_600_000

PAUSE_MIN_S: Final = 0.1
# Pauses after a failure of a step double up to this: a Redis that is back is noticed within 2 s.
PAUSE_MAX_S: Final = 2.0

# Seconds for hand-overs to finish when the operator stops; a runner answers ``/start`` within 10 s.
DRAIN_S: Final = 15.0

log = get_logger("operator")


@dataclass(frozen=True, slots=True)
class LoopTimes:
    """How often each step of the loop runs.

    Attributes:
        read_block_ms: Milliseconds for which a read of the queue waits for new entries.
        retry_s: Seconds until the oldest join that waits for a free runner is tried again.
        hold_s: Seconds between two signs of life for the entries that this operator has read.
        abandoned_ms: Milliseconds without a sign of life after which an entry is taken over: its operator has
            missed five of them.
        sweep_s: Seconds between two sweeps.
        transfer_wait_s: Seconds for which a join that this operator cannot start waits for a warm runner.
    """

    read_block_ms: int = 1000
    retry_s: float = 0.05
    hold_s: float = 1.0
    abandoned_ms: int = 5_000
    sweep_s: float = 1.0
    transfer_wait_s: float = WAIT_S


@dataclass(slots=True)
class Loop:
    """Everything that one operator does for one shard.

    Attributes:
        consumer: This operator's name in the consumer group.
        store: The shard.
        placer: Decides where joins go.
        sweeper: Recovers sessions.
        times: How often each step runs.
        transfers: Decides which joins another operator has to start.
        death_check: Recovers sessions whose runner has died before their leases run out.
    """

    consumer: str
    store: RedisStore
    placer: Placer
    sweeper: Sweeper
    times: LoopTimes = LoopTimes()
    transfers: Transfers = field(init=False)
    death_check: DeathCheck = field(init=False)
    _waiting: dict[str, QueueEntry] = field(default_factory=dict)
    _busy: dict[asyncio.Task[None], QueueEntry] = field(default_factory=dict)
    _arrival: asyncio.Event = field(default_factory=asyncio.Event)
    _placing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _hints: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HINTS_MAX))
    _is_stopping: bool = False
    _outage: Outage = field(default_factory=lambda: Outage(log, "Redis is unavailable; retrying"))

    def __post_init__(self) -> None:
        """Make ``transfers`` for the placer's launcher, and ``death_check``."""
        self.death_check = DeathCheck(self.store, self.sweeper)
        self.transfers = Transfers(self.placer.launcher, wait_s=self.times.transfer_wait_s)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, step in (
                ("read", self._read),
                ("place", self._place_waiting),
                ("hold", self._hold),
                ("sweep", self._sweep),
                ("cold", self._check_cold_starts),
                ("hints", self._follow_hints),
            ):
                group.create_task(self._repeat(name, step), name=name)

    async def drain(self) -> None:
        """Finish the hand-overs under way, and leave the waiting entries to other operators."""
        self._is_stopping = True
        # Redis may just have assigned a session; its hand-over has to be among the busy ones first.
        async with self._placing:
            pass
        if self._busy:
            await asyncio.wait(self._busy, timeout=DRAIN_S)
        with contextlib.suppress(StoreUnavailableError):
            await self.store.queue.release(self.consumer, list(self._waiting))
            await self.store.queue.remove_consumer(self.consumer)

    async def _repeat(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        pause_s = PAUSE_MIN_S
        while not self._is_stopping:
            try:
                await step()
                self._outage.record_success(name)
                pause_s = PAUSE_MIN_S
                continue
            except StoreUnavailableError as error:
                self._outage.record_failure(error, name)
            except Exception:
                log.exception("A step of the operator failed", loop=name)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    async def _read(self) -> None:
        # What this operator cannot place soon stays in the queue, where another operator can read it.
        count = min(WAITING_MAX - len(self._waiting), READ_COUNT)
        if count <= 0:
            await asyncio.sleep(self.times.retry_s)
            return
        for entry in await self.store.queue.read(
            self.consumer, count=count, block_ms=self.times.read_block_ms
        ):
            self._add(entry)

    def _add(self, entry: QueueEntry) -> None:
        """Add an entry that this operator has read, or taken over, to those that wait."""
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
        self._arrival.set()

    async def _place_waiting(self) -> None:
        """Place the waiting entries, the oldest first. A bot without a free runner is tried once a round."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.times.retry_s):
                await self._arrival.wait()
        self._arrival.clear()
        bots_without_runner: set[str] = set()
        for entry in sorted(self._waiting.values(), key=_accepted_order):
            bot = entry.launch.bot if entry.launch else ""
            if self._is_stopping or bot in bots_without_runner:
                continue
            if len(self._busy) >= HANDOVERS_MAX:
                await asyncio.wait(self._busy, return_when=asyncio.FIRST_COMPLETED)
            # The lock keeps ``drain`` and ``_transfer`` from acting on an entry while Redis assigns it.
            async with self._placing:
                if entry.entry_id not in self._waiting:
                    continue
                hand_over = None if self._is_stopping else await self._place(entry)
                if hand_over is not None:
                    del self._waiting[entry.entry_id]
                    self._start(entry, hand_over)
            if hand_over is None:
                bots_without_runner.add(bot)

    async def _place(self, entry: QueueEntry) -> HandOver | None:
        try:
            return await self.placer.place(entry)
        except StoreUnavailableError:
            raise
        except Exception:
            log.exception("A join could not be placed", entry=entry.entry_id)
            return None

    def _start(self, entry: QueueEntry, hand_over: HandOver) -> None:
        task = asyncio.create_task(
            self._run_hand_over(entry, hand_over), name=f"place {entry.entry_id}"
        )
        self._busy[task] = entry
        task.add_done_callback(self._busy.pop)

    async def _run_hand_over(self, entry: QueueEntry, hand_over: HandOver) -> None:
        """Run a hand-over. After a failure the entry is placed again: Redis knows how far it came."""
        is_done = False
        try:
            is_done = await hand_over.run()
        except StoreUnavailableError as error:
            log.warning("Redis became unavailable during a hand-over", error=error)
        except Exception:
            log.exception("A join could not be handed over", entry=entry.entry_id)
        # Its age decides its turn: an entry that comes back is placed before younger ones.
        if not is_done:
            self._waiting[entry.entry_id] = entry

    async def _hold(self) -> None:
        """Give signs of life for the entries of this operator, and take over abandoned ones."""
        await asyncio.sleep(self.times.hold_s)
        if self.placer.launcher is not None:  # other operators may transfer joins to this one
            await self.store.queue.announce(self.consumer)
        await self._transfer()
        # Entries of hand-overs under way, too: another operator must not repeat them meanwhile.
        held = [*self._waiting, *(entry.entry_id for entry in self._busy.values())]
        await self.store.queue.hold(self.consumer, held)
        for entry in await self.store.queue.claim_abandoned(
            self.consumer, idle_ms=self.times.abandoned_ms, count=READ_COUNT
        ):
            if self.transfers.is_recent(entry):
                await self.store.queue.release(self.consumer, [entry.entry_id])
            else:
                self._add(entry)
        await self.store.queue.remove_dead_consumers(CONSUMER_KEPT_MS)

    async def _transfer(self) -> None:
        """Transfer the joins that this operator cannot start to operators that can."""
        async with self._placing:
            stuck = self.transfers.stuck(self._waiting.values())
            if not stuck:
                return
            consumers = await self.store.queue.active_consumers(self.times.abandoned_ms)
            others = set(consumers) - {self.consumer}
            entry_ids = [entry.entry_id for entry in self.transfers.transferable(stuck, others)]
            await self.store.queue.release(self.consumer, entry_ids)
            for entry_id in entry_ids:
                del self._waiting[entry_id]

    async def _sweep(self) -> None:
        due = time.monotonic() + self.times.sweep_s
        await asyncio.sleep(self.times.sweep_s)
        metrics.loop_lag.set(max(time.monotonic() - due, 0.0))
        await self.sweeper.sweep()

    async def _follow_hints(self) -> None:
        """Check each session that a hint names. Hints that come while Redis is unavailable are lost."""
        async with self.store.reader.suspicions() as suspicions, asyncio.TaskGroup() as group:
            async for suspicion in suspicions:
                await self._hints.acquire()
                group.create_task(self._check_hint(suspicion))

    async def _check_hint(self, suspicion: Suspicion) -> None:
        try:
            await self.death_check.check_session(suspicion.session_id, suspicion.epoch)
        except StoreUnavailableError as error:
            self._outage.record_failure(error, "hints")
        except Exception:
            log.exception("A session could not be checked", session=suspicion.session_id)
        finally:
            self._hints.release()

    async def _check_cold_starts(self) -> None:
        """Check the cold starts, apart from the sweep: a launcher may be slow to answer."""
        await asyncio.sleep(self.times.sweep_s)
        starts = list(self.placer.cold_starts.values())
        await asyncio.gather(*(self._check_cold_start(start) for start in starts))

    async def _check_cold_start(self, start: ColdStart) -> None:
        try:
            is_settled = await self.sweeper.is_settled(start)
        except NotFoundError:
            is_settled = True
        # A session that was queued again may have a newer cold start meanwhile.
        if is_settled and self.placer.cold_starts.get(start.session_id) == start:
            del self.placer.cold_starts[start.session_id]


def _accepted_order(entry: QueueEntry) -> tuple[int, int]:
    """Return a sort key for the order in which joins were accepted."""
    at_ms, _, number = entry.entry_id.partition("-")
    return int(at_ms), int(number or 0)
