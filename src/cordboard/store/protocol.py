"""What gateways and runners use of the store, however many Redis servers it has."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from cordboard.contract.launch import Launch
from cordboard.contract.lease import Periods, RenewalResult
from cordboard.contract.state import State
from cordboard.store.limits import UNLIMITED, JoinLimits
from cordboard.store.overview import Overview
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
)
from cordboard.store.redis_store import RedisStore
from cordboard.store.session_filter import ALL_SESSIONS, SessionFilter


class SessionStore(Protocol):
    """The session plane in Redis; an asynchronous context manager that closes its connections.

    ``RedisStore`` keeps all rooms in one shard, ``ShardedStore`` spreads them over several. An operator
    works on each shard by itself: ``shards`` gives it the queue and the placement of each.

    Every method raises ``StoreUnavailableError`` while Redis is unreachable or refuses commands.
    """

    @property
    def url(self) -> str:
        """The URL of Redis."""

    @property
    def periods(self) -> Periods:
        """The periods of the lease."""

    @property
    def shards(self) -> tuple[RedisStore, ...]:
        """The shards."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def close(self) -> None:
        """Close all connections."""

    # --- Joining and leaving

    async def accept(
        self,
        launch: Launch,
        *,
        queue_max: int,
        runner: Registration | None = None,
        limits: JoinLimits = UNLIMITED,
    ) -> AcceptedJoin:
        """Decide one join (docs/contract/http.md): a new session, or the live session of the room.

        Args:
            launch: The launch. The store assigns its epoch.
            queue_max: Maximum number of accepted joins that wait for a runner.
            runner: The runner that starts the session itself, without the queue.
            limits: The limits on the live sessions of the caller. A join that meets the live session of
                its room is not a further session.

        Raises:
            SessionInUseError: The session id is live in another room.
            SessionUsedError: The session id belonged to another user.
            TooManySessionsError: A limit on live sessions is reached.
            QueueFullError: The launch queue is full.
        """

    async def leave(
        self,
        *,
        session_id: str | None = None,
        room: str | None = None,
        force: bool = False,
        detail: str | None = None,
    ) -> LeaveOutcome:
        """End a session for its caller: cancel it, or mark it if its bot runs.

        Args:
            session_id: The session; may be absent if ``room`` is given.
            room: The room whose holder is to leave.
            force: End any holder of the room.
            detail: Why, in one sentence for people.

        Raises:
            NotHolderError: Another session holds the room.
        """

    # --- Reading

    async def session(self, session_id: str, *, room: str | None = None) -> SessionRecord:
        """Return the record of a session.

        Args:
            session_id: The session.
            room: Its room, if known; it saves a sharded store a read of the session index.

        Raises:
            NotFoundError: There is no such record.
        """

    async def sessions(
        self,
        wanted: SessionFilter = ALL_SESSIONS,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[SessionRecord], str | None]:
        """Return a page of sessions, newest first, and the cursor of the next page, if any.

        Args:
            wanted: Which sessions.
            limit: Maximum number of sessions.
            cursor: The cursor that the previous page returned.

        Raises:
            InvalidValueError: The cursor is invalid.
        """

    async def overview(self) -> Overview:
        """Return what the plane does at this moment."""

    # --- Holding a room

    async def launch_record(self, session_id: str, epoch: int) -> Launch:
        """Return the launch that a cold runner must start.

        Args:
            session_id: The session.
            epoch: The epoch with which the runner was started.

        Raises:
            NotFoundError: There is no such live session.
            StaleEpochError: The session has another epoch.
        """

    async def confirm_running(
        self, session_id: str, epoch: int, holder: Holder, *, room: str | None = None
    ) -> None:
        """Confirm that the bot process holds the room; only then may it call ``bot()``.

        Args:
            session_id: The session.
            epoch: The epoch of the holder.
            holder: The bot process.
            room: Its room, if known; it saves a sharded store a read of the session index.

        Raises:
            StaleEpochError: The session has another epoch.
            ConflictError: The session has ended, or another runner has it.
        """

    async def renew(self, renewals: Sequence[Renewal]) -> list[RenewalResult]:
        """Extend the leases of ``renewals`` in one round trip, and return a result for each, in order."""

    async def adopt(self, launch: Launch, holder: Holder) -> RenewalResult:
        """Restore a running session that Redis has lost.

        Args:
            launch: The launch of the session.
            holder: The bot process.

        Returns:
            ``held``, or ``lost`` if the room has been granted to another session.
        """

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
        """End a session, and return whether this call ended it.

        Args:
            session_id: The session.
            epoch: The epoch of the holder; another epoch than the session's changes nothing.
            reason: One of ``REASONS``, which determines the final state.
            detail: A further explanation.
            token: A token of the call, the same each time that the caller repeats it.
            room: Its room, if known; it saves a sharded store a read of the session index.
        """

    async def hand_over(
        self,
        session_id: str,
        epoch: int,
        cause: HandOverCause,
        holder: RecoveringHolder,
        *,
        room: str | None = None,
    ) -> RecoveryOutcome:
        """Queue a session again, with a higher epoch, for its holder, whose bot is gone.

        Args:
            session_id: The session.
            epoch: The epoch of the holder; another epoch than the session's changes nothing.
            cause: Why.
            holder: The holder.
            room: Its room, if known; it saves a sharded store a read of the session index.
        """

    async def keep_context(
        self, session_id: str, epoch: int, runner_id: str, context: str, *, room: str | None = None
    ) -> bool:
        """Keep what was said in a running session until its end, and return whether it was kept.

        Args:
            session_id: The session.
            epoch: The epoch of the holder; with another epoch than the session's, nothing is kept.
            runner_id: The holder's runner.
            context: What was said, encrypted.
            room: Its room, if known; it saves a sharded store a read of the session index.
        """

    async def kept_context(self, session_id: str, *, room: str | None = None) -> str | None:
        """Return what ``keep_context`` has kept last for a live session, or None.

        Args:
            session_id: The session.
            room: Its room, if known; it saves a sharded store a read of the session index.
        """

    async def suspect(self, session_id: str, *, pause_s: float) -> State:
        """Make the operators look at a running session at once, and return its state.

        Args:
            session_id: The session.
            pause_s: Seconds after a hint for which further hints about the session do nothing.

        Raises:
            NotFoundError: There is no such record.
        """

    # --- Warm runners

    async def register(self, runner: Registration) -> int:
        """Write the registration of a warm ``runner``, and return its number of free slots."""

    async def unregister(self, runner_id: str) -> None:
        """Remove the registration of the warm runner ``runner_id``."""

    async def needs_rebalancing(self, runner_id: str) -> bool:
        """Return whether the slots of ``runner_id`` are in one shard while joins wait in another."""

    async def warm_slots(self) -> int:
        """Return the number of slots of the live warm runners, used and free."""

    async def cold_slots(self) -> int:
        """Return the number of cold runners that the live operators may start in all."""

    async def oldest_wait_s(self) -> float:
        """Return the time that the oldest queued launch has waited, in seconds; 0 if there is none."""

    # --- The server

    async def ping(self) -> None:
        """Check that Redis answers."""

    async def check_writable(self) -> None:
        """Write one small key.

        Raises:
            StoreUnavailableError: Redis does not answer or refuses writes; the message says why.
        """

    async def check_permitted(self) -> None:
        """Try each command and each kind of key that the plane needs, on keys that hold nothing.

        Raises:
            StoreForbiddenError: The user lacks permissions; the message lists them.
        """

    async def eviction_policy(self) -> str | None:
        """Return the policy by which Redis evicts keys when its memory is full, or None."""
