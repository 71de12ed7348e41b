"""The store in one shard: one connection, one set of keys, one Lua script for each decision."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType
from typing import Self, cast

from cordboard.contract.errors import ConflictError, NotFoundError
from cordboard.contract.launch import Launch, decode, encode, record_fields
from cordboard.contract.lease import Periods, RenewalResult
from cordboard.contract.state import REASONS, State
from cordboard.contract.urls import redacted_url
from cordboard.store.connection import Connection
from cordboard.store.keys import Keys
from cordboard.store.limits import UNLIMITED, JoinLimits, limit_sets
from cordboard.store.overview import Overview, read_overview
from cordboard.store.placement import Placement
from cordboard.store.queue import LaunchQueue
from cordboard.store.records import (
    AcceptedJoin,
    HandOverCause,
    Holder,
    LeaveOutcome,
    RecoveringHolder,
    RecoveryOutcome,
    Registration,
    Renewal,
    SessionRecord,
    StateChange,
)
from cordboard.store.rooms import (
    accept_arguments,
    accepted_join,
    holder_arguments,
    not_holder,
    stale_epoch,
)
from cordboard.store.runners import RunnerPool
from cordboard.store.scripts import Scripts, new_token
from cordboard.store.server_checks import ServerChecks
from cordboard.store.session_filter import ALL_SESSIONS, SessionFilter
from cordboard.store.sessions import SessionReader, session_not_found


class RedisStore:
    """A ``SessionStore`` with one shard. ``SessionStore`` describes the methods.

    Args:
        url: The URL of Redis.
        keys: The key names of the shard, with the periods of the plane; by default those of ``open_store``.

    Attributes:
        url: The URL of Redis.
        keys: The key names of the shard.
        periods: The periods of the lease.
        connection: The connection to Redis.
        scripts: The Lua scripts of the shard.
        reader: The session records.
        queue: The launch queue.
        placement: What an operator decides about sessions.
        runners: The warm runners.
        checks: Checks of the server.
    """

    def __init__(self, url: str, keys: Keys | None = None) -> None:
        self.url = url
        self.keys = keys = keys or Keys()
        self.periods = Periods(keys.lease_s)
        self.connection = Connection(url, keys.leases)
        self.scripts = Scripts(self.connection, keys)
        self.reader = SessionReader(self.connection, keys)
        self.queue = LaunchQueue(self.connection, keys)
        self.placement = Placement(self.connection, keys, self.scripts, self.reader)
        self.runners = RunnerPool(self.connection, keys, self.scripts)
        self.checks = ServerChecks(self.connection, keys, self.scripts)

    def __repr__(self) -> str:
        return f"RedisStore({redacted_url(self.url)})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self.connection.close()

    @property
    def shards(self) -> tuple["RedisStore", ...]:
        """The one shard, this store itself."""
        return (self,)

    # --- Joining and leaving

    async def accept(
        self,
        launch: Launch,
        *,
        queue_max: int,
        runner: Registration | None = None,
        limits: JoinLimits = UNLIMITED,
    ) -> AcceptedJoin:
        """Decide the join of ``launch``, within ``queue_max`` and ``limits``; ``runner`` may start it."""
        arguments = accept_arguments(
            launch,
            new_token(),
            queue_max=queue_max,
            limit_sets=list(limit_sets(launch, limits)),
            runner=runner,
        )
        reply = await self.scripts.run("accept", self.keys.session(launch.session_id), arguments)
        return accepted_join(launch, reply)

    async def leave(
        self,
        *,
        session_id: str | None = None,
        room: str | None = None,
        force: bool = False,
        detail: str | None = None,
    ) -> LeaveOutcome:
        """End ``session_id``, or the holder of ``room``, with ``force`` any holder; ``detail`` is the explanation."""
        # The session may be known by its room alone, so the key is one that every shard has.
        reply = await self.scripts.run(
            "leave",
            self.keys.launches,
            {
                "session_id": session_id or None,
                "room": room or None,
                "force": force,
                "detail": detail or None,
                "token": new_token(),
            },
        )
        match reply:
            case ["absent"]:
                return LeaveOutcome("absent", session_id or "", room or "")
            case ["not_holder", holder]:
                raise not_holder(session_id, room, holder)
            case _:
                return LeaveOutcome(*reply)

    # --- Reading

    async def session(self, session_id: str, *, room: str | None = None) -> SessionRecord:
        """Return the record of ``session_id``; the ``room`` is not needed in one shard."""
        del room
        return await self.reader.get(session_id)

    async def sessions(
        self,
        wanted: SessionFilter = ALL_SESSIONS,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[SessionRecord], str | None]:
        """Return up to ``limit`` of the ``wanted`` sessions after ``cursor``."""
        return await self.reader.page(wanted, limit=limit, cursor=cursor)

    async def overview(self) -> Overview:
        """Return what the shard does at this moment."""
        return await read_overview(self.connection, self.keys, self.queue)

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[StateChange]]:
        """Subscribe to the changes of state in this shard, for the length of a block."""
        return self.reader.changes()

    # --- Holding a room

    async def launch_record(self, session_id: str, epoch: int) -> Launch:
        """Return the launch of ``session_id`` with ``epoch``."""
        # The end of a session removes its launch: a record without one is not live.
        with self.connection.errors():
            text, current, attempt = await self.connection.client.hmget(
                self.keys.session(session_id), ["launch", "epoch", "attempt"]
            )
        if not text or not current:
            raise NotFoundError(f"There is no live session {session_id}.")
        if int(current) != epoch:
            raise stale_epoch(session_id, epoch, int(current))
        # The message holds the values of the join; each grant has its own epoch and attempt.
        return replace(decode(text), epoch=epoch, attempt=int(attempt or 1))

    async def confirm_running(
        self, session_id: str, epoch: int, holder: Holder, *, room: str | None = None
    ) -> None:
        """Confirm that ``holder`` holds ``session_id`` with ``epoch``; the ``room`` is not needed."""
        del room
        reply = await self.scripts.run(
            "running",
            self.keys.session(session_id),
            {"session_id": session_id, "epoch": epoch, "holder": holder_arguments(holder)},
        )
        match reply:
            case ["ok"]:
                return
            case ["stale", current]:
                raise stale_epoch(session_id, epoch, int(current))
            case _:
                raise ConflictError(
                    f"Session {session_id} cannot run here: it is {reply[1]}.",
                    extra={"sessionId": session_id, "state": reply[1]},
                )

    async def renew(self, renewals: Sequence[Renewal]) -> list[RenewalResult]:
        """Extend the leases of ``renewals`` in one round trip."""
        if not renewals:
            return []
        calls = [
            (
                self.keys.session(item.session_id),
                {
                    "session_id": item.session_id,
                    "epoch": item.epoch,
                    # One decimal: the keepalive is JSON for readers, who need no more.
                    "lag_ms": round(item.loop_lag_ms, 1),
                    "holder": holder_arguments(item.holder),
                },
            )
            for item in renewals
        ]
        return cast("list[RenewalResult]", await self.scripts.run_many("renew", calls))

    async def adopt(self, launch: Launch, holder: Holder) -> RenewalResult:
        """Restore the session of ``launch``, which ``holder`` runs."""
        reply = await self.scripts.run(
            "adopt",
            self.keys.session(launch.session_id),
            {
                "session_id": launch.session_id,
                "epoch": launch.epoch,
                "room": launch.room_url,
                "launch": encode(launch),
                "attempt": launch.attempt,
                "deadline_s": launch.deadline_s,
                "holder": holder_arguments(holder),
                # Without an address: a runner does not know the caller's.
                "counted": " ".join(item.name for item in limit_sets(launch)),
                "record": record_fields(launch),
            },
        )
        return cast("RenewalResult", reply)

    async def finish(
        self,
        session_id: str,
        epoch: int,
        reason: str,
        detail: str | None = None,
        *,
        token: str | None = None,
        room: str | None = None,
    ) -> bool:
        """End ``session_id`` with ``epoch`` for ``reason``, with ``detail``; see ``SessionStore.finish``.

        A repeated call has the same ``token``. The ``room`` is not needed in one shard.
        """
        del room
        reply = await self.scripts.run(
            "finish",
            self.keys.session(session_id),
            {
                "session_id": session_id,
                "epoch": epoch,
                "state": REASONS[reason],
                "reason": reason,
                "detail": detail or None,
                "token": token or new_token(),
            },
        )
        return bool(reply)

    async def hand_over(
        self,
        session_id: str,
        epoch: int,
        cause: HandOverCause,
        holder: RecoveringHolder,
        *,
        room: str | None = None,
    ) -> RecoveryOutcome:
        """Queue ``session_id`` with ``epoch`` again for its ``holder``; the ``room`` is not needed."""
        del room
        return await self.placement.recover(session_id, epoch, cause, holder=holder)

    async def keep_context(
        self, session_id: str, epoch: int, runner_id: str, context: str, *, room: str | None = None
    ) -> bool:
        """Keep ``context`` for ``session_id``, which ``runner_id`` holds with ``epoch``; the ``room`` is not needed."""
        del room
        reply = await self.scripts.run(
            "keep_context",
            self.keys.session(session_id),
            {
                "session_id": session_id,
                "epoch": epoch,
                "runner_id": runner_id,
                "context": context,
            },
        )
        return bool(reply)

    async def kept_context(self, session_id: str, *, room: str | None = None) -> str | None:
        """Return the kept context of ``session_id``, or None; the ``room`` is not needed in one shard."""
        del room
        with self.connection.errors():
            kept: str | None = await self.connection.client.get(self.keys.kept_context(session_id))
        return kept

    async def suspect(self, session_id: str, *, pause_s: float) -> State:
        """Make the operators look at ``session_id``, at most once in ``pause_s``."""
        state, *_ = await self.scripts.run(
            "suspect",
            self.keys.session(session_id),
            {"session_id": session_id, "pause_ms": round(pause_s * 1000)},
        )
        if state == "absent":
            raise session_not_found(session_id)
        return cast("State", state)

    # --- Warm runners

    async def register(self, runner: Registration) -> int:
        """Write the registration of ``runner``, and return its number of free slots."""
        return (await self.runners.register(runner)).free

    async def unregister(self, runner_id: str) -> None:
        """Remove the registration of ``runner_id``."""
        await self.runners.unregister(runner_id)

    async def needs_rebalancing(self, runner_id: str) -> bool:
        """Return False: one shard has all slots of ``runner_id``."""
        del runner_id
        return False

    async def warm_slots(self) -> int:
        """Return the number of slots of the live warm runners, used and free."""
        return await self.runners.slots()

    async def cold_slots(self) -> int:
        """Return the number of cold runners that the live operators may start in all."""
        return await self.queue.cold_slots()

    async def oldest_wait_s(self) -> float:
        """Return the time that the oldest queued launch has waited, in seconds."""
        return await self.queue.oldest_wait_s()

    # --- The server

    async def ping(self) -> None:
        """Check that Redis answers."""
        await self.checks.ping()

    async def check_writable(self) -> None:
        """Write one small key."""
        await self.checks.check_writable()

    async def check_permitted(self) -> None:
        """Try each command and each kind of key that the plane needs."""
        await self.checks.check_permitted()

    async def eviction_policy(self) -> str | None:
        """Return the policy by which the server evicts keys, or None."""
        return await self.checks.eviction_policy()
