"""The sessions of this runner: at most its capacity, one a room, never a lower epoch."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from cordboard.context import bound_context
from cordboard.contract.errors import BusyError, NotFoundError, NotReadyError, StaleEpochError
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.runner.bot_session import BotSession, Host

ENDED_KEPT: Final = 200  # so that a repeated start and a late question get an answer

log = get_logger("runner")


@dataclass(slots=True)
class Registry:
    """Sessions by id; those that have ended are kept for a while.

    Attributes:
        host: What a session needs of its runner.
        capacity: Sessions at once.
        draining: Takes no more sessions.
        loading: Takes none until the bots are loaded anew.
        overloaded: Takes none until it keeps up with its sessions.
    """

    host: Host
    capacity: int
    draining: bool = False
    loading: bool = False
    overloaded: bool = False
    _sessions: dict[str, BotSession] = field(default_factory=dict)
    _ended: deque[str] = field(default_factory=deque)
    # A room's lock lives as long as someone waits for it.
    _starting: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    @property
    def live(self) -> list[BotSession]:
        """The sessions whose process may still be there."""
        return [session for session in self._sessions.values() if session.live]

    @property
    def offered(self) -> int:
        """The capacity that others are told: the number of its sessions while it cannot keep up."""
        return min(len(self.live), self.capacity) if self.overloaded else self.capacity

    @property
    def free(self) -> int:
        """Sessions that it could take now."""
        return max(self.offered - len(self.live), 0)

    @property
    def all(self) -> list[BotSession]:
        """Live sessions, and those that ended a while ago."""
        return list(self._sessions.values())

    def get(self, session_id: str) -> BotSession:
        """Return a session.

        Raises:
            NotFoundError: This runner does not know it.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFoundError(f"This runner has no session {session_id}.")
        return session

    def check_open(self) -> None:
        """Refuse while no sessions are taken.

        Raises:
            NotReadyError: The runner drains, or loads its bots anew.
        """
        if self.draining:
            raise NotReadyError(
                "This runner accepts no more sessions: it is draining.", retry_after_s=5
            )
        if self.loading:
            raise NotReadyError("This runner is loading its bots again.", retry_after_s=5)

    def check_room(self) -> None:
        """Refuse what cannot be taken now.

        Raises:
            BusyError: No free capacity.
            NotReadyError: As ``check_open``.
        """
        self.check_open()
        if self.overloaded:
            raise BusyError("This runner cannot keep up with its present calls.", retry_after_s=5)
        if len(self.live) >= self.capacity:
            raise BusyError(f"All {self.capacity} slots of this runner are taken.", retry_after_s=1)

    async def start(self, launch: Launch) -> BotSession:
        """Start a session, or return it when it was started under this epoch already.

        Raises:
            StaleEpochError: A higher epoch of the session or of its room is known here.
            BusyError: No free capacity.
            NotReadyError: The runner drains.
        """
        lock = self._starting.setdefault(launch.room_url, asyncio.Lock())
        async with lock:
            return await self._start(launch)

    async def _start(self, launch: Launch) -> BotSession:
        known = self._sessions.get(launch.session_id)
        if known is not None and _is_same(known.launch, launch):
            return known
        await self._fence(launch, known)
        self.check_room()
        session = BotSession(launch, self.host)
        self._sessions[launch.session_id] = session
        with bound_context(session.context):
            try:
                await session.start()
            except BaseException:
                self._forget(session)
                raise
        self._note_end(session)
        return session

    async def _fence(self, launch: Launch, known: BotSession | None) -> None:
        """Refuse what is stale; end what this launch replaces, before its bot comes."""
        same_room = [item for item in self.live if item.launch.room_url == launch.room_url]
        rivals = same_room if known is None else [known, *same_room]
        for rival in rivals:
            if rival.launch.epoch > launch.epoch:
                raise StaleEpochError(
                    f"Epoch {launch.epoch} is stale here: {rival.launch.epoch} is known.",
                    extra={"sessionId": launch.session_id, "epoch": rival.launch.epoch},
                )
        for rival in rivals:
            if rival.live:
                with bound_context(rival.context):
                    log.warning("Lease lost to a higher epoch", event="lease.lost", by=launch.epoch)
                    await rival.kill("lease_lost")

    def _forget(self, session: BotSession) -> None:
        if self._sessions.get(session.launch.session_id) is session:
            del self._sessions[session.launch.session_id]

    def _note_end(self, session: BotSession) -> None:
        """Keep the newest ended sessions only, and each whose end has not been written.

        Of those there are never more than slots: while Redis takes no writes no session starts.
        """

        async def wait() -> None:
            await session.finished.wait()
            self._ended.append(session.launch.session_id)
            while len(self._ended) > ENDED_KEPT:
                oldest = self._sessions.get(self._ended.popleft())
                if oldest is not None and oldest.finished.is_set():
                    self._forget(oldest)

        task = asyncio.create_task(wait())
        _kept.add(task)
        task.add_done_callback(_kept.discard)


def _is_same(one: Launch, other: Launch) -> bool:
    """Return whether two starts of an id are one that was repeated.

    Epochs are counted by room, and begin anew for an id whose record is kept no more.
    """
    return (one.epoch, one.room_url) == (other.epoch, other.room_url)


_kept: set[asyncio.Task[None]] = set()
