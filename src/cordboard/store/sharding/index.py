"""The index of session ids: in which of several shards an id lives.

An id has its entry in one shard, by its own hash; the session is in the shard of its room. A claim is
a random token: what is accepted in a shard is accepted by a claim of the id, and before an id moves to
another shard its claim is retired in the old one. So an accept that was sent long ago, by a gateway
that froze or died meanwhile, can never make the id live twice: no clock is asked, and nothing has
to be cleaned up.

A new id is claimed by one plain command. Whoever finds it claimed, and goes by that claim, marks it as
shared; so a refused join gives back the claim that it has made, and that nobody else goes by.
"""

from dataclasses import dataclass
from typing import Final

from cordboard.contract.errors import SessionInUseError, SessionUsedError
from cordboard.contract.launch import Launch
from cordboard.contract.state import RECOVERIES_MAX
from cordboard.store.connection import Shard, new_token
from cordboard.store.keys import CLAIM_KEPT_S


@dataclass(frozen=True, slots=True)
class Claim:
    """By what, and in which shard, a session id may be accepted.

    Attributes:
        above: The epoch that the id had elsewhere; its next one is higher.
        fresh: Made by this very call; nobody else goes by it unless it is marked as shared.
    """

    shard: int
    token: str
    above: int = 0
    fresh: bool = False

    def __str__(self) -> str:
        """Return the entry as it is written."""
        return f"{self.shard} {self.token} {self.above}"


WITHOUT: Final = Claim(0, "")  # where one shard is all


class Index(Shard):
    """The entries of those ids whose hash is this shard's, and the fences against old claims."""

    async def claim(self, launch: Launch, shard: int) -> Claim:
        """Claim an id for a shard; return whose it is."""
        ours = Claim(shard, new_token(), fresh=True)
        if await self.tell(launch, ours):
            return ours
        key, kept = self.keys.session_shard(launch.session_id), self._kept_ms(launch)
        return Claim(*await self._run("share", key, shard, ours.token, kept))

    async def tell(self, launch: Launch, claim: Claim) -> bool:
        """Write the entry of an id that has none; False where it has one."""
        key, kept = self.keys.session_shard(launch.session_id), self._kept_ms(launch)
        return bool(await self._ask("claim", "SET", key, str(claim), "NX", "PX", kept))

    async def move(self, launch: Launch, retired: str, to: Claim) -> bool:
        """Give an id whose claim was retired to another one; False when somebody else was first."""
        key, kept = self.keys.session_shard(launch.session_id), self._kept_ms(launch)
        return bool(await self._run("move", key, retired, to.shard, to.token, to.above, kept))

    async def give_back(self, session_id: str, claim: Claim) -> None:
        """Take away a claim that is void, unless somebody else goes by it."""
        await self._run("release", self.keys.session_shard(session_id), str(claim))

    async def shard_of(self, session_id: str) -> int | None:
        """Return the number of the shard in which an id lives or lived."""
        with self._errors():
            found = await self._client.get(self.keys.session_shard(session_id))
        return int(found.partition(" ")[0]) if found else None

    async def retire(self, launch: Launch, token: str) -> int:
        """See to it that nothing is accepted here by a claim; return the epoch that its id had.

        Raises:
            SessionInUseError: The id lives here.
            SessionUsedError: The id belonged to another user here.
        """
        sid, owner = launch.session_id, (launch.user_id or "", launch.tenant_id or "")
        match await self._run("retire", self.keys.session(sid), sid, token, *owner):
            case ["live", room]:
                raise in_use(sid, room)
            case ["used"]:
                raise used(sid)
            case [_, epoch]:
                return int(epoch)
            case other:
                raise AssertionError(other)

    def _kept_ms(self, launch: Launch) -> int:
        """For how long an entry is kept: beyond its session, which may run anew twice, and its record."""
        longest_s = launch.deadline_s + (RECOVERIES_MAX + 1) * launch.max_duration_s
        return round(longest_s + self.keys.record_kept_s + CLAIM_KEPT_S) * 1000

    async def forget(self, session_id: str, epoch: int) -> None:
        """Remove the record of a session that has ended here, and whose id lives elsewhere."""
        await self._run("forget", self.keys.session(session_id), session_id, epoch)


def in_use(session_id: str, room: str) -> SessionInUseError:
    """Return the error of a join whose id is live in another room."""
    return SessionInUseError(
        f"Session {session_id} is live in another room.",
        hint="End it there first, or join under another sessionId.",
        extra={"sessionId": session_id, "room_url": room},
    )


def used(session_id: str) -> SessionUsedError:
    """Return the error of a join whose id belongs to somebody else."""
    return SessionUsedError(
        f"Session id {session_id} belonged to another user.",
        hint="Join under another sessionId.",
        extra={"sessionId": session_id},
    )
