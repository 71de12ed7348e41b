"""The launch queue, and what an operator decides: assign, recover, expire."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from redis.exceptions import ResponseError

from cordboard import faults
from cordboard.contract.errors import InvalidValueError
from cordboard.contract.launch import Launch, decode
from cordboard.contract.operator_name import max_cold_runners
from cordboard.contract.state import RECOVERIES_MAX
from cordboard.store.connection import new_token
from cordboard.store.errors import is_existing_group, is_missing_group
from cordboard.store.keys import GROUP
from cordboard.store.records import Assignment, ExpiredSession, QueueEntry, RecoveryOutcome, Suspect
from cordboard.store.sessions import Sessions

REFUSALS_MAX: Final = 50  # a backstop: long before, the deadline ends a session nobody takes
DEAD_LETTERS_MAX: Final = 1000
OPERATOR_LIVES_MS: Final = 30_000  # it announces itself each second; a restart takes some
RELEASED_IDLE_MS: Final = 3_600_000
_LAST_ID: Final = "18446744073709551615-0"  # the greatest of a stream

RecoveryCause = Literal["died", "unstarted", "refused"]


class Launches(Sessions):
    """The queue by consumer group, and the operator's decisions."""

    async def read_entries(self, consumer: str, *, count: int, block_ms: int) -> list[QueueEntry]:
        """Read new entries of the launch queue for one consumer of the group."""
        with self._errors():
            try:
                found = await self._client.execute_command(
                    *("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count, "BLOCK", block_ms),
                    *("STREAMS", self.keys.launches, ">"),
                    **await self._of(self.keys.launches),
                )
            except ResponseError as error:
                if not is_missing_group(error):
                    raise
                await self._make_group()
                return []
        return [_entry(item) for _, items in found or [] for item in items]

    async def claim_abandoned(self, consumer: str, *, idle_ms: int, count: int) -> list[QueueEntry]:
        """Take over entries that another consumer read and never finished."""
        with self._errors():
            try:
                answer = await self._client.xautoclaim(
                    self.keys.launches, GROUP, consumer, idle_ms, count=count
                )
            except ResponseError as error:
                if not is_missing_group(error):
                    raise
                await self._make_group()
                return []
        return [_entry(item) for item in answer[1] if item[1]]

    async def hold_entries(self, consumer: str, entry_ids: Sequence[str]) -> None:
        """Say that this consumer still works on entries, so that nobody takes them over."""
        if entry_ids:
            with self._errors():
                await self._client.xclaim(
                    self.keys.launches, GROUP, consumer, 0, list(entry_ids), justid=True
                )

    async def release_entries(self, consumer: str, entry_ids: Sequence[str]) -> None:
        """Say that this consumer does not work on entries any more: whoever looks takes them over."""
        if entry_ids:
            with self._errors():
                await self._client.xclaim(
                    self.keys.launches,
                    GROUP,
                    consumer,
                    0,
                    list(entry_ids),
                    idle=RELEASED_IDLE_MS,
                    justid=True,
                )

    async def _make_group(self) -> None:
        try:
            await self._client.xgroup_create(self.keys.launches, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not is_existing_group(error):
                raise

    async def remove_consumer(self, consumer: str) -> None:
        """Remove a consumer that stops and has nothing left to do."""
        with self._errors():
            try:
                pending = await self._client.xpending_range(
                    self.keys.launches, GROUP, "-", "+", 1, consumername=consumer
                )
                if not pending:
                    await self._client.xgroup_delconsumer(self.keys.launches, GROUP, consumer)
            except ResponseError as error:
                if not is_missing_group(error):
                    raise

    async def acknowledge(self, entry_id: str) -> None:
        """Remove an entry from the queue."""
        with self._errors():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.xack(self.keys.launches, GROUP, entry_id)
                pipe.xdel(self.keys.launches, entry_id)
                faults.point("acknowledge.before")
                await pipe.execute()
                faults.point("acknowledge.after")

    async def dead_letter(self, entry: QueueEntry) -> None:
        """Move an entry that cannot be read to the dead letters, with the reason."""
        letter = {**entry.fields, "problem": entry.problem, "entry": entry.entry_id}
        with self._errors():
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.xadd(
                    self.keys.dead_letters,
                    letter,
                    maxlen=DEAD_LETTERS_MAX,
                    approximate=True,
                )
                pipe.xack(self.keys.launches, GROUP, entry.entry_id)
                pipe.xdel(self.keys.launches, entry.entry_id)
                await pipe.execute()

    async def queue_depth(self) -> int:
        """Return how many accepted joins wait for a runner."""
        with self._errors():
            return int(await self._client.xlen(self.keys.launches))

    async def assign(
        self,
        session_id: str,
        epoch: int,
        *,
        job_name: str | None = None,
        placement: str = "spread",
        not_to: Sequence[str] = (),
    ) -> Assignment:
        """Hand a queued session to a warm runner, or, with ``job_name``, to a cold start.

        Args:
            session_id: The session.
            epoch: Its epoch; another one assigns nothing.
            job_name: The name of its cold start.
            placement: ``spread`` to the freest warm runner, or ``pack`` onto the fullest.
            not_to: Runners that are not to be chosen.
        """
        kind = "warm" if job_name is None else "cold"
        answer = await self._run(
            "assign",
            self.keys.session(session_id),
            session_id,
            epoch,
            kind,
            new_token(),
            job_name or "",
            placement,
            *not_to,
        )
        match answer:
            case ["assigned", runner_id, url, queued_ms]:
                return Assignment("assigned", runner_id, url, queued_ms=queued_ms)
            case ["none"]:
                return Assignment("none")
            case _:
                return Assignment("gone", state=answer[1])

    async def recover(
        self, session_id: str, epoch: int, why: RecoveryCause = "died"
    ) -> RecoveryOutcome:
        """Take a session from a runner and queue it again, fenced by a higher epoch.

        Args:
            session_id: The session.
            epoch: Its epoch; another one changes nothing.
            why: ``died``: its runner is lost. ``unstarted``: its hand-over was lost. ``refused``: the
                runner said no, or did not answer. The store looks whether that can be.
        """
        answer = await self._run(
            "recover",
            self.keys.session(session_id),
            session_id,
            epoch,
            why,
            RECOVERIES_MAX,
            REFUSALS_MAX,
            new_token(),
        )
        match answer:
            case ["queued", new_epoch, attempt]:
                return RecoveryOutcome("queued", new_epoch, attempt)
            case ["failed", reason]:
                return RecoveryOutcome("failed", reason=reason)
            case _:
                return RecoveryOutcome(answer[0])

    async def suspect_count(self) -> int:
        """Return how many sessions' leases have run out."""
        with self._errors():
            return int(await self._client.zcount(self.keys.leases, "-inf", await self._now_ms()))

    async def suspects(self, limit: int = 100, skip: int = 0) -> list[Suspect]:
        """Return sessions whose lease has run out, the longest overdue first."""
        with self._errors():
            now = await self._now_ms()
            found = await self._client.zrange(
                self.keys.leases, "-inf", now, byscore=True, offset=skip, num=limit, withscores=True
            )
        records = await self._records([sid for sid, _ in found])
        return [Suspect(records[sid], now - int(score)) for sid, score in found if sid in records]

    async def leased_count(self) -> int:
        """Return how many sessions have a lease, run out or not."""
        with self._errors():
            return int(await self._client.zcard(self.keys.leases))

    async def live_count(self) -> int:
        """Return how many sessions have not ended."""
        with self._errors():
            return int(await self._client.zcard(self.keys.live))

    async def oldest_wait_s(self) -> float:
        """Return for how long the oldest entry of the queue has waited; 0 when none does."""
        with self._errors():
            first = await self._client.xrange(self.keys.launches, count=1)
            now = await self._now_ms() if first else 0
        return max((now - int(first[0][0].partition("-")[0])) / 1000, 0.0) if first else 0.0

    async def announce(self, consumer: str) -> None:
        """Say that a consumer is alive, so that ``consumers`` names it.

        Before Redis 7.2 a read that finds nothing new does not count as a sign of life; one of
        what the consumer itself has pending, here from the last id on, does.
        """
        with self._errors():
            try:
                await self._client.execute_command(
                    *("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", 1),
                    *("STREAMS", self.keys.launches, _LAST_ID),
                    **await self._of(self.keys.launches),
                )
            except ResponseError as error:
                if not is_missing_group(error):
                    raise

    async def active_consumers(self, within_ms: int) -> list[str]:
        """Return the consumers that have announced themselves lately, or have read something."""
        with self._errors():
            found = await self._consumer_rows()
        return [str(item["name"]) for item in found if item["idle"] <= within_ms]

    async def _consumer_rows(self) -> list[dict[str, Any]]:
        """Return what Redis knows of each consumer; nothing before the group is made."""
        try:
            rows: list[dict[str, Any]] = await self._client.xinfo_consumers(
                self.keys.launches, GROUP
            )
        except ResponseError as error:
            if not is_missing_group(error) and "no such key" not in str(error):
                raise
            return []
        return rows

    async def cold_slots(self) -> int:
        """Return how many cold runners the operators that live may have at once."""
        return sum(
            max_cold_runners(name) for name in await self.active_consumers(OPERATOR_LIVES_MS)
        )

    async def remove_dead_consumers(self, idle_ms: int) -> None:
        """Remove consumers that have nothing left and have not been heard of for long."""
        with self._errors():
            for item in await self._consumer_rows():
                if not item["pending"] and item["idle"] > idle_ms:
                    await self._client.xgroup_delconsumer(self.keys.launches, GROUP, item["name"])

    async def tidy(self, limit: int = 200, rounds: int = 10) -> int:
        """Remove sessions whose records are kept no more, and all that names them.

        Args:
            limit: How many in one script, which keeps Redis from other work for so long.
            rounds: How many scripts at most; what is left is due the next time.
        """
        removed = 0
        for _ in range(rounds):
            count = int(await self._run("tidy", self.keys.ended, limit))
            removed += count
            if count < limit:
                break
        return removed

    async def expire_overdue(self, limit: int = 100) -> list[ExpiredSession]:
        """End the sessions that did not run by their deadline."""
        with self._errors():
            now = await self._now_ms()
            found = await self._client.zrange(
                self.keys.deadlines, "-inf", now, byscore=True, offset=0, num=limit
            )
        expired = []
        for sid in found:
            answer = await self._run("expire", self.keys.session(sid), sid, new_token())
            if answer[0] == "expired":
                expired.append(ExpiredSession(await self.session(sid), answer[2], answer[3]))
        return expired


def _entry(item: tuple[str, Mapping[str, str]]) -> QueueEntry:
    entry_id, fields = item
    try:
        return QueueEntry(entry_id, _launch(fields))
    except (InvalidValueError, KeyError, ValueError) as error:
        return QueueEntry(entry_id, None, f"{type(error).__name__}: {error}", fields)


def _launch(fields: Mapping[str, str]) -> Launch:
    """The launch as it was asked for, with the epoch and the attempt of this entry."""
    asked = decode(fields["launch"])
    return replace(asked, epoch=int(fields["epoch"]), attempt=int(fields["attempt"]))
