"""The decisions of an operator about sessions: assign, recover, expire and remove."""

from collections.abc import Sequence
from typing import Final

from cordboard.contract.state import RECOVERIES_MAX
from cordboard.store.connection import Connection
from cordboard.store.keys import Keys
from cordboard.store.records import (
    Assignment,
    ExpiredSession,
    HandOverCause,
    RecoveringHolder,
    RecoveryCause,
    RecoveryOutcome,
    SessionRecord,
    Suspect,
)
from cordboard.store.scripts import Scripts, new_token
from cordboard.store.sessions import SessionReader

# Only a safeguard: the deadline ends a session that every runner refuses long before.
REFUSALS_MAX: Final = 50


class Placement:
    """Which runner has a session of this shard; each method that decides is one script.

    Args:
        connection: The connection to Redis.
        keys: The key names of the shard.
        scripts: The scripts of the shard.
        reader: Reads the records of the shard.
    """

    def __init__(
        self, connection: Connection, keys: Keys, scripts: Scripts, reader: SessionReader
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._scripts = scripts
        self._reader = reader

    async def assign(
        self,
        session_id: str,
        epoch: int,
        *,
        job_name: str | None = None,
        placement: str = "spread",
        excluded: Sequence[str] = (),
    ) -> Assignment:
        """Hand a queued session to a warm runner, or with ``job_name`` to a cold start.

        Args:
            session_id: The session.
            epoch: Its epoch; another epoch assigns nothing.
            job_name: The name of the cold start.
            placement: ``spread`` chooses the warm runner with most free slots, ``pack`` that with fewest.
            excluded: Runners that must not be chosen.
        """
        reply = await self._scripts.run(
            "assign",
            self._keys.session(session_id),
            {
                "session_id": session_id,
                "epoch": epoch,
                "token": new_token(),
                "job_name": job_name,
                "placement": placement,
                "excluded": excluded,
            },
        )
        match reply:
            case ["assigned", runner_id, url, queued_ms]:
                return Assignment("assigned", runner_id, url, queued_ms=queued_ms)
            case ["none"]:
                return Assignment("none")
            case _:
                return Assignment("gone", state=reply[1])

    async def recover(
        self,
        session_id: str,
        epoch: int,
        cause: RecoveryCause | HandOverCause = "died",
        *,
        holder: RecoveringHolder | None = None,
        sign: str | None = None,
        seen_ms: int | None = None,
    ) -> RecoveryOutcome:
        """Take a session from its runner and queue it again with a higher epoch.

        Args:
            session_id: The session.
            epoch: Its epoch; another epoch changes nothing.
            cause: Why; the script checks whether it can be so.
            holder: The runner that hands the session over; None for an operator.
            sign: How the end of its bot is known, as text; by default the detail of `holder`.
            seen_ms: Milliseconds since the first sign of it.
        """
        own = holder or RecoveringHolder()
        reply = await self._scripts.run(
            "recover",
            self._keys.session(session_id),
            {
                "session_id": session_id,
                "epoch": epoch,
                "cause": cause,
                "runner_id": own.runner_id,
                "reason": own.reason,
                "detail": own.detail,
                "sign": sign or own.detail,
                "seen_ms": seen_ms,
                "recoveries_max": RECOVERIES_MAX,
                "refusals_max": REFUSALS_MAX,
                "token": own.token or new_token(),
            },
        )
        match reply:
            case ["queued", new_epoch, attempt]:
                return RecoveryOutcome("queued", new_epoch, attempt)
            case ["failed", reason]:
                return RecoveryOutcome("failed", reason=reason)
            case _:
                return RecoveryOutcome(reply[0])

    async def expire_overdue(self, limit: int = 100) -> list[ExpiredSession]:
        """End the sessions that did not run by their deadline, at most ``limit``, and return them."""
        with self._connection.errors():
            now_ms = await self._connection.now_ms()
            overdue = await self._connection.client.zrange(
                self._keys.deadlines, "-inf", now_ms, byscore=True, offset=0, num=limit
            )
        expired = []
        # One script each: a session may begin to run meanwhile, which only its own script can see.
        for session_id in overdue:
            reply = await self._scripts.run(
                "expire",
                self._keys.session(session_id),
                {"session_id": session_id, "token": new_token()},
            )
            # Another operator may have ended it first ("gone"), or a recovery moved the deadline ("early").
            if reply[0] == "expired":
                record = await self._reader.get(session_id)
                expired.append(ExpiredSession(record, runner_url=reply[2], job_name=reply[3]))
        return expired

    async def remove_old_records(self, limit: int = 200, rounds: int = 10) -> int:
        """Remove the records that have been kept long enough, and all that refers to them.

        Args:
            limit: Maximum number of records per script, during which Redis does nothing else.
            rounds: Maximum number of scripts; the next call continues.

        Returns:
            The number of records removed.
        """
        removed = 0
        for _ in range(rounds):
            count = int(await self._scripts.run("tidy", self._keys.ended, {"limit": limit}))
            removed += count
            if count < limit:
                break
        return removed

    async def suspects(self, limit: int = 100, skip: int = 0) -> list[Suspect]:
        """Return sessions whose lease has run out, the longest overdue first.

        Args:
            limit: Maximum number of sessions.
            skip: The number of sessions to leave out at the beginning.
        """
        with self._connection.errors():
            now_ms = await self._connection.now_ms()
            rows = await self._connection.client.zrange(
                self._keys.leases,
                "-inf",
                now_ms,
                byscore=True,
                offset=skip,
                num=limit,
                withscores=True,
            )
        # A session that has ended since the read of the leases has no suspect any more.
        records = await self._reader.get_many([sid for sid, _ in rows])
        return [Suspect(records[sid], now_ms - int(score)) for sid, score in rows if sid in records]

    async def sessions_of(self, runner_id: str) -> list[SessionRecord]:
        """Return the records of the sessions that are assigned to the warm runner ``runner_id``."""
        with self._connection.errors():
            session_ids = await self._connection.client.smembers(
                self._keys.runner_sessions(runner_id)
            )
        records = await self._reader.get_many(sorted(session_ids))
        return [record for record in records.values() if record.runner_id == runner_id]

    async def suspect_count(self) -> int:
        """Return the number of sessions whose lease has run out."""
        with self._connection.errors():
            now_ms = await self._connection.now_ms()
            return int(await self._connection.client.zcount(self._keys.leases, "-inf", now_ms))

    async def leased_count(self) -> int:
        """Return the number of sessions with a lease, run out or not."""
        with self._connection.errors():
            return int(await self._connection.client.zcard(self._keys.leases))

    async def live_count(self) -> int:
        """Return the number of sessions that have not ended."""
        with self._connection.errors():
            return int(await self._connection.client.zcard(self._keys.live))
