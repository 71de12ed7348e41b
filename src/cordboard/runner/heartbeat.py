"""The heartbeat: renews all leases and tells of free capacity, outside the bots' event loops."""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from cordboard.context import bound_context
from cordboard.contract.errors import StoreUnavailableError
from cordboard.contract.lease import RenewalResult
from cordboard.emit import get_logger
from cordboard.runner import metrics
from cordboard.runner.bot_session import BotSession
from cordboard.runner.lease_guard import steady
from cordboard.runner.registry import Registry
from cordboard.store import Outage, Registration, Renewal, SessionStore

RETRY_S: Final = 1.0  # sooner than RENEWAL_S after a failure: most outages are short
WATCH_S: Final = 0.5
LEND_S: Final = 0.5  # how soon a slot goes to the shard that lacks one; two cheap reads a shard
LAG_WARN_MS: Final = 1000.0

log = get_logger("heartbeat")


@dataclass(slots=True)
class Heartbeat:
    """Beats until cancelled.

    Attributes:
        bots: Names of the bots that this runner has; empty for a cold one, which is in no pool.
        registered: Set once the store has heard of this runner.
    """

    store: SessionStore
    registry: Registry
    bots: tuple[str, ...]
    registered: asyncio.Event = field(default_factory=asyncio.Event)
    _outage: Outage = field(
        default_factory=lambda: Outage(log, "Redis is away; bots go on meanwhile")
    )
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Renew and register, and watch that no bot goes on without renewals."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beats(), name="beats")
            group.create_task(self._watch(), name="watch")
            if self.bots and len(self.store.shards) > 1:
                group.create_task(self._lend(), name="lend")

    async def _beats(self) -> None:
        """Renew and register every ``renewal_s``; after a failure sooner."""
        last, periods = steady(), self.store.periods
        while True:
            paused_s = steady() - last
            if paused_s > periods.lease_s:
                log.warning(
                    "This process stood still; asking for all leases first", seconds=round(paused_s)
                )
            late_s = paused_s - periods.renewal_s
            metrics.renewals_late.inc(late_s > periods.renewal_s)
            metrics.loop_lag.set(max(late_s, 0.0))
            fine = await self.beat()
            last = steady()
            await asyncio.sleep(periods.renewal_s if fine else min(RETRY_S, periods.renewal_s))

    async def _watch(self) -> None:
        """A task of its own: a store that answers late must not keep a bot beyond its time."""
        while True:
            self._stop_what_could_not_be_renewed()
            await asyncio.sleep(WATCH_S)

    async def _lend(self) -> None:
        """Move free slots to where joins wait for one: sooner than the next beat would."""
        while True:
            await asyncio.sleep(LEND_S)
            with contextlib.suppress(Exception):  # a beat tells of it
                if await self.store.needs_rebalancing(self.registry.host.runner_id):
                    await self._register()

    async def beat(self) -> bool:
        """Do one round; False when Redis, or a shard of it, is away."""
        try:
            all_renewed = await self._renew()
            await self._register()
        except StoreUnavailableError as error:
            self._outage.record_failure(error)
            return False
        except Exception:  # whatever it is: without beats every bot here would end
            log.exception("A round of the heartbeat failed")
            return False
        if not all_renewed:
            return False
        self._outage.record_success()
        return True

    async def _renew(self) -> bool:
        sessions = [item for item in self.registry.live if item.status in {"running", "stopping"}]
        # From before the question is sent: the lease lasts from when the store decided.
        asked_at = steady()
        verdicts = await self.store.renew([_renewal(session) for session in sessions])
        for session, verdict in zip(sessions, verdicts, strict=True):
            if verdict == "unknown" and session.status == "running":
                with bound_context(session.context):
                    log.warning("Redis does not know the session any more; telling it")
                    self._obey(
                        session, await self.store.adopt(session.launch, session.holder), asked_at
                    )
            else:
                self._obey(session, verdict, asked_at)
        return "away" not in verdicts

    def _obey(self, session: BotSession, verdict: RenewalResult, asked_at: float) -> None:
        with bound_context(session.context):
            if verdict in {"held", "stop"}:
                session.renewed(asked_at)
            if verdict == "stop" and session.status == "running":
                self._spawn(session.stop("left"))
            elif verdict == "lost" and session.status == "running":
                log.warning("Lease lost", event="lease.lost")
                self._spawn(session.kill("lease_lost"))
            if session.loop_lag_ms > LAG_WARN_MS:
                log.warning("The bot's event loop is late", loop_lag_ms=session.loop_lag_ms)

    def _stop_what_could_not_be_renewed(self) -> None:
        now, most_s = steady(), self.store.periods.tolerance_s
        for session in self.registry.live:
            if session.status == "running" and now - session.renewed_at >= most_s:
                with bound_context(session.context):
                    log.error(
                        "Lease could not be renewed for too long",
                        event="lease.lost",
                        seconds=round(now - session.renewed_at),
                    )
                    self._spawn(session.kill("lease_lost"))

    async def _register(self) -> None:
        if not self.bots:
            self.registered.set()
            return
        host = self.registry.host
        await self.store.register(
            Registration(
                host.runner_id,
                host.url,
                self.registry.offered,
                self.bots,
                self.registry.draining or self.registry.loading,
                tuple((s.launch.session_id, s.launch.epoch) for s in self.registry.live),
            )
        )
        self.registered.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _renewal(session: BotSession) -> Renewal:
    launch = session.launch
    return Renewal(
        launch.session_id, launch.epoch, session.holder, session.loop_lag_ms, launch.room_url
    )
