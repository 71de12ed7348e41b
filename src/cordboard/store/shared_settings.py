"""Settings that all processes of a plane must share: each process compares its own when it starts.

One hash holds the agreed settings, and a sorted set the processes that run with them. Both have the hash
tag ``plane``, so that processes with different numbers of shards meet there. The first process writes the
settings; later ones compare. To change a setting, all processes have to end: a process that ends removes
itself from the set, and one that was killed is removed when its lease has run out.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from cordboard.contract.errors import (
    CordboardError,
    NotReadyError,
    SettingsError,
    StoreUnavailableError,
)
from cordboard.contract.lease import Periods
from cordboard.emit import get_logger
from cordboard.store.connection import Connection
from cordboard.store.errors import RETRY_AFTER_S
from cordboard.store.keys import PLANE, RECORD_KEPT_S, SETTINGS_KEPT_S, Keys, shard_tags
from cordboard.store.scripts import Scripts

SHARDS: Final = "CORDBOARD_SHARDS"
LEASE: Final = "CORDBOARD_LEASE_S"
RECORD_KEPT: Final = "CORDBOARD_RECORD_KEPT_HOURS"
PATIENCE_S: Final = 20.0  # longer than a default lease: a killed process is removed by then
RETRY_S: Final = 0.5  # fast enough for a start, slow enough for a Redis that is away
FIRST_REPLY_S: Final = 1.0  # a process serves after that even if Redis has not answered

log = get_logger("settings")


class SettingsMismatchError(SettingsError):
    """Other processes run with other settings."""


class SharedSettings:
    """The agreement of one process with the others, for as long as the process runs.

    As an asynchronous context manager it renews the agreement and, at the end, withdraws from it.

    Args:
        url: The URL of Redis.
        component: The component: gateway, operator or runner.
        shards: The number of shards.
        lease_s: Seconds that a lease lasts.
        record_kept_s: Seconds for which a session record is kept after the end.
        patience_s: Seconds for which ``reach`` waits for processes with other settings to end.
    """

    def __init__(
        self,
        url: str,
        component: str,
        *,
        shards: int,
        lease_s: float,
        record_kept_s: float = RECORD_KEPT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._keys = Keys(PLANE, lease_s)
        self._periods = Periods(lease_s)
        self._connection = Connection(url, self._keys.agreed)
        self._scripts = Scripts(self._connection, self._keys)
        self._process = f"{component} {socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._settings = {
            SHARDS: str(shards),
            LEASE: f"{lease_s:g}",
            RECORD_KEPT: f"{record_kept_s / 3600:g}",
        }
        self._patience_s = patience_s
        self._problem: CordboardError | None = NotReadyError("Redis has not been reached yet.")
        self._has_compared = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start to renew the agreement, and wait briefly for the first comparison."""
        self._renewing = asyncio.create_task(self._renew(), name="agreement")
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REPLY_S):
                await self._has_compared.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self.leave()

    async def leave(self) -> None:
        """Withdraw from the agreement and close the connection."""
        # If Redis is away, the entry of this process expires with its lease.
        with suppress(StoreUnavailableError), self._connection.errors():
            await self._connection.client.zrem(self._keys.parts, self._process)
        await self._connection.close()

    def check(self) -> None:
        """Return if this process may take work.

        Raises:
            NotReadyError: Redis has not answered yet, or other processes run with other settings.
        """
        if self._problem is not None:
            raise NotReadyError(
                self._problem.message, hint=self._problem.hint, retry_after_s=RETRY_AFTER_S
            )

    async def reach(self) -> None:
        """Compare now, and wait a while for processes with other settings to end.

        Raises:
            SettingsMismatchError: They do not end.
            StoreUnavailableError: Redis is away.
        """
        loop = asyncio.get_running_loop()
        give_up_at, has_warned = loop.time() + self._patience_s, False
        while True:
            try:
                return await self.compare()
            except SettingsMismatchError as error:
                if loop.time() >= give_up_at:
                    raise
                if not has_warned:
                    log.warning("Other processes run with other settings; waiting for them to end",
                                error=error.message)  # fmt: skip
                    has_warned = True
            await asyncio.sleep(RETRY_S)

    async def _renew(self) -> None:
        while True:
            previous = self._problem
            try:
                await self.compare()
            except StoreUnavailableError:
                pass  # the last comparison stays valid: an outage must not make every process unready
            except SettingsMismatchError as error:
                self._problem = error
                if not isinstance(previous, SettingsMismatchError):
                    log.error("Other processes run with other settings; this one is not ready",
                              error=error.message, hint=error.hint)  # fmt: skip
            except Exception:  # the task must go on, or the process would drop out of the agreement
                log.exception("Could not compare the settings")
            else:
                self._problem = None
            self._has_compared.set()
            await asyncio.sleep(RETRY_S if self._problem else self._periods.renewal_s)

    async def compare(self) -> None:
        """Compare the settings once, and renew the entry of this process.

        Raises:
            SettingsMismatchError: Other processes run with other settings.
            StoreUnavailableError: Redis is away.
        """
        reply = await self._agree(replaces=False)
        if reply[0] == "left":
            await self._check_no_live_sessions(_to_dict(reply[1]))
            reply = await self._agree(replaces=True)
        if reply[0] == "differs":
            difference = self._describe(_to_dict(reply[1]))
            raise SettingsMismatchError(
                f"{difference} ({', '.join(reply[2])}).",
                hint="Set the same value for all processes. To change it, stop all of them first; those "
                "with the new value start when the others have ended.",
            )

    async def _agree(self, *, replaces: bool) -> list[Any]:
        reply: list[Any] = await self._scripts.run(
            "agree",
            self._keys.agreed,
            {
                "process": self._process,
                "lease_ms": round(self._periods.lease_s * 1000),
                "kept_ms": SETTINGS_KEPT_S * 1000,
                "replaces": replaces,
                "settings": self._settings,
            },
        )
        return reply

    async def _check_no_live_sessions(self, theirs: Mapping[str, str]) -> None:
        """Check that no session of the former shards is live; with other shards it would never end.

        Raises:
            SettingsMismatchError: A session is live.
        """
        if SHARDS not in theirs:
            return
        live = 0
        # The former shards have other hash tags, which this process otherwise never reads.
        with self._connection.errors():
            for tag in shard_tags(int(theirs[SHARDS])):
                live += await self._connection.client.zcard(Keys(tag).live)
        if live:
            raise SettingsMismatchError(
                f"{self._describe(theirs)}, and {live} of their sessions have not ended.",
                hint=f"Run all processes with {SHARDS}={theirs[SHARDS]} until they have ended, then "
                "change it.",
            )

    def _describe(self, theirs: Mapping[str, str]) -> str:
        return "; ".join(
            f"{name} is {value} here, but {theirs[name]} in the running processes"
            for name, value in self._settings.items()
            if name in theirs
        )


def _to_dict(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
