"""Every key name, and every period with its unit in its name.

All keys that one decision touches carry the hash tag of their shard, so that the scripts run on a
Cluster too. The scripts get these names from ``lua_names``: none is spelt twice.
"""

import functools
import hashlib
import itertools
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from cordboard.contract.launch import DEADLINE_MAX_S, MAX_DURATION_MAX_S
from cordboard.contract.lease import LEASE_S
from cordboard.contract.state import RECOVERIES_MAX

GROUP: Final = "operators"
PLANE: Final = "plane"  # the tag of what stands beside the shards

RECORD_KEPT_S: Final = 24 * 3600  # after the end: long enough to look into yesterday's call
UNTIDY_S: Final = 3600  # beyond that a record goes by itself where no operator removes it
EPOCH_KEPT_S: Final = 7 * 24 * 3600  # far longer than any holder could go on without a renewal
SETTINGS_KEPT_S: Final = EPOCH_KEPT_S  # after the last part: beyond any session that it left
RUNNER_KEPT_S: Final = 3600
SLOTS_KEPT_S: Final = 72 * 3600  # which sessions a runner has, after its last heartbeat
CLAIM_KEPT_S: Final = 24 * 3600  # beyond the record of its session, which it has to outlive
RETIRED_KEPT_S: Final = 24 * 3600  # far longer than an accept can be on its way

LONGEST_S: Final = (RECOVERIES_MAX + 1) * (DEADLINE_MAX_S + MAX_DURATION_MAX_S)  # of any session
WRITE_CHECK_KEPT_S: Final = 60  # nobody reads it: long enough not to be made anew at each probe
LATE_S: Final = 600  # far longer than the network may hold a command that was sent a second time


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names of one shard.

    Args:
        tag: The shard's hash tag, without braces.
        lease_s: Seconds that a lease lasts.
        record_kept_s: Seconds for which a session's record is kept after its end.
    """

    tag: str = "cb0"
    lease_s: float = LEASE_S
    record_kept_s: float = RECORD_KEPT_S

    @property
    def launches(self) -> str:
        """Stream of accepted joins that no runner has taken over yet."""
        return f"launches:{{{self.tag}}}"

    @property
    def dead_letters(self) -> str:
        """Stream of entries that no operator could read or place."""
        return f"dead_letters:{{{self.tag}}}"

    @property
    def leases(self) -> str:
        """Sorted set of live sessions by the end of their lease (ms)."""
        return f"leases:{{{self.tag}}}"

    @property
    def deadlines(self) -> str:
        """Sorted set of sessions that do not run yet by their deadline (ms)."""
        return f"deadlines:{{{self.tag}}}"

    @property
    def live(self) -> str:
        """Sorted set of live sessions by the time of their join (ms)."""
        return f"live:{{{self.tag}}}"

    @property
    def sessions(self) -> str:
        """Sorted set of all kept sessions by the time of their join (ms)."""
        return f"sessions:{{{self.tag}}}"

    @property
    def ended(self) -> str:
        """Sorted set of sessions that have ended by when (ms), until their records go."""
        return f"ended:{{{self.tag}}}"

    @property
    def runners(self) -> str:
        """Sorted set of warm runners by their last heartbeat (ms)."""
        return f"standby_runners:{{{self.tag}}}"

    @property
    def runner_free(self) -> str:
        """Sorted set of warm runners by free slots."""
        return f"standby_free:{{{self.tag}}}"

    @property
    def agreed(self) -> str:
        """Hash, beside the shards: the settings that all parts of the plane share."""
        return f"agreed_settings:{{{self.tag}}}"

    @property
    def parts(self) -> str:
        """Sorted set, beside the shards: the parts of the plane by when they are forgotten (ms)."""
        return f"parts:{{{self.tag}}}"

    @property
    def changes(self) -> str:
        """Channel on which every change of state is told."""
        return f"session_changes:{{{self.tag}}}"

    @property
    def write_check(self) -> str:
        """String, with TTL: written to find out whether Redis takes writes."""
        return f"write_check:{{{self.tag}}}"

    def session(self, session_id: str) -> str:
        """Hash: the session's record."""
        return f"session:{{{self.tag}}}{session_id}"

    def room_active(self, room: str) -> str:
        """String, JSON: who holds the room."""
        return f"room_active:{{{self.tag}}}{room}"

    def room_keepalive(self, room: str) -> str:
        """String, JSON, with TTL: the holder's last sign of life."""
        return f"room_keepalive:{{{self.tag}}}{room}"

    def room_epoch(self, room: str) -> str:
        """Counter of the room's grants; the name holds a hash, as it outlives what names the room."""
        return f"room_epoch:{{{self.tag}}}{_hash(room) if room else ''}"

    def room_sessions(self, room: str) -> str:
        """Sorted set of a room's sessions by the time of their join (ms)."""
        return f"room_sessions:{{{self.tag}}}{room}"

    def user_sessions(self, user_id: str) -> str:
        """Sorted set of a user's sessions by the time of their join (ms)."""
        return f"user_sessions:{{{self.tag}}}{user_id}"

    def runner(self, runner_id: str) -> str:
        """Hash: a warm runner's address, capacity and bots."""
        return f"standby_runner:{{{self.tag}}}{runner_id}"

    def runner_sessions(self, runner_id: str) -> str:
        """Set of the sessions that are assigned to a warm runner."""
        return f"standby_sessions:{{{self.tag}}}{runner_id}"

    def session_shard(self, session_id: str) -> str:
        """String, in the shard of the id: in which shard a session id lives, and by which claim.

        The name holds a hash, as it outlives the session's record.
        """
        return f"session_shard:{{{self.tag}}}{_hash(session_id)}"

    def live_of(self, name: str) -> str:
        """Set of the live sessions of a user, a tenant or an address, by a name of `limits`."""
        return f"live_of:{{{self.tag}}}{name}"

    def retired_claim(self, claim: str) -> str:
        """String: a claim of a session id by which nothing may be accepted here any more."""
        return f"retired_claim:{{{self.tag}}}{claim}"

    def samples(self) -> list[str]:
        """Return a name of each kind of key, of no room, session or runner that there can be."""
        named = [getattr(self, name)("") + "?" for name in (*_WITH_SUFFIX, "session_shard")]
        return [f"{getattr(self, name)}?" for name in _PLAIN if name != "changes"] + named

    def lua_names(self) -> str:
        """Return the Lua tables K (key prefixes) and T (periods) that stand before each script."""
        prefixes = {
            **{name: getattr(self, name) for name in _PLAIN},
            **{name: getattr(self, name)("") for name in _WITH_SUFFIX},
            "group": GROUP,
        }
        periods = {
            "lease_ms": round(self.lease_s * 1000),
            "record_kept_ms": round(self.record_kept_s * 1000),
            "untidy_ms": UNTIDY_S * 1000,
            "slots_kept_ms": SLOTS_KEPT_S * 1000,
            "retired_kept_ms": RETIRED_KEPT_S * 1000,
            "runs_max": RECOVERIES_MAX + 1,
            "listed_ms": round((LONGEST_S + self.record_kept_s + UNTIDY_S) * 1000),
            "epoch_kept_ms": EPOCH_KEPT_S * 1000,
            "runner_kept_ms": RUNNER_KEPT_S * 1000,
            "late_ms": LATE_S * 1000,
        }
        names = ", ".join(f"{name} = '{value}'" for name, value in prefixes.items())
        times = ", ".join(f"{name} = {value}" for name, value in periods.items())
        return f"local K = {{ {names} }}\nlocal T = {{ {times} }}\n"


