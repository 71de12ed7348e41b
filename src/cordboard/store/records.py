"""The values that the store takes and returns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from cordboard.contract.launch import Launch
from cordboard.contract.state import LIVE, State

RunnerType = Literal["warm", "cold"]
RecoveryCause = Literal["died", "confirmed", "unstarted", "refused"]
"""Why an operator takes a session from its runner. ``died``: the runner is lost, and the lease has run out.
``confirmed``: its death is confirmed. ``unstarted``: the hand-over was lost. ``refused``: the runner refused
the session or did not answer."""

HandOverCause = Literal["bot_died", "draining"]
"""Why a runner hands over a session that it holds. ``bot_died``: its process was killed. ``draining``: the
runner stops."""


@dataclass(frozen=True, slots=True)
class AcceptedJoin:
    """The answer to a join: a new session, or the live session of the room.

    Attributes:
        session_id: The session.
        room_url: Its room.
        status: Its state.
        epoch: Its epoch.
        reused: Whether the session was live already.
        created_ms: The time of its join.
        stopping: Whether its caller has asked to end it.
    """

    session_id: str
    room_url: str
    status: State
    epoch: int
    reused: bool
    created_ms: int
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Holder:
    """The bot process that holds a room.

    Attributes:
        runner_id: Its runner.
        runner_url: The URL of the runner.
        type: The type of the runner.
        pid: The bot process on the machine of the runner.
        job_name: The cold start of the runner, if it is cold.
        build: What runs in the process: hashes and versions.
    """

    runner_id: str
    runner_url: str
    type: RunnerType
    pid: int
    job_name: str | None = None
    build: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A lease to extend.

    Attributes:
        session_id: The session.
        epoch: The epoch of the holder.
        holder: The holder.
        loop_lag_ms: The lag of the bot's event loop.
        room: The room of the session; a sharded store finds the session by it.
    """

    session_id: str
    epoch: int
    holder: Holder
    loop_lag_ms: float = 0.0
    room: str = ""


@dataclass(frozen=True, slots=True)
class Registration:
    """The registration of a warm runner.

    Attributes:
        runner_id: The runner.
        url: Its URL.
        capacity: Its number of slots.
        bots: The names of its bots.
        draining: Whether it takes no new sessions.
        pod: The Kubernetes pod that it runs in, as NAMESPACE/NAME; empty elsewhere.
    """

    runner_id: str
    url: str
    capacity: int
    bots: tuple[str, ...] = ("default",)
    draining: bool = False
    pod: str = ""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """An entry of the launch queue.

    Attributes:
        entry_id: The id of the entry in the Redis stream.
        launch: The launch; None if the entry could not be read.
        problem: Why the entry could not be read.
        fields: The fields of an entry that could not be read.
    """

    entry_id: str
    launch: Launch | None
    problem: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """The result of ``Placement.assign``.

    Attributes:
        outcome: ``assigned``; ``none``: no warm runner is free; ``gone``: the session is no longer queued.
        runner_id: The runner.
        runner_url: Its URL.
        state: The state of a session that is gone.
        queued_ms: The time that the session spent in the queue.
    """

    outcome: Literal["assigned", "none", "gone"]
    runner_id: str = ""
    runner_url: str = ""
    state: str = ""
    queued_ms: int = 0


@dataclass(frozen=True, slots=True)
class LeaveOutcome:
    """The result of ``SessionStore.leave``.

    Attributes:
        outcome: ``absent``: there is no live session; ``cancelled``: it has ended before it ran;
            ``ended``: it has ended while its bot was being replaced; ``stopping``: its runner must end it.
        session_id: The session.
        room_url: Its room.
        epoch: Its epoch.
        runner_url: The URL of its runner.
    """

    outcome: Literal["absent", "cancelled", "ended", "stopping"]
    session_id: str = ""
    room_url: str = ""
    epoch: int = 0
    runner_url: str = ""


