"""Redis: the only room that speaks it. One Lua script per decision, one method per script."""

from cordboard.store.client import RedisStore, open_store
from cordboard.store.connection import new_token
from cordboard.store.limits import JoinLimits
from cordboard.store.outage import Outage
from cordboard.store.records import (
    AcceptedJoin,
    Assignment,
    ExpiredSession,
    Holder,
    LeaveOutcome,
    QueueEntry,
    RecoveryOutcome,
    Registration,
    Renewal,
    SessionRecord,
    StateChange,
    Suspect,
)
from cordboard.store.shared_settings import SharedSettings

__all__ = [
    "AcceptedJoin",
    "Assignment",
    "ExpiredSession",
    "Holder",
    "JoinLimits",
    "LeaveOutcome",
    "Outage",
    "QueueEntry",
    "RecoveryOutcome",
    "RedisStore",
    "Registration",
    "Renewal",
    "SessionRecord",
    "SharedSettings",
    "StateChange",
    "Suspect",
    "new_token",
    "open_store",
]
