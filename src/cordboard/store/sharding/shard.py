"""One shard of several: its store, its part of the session index, and its claims."""

from collections.abc import Sequence
from typing import Any

from cordboard.contract.launch import Launch
from cordboard.store.limits import LimitSet
from cordboard.store.records import Registration
from cordboard.store.redis_store import RedisStore
from cordboard.store.rooms import accept_arguments, session_in_use, session_used
from cordboard.store.sharding.index import Claim, SessionIndex


class Shard:
    """One shard as a sharded store uses it.

    Args:
        store: The store of the shard.

    Attributes:
        store: The store of the shard.
        index: The entries of the session index in this shard.
    """

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.index = SessionIndex(store.connection, store.keys, store.scripts)

    async def accept(
        self,
        launch: Launch,
        token: str,
        claim: Claim,
        *,
        queue_max: int,
        limit_sets: Sequence[LimitSet],
        runner: Registration | None = None,
    ) -> list[Any]:
        """Run the script `accept` with a claim, and return its reply.

        Args:
            launch: The launch.
            token: The token of the call.
            claim: The claim of the session id.
            queue_max: Maximum length of the launch queue.
            limit_sets: The limit sets in which the session counts.
            runner: The runner that starts the session itself.
        """
        arguments = accept_arguments(
            launch, token, queue_max=queue_max, limit_sets=limit_sets, runner=runner
        )
        of_claim = {
            "claim": claim.token,
            "claim_is_new": claim.is_new,
            "epoch_above": claim.epoch_above,
        }
        key = self.store.keys.session(launch.session_id)
        reply: list[Any] = await self.store.scripts.run("accept", key, {**arguments, **of_claim})
        return reply

    async def count_live(self, names: Sequence[str]) -> list[int]:
        """Return the number of live sessions in each limit set of ``names``."""
        # SCARD and not the members: `accept` examines those of its own shard only, if the limit is reached.
        connection = self.store.connection
        with connection.errors():
            async with connection.client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.scard(self.store.keys.live_of(name))
                return [int(size) for size in await pipe.execute()]

    async def retire(self, launch: Launch, claim: str) -> int:
        """Let this shard accept nothing more by a claim; return the epoch that the session had here.

        Args:
            launch: The launch with the session id.
            claim: The token of the claim.

        Raises:
            SessionInUseError: The session is live here.
            SessionUsedError: The session id belonged to another user.
        """
        reply = await self.store.scripts.run(
            "retire",
            self.store.keys.session(launch.session_id),
            {
                "session_id": launch.session_id,
                "claim": claim,
                "user_id": launch.user_id,
                "tenant_id": launch.tenant_id,
            },
        )
        match reply:
            case ["live", room]:
                raise session_in_use(launch.session_id, room)
            case ["used"]:
                raise session_used(launch.session_id)
            case _:
                return int(reply[1])

    async def forget(self, session_id: str, epoch: int) -> None:
        """Remove the record of ``session_id``, which ended here with ``epoch`` and lives elsewhere."""
        await self.store.scripts.run(
            "forget",
            self.store.keys.session(session_id),
            {"session_id": session_id, "epoch": epoch},
        )