_PLAIN: Final = (
    "launches",
    "dead_letters",
    "leases",
    "deadlines",
    "live",
    "sessions",
    "ended",
    "parts",
    "runners",
    "runner_free",
    "write_check",
    "changes",
)
_WITH_SUFFIX: Final = (
    "session",
    "room_active",
    "room_keepalive",
    "room_epoch",
    "room_sessions",
    "user_sessions",
    "runner",
    "runner_sessions",
    "live_of",
    "retired_claim",
)


def _hash(text: str) -> str:
    """Return what the scripts' ``redis.sha1hex`` returns: a name for a key, no secret."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def shard_tags(shards: int) -> tuple[str, ...]:
    """Return the hash tags of all shards; one shard has the tag that it always had.

    A tag is chosen so that the n-th shard's slot lies in the n-th part of the slots: a cluster whose
    primaries share the slots evenly then carries the same number of shards on each.
    """
    return ("cb0",) if shards == 1 else tuple(_tag(number, shards) for number in range(shards))


@functools.cache
def _tag(number: int, shards: int) -> str:
    names = (f"cb{number}-{shards}-{attempt}" for attempt in itertools.count())
    return next(n for n in names if key_slot(n.encode()) * shards // _SLOTS == number)


def shard_of(text: str, shards: int) -> int:
    """Return the number of the shard of a canonical room, or of a session id's claim."""
    return crc32(text.encode()) % shards


_SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS
