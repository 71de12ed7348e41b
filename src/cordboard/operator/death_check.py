"""The check of sessions whose runner may have died, before their leases run out.

A check begins when a watch connection closes, when a launcher reports the end of a cold runner, or after a
hint. None of these decides anything: the check asks the holder, and only a confirmed death counts.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cordboard import faults
from cordboard.context import bound_context
from cordboard.context.launch import context_of
from cordboard.contract.errors import NotFoundError
from cordboard.operator.plan import BOTS_END_S, Action, Sign, decide_early
from cordboard.operator.recovery import Sweeper
from cordboard.operator.runner_client import HolderStatus
from cordboard.store import RedisStore, SessionRecord

# Pauses between questions to a holder that does not answer. A dying process may close its port after its
# connections, and a cluster reports the end of a Job some seconds after that of its pod.
PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


@dataclass(slots=True)
class DeathCheck:
    """Recovers the sessions of one shard whose holders are confirmed dead.

    Attributes:
        store: The shard.
        sweeper: Asks holders, and recovers sessions.
        bots_end_s: Seconds after a runner's death after which its bots must be gone.
        pauses_s: The pauses between two questions to a holder that does not answer, in seconds.
    """

    store: RedisStore
    sweeper: Sweeper
    bots_end_s: float = BOTS_END_S
    pauses_s: Sequence[float] = PAUSES_S
    _under_check: set[tuple[str, int]] = field(default_factory=set)

    async def check_runner(self, runner_id: str) -> None:
        """Check all sessions that are assigned to the warm runner ``runner_id``.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        seen_at = time.monotonic()
        await self._check(await self.store.placement.sessions_of(runner_id), seen_at)

    async def check_session(self, session_id: str, epoch: int) -> None:
        """Check the session ``session_id`` with ``epoch``; if its warm runner is dead, its other sessions too.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        seen_at = time.monotonic()
        try:
            record = await self.store.session(session_id)
        except NotFoundError:
            return
        if record.epoch == epoch and await self._check([record], seen_at) and record.runner_id:
            await self.check_runner(record.runner_id)

    async def _check(self, records: Sequence[SessionRecord], seen_at: float) -> bool:
        """Ask the holders of ``records``, and act; return whether a port refused."""
        due = [
            record
            for record in records
            if record.state in {"starting", "running"}
            and (record.session_id, record.epoch) not in self._under_check
        ]
        keys = {(record.session_id, record.epoch) for record in due}
        self._under_check |= keys
        try:
            return await self._ask_and_act(due, seen_at)
        finally:
            self._under_check -= keys

    async def _ask_and_act(self, records: list[SessionRecord], seen_at: float) -> bool:
        refusing: set[str] = set()
        died_by, was_silent = seen_at, False
        for pause_s in (*self.pauses_s, 0.0):
            if not records:
                break
            statuses = await self.sweeper.statuses(records)
            if was_silent:  # it lived after the first sign, and may have died a moment ago
                died_by = time.monotonic()
            refusing |= await self._unregister_refusing(records, statuses)
            settled: list[SessionRecord] = []
            silent: list[SessionRecord] = []
            for record in records:
                is_silent = statuses[record.session_id].sign is Sign.SILENT
                (silent if is_silent else settled).append(record)
            await asyncio.gather(
                *(
                    self._act(record, statuses[record.session_id], seen_at, died_by)
                    for record in settled
                )
            )
            records = silent
            was_silent = True
            await asyncio.sleep(pause_s if records else 0)
        return bool(refusing)

    async def _unregister_refusing(
        self, records: Sequence[SessionRecord], statuses: Mapping[str, HolderStatus]
    ) -> set[str]:
        """Remove the registrations of warm runners whose port refuses; return their ids.

        Their last heartbeats are recent, so joins would be assigned to them. One that lives registers again.
        """
        refusing = {
            record.runner_id
            for record in records
            if record.runner_id
            and record.type == "warm"
            and statuses[record.session_id].sign is Sign.REFUSED
        }
        for runner_id in refusing:
            await self.store.unregister(runner_id)
        return refusing

    async def _act(
        self, record: SessionRecord, status: HolderStatus, seen_at: float, died_by: float
    ) -> None:
        """Act on what a holder answered.

        Args:
            record: Its session.
            status: Its answer.
            seen_at: The ``time.monotonic`` time of the first sign of its death.
            died_by: Such a time by which it was dead, if it is.
        """
        action = decide_early(status.sign, "starting" if record.state == "starting" else "running")
        with bound_context(context_of(record)):
            if action is Action.WRITE_END:
                await self.sweeper.write_end(record, status)
            elif action is Action.RECOVER:
                await asyncio.sleep(died_by + self.bots_end_s - time.monotonic())
                faults.point("operator.recover")
                seen_ms = round((time.monotonic() - seen_at) * 1000)
                await self.sweeper.recover(record, "confirmed", sign=status.sign, seen_ms=seen_ms)
