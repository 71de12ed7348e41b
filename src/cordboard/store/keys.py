"""The names of all Redis keys, and how long each is kept. docs/contract/redis.md describes the values.

All keys of one decision have the hash tag of their shard, so that the scripts run in a cluster too. The
scripts get the names from ``lua_tables``, so that each is spelled once.
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
PLANE: Final = "plane"  # the hash tag of the keys that all shards of a plane share

RECORD_KEPT_S: Final = 24 * 3600  # after the end: long enough to examine a call of yesterday
UNTIDY_S: Final = 3600  # after that a record expires, in case no operator has removed it
EPOCH_KEPT_S: Final = 7 * 24 * 3600  # far longer than a holder can run without a renewal
SETTINGS_KEPT_S: Final = EPOCH_KEPT_S  # after the last process: longer than any session it left
RUNNER_KEPT_S: Final = 3600  # after the last heartbeat; a runner beats every few seconds
SLOTS_KEPT_S: Final = 72 * 3600  # the sessions of a runner, after its last heartbeat
CLAIM_KEPT_S: Final = 24 * 3600  # after the session record, which the claim must outlive
RETIRED_KEPT_S: Final = 24 * 3600  # far longer than a command can be delayed

LONGEST_S: Final = (RECOVERIES_MAX + 1) * (DEADLINE_MAX_S + MAX_DURATION_MAX_S)  # of any session
WRITE_CHECK_KEPT_S: Final = 60  # longer than the interval of probes, so that Redis keeps one key
LATE_S: Final = 600  # far longer than the network delays a command that was sent again


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
        """Stream: the launches that no runner has yet."""
        return f"launches:{{{self.tag}}}"

    @property
    def dead_letters(self) -> str:
        """Stream: the launches that no operator could read or place."""
        return f"dead_letters:{{{self.tag}}}"

    @property
    def leases(self) -> str:
        """Sorted set: the leased sessions, by the end of their lease (ms)."""
        return f"leases:{{{self.tag}}}"

    @property
    def deadlines(self) -> str:
        """Sorted set: the sessions that do not run yet, by their deadline (ms)."""
        return f"deadlines:{{{self.tag}}}"

    @property
    def live(self) -> str:
        """Sorted set: the live sessions, by the time of their join (ms)."""
        return f"live:{{{self.tag}}}"

    @property
    def sessions(self) -> str:
        """Sorted set: all sessions that have a record, by the time of their join (ms)."""
        return f"sessions:{{{self.tag}}}"

    @property
    def ended(self) -> str:
        """Sorted set: the ended sessions whose records have not expired, by the time of their end (ms)."""
        return f"ended:{{{self.tag}}}"

    @property
    def runners(self) -> str:
        """Sorted set: the warm runners, by their last heartbeat (ms)."""
        return f"standby_runners:{{{self.tag}}}"

    @property
    def runner_free(self) -> str:
        """Sorted set: the warm runners, by their free slots."""
        return f"standby_free:{{{self.tag}}}"

    @property
    def agreed(self) -> str:
        """Hash with the tag ``plane``: the settings that all processes of the plane share."""
        return f"agreed_settings:{{{self.tag}}}"

    @property
    def parts(self) -> str:
        """Sorted set with the tag ``plane``: the running processes, by the end of their lease (ms)."""
        return f"parts:{{{self.tag}}}"

    @property
    def changes(self) -> str:
        """Channel: every change of a session's state."""
        return f"session_changes:{{{self.tag}}}"

    @property
    def suspicions(self) -> str:
        """Channel: the sessions at which an operator is to look at once."""
        # The name begins like ``changes``, so that an ACL that permits that channel permits this one.
        return f"session_changes:{{{self.tag}}}suspects"

    @property
    def write_check(self) -> str:
        """String with TTL: written to check that Redis accepts writes."""
        return f"write_check:{{{self.tag}}}"

    def session(self, session_id: str) -> str:
        """Hash: the record of ``session_id``."""
        return f"session:{{{self.tag}}}{session_id}"

    def kept_context(self, session_id: str) -> str:
        """String with TTL, encrypted: what was said in ``session_id``, for the bot process that continues it."""
        # No session id contains "#". An ACL that permits the records permits these keys.
        return self.session(session_id) + _CONTEXT

    def room_active(self, room: str) -> str:
        """String, JSON: the holder of ``room``."""
        return f"room_active:{{{self.tag}}}{room}"

    def room_keepalive(self, room: str) -> str:
        """String, JSON, with TTL: the keepalive of the holder of ``room``."""
        return f"room_keepalive:{{{self.tag}}}{room}"

    def room_epoch(self, room: str) -> str:
        """Counter: the epoch of ``room``.

        The key contains a hash, because it outlives everything that names the room.
        """
        return f"room_epoch:{{{self.tag}}}{_hash(room) if room else ''}"

    def room_sessions(self, room: str) -> str:
        """Sorted set: the sessions of ``room``, by the time of their join (ms)."""
        return f"room_sessions:{{{self.tag}}}{room}"

    def user_sessions(self, user_id: str) -> str:
        """Sorted set: the sessions of ``user_id``, by the time of their join (ms)."""
        return f"user_sessions:{{{self.tag}}}{user_id}"

    def runner(self, runner_id: str) -> str:
        """Hash: the registration of the warm runner ``runner_id``."""
        return f"standby_runner:{{{self.tag}}}{runner_id}"

    def runner_sessions(self, runner_id: str) -> str:
        """Set: the sessions that are assigned to the warm runner ``runner_id``."""
        return f"standby_sessions:{{{self.tag}}}{runner_id}"

    def session_shard(self, session_id: str) -> str:
        """String, in the shard of the id: the shard and the claim of ``session_id``.

        The key contains a hash, because it outlives the session record.
        """
        return f"session_shard:{{{self.tag}}}{_hash(session_id)}"

    def live_of(self, name: str) -> str:
        """Set: the live sessions of the limit set ``name``, of a user, a tenant or an address."""
        return f"live_of:{{{self.tag}}}{name}"

    def retired_claim(self, claim: str) -> str:
        """String with TTL: a retired ``claim``, with which this shard no longer accepts a join."""
        return f"retired_claim:{{{self.tag}}}{claim}"

    def sample_keys(self) -> list[str]:
        """Return one key of each kind that no room, session or runner can have."""
        # No canonical room and no id is "?" alone, so nothing has these keys.
        named = [getattr(self, name)("") + "?" for name in (*_WITH_SUFFIX, "session_shard")]
        return [f"{getattr(self, name)}?" for name in _PLAIN if name not in _CHANNELS] + named

    def lua_tables(self) -> str:
        """Return Lua source with the tables K (key prefixes) and T (periods) for the scripts."""
        prefixes = {
            **{name: getattr(self, name) for name in _PLAIN},
            **{name: getattr(self, name)("") for name in _WITH_SUFFIX},
            "group": GROUP,
            "context_suffix": _CONTEXT,
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


_CONTEXT: Final = "#context"

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
    "suspicions",
)
_CHANNELS: Final = frozenset({"changes", "suspicions"})
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
    """Return the hash that ``redis.sha1hex`` returns in the scripts. It hides no secret."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def shard_tags(shards: int) -> tuple[str, ...]:
    """Return the hash tags of all ``shards``.

    The hash slot of the n-th tag lies in the n-th part of the slots. So a cluster whose primaries have
    equal parts of the slots has the same number of shards on each primary.
    """
    return ("cb0",) if shards == 1 else tuple(_tag(number, shards) for number in range(shards))


@functools.cache
def _tag(number: int, shards: int) -> str:
    # Any text will do as a tag; the attempt changes its hash slot.
    names = (f"cb{number}-{shards}-{attempt}" for attempt in itertools.count())
    return next(n for n in names if key_slot(n.encode()) * shards // _SLOTS == number)


def shard_of(text: str, shards: int) -> int:
    """Return the number of the shard of ``text``, a canonical room or a session id, of ``shards``."""
    return crc32(text.encode()) % shards


_SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS
