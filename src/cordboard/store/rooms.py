"""What `accept` takes and returns, and the errors of joins, leaves and holders."""

import json
from collections.abc import Sequence
from typing import Any, Final

from cordboard.contract.errors import (
    CordboardError,
    NotHolderError,
    QueueFullError,
    SessionInUseError,
    SessionUsedError,
    StaleEpochError,
    TooManySessionsError,
)
from cordboard.contract.launch import Launch, encode, record_fields
from cordboard.store.limits import LimitSet
from cordboard.store.records import AcceptedJoin, Holder, Registration

# One of the caller's own sessions has to end first, and few calls are shorter.
TOO_MANY_RETRY_AFTER_S: Final = 10
# The gateway shortens it to half of the time that the oldest launch has waited.
QUEUE_FULL_RETRY_AFTER_S: Final = 5
_LIMIT_OWNERS: Final = {"user": "This user", "tenant": "This tenant", "address": "This address"}


def accept_arguments(
    launch: Launch,
    token: str,
    *,
    queue_max: int,
    limit_sets: Sequence[LimitSet],
    runner: Registration | None = None,
) -> dict[str, Any]:
    """Return the arguments of the script `accept` for one shard.

    Args:
        launch: The launch; the script assigns its epoch.
        token: A token of the call.
        queue_max: Maximum length of the launch queue.
        limit_sets: The limit sets in which the session counts.
        runner: The runner that starts the session itself; None queues the launch.
    """
    return {
        "session_id": launch.session_id,
        "room": launch.room_url,
        "launch": encode(launch),
        "deadline_s": launch.deadline_s,
        "queue_max": queue_max,
        "token": token,
        "runner_id": runner.runner_id if runner else None,
        "runner_url": runner.url if runner else None,
        "counts": [(item.name, item.max, item.elsewhere) for item in limit_sets],
        "record": record_fields(launch),  # strings, as the hash in Redis holds them
    }


def accepted_join(launch: Launch, reply: Sequence[Any]) -> AcceptedJoin:
    """Return what a ``reply`` of the script `accept` to ``launch`` means.

    Raises:
        SessionInUseError: The session id is live in another room.
        SessionUsedError: The session id belonged to another user.
        TooManySessionsError: A limit on live sessions is reached.
        QueueFullError: The launch queue is full.
    """
    match reply:
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
        case _:  # a refusal
            raise _join_error(launch.session_id, reply)


def _join_error(session_id: str, reply: Sequence[Any]) -> CordboardError:
    match reply:
        case ["in_use", room]:
            return session_in_use(session_id, room)
        case ["used"]:
            return session_used(session_id)
        case ["too_many", owner, limit, _]:
            return TooManySessionsError(
                f"{_LIMIT_OWNERS[owner]} has {limit} live sessions, which is the limit.",
                hint="End one of them, or try again later.",
                extra={"limit": owner, "most": limit},
                retry_after_s=TOO_MANY_RETRY_AFTER_S,
            )
        case _:
            return QueueFullError(
                f"The launch queue is full: {reply[1]} accepted joins wait for a runner.",
                hint="Try again later, or add runners.",
                retry_after_s=QUEUE_FULL_RETRY_AFTER_S,
            )


def holder_arguments(holder: Holder) -> dict[str, Any]:
    """Return the ``holder`` as the scripts read it."""
    arguments = {
        "runner_id": holder.runner_id,
        "runner_url": holder.runner_url,
        "type": holder.type,
        "pid": holder.pid,
    }
    if holder.build:
        arguments["build"] = json.dumps(dict(holder.build))
    return arguments


def session_in_use(session_id: str, room: str) -> SessionInUseError:
    """Return the error of a join whose ``session_id`` is live in another ``room``."""
    return SessionInUseError(
        f"Session {session_id} is live in another room.",
        hint="End it there first, or join with another sessionId.",
        extra={"sessionId": session_id, "room_url": room},
    )


def session_used(session_id: str) -> SessionUsedError:
    """Return the error of a join whose ``session_id`` belonged to another user."""
    return SessionUsedError(
        f"Session id {session_id} belonged to another user.",
        hint="Join with another sessionId.",
        extra={"sessionId": session_id},
    )


def not_holder(session_id: str | None, room: str | None, holder: str) -> NotHolderError:
    """Return the error of a leave: ``holder``, not ``session_id``, holds the ``room``."""
    return NotHolderError(
        f"Session {session_id} does not hold the room.",
        hint="Only the holder's sessionId, or force, ends it.",
        extra={"room_url": room, "holder": holder},
    )


def stale_epoch(session_id: str, epoch: int, current: int) -> StaleEpochError:
    """Return the error for an ``epoch`` of ``session_id`` that is not its ``current`` one."""
    return StaleEpochError(
        f"Epoch {epoch} of session {session_id} is stale: its current epoch is {current}.",
        extra={"sessionId": session_id, "epoch": current},
    )
