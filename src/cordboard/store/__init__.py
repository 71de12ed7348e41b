"""Redis: the only room that speaks it. One Lua script per decision, one method per script."""

from cordboard.store.agreement import Agreement
from cordboard.store.client import Store, open_store
from cordboard.store.connection import token
from cordboard.store.limits import Limits
from cordboard.store.outage import Outage
from cordboard.store.values import (
    Accepted,
    Assignment,
    Change,
    Entry,
    Expired,
    Holder,
    Leave,
    Recovery,
    Renewal,
    RunnerInfo,
    SessionRecord,
    Suspect,
)

__all__ = [
    "Accepted",
    "Agreement",
    "Assignment",
    "Change",
    "Entry",
    "Expired",
    "Holder",
    "Leave",
    "Limits",
    "Outage",
    "Recovery",
    "Renewal",
    "RunnerInfo",
    "SessionRecord",
    "Store",
    "Suspect",
    "open_store",
    "token",
]
