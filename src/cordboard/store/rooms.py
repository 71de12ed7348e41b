"""The grant of a room: accept, running, renew, finish, leave."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

from cordboard.contract.errors import (
    ConflictError,
    NotFoundError,
    NotHolderError,
    QueueFullError,
    StaleEpochError,
    TooManySessionsError,
)
from cordboard.contract.launch import Launch, decode, encode, record_fields
from cordboard.contract.lease import RenewalResult
from cordboard.contract.state import REASONS
from cordboard.store.connection import new_token
from cordboard.store.limits import UNLIMITED, Count, JoinLimits, counts
from cordboard.store.records import AcceptedJoin, Holder, LeaveOutcome, Registration, Renewal
from cordboard.store.sessions import Sessions
from cordboard.store.sharding.index import WITHOUT, Claim, in_use, used

TOO_MANY_RETRY_S: Final = (
    10  # a caller's own session has to end first: no sooner than a call is short
)
_OF: Final = {"user": "This user", "tenant": "This tenant", "address": "This address"}


class Rooms(Sessions):
    """Who may be a room's bot; each method is one script."""

    async def accept(
        self,
        launch: Launch,
        *,
        queue_max: int,
        runner: Registration | None = None,
        limits: JoinLimits = UNLIMITED,
    ) -> AcceptedJoin:
        """Decide one join (contract, section 4): a new session, or the live one that it met.

        Args:
            launch: What was asked for; its epoch is not looked at, the store draws it.
            queue_max: How many accepted joins may wait for a runner.
            runner: The runner that starts it itself, at once; by default it is queued.
            limits: How many live sessions its caller may have; a live one that it meets is none more.

        Raises:
            SessionInUseError: The session id is live in another room.
            SessionUsedError: The session id belonged to another user.
            TooManySessionsError: The caller has reached its limit of live sessions.
            QueueFullError: The queue is at its bound.
        """
        answer = await self.ask_accept(
            launch,
            new_token(),
            queue_max=queue_max,
            runner=runner,
            counted=list(counts(launch, limits)),
        )
        return accepted(launch, answer)

    async def ask_accept(
        self,
        launch: Launch,
        by: str,
        *,
        queue_max: int,
        counted: Sequence[Count],
        runner: Registration | None = None,
        claim: Claim = WITHOUT,
    ) -> list[Any]:
        """Run the script; with a ``claim`` it may also answer that one is needed, or is no more."""
        answer: list[Any] = await self._run(
            "accept",
            self.keys.session(launch.session_id),
            launch.session_id,
            launch.room_url,
            encode(launch),
            launch.deadline_s,
            queue_max,
            by,
            runner.runner_id if runner else "",
            runner.url if runner else "",
            claim.token,
            "1" if claim.fresh else "",
            claim.above,
            json.dumps([[count.name, count.most, count.elsewhere] for count in counted]),
            *_record_pairs(launch),
        )
        return answer

    async def count_live(self, names: Sequence[str]) -> list[int]:
        """Return how many live sessions of this shard are in each of some sets."""
        with self._errors():
            async with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.scard(self.keys.live_of(name))
                return [int(found) for found in await pipe.execute()]

    async def leave(
        self, *, session_id: str | None = None, room: str | None = None, force: bool = False
    ) -> LeaveOutcome:
        """End a session for its caller; a running bot is marked, anything else cancelled at once.

        Raises:
            NotHolderError: Another session holds the room.
        """
        answer = await self._run(
            "leave",
            self.keys.launches,
            session_id or "",
            room or "",
            "1" if force else "0",
            new_token(),
        )
        match answer:
            case ["absent"]:
                return LeaveOutcome("absent", session_id or "", room or "")
            case ["not_holder", holder]:
                raise NotHolderError(
                    f"Session {session_id} does not hold the room.",
                    hint="Only the holder's sessionId, or force, ends it.",
                    extra={"room_url": room, "holder": holder},
                )
            case [outcome, sid, its_room, epoch, url]:
                return LeaveOutcome(outcome, sid, its_room, epoch, url)
            case _:
                return LeaveOutcome("cancelled", answer[1], answer[2], answer[3])

    async def launch_record(self, session_id: str, epoch: int) -> Launch:
        """Return what a cold runner is to run.

        Raises:
            NotFoundError: There is no such session, or it has ended.
            StaleEpochError: The session has been granted anew meanwhile.
        """
        with self._errors():
            text, current, attempt = await self._client.hmget(
                self.keys.session(session_id), ["launch", "epoch", "attempt"]
            )
        if not text or not current:
            raise NotFoundError(f"There is no live session {session_id}.")
        if int(current) != epoch:
            raise _stale(session_id, epoch, int(current))
        return replace(decode(text), epoch=epoch, attempt=int(attempt or 1))

    async def confirm_running(
        self,
        session_id: str,
        epoch: int,
        holder: Holder,
        *,
        room: str | None = None,  # noqa: ARG002 - for a sharded store
    ) -> None:
        """Confirm that the holder's bot may enter the room now.

        Args:
            session_id: The session.
            epoch: The holder's.
            holder: Who runs it.
            room: Its room, where it is known: spares a sharded store the look into the index.

        Raises:
            StaleEpochError: The room has been granted anew; this bot must not enter.
            ConflictError: The session has ended, or is another runner's.
        """
        answer = await self._run(
            "running",
            self.keys.session(session_id),
            session_id,
            epoch,
            holder.runner_id,
            holder.runner_url,
            holder.type,
            holder.pid,
            holder.job_name or "",
        )
        match answer:
            case ["ok"]:
                return
            case ["stale", current]:
                raise _stale(session_id, epoch, int(current))
            case _:
                raise ConflictError(
                    f"Session {session_id} cannot be run here: it is {answer[1]}.",
                    extra={"sessionId": session_id, "state": answer[1]},
                )

    async def renew(self, renewals: Sequence[Renewal]) -> list[RenewalResult]:
        """Prolong many leases in one round trip; one verdict each, in order."""
        if not renewals:
            return []
        calls = [
            (
                self.keys.session(item.session_id),
                (
                    item.session_id,
                    item.epoch,
                    round(item.loop_lag_ms, 1),
                    item.holder.runner_id,
                    item.holder.runner_url,
                    item.holder.type,
                    item.holder.pid,
                ),
            )
            for item in renewals
        ]
        with self._errors():
            return cast("list[RenewalResult]", await self._scripts.run_many("renew", calls))

    async def adopt(self, launch: Launch, holder: Holder) -> RenewalResult:
        """Tell a Redis that has lost its memory of a session that its bot lives; ``held`` or ``lost``."""
        answer = await self._run(
            "adopt",
            self.keys.session(launch.session_id),
            launch.session_id,
            launch.epoch,
            launch.room_url,
            encode(launch),
            launch.attempt,
            launch.deadline_s,
            holder.runner_id,
            holder.runner_url,
            holder.type,
            holder.pid,
            " ".join(count.name for count in counts(launch)),
            *_record_pairs(launch),
        )
        return cast("RenewalResult", answer)

    async def finish(
        self,
        session_id: str,
        epoch: int,
        reason: str,
        detail: str | None = None,
        *,
        by: str | None = None,
        room: str | None = None,  # noqa: ARG002 - for a sharded store
    ) -> bool:
        """Bring a session to the terminal state of ``reason``; True when the caller ended it.

        Args:
            session_id: The session.
            epoch: The holder's; a lower one than the session's changes nothing.
            reason: One of ``REASONS``.
            detail: More words.
            by: The caller's token, the same each time that it tries again.
            room: Its room, where it is known: spares a sharded store the look into the index.
        """
        state = REASONS[reason]
        answer = await self._run(
            "finish",
            self.keys.session(session_id),
            session_id,
            epoch,
            state,
            reason,
            detail or "",
            by or new_token(),
        )
        return bool(answer)


