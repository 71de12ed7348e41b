"""The launch queue: a Redis stream that the operators read as one consumer group."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import ResponseError

from cordboard import faults
from cordboard.contract.errors import InvalidValueError
from cordboard.contract.launch import Launch, decode
from cordboard.contract.operator_name import max_cold_runners
from cordboard.store.connection import Connection
from cordboard.store.errors import is_existing_group, is_missing_group
from cordboard.store.keys import GROUP, Keys
from cordboard.store.records import QueueEntry

DEAD_LETTERS_MAX: Final = 1000  # enough to see what is wrong; an entry holds up to a launch's body
# An operator announces itself each second. A restart of it takes some seconds, in which the limits that
# depend on the number of cold runners should not change.
OPERATOR_ALIVE_MS: Final = 30_000
# Makes a released entry look abandoned to every operator, whatever idle time it claims entries after.
RELEASED_IDLE_MS: Final = 3_600_000
_LAST_ID: Final = "18446744073709551615-0"  # the greatest id of a stream


class LaunchQueue:
    """The launches of one shard that no runner has yet.

    Each operator is one consumer of the group. An entry stays pending for the consumer that has read it
    until the entry is acknowledged, released, or claimed by another consumer.

    Args:
        connection: The connection to Redis.
        keys: The key names of the shard.
    """

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._client = connection.client
        self._stream = keys.launches
        self._dead_letters = keys.dead_letters

    async def read(self, consumer: str, *, count: int, block_ms: int) -> list[QueueEntry]:
        """Return new entries for ``consumer``: at most ``count``, waiting for the first ``block_ms``."""
        with self._connection.errors():
            try:
                streams = await self._client.execute_command(
                    *("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count, "BLOCK", block_ms),
                    *("STREAMS", self._stream, ">"),
                    **await self._connection.target(self._stream),
                )
            except ResponseError as error:
                # The first operator of a plane, or one after Redis has lost its data.
                if not is_missing_group(error):
                    raise
                await self._create_group()
                return []
        return [_entry(item) for _, items in streams or [] for item in items]

    async def claim_abandoned(self, consumer: str, *, idle_ms: int, count: int) -> list[QueueEntry]:
        """Make pending entries of other consumers those of ``consumer``, and return them.

        Args:
            consumer: The consumer that takes the entries over.
            idle_ms: Time for which their consumer has not touched them.
            count: Maximum number of entries.
        """
        with self._connection.errors():
            try:
                reply = await self._client.xautoclaim(
                    self._stream, GROUP, consumer, idle_ms, count=count
                )
            except ResponseError as error:
                if not is_missing_group(error):
                    raise
                await self._create_group()
                return []
        # Redis 6.2 returns entries that were deleted while they were pending, without fields.
        return [_entry(item) for item in reply[1] if item[1]]

    async def hold(self, consumer: str, entry_ids: Sequence[str]) -> None:
        """Keep the entries of ``entry_ids`` from being claimed: ``consumer`` still works on them."""
        await self._set_idle(consumer, entry_ids, 0)

    async def release(self, consumer: str, entry_ids: Sequence[str]) -> None:
        """Let any consumer claim the entries of ``entry_ids``, which ``consumer`` gives up."""
        await self._set_idle(consumer, entry_ids, RELEASED_IDLE_MS)

    async def _set_idle(self, consumer: str, entry_ids: Sequence[str], idle_ms: int) -> None:
        if entry_ids:
            with self._connection.errors():
                await self._client.xclaim(
                    self._stream, GROUP, consumer, 0, list(entry_ids), idle=idle_ms, justid=True
                )

    async def _create_group(self) -> None:
        try:
            # From the beginning of the stream: launches may have been queued before the group existed.
            await self._client.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:  # another operator was first
            if not is_existing_group(error):
                raise

    async def acknowledge(self, entry_id: str) -> None:
        """Remove the entry ``entry_id`` from the queue."""
        # XDEL too: the length of the stream is the depth of the queue.
        with self._connection.errors():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.xack(self._stream, GROUP, entry_id)
                pipe.xdel(self._stream, entry_id)
                faults.point("acknowledge.before")
                await pipe.execute()
                faults.point("acknowledge.after")

    async def dead_letter(self, entry: QueueEntry) -> None:
        """Move an ``entry`` that no operator can read or place to the dead letters, with the reason."""
        letter = {**entry.fields, "problem": entry.problem, "entry": entry.entry_id}
        with self._connection.errors():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.xadd(self._dead_letters, letter, maxlen=DEAD_LETTERS_MAX, approximate=True)
                pipe.xack(self._stream, GROUP, entry.entry_id)
                pipe.xdel(self._stream, entry.entry_id)
                await pipe.execute()

    async def depth(self) -> int:
        """Return the number of accepted joins that wait for a runner."""
        with self._connection.errors():
            return int(await self._client.xlen(self._stream))

    async def oldest_wait_s(self) -> float:
        """Return the time that the oldest entry has waited, in seconds; 0 if the queue is empty."""
        with self._connection.errors():
            entries = await self._client.xrange(self._stream, count=1)
            now_ms = await self._connection.now_ms() if entries else 0
        if not entries:
            return 0.0
        # The id of an entry begins with the time of Redis at which it was added.
        added_ms = int(entries[0][0].partition("-")[0])
        return max((now_ms - added_ms) / 1000, 0.0)

    async def announce(self, consumer: str) -> None:
        """Report that ``consumer`` is alive.

        Before Redis 7.2 a read that returns no new entry does not reset a consumer's idle time. A read of
        its pending entries does; this one asks for those after the greatest id, of which there are none.
        """
        with self._connection.errors():
            try:
                await self._client.execute_command(
                    *("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", 1),
                    *("STREAMS", self._stream, _LAST_ID),
                    **await self._connection.target(self._stream),
                )
            except ResponseError as error:
                if not is_missing_group(error):
                    raise

    async def active_consumers(self, within_ms: int) -> list[str]:
        """Return the consumers that have announced themselves or read an entry ``within_ms``."""
        with self._connection.errors():
            rows = await self._consumer_rows()
        return [str(row["name"]) for row in rows if row["idle"] <= within_ms]

    async def consumers(self) -> list[tuple[str, int, int]]:
        """Return for each consumer its name, its idle time in milliseconds, and its pending entries."""
        with self._connection.errors():
            rows = await self._consumer_rows()
        return [(str(row["name"]), int(row["idle"]), int(row["pending"])) for row in rows]

    async def cold_slots(self) -> int:
        """Return the number of cold runners that the live operators may start in all."""
        return sum(map(max_cold_runners, await self.active_consumers(OPERATOR_ALIVE_MS)))

    async def remove_consumer(self, consumer: str) -> None:
        """Remove a ``consumer`` that stops, unless it has pending entries."""
        with self._connection.errors():
            try:
                pending = await self._client.xpending_range(
                    self._stream, GROUP, "-", "+", 1, consumername=consumer
                )
                # A consumer that is deleted takes its pending entries along: nobody would claim them.
                if not pending:
                    await self._client.xgroup_delconsumer(self._stream, GROUP, consumer)
            except ResponseError as error:
                if not is_missing_group(error):
                    raise

    async def remove_dead_consumers(self, idle_ms: int) -> None:
        """Remove the consumers without pending entries that have been idle for over ``idle_ms``."""
        with self._connection.errors():
            for row in await self._consumer_rows():
                if not row["pending"] and row["idle"] > idle_ms:
                    await self._client.xgroup_delconsumer(self._stream, GROUP, row["name"])

    async def _consumer_rows(self) -> list[dict[str, Any]]:
        """Return what Redis reports about each consumer; nothing before the group exists."""
        try:
            rows: list[dict[str, Any]] = await self._client.xinfo_consumers(self._stream, GROUP)
        except ResponseError as error:
            if not is_missing_group(error) and "no such key" not in str(error):
                raise
            return []
        return rows


def _entry(item: tuple[str, Mapping[str, str]]) -> QueueEntry:
    entry_id, fields = item
    try:
        return QueueEntry(entry_id, _launch(fields))
    except (InvalidValueError, KeyError, ValueError) as error:  # by an operator of another release
        return QueueEntry(entry_id, None, f"{type(error).__name__}: {error}", fields)


def _launch(fields: Mapping[str, str]) -> Launch:
    """Return the launch of an entry, with the epoch and the attempt of this entry."""
    launch = decode(fields["launch"])
    return replace(launch, epoch=int(fields["epoch"]), attempt=int(fields["attempt"]))
