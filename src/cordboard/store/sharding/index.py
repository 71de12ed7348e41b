"""The session index: in which shard a session id lives.

The entry of an id is in one shard, chosen by the hash of the id; the session is in the shard of its room.
A claim is a random token. A shard accepts a session by a claim of its id, and before an id moves to another
shard, its claim is retired in the old one. So a join that was sent long ago, by a gateway that froze or died
meanwhile, can never make the id live in two shards: this depends on no clock and needs no cleaning up.

A new id is claimed by one plain command. A gateway that finds the id claimed and uses that claim marks it
as shared. So a refused join can remove the claim that it has made, unless another join uses it.
"""

from dataclasses import dataclass
from typing import Final

from cordboard.contract.launch import Launch
from cordboard.contract.state import RECOVERIES_MAX
from cordboard.store.connection import Connection
from cordboard.store.keys import CLAIM_KEPT_S, Keys
from cordboard.store.scripts import Scripts, new_token

UNCLAIMED: Final = "?"  # stands for a claim while only the room is asked; `accept` knows it


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to accept a session id in one shard.

    Attributes:
        shard: The number of the shard.
        token: The random token of the claim.
        epoch_above: The epoch that the id had in another shard; its next epoch must be greater.
        is_new: Whether this call has made the claim. Then no other join uses it, unless it is shared.
    """

    shard: int
    token: str
    epoch_above: int = 0
    is_new: bool = False

    @property
    def entry(self) -> str:
        """The claim as an entry of the index."""
        return f"{self.shard} {self.token} {self.epoch_above}"


class SessionIndex:
    """The entries of the session ids whose hash belongs to one shard.

    Args:
        connection: The connection to Redis.
        keys: The key names of the shard.
        scripts: The scripts of the shard.
    """

    def __init__(self, connection: Connection, keys: Keys, scripts: Scripts) -> None:
        self._connection = connection
        self._keys = keys
        self._scripts = scripts

    async def claim(self, launch: Launch, shard: int) -> Claim:
        """Claim the id of ``launch`` for ``shard``, and return its claim, which may be an older one."""
        claim = Claim(shard, new_token(), is_new=True)
        # Almost every id is new, so a plain command is tried before the script.
        if await self.add(launch, claim):
            return claim
        reply = await self._scripts.run(
            "share",
            self._keys.session_shard(launch.session_id),
            {"shard": shard, "claim": claim.token, "kept_ms": self._kept_ms(launch)},
        )
        return Claim(*reply)

    async def add(self, launch: Launch, claim: Claim) -> bool:
        """Write ``claim`` as the entry of the id of ``launch``; return False if there is an entry."""
        key, kept_ms = self._keys.session_shard(launch.session_id), self._kept_ms(launch)
        reply = await self._connection.execute(
            "claim", "SET", key, claim.entry, "NX", "PX", kept_ms
        )
        return bool(reply)

    async def move(self, launch: Launch, retired: str, claim: Claim) -> bool:
        """Replace a claim, and return whether no other gateway was first.

        Args:
            launch: The launch with the session id.
            retired: The token of the claim that was retired.
            claim: The new claim.
        """
        reply = await self._scripts.run(
            "move",
            self._keys.session_shard(launch.session_id),
            {
                "retired": retired,
                "shard": claim.shard,
                "claim": claim.token,
                "epoch_above": claim.epoch_above,
                "kept_ms": self._kept_ms(launch),
            },
        )
        return bool(reply)

    async def release(self, session_id: str, claim: Claim) -> None:
        """Remove the void ``claim`` of ``session_id``, unless another join shares it."""
        await self._scripts.run(
            "release", self._keys.session_shard(session_id), {"entry": claim.entry}
        )

    async def find(self, session_id: str) -> int | None:
        """Return the number of the shard in which ``session_id`` lives or lived."""
        with self._connection.errors():
            entry = await self._connection.client.get(self._keys.session_shard(session_id))
        return int(entry.partition(" ")[0]) if entry else None

    def _kept_ms(self, launch: Launch) -> int:
        """Return the time to keep an entry: beyond the session, with all its attempts, and its record."""
        longest_s = launch.deadline_s + (RECOVERIES_MAX + 1) * launch.max_duration_s
        return round(longest_s + self._keys.record_kept_s + CLAIM_KEPT_S) * 1000