def accepted(launch: Launch, answer: Sequence[Any]) -> AcceptedJoin:
    """Return what the answer of ``accept`` means; raises as it does."""
    match answer:
        case ["new", epoch, created_ms]:
            return AcceptedJoin(
                launch.session_id,
                launch.room_url,
                "queued",
                epoch,
                reused=False,
                created_ms=created_ms,
            )
        case ["reused", holder, state, epoch, created_ms, stopping, _]:
            return AcceptedJoin(
                holder,
                launch.room_url,
                state,
                epoch,
                reused=True,
                created_ms=created_ms,
                stopping=bool(stopping),
            )
        case ["in_use", room]:
            raise in_use(launch.session_id, room)
        case ["used"]:
            raise used(launch.session_id)
        case ["too_many", whose, most, _]:
            raise TooManySessionsError(
                f"{_OF[whose]} has {most} live sessions, which is the limit.",
                hint="End one of them, or come back later.",
                extra={"limit": whose, "most": most},
                retry_after_s=TOO_MANY_RETRY_S,
            )
        case _:
            raise QueueFullError(
                f"{answer[1]} accepted joins wait for a runner already.",
                hint="Come back later, or add runners.",
                retry_after_s=5,
            )


def _record_pairs(launch: Launch) -> list[str]:
    """Return the names and values of the record's fields that come from its launch."""
    return [part for pair in record_fields(launch).items() for part in pair]


def _stale(session_id: str, epoch: int, current: int) -> StaleEpochError:
    return StaleEpochError(
        f"Epoch {epoch} of session {session_id} is stale: the session is at {current}.",
        extra={"sessionId": session_id, "epoch": current},
    )
