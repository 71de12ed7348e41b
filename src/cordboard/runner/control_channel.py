"""The supervisor's side of the control channel to one bot process."""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from cordboard.contract.errors import (
    BodyTooLargeError,
    ConflictError,
    UpstreamError,
    UpstreamTimeoutError,
)
from cordboard.contract.lease import RENEWAL_S
from cordboard.emit import get_logger
from cordboard.runner import pipes
from cordboard.runner.startup_errors import DETAIL_CHARS

# How long a bot process may take to answer an offer; longer than aiortc's 5 s for gathering candidates.
ANSWER_TIMEOUT_S: Final = 12.0
# The store publishes that a session runs just before its runner hears of it, so a caller's offer may be first. The
# runner needs a reply of Redis and what was kept of the session: milliseconds, or a second on a busy machine.
GO_TIMEOUT_S: Final = 5.0

log = get_logger("session")


@dataclass(frozen=True, slots=True)
class EndReport:
    """Why a bot ended, as its process reported it.

    Attributes:
        reason: The reason; not necessarily one of the contract.
        detail: The reason as text.
        is_early: Whether ``bot()`` was never called, so that ``bot.crashed`` has not been logged.
        is_out_of_memory: Whether the process had no memory left.
    """

    reason: str
    detail: str | None
    is_early: bool
    is_out_of_memory: bool = False


class ControlChannel:
    """Sends messages to a bot process and keeps what it reports.

    Args:
        reader: Receives messages.
        writer: Sends messages.
        on_context: Called with each snapshot of what was said.

    Attributes:
        is_loaded: Set once the process has its bot.
        is_user_absent: Set once the user has been absent for too long.
        is_end_reported: Set once the process has reported its end.
        end_report: The last such report.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_context: Callable[[Any], None] = lambda _context: None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_context = on_context
        self.is_loaded = asyncio.Event()
        self.is_user_absent = asyncio.Event()
        self.is_end_reported = asyncio.Event()
        self.end_report: EndReport | None = None
        self._ignores_end = False
        self._lag_ms = 0.0
        self._lag_reported_at = time.monotonic()
        self._has_gone = asyncio.Event()
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count()

    @property
    def loop_lag_ms(self) -> float:
        """How late the bot's event loop is, in milliseconds: as reported, or at least its silence."""
        if self.end_report is not None:  # its event loop has ended and reports no more
            return self._lag_ms
        silence_s = time.monotonic() - self._lag_reported_at - pipes.LAG_PERIOD_S
        return max(self._lag_ms, round(silence_s * 1000, 1))

    async def load_outcome(
        self, gone: asyncio.Event, timeout_s: float, on_wait: Callable[[], None]
    ) -> Literal["loaded", "ended", "late"]:
        """Wait until the process has its bot, ends, or is late; return which. Its lateness is its end report.

        Args:
            gone: Set once the process has ended.
            timeout_s: How many seconds the process may take.
            on_wait: Called from time to time while the process has neither loaded its bot nor ended.
        """
        deadline = time.monotonic() + timeout_s
        events = (self.is_loaded, self.is_end_reported, gone)
        while not any(event.is_set() for event in events):
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                detail = f"The bot process did not load its bot within {timeout_s:.0f} s."
                self.report_end(EndReport("bot_crashed", detail, is_early=True))
                return "late"
            on_wait()
            waits = [asyncio.create_task(event.wait()) for event in events]
            await asyncio.wait(
                waits, timeout=min(remaining_s, RENEWAL_S), return_when=asyncio.FIRST_COMPLETED
            )
            for wait in waits:
                wait.cancel()
        return "loaded" if self.is_loaded.is_set() else "ended"

    async def send_go(self, context: bytes | None = None) -> None:
        """Let the process call its bot.

        Args:
            context: What an earlier process of the session has kept, a JSON object; None if there is none.
        """
        kept = {} if context is None else {"context": msgspec.Raw(context)}
        await pipes.send(self._writer, {"go": True, **kept})
        self._has_gone.set()

    async def send_stop(self, reason: str) -> None:
        """Let the process cancel its bot, for `reason`."""
        await pipes.send(self._writer, {"stop": reason})

    async def request(self, method: str, body: Any) -> tuple[int, Any]:
        """Send a request for WebRTC signalling to the process and wait for the answer.

        Args:
            method: ``POST`` for an offer, ``PATCH`` for candidates.
            body: The body of the HTTP request.

        Returns:
            The status and the body of the answer.

        Raises:
            ConflictError: The bot is still starting.
            UpstreamTimeoutError: The process did not answer in time.
            UpstreamError: The process ended before it answered.
            BodyTooLargeError: The body does not fit into one message.
        """
        number = next(self._numbers)
        message = {"ask": number, "method": method, "body": body}
        # A longer message would end the channel, and the session with it. Numbers such as 1e9 grow.
        if len(pipes.encode(message)) > pipes.LINE_MAX_BYTES:
            raise BodyTooLargeError("The request body does not fit into one message to the bot.")
        try:
            async with asyncio.timeout(GO_TIMEOUT_S):
                await self._has_gone.wait()
        except TimeoutError as error:
            raise ConflictError("The bot of this session is starting.") from error
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        try:
            await pipes.send(self._writer, message)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reply = await answer
        except TimeoutError as error:
            raise UpstreamTimeoutError("The bot process did not answer the offer.") from error
        finally:
            self._pending.pop(number, None)
        if reply is None:
            raise UpstreamError("The bot process ended before it answered.")
        return reply["status"], reply["body"]

    async def listen(self) -> None:
        """Receive messages until the process closes the channel."""
        has_warned = False
        while (message := await pipes.receive(self._reader)) is not None:
            if pipes.is_valid(message):
                self._receive(message)
            elif not has_warned:  # once: a bot could fill the log
                has_warned = True
                log.warning("Ignoring an invalid message from the bot process")
            # A bot that floods the channel must not occupy the event loop.
            await asyncio.sleep(0)

    def report_end(self, report: EndReport) -> None:
        """Keep `report` as the reason of the end, in place of an earlier one."""
        self.end_report = report
        self.is_end_reported.set()

    def ignore_end(self) -> None:
        """Keep the end report as it is from now on: the process is being ended."""
        self._ignores_end = True

    def close(self) -> None:
        """Close the channel; requests that wait for an answer fail."""
        self._writer.close()
        for answer in self._pending.values():
            if not answer.done():
                answer.set_result(None)

    def _receive(self, message: dict[str, Any]) -> None:
        """Keep what a message reports. A repeated message must not start anything a second time."""
        if "lag_ms" in message:
            self._lag_ms, self._lag_reported_at = float(message["lag_ms"]), time.monotonic()
        elif "answer" in message:
            answer = self._pending.get(message["answer"])
            if answer is not None and not answer.done():
                answer.set_result(message)
        elif "loaded" in message:
            self.is_loaded.set()
        elif "context" in message:
            self._on_context(message["context"])
        elif "absent" in message:
            self.is_user_absent.set()
        elif "ended" in message and not self._ignores_end:
            detail = (message.get("detail") or "")[:DETAIL_CHARS] or None
            is_out_of_memory = message.get("out_of_memory") is True
            report = EndReport(message["ended"], detail, "early" in message, is_out_of_memory)
            self.report_end(report)
