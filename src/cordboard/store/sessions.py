"""Session records: reading one, paging through many, hearing of changes."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from cordboard.contract.errors import InvalidValueError, NotFoundError, StoreUnavailableError
from cordboard.contract.state import LIVE, State
from cordboard.store.connection import Shard
from cordboard.store.records import SessionRecord, StateChange, record_from_hash

_PAGE_SCAN_MAX: Final = 1000  # records looked at for one page, however few of them match


class Sessions(Shard):
    """Looking at sessions; nothing here changes one."""

    async def session(
        self,
        session_id: str,
        *,
        room: str | None = None,  # noqa: ARG002 - for a sharded store
    ) -> SessionRecord:
        """Return one session's record.

        Args:
            session_id: The session.
            room: Its room, where it is known: spares a sharded store the look into the index.

        Raises:
            NotFoundError: There is none; it ended longer ago than records are kept, or never was.
        """
        records = await self._records([session_id])
        if session_id not in records:
            raise no_session(session_id)
        return records[session_id]

    async def sessions(
        self,
        *,
        state: State | None = None,
        room: str | None = None,
        user_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[list[SessionRecord], str | None]:
        """Return a page of sessions, newest first, and the cursor of the next page, if any."""
        index = self._index(state, room, user_id)
        start, after = _parse_cursor(cursor)
        page: list[SessionRecord] = []
        scanned = skipped = 0
        while len(page) < limit and scanned < _PAGE_SCAN_MAX:
            with self._errors():
                found = await self._client.zrange(
                    index,
                    start,
                    "-inf",
                    desc=True,
                    byscore=True,
                    offset=skipped,
                    num=limit + 1,
                    withscores=True,
                )
            fresh = [(sid, int(score)) for sid, score in found if (int(score), sid) < after]
            if not fresh:
                if len(found) <= limit:
                    return page, None
                skipped += len(found)  # all of the cursor's own millisecond, and seen
                continue
            skipped = 0
            records = await self._records([sid for sid, _ in fresh])
            for sid, score in fresh:
                scanned += 1
                start, after = str(score), (score, sid)
                record = records.get(sid)
                if record and _matches(record, state, room, user_id):
                    page.append(record)
                    if len(page) == limit:
                        break
        return page, f"{after[0]}|{after[1]}"

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[StateChange]]:
        """Listen to changes of state; those after the block is entered are all seen."""
        with self._errors():
            async with self._subscribed(self.keys.changes) as pubsub:
                yield self._listen(pubsub)

    async def _listen(self, pubsub: Any) -> AsyncIterator[StateChange]:
        with self._errors():
            while True:
                message = await pubsub.get_message(timeout=1.0)
                if message is None:
                    await asyncio.sleep(0)
                elif message["type"] in {"message", "smessage"}:
                    yield _change(message["data"])
                else:  # the shard has moved away from here: come back, and look for it
                    raise StoreUnavailableError("The channel has moved to another server.")

    def _index(self, state: State | None, room: str | None, user_id: str | None) -> str:
        if room is not None:
            return self.keys.room_sessions(room)
        if user_id is not None:
            return self.keys.user_sessions(user_id)
        return self.keys.live if state in LIVE else self.keys.sessions

    async def _records(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        if not session_ids:
            return {}
        with self._errors():
            async with self._client.pipeline(transaction=False) as pipe:
                for sid in session_ids:
                    pipe.hgetall(self.keys.session(sid))
                flats = await pipe.execute()
        return {flat["session_id"]: record_from_hash(flat) for flat in flats if flat}


def no_session(session_id: str) -> NotFoundError:
    """Return the error for a session that there is none of."""
    return NotFoundError(
        f"There is no session {session_id}.",
        hint="Records are kept for a while after the end (record_kept_hours); its log lines may be "
        "kept longer.",
    )


def _change(text: str) -> StateChange:
    return StateChange(**json.loads(text))


def _parse_cursor(cursor: str | None) -> tuple[str, tuple[float, str]]:
    if cursor is None:
        return "+inf", (float("inf"), "")
    score, bar, sid = cursor.partition("|")
    if not bar or not score.isdigit():
        raise InvalidValueError(
            f"cursor {cursor[:40]!r} is none of ours.", hint="Hand back the nextCursor of a page."
        )
    return score, (int(score), sid)


def _matches(
    record: SessionRecord, state: State | None, room: str | None, user_id: str | None
) -> bool:
    return (
        (state is None or record.state == state)
        and (room is None or record.room_url == room)
        and (user_id is None or record.user_id == user_id)
    )