@dataclass(frozen=True, slots=True)
class RecoveryOutcome:
    """The result of ``Placement.recover`` and of ``SessionStore.hand_over``.

    Attributes:
        outcome: ``queued`` again; ``failed`` for good; still ``held`` by its runner; ``gone``: it has ended
            or has another epoch.
        epoch: The new epoch.
        attempt: The number of the new attempt.
        reason: The reason of the failure.
    """

    outcome: Literal["queued", "failed", "held", "gone"]
    epoch: int = 0
    attempt: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RecoveringHolder:
    """A holder that hands its own session over.

    Attributes:
        runner_id: The runner; the session stays as it is if another one holds it.
        reason: The reason of the session's end if it may not run again; None for the usual one.
        detail: The reason as text.
        token: A token of the call, the same each time that the runner repeats it.
    """

    runner_id: str | None = None
    reason: str | None = None
    detail: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Suspect:
    """A session whose lease has run out.

    Attributes:
        record: The session.
        overdue_ms: The time since the lease ran out, by the clock of Redis.
    """

    record: "SessionRecord"
    overdue_ms: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A hint that a session's bot or runner may be dead.

    Attributes:
        session_id: The session.
        epoch: Its epoch.
    """

    session_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ExpiredSession:
    """A session that did not run by its deadline.

    Attributes:
        record: The session.
        runner_url: The URL of the runner that may still start it.
        job_name: The cold start that may still start it.
    """

    record: "SessionRecord"
    runner_url: str
    job_name: str


@dataclass(frozen=True, slots=True)
class StateChange:
    """A published change of a session's state.

    Attributes:
        session_id: The session.
        state: Its new state.
        epoch: Its epoch.
        attempt: The number of its attempt.
        at_ms: The time of the change.
        reason: The reason of a final state.
    """

    session_id: str
    state: State
    epoch: int
    attempt: int
    at_ms: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TakeOver:
    """One time that a session was queued again because its bot was gone.

    Attributes:
        epoch: The epoch that it got.
        attempt: The number of the attempt.
        cause: The cause: one of `RecoveryCause` or `HandOverCause`.
        runner_id: The runner that had it; None for a cold one that never came.
        at_ms: When that was.
        sign: How its end was known, as text; None if nothing but the cause is known.
        seen_ms: Milliseconds from the first sign of it until then.
        taken_by: The runner that continued the session; None until a bot runs.
        ran_ms: When that bot ran.
    """

    epoch: int
    attempt: int
    cause: str
    runner_id: str | None
    at_ms: int
    sign: str | None = None
    seen_ms: int = 0
    taken_by: str | None = None
    ran_ms: int | None = None

    @property
    def silence_ms(self) -> int | None:
        """For how long no bot ran, from the first sign of the end; None until one runs."""
        return None if self.ran_ms is None else self.ran_ms - self.at_ms + self.seen_ms


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """The session record in Redis; docs/contract/redis.md describes each field.

    Times are milliseconds since the Unix epoch, by the clock of Redis. ``stages`` holds the time of each
    stage that the session has passed. ``build`` is what runs in it. ``stop`` is the reason with which a running session is to end,
    ``recovery`` the cause of the last recovery, ``take_overs`` the last ones of them.
    """

    session_id: str
    room_url: str
    state: State
    epoch: int
    attempt: int
    bot: str
    created_ms: int
    deadline_ms: int
    stages: Mapping[str, int]
    user_id: str | None = None
    user_name: str | None = None
    tenant_id: str | None = None
    traceparent: str | None = None
    type: RunnerType | None = None
    runner_id: str | None = None
    runner_url: str | None = None
    job_name: str | None = None
    pid: int | None = None
    stop: str | None = None
    reason: str | None = None
    detail: str | None = None
    recovery: str | None = None
    take_overs: tuple[TakeOver, ...] = ()
    build: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether the session has not ended."""
        return self.state in LIVE


_STAGES: Final = ("queued", "starting", "running", "recovered", "ended")
_TEXT_FIELDS: Final = (
    "user_id",
    "user_name",
    "tenant_id",
    "traceparent",
    "type",
    "runner_id",
    "runner_url",
    "job_name",
    "stop",
    "reason",
    "detail",
    "recovery",
)


def record_from_hash(fields: Mapping[str, str]) -> SessionRecord:
    """Return the session record that the ``fields`` of a Redis hash hold."""
    texts: dict[str, Any] = {name: fields.get(name) for name in _TEXT_FIELDS}
    return SessionRecord(
        session_id=fields["session_id"],
        room_url=fields["room_url"],
        state=cast("State", fields["state"]),  # only the scripts write it
        epoch=int(fields["epoch"]),
        attempt=int(fields["attempt"]),
        bot=fields.get("bot", "default"),
        created_ms=int(fields["created_ms"]),
        deadline_ms=int(fields["deadline_ms"]),
        stages={name: int(fields[f"at_{name}"]) for name in _STAGES if f"at_{name}" in fields},
        pid=int(fields["pid"]) if "pid" in fields else None,
        build=json.loads(fields.get("build", "{}")),
        take_overs=tuple(map(_take_over, json.loads(fields.get("take_overs", "[]")))),
        **texts,
    )


def _take_over(fields: Mapping[str, Any]) -> TakeOver:
    numbers = ("epoch", "attempt", "at_ms", "seen_ms", "ran_ms")
    texts = ("cause", "sign", "taken_by")
    values: dict[str, Any] = {name: int(fields[name]) for name in numbers if name in fields}
    values |= {name: fields[name] for name in texts if name in fields}
    return TakeOver(runner_id=fields.get("runner"), **values)
