"""In the runner: what was said in one session, from its bot process to Redis, and from there to the next one."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from cordboard.contract.errors import StoreUnavailableError
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.runner.context_cipher import ContextCipher, UnreadableContextError
from cordboard.runner.kept_messages import CONTEXT_MAX_BYTES
from cordboard.store import SessionStore

# Between two writes, and two attempts: turns take seconds, and a bot that sends more must not load Redis.
PAUSE_S: Final = 1.0

log = get_logger("context")


@dataclass(slots=True)
class SessionContext:
    """What was said in one session.

    Without a cipher, nothing is kept.

    Attributes:
        launch: The session.
        store: The store.
        runner_id: This runner, which holds the session.
        cipher: Encrypts what the store keeps; None if the bot's entry does not have ``keep_context``.
    """

    launch: Launch
    store: SessionStore
    runner_id: str
    cipher: ContextCipher | None
    _latest: bytes = b""
    _is_written: bool = True
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _has_warned: bool = False

    def offer(self, context: Any) -> None:
        """Take a snapshot of the bot process; ``run`` writes it, or ``flush``."""
        # It comes from the bot's process, which may send anything.
        if self.cipher is None:
            return
        data = msgspec.json.encode(context)
        if len(data) > CONTEXT_MAX_BYTES:
            self._warn("The bot process sent more than can be kept", bytes=len(data))
            return
        self._latest = data
        self.write_again()

    def write_again(self) -> None:
        """Write the latest snapshot, also if it was written: Redis may have lost it."""
        if self._latest:
            self._is_written = False
            self._changed.set()

    async def run(self) -> None:
        """Write each snapshot, until the task is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not await self.flush():
                self._changed.set()
            await asyncio.sleep(PAUSE_S)

    async def flush(self) -> bool:
        """Write the latest snapshot, unless that was done; return False if Redis does not take it now."""
        async with self._writing:
            if self._is_written or self.cipher is None:
                return True
            data, launch = self._latest, self.launch
            text = self.cipher.encrypt(launch.session_id, data)
            try:
                # Nothing is kept for another epoch: that holder has lost the session.
                await self.store.keep_context(
                    launch.session_id, launch.epoch, self.runner_id, text, room=launch.room_url
                )
            except StoreUnavailableError as error:
                self._warn("What was said cannot be kept now", error=error)
                return False
            self._is_written = data is self._latest
            return True

    async def read(self) -> bytes | None:
        """Return what an earlier process of the session has kept, a JSON object; None if there is none.

        A session starts without it rather than not at all.
        """
        launch = self.launch
        if self.cipher is None:
            return None
        try:
            kept = await self.store.kept_context(launch.session_id, room=launch.room_url)
            return None if kept is None else self.cipher.decrypt(launch.session_id, kept)
        except UnreadableContextError:
            log.warning(
                "What was said cannot be decrypted; the session starts without it",
                hint="It was encrypted with another control secret, or changed in Redis.",
            )
        except StoreUnavailableError as error:
            log.warning("What was said cannot be read; the session starts without it", error=error)
        return None

    def _warn(self, message: str, **meta: Any) -> None:
        if not self._has_warned:  # once: a bot could fill the log
            self._has_warned = True
            log.warning(message, **meta)
