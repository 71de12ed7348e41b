"""The session plane in Redis; no other room uses Redis. Each decision is one Lua script."""

from cordboard.store.errors import mapped_errors
from cordboard.store.factory import open_store
from cordboard.store.limits import UNLIMITED, JoinLimits
from cordboard.store.outage import Outage
from cordboard.store.overview import OperatorState, Overview, RunnerState
from cordboard.store.placement import Placement
from cordboard.store.protocol import SessionStore
from cordboard.store.queue import LaunchQueue
from cordboard.store.records import (
    AcceptedJoin,
    Assignment,
    ExpiredSession,
    HandOverCause,
    Holder,
    LeaveOutcome,
    QueueEntry,
    RecoveringHolder,
    RecoveryCause,
    RecoveryOutcome,
    Registration,
    Renewal,
    SessionRecord,
    StateChange,
    Suspect,
    Suspicion,
    TakeOver,
)
from cordboard.store.redis_store import RedisStore
from cordboard.store.scripts import new_token
from cordboard.store.session_filter import SessionFilter
from cordboard.store.shared_settings import SharedSettings

__all__ = [
    "UNLIMITED",
    "AcceptedJoin",
    "Assignment",
    "ExpiredSession",
    "HandOverCause",
    "Holder",
    "JoinLimits",
    "LaunchQueue",
    "LeaveOutcome",
    "OperatorState",
    "Outage",
    "Overview",
    "Placement",
    "QueueEntry",
    "RecoveringHolder",
    "RecoveryCause",
    "RecoveryOutcome",
    "RedisStore",
    "Registration",
    "Renewal",
    "RunnerState",
    "SessionFilter",
    "SessionRecord",
    "SessionStore",
    "SharedSettings",
    "StateChange",
    "Suspect",
    "Suspicion",
    "TakeOver",
    "mapped_errors",
    "new_token",
    "open_store",
]
