"""What goes into the store and comes out of it, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cordboard.contract.launch import Launch
from cordboard.contract.state import LIVE, State

Kind = Literal["warm", "cold"]


@dataclass(frozen=True, slots=True)
class AcceptedJoin:
    """The answer to a join: a new session, or the live one that it met.

    Attributes:
        stopping: Someone has asked the live one to end.
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
    """Who runs a session's bot.

    Attributes:
        pid: The bot's process on the runner's machine.
        job_name: The cold start that brought the runner, if any.
    """

    runner_id: str
    runner_url: str
    type: Kind
    pid: int
    job_name: str | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """One lease to prolong; ``loop_lag_ms`` is how late the bot's event loop runs.

    Attributes:
        room: The session's room, by which a sharded store finds it.
    """

    session_id: str
    epoch: int
    holder: Holder
    loop_lag_ms: float = 0.0
    room: str = ""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a warm runner says of itself every few seconds."""

    runner_id: str
    url: str
    capacity: int
    bots: tuple[str, ...] = ("default",)
    draining: bool = False
    sessions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """An entry of the launch queue; ``launch`` is None where it could not be read."""

    entry_id: str
    launch: Launch | None
    problem: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What ``assign`` decided: ``assigned``, ``none`` free, or the session is ``gone``."""

    outcome: Literal["assigned", "none", "gone"]
    runner_id: str = ""
    runner_url: str = ""
    state: str = ""
    queued_ms: int = 0


@dataclass(frozen=True, slots=True)
class LeaveOutcome:
    """What ``leave`` decided."""

    outcome: Literal["absent", "cancelled", "stopping"]
    session_id: str = ""
    room_url: str = ""
    epoch: int = 0
    runner_url: str = ""


@dataclass(frozen=True, slots=True)
class RecoveryOutcome:
    """What ``recover`` decided: queued again, failed for good, still held, or gone."""

    outcome: Literal["queued", "failed", "held", "gone"]
    epoch: int = 0
    attempt: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A session whose lease has run out by Redis's clock, since ``overdue_ms``."""

    record: "SessionRecord"
    overdue_ms: int


@dataclass(frozen=True, slots=True)
class ExpiredSession:
    """A session that did not run by its deadline, and who may still be about to start it."""

    record: "SessionRecord"
    runner_url: str
    job_name: str


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of state, as told to those who wait."""

    session_id: str
    state: State
    epoch: int
    attempt: int
    at_ms: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as Redis knows it; times are milliseconds since the epoch, by Redis's clock."""

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
    type: Kind | None = None
    runner_id: str | None = None
    runner_url: str | None = None
    job_name: str | None = None
    pid: int | None = None
    stop: str | None = None
    reason: str | None = None
    detail: str | None = None

    @property
    def live(self) -> bool:
        """Whether the session has not ended."""
        return self.state in LIVE


_STAGES = ("queued", "starting", "running", "ended")
_TEXTS = (
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
)


def record_from_hash(flat: Mapping[str, str]) -> SessionRecord:
    """Build a record from its Redis hash."""
    texts: dict[str, Any] = {name: flat.get(name) for name in _TEXTS}
    return SessionRecord(
        session_id=flat["session_id"],
        room_url=flat["room_url"],
        state=flat["state"],  # type: ignore[arg-type]  # written by our scripts alone
        epoch=int(flat["epoch"]),
        attempt=int(flat["attempt"]),
        bot=flat.get("bot", "default"),
        created_ms=int(flat["created_ms"]),
        deadline_ms=int(flat["deadline_ms"]),
        stages={name: int(flat[f"at_{name}"]) for name in _STAGES if f"at_{name}" in flat},
        pid=int(flat["pid"]) if "pid" in flat else None,
        **texts,
    )
