"""The sessions of this runner: at most its capacity, one for each room, and never a lower epoch."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from cordboard.context import bound_context
from cordboard.contract.errors import BusyError, NotFoundError, NotReadyError, StaleEpochError
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.runner.bot_session import BotSession
from cordboard.runner.runner_host import RunnerHost

# How many ended sessions are kept, so that a repeated start and a late request get an answer. An
# operator repeats a start within seconds; 200 sessions are more than the largest runner ends in that
# time.
ENDED_MAX: Final = 200

# Seconds after which a refused caller may try again. A call can end at any moment; bots that are loaded
# again, and an overload, take several seconds to pass.
DRAINING_RETRY_S: Final = 5
BUSY_RETRY_S: Final = 1
OVERLOADED_RETRY_S: Final = 5

log = get_logger("runner")


@dataclass(slots=True)
class Registry:
    """Sessions by id, live ones and those that ended recently.

    Attributes:
        host: The runner.
        capacity: The number of slots.
        is_draining: Whether the runner takes no more sessions because it stops.
        is_loading: Whether it takes none because it loads its bots again.
        is_overloaded: Whether it takes none because it cannot keep up with its calls.
        unready: The bots whose ``readyz()`` refuses new sessions, with the reasons.
    """

    host: RunnerHost
    capacity: int
    is_draining: bool = False
    is_loading: bool = False
    is_overloaded: bool = False
    unready: dict[str, str] = field(default_factory=dict)
    _sessions: dict[str, BotSession] = field(default_factory=dict)
    _ended: deque[str] = field(default_factory=deque)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    # A room's lock lives as long as some start waits for it.
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    @property
    def live(self) -> list[BotSession]:
        """The sessions whose process may still exist."""
        return [session for session in self._sessions.values() if session.is_live]

    @property
    def offered(self) -> int:
        """The capacity that the runner registers: while it is overloaded, only the slots in use."""
        return min(len(self.live), self.capacity) if self.is_overloaded else self.capacity

    @property
    def free(self) -> int:
        """The number of free slots."""
        return max(self.offered - len(self.live), 0)

    @property
    def all(self) -> list[BotSession]:
        """The live sessions and those that ended recently."""
        return list(self._sessions.values())

    def get(self, session_id: str) -> BotSession:
        """Return the session with the id `session_id`.

        Raises:
            NotFoundError: This runner does not know the session.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFoundError(f"This runner has no session {session_id}.")
        return session

    def check_accepting(self) -> None:
        """Check that this runner accepts sessions at all.

        Raises:
            NotReadyError: The runner drains, loads its bots again, or none of its bots is ready.
        """
        if self.is_draining:
            raise NotReadyError(
                "This runner accepts no more sessions: it is draining.",
                retry_after_s=DRAINING_RETRY_S,
            )
        if self.is_loading:
            raise NotReadyError(
                "This runner is loading its bots again.", retry_after_s=DRAINING_RETRY_S
            )

        if self.unready and self.unready.keys() >= self.host.fork_server.bots.keys():
            raise _unready_error(self.unready)

    def check_bot(self, bot: str) -> None:
        """Check that the bot called `bot` takes sessions.

        Raises:
            NotReadyError: Its ``readyz()`` refuses them.
        """
        if bot in self.unready:
            raise _unready_error({bot: self.unready[bot]})

    def check_free_slot(self) -> None:
        """Check that this runner accepts one more session now.

        Raises:
            BusyError: No slot is free, or the runner is overloaded.
            NotReadyError: As for ``check_accepting``.
        """
        self.check_accepting()
        if self.is_overloaded:
            raise BusyError(
                "This runner cannot keep up with its present calls.",
                retry_after_s=OVERLOADED_RETRY_S,
            )
        if len(self.live) >= self.capacity:
            raise BusyError(
                f"All {self.capacity} slots of this runner are taken.", retry_after_s=BUSY_RETRY_S
            )

    async def start(self, launch: Launch) -> BotSession:
        """Start the session of `launch`; return the existing one if this start is a repetition.

        Raises:
            StaleEpochError: This runner knows a higher epoch of the session or of its room.
            BusyError: No slot is free.
            NotReadyError: The runner drains.
        """
        # One start at a time in each room: a second one must see the first one's session.
        lock = self._locks.setdefault(launch.room_url, asyncio.Lock())
        async with lock:
            return await self._start(launch)

    async def _start(self, launch: Launch) -> BotSession:
        known = self._sessions.get(launch.session_id)
        if known is not None and _is_same_grant(known.launch, launch):
            return known
        await self._end_rivals(launch, known)
        self.check_free_slot()
        self.check_bot(launch.bot)
        session = BotSession(launch, self.host)
        self._sessions[launch.session_id] = session
        with bound_context(session.context):
            try:
                await session.start()
            except BaseException:
                self._forget(session)
                raise
        self._keep_after_end(session)
        return session

    async def _end_rivals(self, launch: Launch, known: BotSession | None) -> None:
        """Refuse a stale launch; kill the bots that it replaces before its own bot starts."""
        same_room = [item for item in self.live if item.launch.room_url == launch.room_url]
        rivals = same_room if known is None else [known, *same_room]
        for rival in rivals:
            if rival.launch.epoch > launch.epoch:
                raise StaleEpochError(
                    f"Epoch {launch.epoch} is stale: this runner knows epoch {rival.launch.epoch}.",
                    extra={"sessionId": launch.session_id, "epoch": rival.launch.epoch},
                )
        for rival in rivals:
            if rival.is_live:
                with bound_context(rival.context):
                    log.warning("Lease lost to a higher epoch", event="lease.lost", by=launch.epoch)
                    await rival.kill("lease_lost")

    def _forget(self, session: BotSession) -> None:
        # The id may have been started again meanwhile.
        if self._sessions.get(session.launch.session_id) is session:
            del self._sessions[session.launch.session_id]

    def _keep_after_end(self, session: BotSession) -> None:
        task = asyncio.create_task(self._forget_oldest_after(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forget_oldest_after(self, session: BotSession) -> None:
        """Wait for the end of `session`; then keep only the newest ended sessions.

        A session whose end has not been written is kept in any case. There are never more of those than
        slots: while Redis accepts no writes, no session starts.
        """
        await session.finished.wait()
        self._ended.append(session.launch.session_id)
        while len(self._ended) > ENDED_MAX:
            oldest = self._sessions.get(self._ended.popleft())
            if oldest is not None and oldest.finished.is_set():
                self._forget(oldest)


def _unready_error(unready: Mapping[str, str]) -> NotReadyError:
    reasons = "; ".join(f"{bot}: {reason}" for bot, reason in unready.items())
    return NotReadyError(f"Not ready by readyz() of {reasons}.", retry_after_s=DRAINING_RETRY_S)


def _is_same_grant(one: Launch, other: Launch) -> bool:
    """Return whether two launches with the same session id are one grant.

    Epochs are counted for each room, and start again for an id whose record has expired.
    """
    return (one.epoch, one.room_url) == (other.epoch, other.room_url)
