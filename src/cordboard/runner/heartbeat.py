"""The heartbeat: renews all leases and registers the free slots, outside the bots' event loops."""

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
from cordboard.runner.lease_guard import steady_time
from cordboard.runner.registry import Registry
from cordboard.store import Outage, Registration, Renewal, SessionStore

# The period after a failed round. Most outages are short, and a lease lasts only three regular periods.
RETRY_S: Final = 1.0

# How often leases are compared with the limit: a bot is killed at most this late.
LEASE_CHECK_S: Final = 0.5

# How soon a free slot moves to the shard that lacks one; each check costs two cheap reads a shard.
REBALANCE_S: Final = 0.5

# A bot whose event loop is this late cannot speak: a frame of audio lasts 20 ms.
LAG_WARN_MS: Final = 1000.0

log = get_logger("heartbeat")


@dataclass(slots=True)
class Heartbeat:
    """Sends heartbeats until it is cancelled.

    Attributes:
        store: The session store.
        registry: The sessions of this runner.
        bots: The names of this runner's bots; empty for a cold runner, which does not register.
        is_registered: Set once the store has accepted a registration.
    """

    store: SessionStore
    registry: Registry
    bots: tuple[str, ...]
    is_registered: asyncio.Event = field(default_factory=asyncio.Event)
    _outage: Outage = field(
        default_factory=lambda: Outage(log, "Redis is unavailable; running bots continue")
    )
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Send heartbeats; kill bots whose lease was not renewed in time, and bots that are frozen."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_heartbeats(), name="heartbeats")
            group.create_task(self._watch_leases(), name="lease watch")
            if self.bots and len(self.store.shards) > 1:
                group.create_task(self._rebalance_slots(), name="slot rebalancing")

    async def beat(self) -> bool:
        """Send one heartbeat: renew all leases, and register this runner.

        Returns:
            Whether Redis, with all of its shards, has answered.
        """
        try:
            all_renewed = await self._renew()
            await self._register()
        except StoreUnavailableError as error:
            self._outage.record_failure(error)
            return False
        except Exception:
            # Any error, even one of this code: without heartbeats every bot of this runner would be killed.
            log.exception("A heartbeat failed")
            return False
        if not all_renewed:
            return False
        self._outage.record_success()
        return True

    async def _send_heartbeats(self) -> None:
        last, periods = steady_time(), self.store.periods
        while True:
            pause_s = steady_time() - last
            if pause_s > periods.lease_s:
                log.warning(
                    "This process was paused; renewing all leases first", seconds=round(pause_s)
                )
            delay_s = pause_s - periods.renewal_s
            metrics.renewals_late.inc(delay_s > periods.renewal_s)
            metrics.loop_lag.set(max(delay_s, 0.0))
            succeeded = await self.beat()
            last = steady_time()
            await asyncio.sleep(periods.renewal_s if succeeded else min(RETRY_S, periods.renewal_s))

    async def _watch_leases(self) -> None:
        # A separate task: a store that answers late must not keep a bot alive beyond its limit.
        checked_at = runs_since = steady_time()
        while True:
            if (
                steady_time() - checked_at > self.store.periods.lease_s
            ):  # the bots were paused as well
                runs_since = steady_time()
            checked_at = steady_time()
            self._kill_unrenewed()
            self._kill_frozen(runs_since)
            await asyncio.sleep(LEASE_CHECK_S)

    async def _rebalance_slots(self) -> None:
        """Offer free slots to shards with waiting joins, sooner than the next heartbeat would."""
        while True:
            await asyncio.sleep(REBALANCE_S)
            with contextlib.suppress(Exception):  # the next heartbeat reports it
                if await self.store.needs_rebalancing(self.registry.host.runner_id):
                    await self._register()

    async def _renew(self) -> bool:
        """Renew all leases; return whether every shard has answered."""
        sessions = [item for item in self.registry.live if item.status in {"running", "stopping"}]
        # Taken before the request is sent: the lease lasts from when the store decided, or longer.
        requested_at = steady_time()
        results = await self.store.renew([_renewal(session) for session in sessions])
        for session, result in zip(sessions, results, strict=True):
            if result == "unknown" and session.status == "running":
                with bound_context(session.context):
                    log.warning("Redis has lost the session; writing it again")
                    adopted = await self.store.adopt(session.launch, session.holder)
                    self._apply(session, adopted, requested_at)
                    session.said.write_again()
            else:
                self._apply(session, result, requested_at)
        return "away" not in results

    def _apply(self, session: BotSession, result: RenewalResult, requested_at: float) -> None:
        with bound_context(session.context):
            if result in {"held", "stop"}:
                session.record_renewal(requested_at)
            if result == "stop" and session.status == "running":
                self._spawn(session.stop("left"))
            elif result == "lost" and session.status == "running":
                log.warning("Lease lost", event="lease.lost")
                self._spawn(session.kill("lease_lost"))
            if session.loop_lag_ms > LAG_WARN_MS:
                log.warning("The bot's event loop is late", loop_lag_ms=session.loop_lag_ms)

    def _kill_unrenewed(self) -> None:
        now, limit_s = steady_time(), self.store.periods.tolerance_s
        for session in self.registry.live:
            age_s = now - session.renewed_at
            if session.status == "running" and age_s >= limit_s:
                with bound_context(session.context):
                    log.error(
                        "The lease was not renewed in time",
                        event="lease.lost",
                        seconds=round(age_s),
                    )
                    self._spawn(session.kill("lease_lost"))

    def _kill_frozen(self, runs_since: float) -> None:
        """Kill each bot process that has not run for as long as a frozen runner is waited for.

        Args:
            runs_since: The ``steady_time`` since which this process has not been paused.
        """
        now, limit_s = steady_time(), self.store.periods.silence_s
        for session in self.registry.live:
            silent_s = now - max(session.ran_at, runs_since)
            if session.status == "running" and silent_s >= limit_s:
                with bound_context(session.context):
                    log.error(
                        "The bot process does not run; killing it",
                        seconds=round(silent_s),
                        pid=session.pid,
                    )
                    session.kill_frozen()

    async def _register(self) -> None:
        if self.bots:
            host, registry = self.registry.host, self.registry
            bots = tuple(bot for bot in self.bots if bot not in registry.unready)
            draining = registry.is_draining or registry.is_loading or not bots
            info = Registration(
                host.runner_id, host.url, registry.offered, bots or self.bots, draining, host.pod
            )
            await self.store.register(info)
        self.is_registered.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _renewal(session: BotSession) -> Renewal:
    launch = session.launch
    return Renewal(
        launch.session_id, launch.epoch, session.holder, session.loop_lag_ms, launch.room_url
    )
