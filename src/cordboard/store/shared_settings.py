"""Settings that must be the same for all parts of a plane: each part compares its own when it starts.

One hash holds what was agreed upon, and a sorted set who runs by it; both stand beside the shards, so
that parts that differ in the number of shards meet there, too. The first part writes, later ones
compare. A change takes the end of all parts: a part that ends leaves the set, and one that was killed
is forgotten after its lease.
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
from cordboard.emit import get_logger
from cordboard.store.connection import Shard
from cordboard.store.errors import RETRY_AFTER_S
from cordboard.store.keys import PLANE, RECORD_KEPT_S, SETTINGS_KEPT_S, Keys, shard_tags

SHARDS: Final = "CORDBOARD_SHARDS"
LEASE: Final = "CORDBOARD_LEASE_S"
RECORD_KEPT: Final = "CORDBOARD_RECORD_KEPT_HOURS"
PATIENCE_S: Final = 20.0  # beyond a default lease: what was killed just now is forgotten by then
ASK_AGAIN_S: Final = 0.5
FIRST_S: Final = 1.0  # so long a part waits for the answer before it serves

log = get_logger("settings")


class SettingsMismatchError(SettingsError):
    """Other parts run by other settings."""


class SharedSettings(Shard):
    """What one part of a plane has agreed upon with the others, for as long as it runs.

    Args:
        url: Where Redis is.
        part: What it is: gateway, operator or runner.
        shards: The part's number of shards.
        lease_s: The part's lease.
        record_kept_s: For how long it keeps records.
    """

    def __init__(
        self,
        url: str,
        part: str,
        *,
        shards: int,
        lease_s: float,
        record_kept_s: float = RECORD_KEPT_S,
    ) -> None:
        super().__init__(url, Keys(PLANE, lease_s))
        self._name = f"{part} {socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._settings = {
            SHARDS: str(shards),
            LEASE: f"{lease_s:g}",
            RECORD_KEPT: f"{record_kept_s / 3600:g}",
        }
        self._problem: CordboardError | None = NotReadyError("Redis has not been reached yet.")
        self._asked = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Keep the agreement from now on; it is asked for again while Redis is away."""
        self._renewing = asyncio.create_task(self._renew(), name="agreement")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), FIRST_S)
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
        """Count no more among the parts that run."""
        with suppress(StoreUnavailableError), self._errors():  # else we are forgotten there soon
            await self._client.zrem(self.keys.parts, self._name)
        await self.close()

    def check(self) -> None:
        """Return where this part may take work.

        Raises:
            NotReadyError: Redis was not reached yet, or other parts run by other settings.
        """
        if self._problem is not None:
            raise NotReadyError(
                self._problem.message, hint=self._problem.hint, retry_after_s=RETRY_AFTER_S
            )

    async def reach(self) -> None:
        """Compare now; wait a while for parts with other settings to end.

        Raises:
            SettingsMismatchError: They do not end.
            StoreUnavailableError: Redis is away.
        """
        loop = asyncio.get_running_loop()
        give_up_at, is_told = loop.time() + PATIENCE_S, False
        while True:
            try:
                return await self._compare()
            except SettingsMismatchError as error:
                if loop.time() >= give_up_at:
                    raise
                if not is_told:
                    log.warning("Other parts run by other settings; waiting for them to end",
                                error=error.message)  # fmt: skip
                    is_told = True
            await asyncio.sleep(ASK_AGAIN_S)

    async def _renew(self) -> None:
        while True:
            was = self._problem
            try:
                await self._compare()
            except StoreUnavailableError:
                pass  # what was agreed upon stays
            except SettingsMismatchError as error:
                self._problem = error
                if not isinstance(was, SettingsMismatchError):
                    log.error("Other parts run by other settings; this one is not ready",
                              error=error.message, hint=error.hint)  # fmt: skip
            except Exception:
                log.exception("Settings could not be compared")
            else:
                self._problem = None
            self._asked.set()
            await asyncio.sleep(ASK_AGAIN_S if self._problem else self.periods.renewal_s)

    async def _compare(self) -> None:
        answer = await self._ask_all(replaces=False)
        if answer[0] == "left":
            await self._check_nothing_lives(_pairs(answer[1]))
            answer = await self._ask_all(replaces=True)
        if answer[0] == "differs":
            theirs = _pairs(answer[1])
            raise SettingsMismatchError(
                f"{self._in_words(theirs)} ({', '.join(answer[2])}).",
                hint="Set the same for all parts. To change it, stop all of them first: those with "
                "another value start once the others have ended.",
            )

    async def _ask_all(self, *, replaces: bool) -> list[Any]:
        settings = [word for pair in self._settings.items() for word in pair]
        forgotten_ms = round(self.periods.lease_s * 1000)
        answer: list[Any] = await self._run(
            "agree",
            self.keys.agreed,
            self._name,
            forgotten_ms,
            SETTINGS_KEPT_S * 1000,
            "1" if replaces else "",
            *settings,
        )
        return answer

    async def _check_nothing_lives(self, theirs: Mapping[str, str]) -> None:
        """Other shards would hide what lives: it would never end.

        Raises:
            SettingsMismatchError: Something does.
        """
        if SHARDS not in theirs:
            return
        live = 0
        with self._errors():
            for tag in shard_tags(int(theirs[SHARDS])):
                live += await self._client.zcard(Keys(tag).live)
        if live:
            raise SettingsMismatchError(
                f"{self._in_words(theirs)}, and {live} sessions of that plane have not ended.",
                hint=f"Start all parts with {SHARDS}={theirs[SHARDS]} until they have, then change it.",
            )

    def _in_words(self, theirs: Mapping[str, str]) -> str:
        return "; ".join(
            f"{name} is {self._settings[name]} here, and {value} for the parts that run"
            for name, value in theirs.items()
        )


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
