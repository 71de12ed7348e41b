"""Reading session records: one, many by page, and the changes of their states."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from cordboard.contract.errors import InvalidValueError, NotFoundError, StoreUnavailableError
from cordboard.contract.state import LIVE
from cordboard.store.connection import Connection
from cordboard.store.keys import Keys
from cordboard.store.records import SessionRecord, StateChange, Suspicion, record_from_hash
from cordboard.store.session_filter import ALL_SESSIONS, SessionFilter

# The records that one page may examine. A filter that few sessions match would otherwise read every
# record of the last day for one request; the page is then short, and its cursor continues.
EXAMINED_MAX: Final = 1000
_CHANGE_POLL_S: Final = 1.0  # redis-py takes a timeout for a message; nothing depends on its length


class SessionReader:
    """Reads session records; it changes nothing.

    Args:
        connection: The connection to Redis.
        keys: The key names of the shard.
        examined_max: Maximum number of records that one page examines.
    """

    def __init__(
        self, connection: Connection, keys: Keys, *, examined_max: int = EXAMINED_MAX
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._examined_max = examined_max

    async def get(self, session_id: str) -> SessionRecord:
        """Return the record of ``session_id``.

        Raises:
            NotFoundError: There is no such record.
        """
        records = await self.get_many([session_id])
        if session_id not in records:
            raise session_not_found(session_id)
        return records[session_id]

    async def get_many(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        """Return the records of those ``session_ids`` that exist, by session id."""
        if not session_ids:
            return {}
        with self._connection.errors():
            async with self._connection.client.pipeline(transaction=False) as pipe:
                for session_id in session_ids:
                    pipe.hgetall(self._keys.session(session_id))
                hashes = await pipe.execute()
        return {fields["session_id"]: record_from_hash(fields) for fields in hashes if fields}

    async def page(
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
        index = self._index(wanted)
        # A page continues after a position, not after a number of sessions: sessions begin and end meanwhile.
        start, after = _parse_cursor(cursor)
        if cursor is None and wanted.until_ms is not None:
            start = f"({wanted.until_ms}"
        page: list[SessionRecord] = []
        examined = skipped = 0
        while len(page) < limit and examined < self._examined_max:
            rows = await self._rows(index, start, skipped, limit + 1)
            new_rows = [(sid, int(score)) for sid, score in rows if (int(score), sid) < after]
            if not new_rows:
                if len(rows) <= limit:
                    return page, None
                skipped += len(rows)  # all are of the cursor's own millisecond, before the cursor
                continue
            skipped = 0
            records = await self.get_many([sid for sid, _ in new_rows])
            for sid, score in new_rows:
                if wanted.since_ms is not None and score < wanted.since_ms:
                    return page, None
                examined += 1
                start, after = str(score), (score, sid)
                record = records.get(sid)  # None if it has expired and no operator has run since
                if record and wanted.matches(record):
                    page.append(record)
                    if len(page) == limit:
                        break
        return page, f"{after[0]}|{after[1]}"

    async def _rows(self, index: str, start: str, offset: int, limit: int) -> list[tuple[str, str]]:
        with self._connection.errors():
            rows: list[tuple[str, str]] = await self._connection.client.zrange(
                index,
                start,
                "-inf",
                desc=True,
                byscore=True,
                offset=offset,
                num=limit,
                withscores=True,
            )
        return rows

    def _index(self, wanted: SessionFilter) -> str:
        """Return the sorted set with the fewest sessions that contains all matching ones."""
        if wanted.room is not None:
            return self._keys.room_sessions(wanted.room)
        if wanted.user_id is not None:
            return self._keys.user_sessions(wanted.user_id)
        is_live = wanted.live or wanted.state in LIVE
        return self._keys.live if is_live else self._keys.sessions

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[StateChange]]:
        """Subscribe to the changes of state; no change after the block is entered is missed.

        Raises:
            StoreUnavailableError: Redis is unreachable, or the shard has moved to another server.
        """
        with self._connection.errors():
            async with self._connection.subscription(self._keys.changes) as pubsub:
                yield (StateChange(**message) async for message in self._listen(pubsub))

    @asynccontextmanager
    async def suspicions(self) -> AsyncIterator[AsyncIterator[Suspicion]]:
        """Subscribe to the sessions at which an operator is to look at once.

        Raises:
            StoreUnavailableError: Redis is unreachable, or the shard has moved to another server.
        """
        with self._connection.errors():
            async with self._connection.subscription(self._keys.suspicions) as pubsub:
                yield (Suspicion(**message) async for message in self._listen(pubsub))

    async def _listen(self, pubsub: Any) -> AsyncIterator[dict[str, Any]]:
        with self._connection.errors():
            while True:
                message = await pubsub.get_message(timeout=_CHANGE_POLL_S)
                if message is None:
                    await asyncio.sleep(0)  # a pubsub with a buffered reply returns without waiting
                elif message["type"] in {"message", "smessage"}:
                    yield json.loads(message["data"])
                else:  # a server unsubscribes its clients when the slot moves away
                    raise StoreUnavailableError("The channel has moved to another server.")


def session_not_found(session_id: str) -> NotFoundError:
    """Return the error for a ``session_id`` without a record."""
    return NotFoundError(
        f"There is no session {session_id}.",
        hint="Records are kept for a while after the end (record_kept_hours); its log lines may be "
        "kept longer.",
    )


def _parse_cursor(cursor: str | None) -> tuple[str, tuple[float, str]]:
    if cursor is None:
        return "+inf", (float("inf"), "")
    score, bar, sid = cursor.partition("|")
    if not bar or not score.isdigit():
        raise InvalidValueError(
            f"Invalid cursor {cursor[:40]!r}.", hint="Use the nextCursor of the previous page."
        )
    return score, (int(score), sid)
