"""One session on this runner: from the fork of its process to the record of its end."""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from cordboard import faults
from cordboard.context import Context, bound_context
from cordboard.context.launch import context_of
from cordboard.contract.errors import (
    ConflictError,
    UpstreamError,
    UpstreamTimeoutError,
)
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.processes import descendants_of, describe_exit_status
from cordboard.runner import metrics, pipes
from cordboard.runner.forkserver import Child, ForkServer
from cordboard.runner.lease_guard import LeasePage, steady
from cordboard.runner.output_capture import OutputCapture
from cordboard.runner.pipes import BotStart
from cordboard.runner.session_end import write_end
from cordboard.store import Holder, SessionStore

CANCEL_GRACE_S: Final = 5.0
TERM_GRACE_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 12.0
DETAIL_CHARS: Final = 500
COUNT_PERIOD_S: Final = 2.0  # a look at a bot of 20 threads takes 0.5 ms

FORK_SERVER_ENDED: Final = "the fork server of its runner ended"

log = get_logger("session")

Status = Literal["starting", "running", "stopping", "ended"]


@dataclass(frozen=True, slots=True)
class Host:
    """What a session needs of its runner."""

    store: SessionStore
    fork_server: ForkServer
    runner_id: str
    url: str
    type: Literal["warm", "cold"]
    job_name: str | None
    daily_domains: tuple[str, ...]
    offer_timeout_s: float = 60.0
    bot_memory_mb: int = 4096
    user_absent_s: float = 60.0
    local: bool = True  # whether it is on loopback
    bot_file_mb: int = 4096
    bot_processes: int = 64


@dataclass(slots=True)
class BotSession:
    """A session's bot, supervised.

    Attributes:
        lease_page: Says to the bot's process, too, when the lease was last renewed.
        reason: Why it ended, once it has.
        lost: Whether it died with the fork server: no end is written, as it goes on elsewhere.
    """

    launch: Launch
    host: Host
    status: Status = "starting"
    reason: str | None = None
    detail: str | None = None
    lost: bool = False
    pid: int = 0
    started_at: float = field(default_factory=time.monotonic)
    lease_page: LeasePage | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    _lag_ms: float = 0.0
    _lag_told_at: float = field(default_factory=time.monotonic)
    _loaded: asyncio.Event = field(default_factory=asyncio.Event)
    _child: Child | None = None
    _stop_reason: str | None = None
    _told_end: dict[str, Any] | None = None
    _asked: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def context(self) -> Context:
        """Who speaks in this session's lines."""
        return context_of(self.launch)

    @property
    def holder(self) -> Holder:
        """Who runs this session's bot, as the store is told."""
        host = self.host
        return Holder(host.runner_id, host.url, host.type, self.pid, host.job_name)

    @property
    def loop_lag_ms(self) -> float:
        """How late the bot's event loop is: as it last told, or as it should have told by now."""
        if self._told_end is not None:  # its event loop has ended, too
            return self._lag_ms
        silent_s = time.monotonic() - self._lag_told_at - pipes.LAG_PERIOD_S
        return max(self._lag_ms, round(silent_s * 1000, 1))

    @property
    def live(self) -> bool:
        """Whether its process may still be there."""
        return not self.gone.is_set()

    @property
    def renewed_at(self) -> float:
        """``steady`` time from before the last confirmed renewal was asked for."""
        return self.lease_page.renewed_at if self.lease_page is not None else steady()

    def renewed(self, asked_at: float) -> None:
        """Note that a renewal that was asked for at ``asked_at`` has been confirmed."""
        if self.lease_page is not None:
            self.lease_page.renewed_at = asked_at

    async def start(self) -> None:
        """Fork the process, have the store confirm, and only then let the bot in.

        Raises:
            StaleEpochError: The room has been granted anew.
            ConflictError: The session has ended, or is another runner's.
            StoreUnavailableError: Redis is away.
        """
        try:
            faults.point("runner.fork.before")
            child = await self._fork()
            faults.point("runner.fork.after")
            asked_at = steady()
            await self.host.store.confirm_running(
                self.launch.session_id, self.launch.epoch, self.holder, room=self.launch.room_url
            )
        except BaseException:
            await self._abandon()
            raise
        self.renewed(asked_at)
        self.status = "running"
        metrics.stages.labels("starting").observe(time.monotonic() - self.started_at)
        log.info("Bot started", event="bot.started", pid=child.pid, attempt=self.launch.attempt)
        await pipes.send(child.writer, {"go": True})
        faults.point("runner.go")
        self._spawn(self._load_within(self.host.fork_server.load_within_s))
        self._spawn(self._end_by(self.launch.max_duration_s, "max_duration"))
        self._spawn(self._watch_processes())

    async def stop(self, reason: str) -> None:
        """Stop the bot: cancel, SIGTERM, SIGKILL, each bounded; return when it is gone."""
        if self._child is None or not self.live:
            return
        if self._stop_reason is None:
            self._stop_reason = reason
            self.status = "stopping"
            log.info("Stopping the bot", reason=reason)
            faults.point("runner.stop")
            await pipes.send(self._child.writer, {"stop": reason})
            if not await self._gone_within(CANCEL_GRACE_S):
                if self._told_end is None:
                    log.warning("The bot ignores its cancellation; sending SIGTERM", pid=self.pid)
                else:
                    log.warning(
                        "The bot's exit handlers are still running; sending SIGTERM", pid=self.pid
                    )
                self._signal(signal.SIGTERM)
            if not await self._gone_within(TERM_GRACE_S):
                log.warning("The bot ignores SIGTERM; sending SIGKILL", pid=self.pid)
                self._signal(signal.SIGKILL)
        await self.gone.wait()

    async def kill(self, reason: str) -> None:
        """End the bot at once: its room is not its own any more."""
        if self._child is None or not self.live:
            return
        self._stop_reason = self._stop_reason or reason
        self.status = "stopping"
        self._signal(signal.SIGKILL)
        await self.gone.wait()

    async def ask(self, method: str, body: Any) -> tuple[int, Any]:
        """Hand WebRTC signalling to the bot's process; return status and body of its answer.

        Raises:
            ConflictError: The bot does not run.
            UpstreamTimeoutError: It did not answer in time.
            UpstreamError: It ended meanwhile.
        """
        if self.status != "running" or self._child is None:
            raise ConflictError(f"Session {self.launch.session_id} is {self.status}.")
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            await pipes.send(self._child.writer, {"ask": number, "method": method, "body": body})
            answer = await asyncio.wait_for(future, ANSWER_TIMEOUT_S)
        except TimeoutError as error:
            raise UpstreamTimeoutError("The bot's process did not answer the offer.") from error
        finally:
            self._asked.pop(number, None)
        if answer is None:
            raise UpstreamError("The bot's process ended before it answered.")
        return answer["status"], answer["body"]

    async def _fork(self) -> Child:
        began = time.monotonic()
        start = BotStart(
            self.launch,
            self.launch.bot,
            self.host.daily_domains,
            self.host.offer_timeout_s,
            self.host.bot_memory_mb,
            self.host.bot_file_mb,
            self.host.store.periods.lease_s,
            self.host.user_absent_s,
            self.host.local,
        )
        self.lease_page = LeasePage()
        self.lease_page.renewed_at = steady()
        child = await self.host.fork_server.fork(start, self.lease_page.descriptor)
        self._child, self.pid = child, child.pid
        log.info(
            "Bot forked",
            event="bot.forked",
            pid=child.pid,
            ms=round((time.monotonic() - began) * 1000, 1),
        )
        capture = OutputCapture(child, self.context, start.boot)
        listening = self._spawn(self._listen(child))
        self._spawn(self._to_its_end(child, capture, listening))
        return child

    async def _abandon(self) -> None:
        """The store said no, or the fork failed: the bot never entered the room."""
        self._stop_reason = "refused"
        if self._child is not None:
            self._signal(signal.SIGKILL)
            await self.gone.wait()
        self._release_permit()
        self.status = "ended"
        self.gone.set()
        self.finished.set()

    async def _listen(self, child: Child) -> None:
        is_told = False
        while (message := await pipes.receive(child.reader)) is not None:
            if pipes.is_sound(message):
                self._hear(message)
            elif not is_told:
                is_told = True
                log.warning("The bot's process sent an unknown message, which is ignored")
            await asyncio.sleep(0)  # a bot that floods must leave the loop to the others

    def _hear(self, message: dict[str, Any]) -> None:
        """Take what the bot's process says; however often it says so, it ends once."""
        if "lag_ms" in message:
            self._lag_ms, self._lag_told_at = float(message["lag_ms"]), time.monotonic()
        elif "answer" in message:
            future = self._asked.get(message["answer"])
            if future is not None and not future.done():
                future.set_result(message)
        elif "loaded" in message:
            self._loaded.set()
        elif "absent" in message:
            if self._stop_reason is None:
                self._spawn(self._end_by(0, "user_absent"))
        elif "ended" in message:
            if self._told_end is None:
                self._spawn(self._kill_after(pipes.EXIT_GRACE_S + TERM_GRACE_S))
            self._told_end = message

    async def _to_its_end(
        self, child: Child, capture: OutputCapture, listening: asyncio.Task[None]
    ) -> None:
        status = await child.ended()
        faults.point("runner.ended")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(listening), 1.0)
        self._signal(signal.SIGKILL)  # what the bot itself had started
        await self.host.fork_server.end_orphans()  # even what has left its group
        await capture.ended()
        child.writer.close()
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)
        self._judge(status)
        self._release_permit()
        self.status = "ended"
        self.gone.set()
        if self._stop_reason != "refused" and not self.lost:
            with bound_context(self.context):
                await write_end(
                    self.host.store, self.launch, self.reason, self.detail, self.started_at
                )
        self.finished.set()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    def _judge(self, status: int | None) -> None:
        """Say why the session ended, from what was asked, what was told and the exit status."""
        told = self._told_end or {}
        if self._stop_reason is not None:
            self.reason = self._stop_reason
        elif self.lease_page is not None and self.lease_page.closed:
            self.reason = "lease_lost"
        elif told:
            self.reason, self.detail = (
                told["ended"],
                (told.get("detail") or "")[:DETAIL_CHARS] or None,
            )
        elif status is None:
            self.reason, self.detail, self.lost = "runner_lost", FORK_SERVER_ENDED, True
        elif status == 0:
            self.reason = "bot_finished"
        else:
            self.reason, self.detail = "bot_crashed", describe_exit_status(status)
        silent = not told or "early" in told  # only the runner writes this event
        if self.lost or (silent and self.reason == "bot_crashed"):
            with bound_context(self.context):
                log.error("Bot crashed", event="bot.crashed", pid=self.pid, status=self.detail)

    def _release_permit(self) -> None:
        if self.lease_page is not None:
            self.lease_page.release()
            self.lease_page = None

    async def _kill_after(self, seconds: float) -> None:
        """End a process that has reported its end but does not exit."""
        await asyncio.sleep(seconds)
        self._signal(signal.SIGKILL)

    async def _load_within(self, seconds: float) -> None:
        """End a bot's process that never calls its bot."""
        try:
            await asyncio.wait_for(self._loaded.wait(), seconds)
        except TimeoutError:
            self._told_end = {
                "ended": "bot_crashed",
                "detail": f"The bot's process did not load its bot within {seconds:.0f} s.",
                "early": True,
            }
            self._signal(signal.SIGKILL)

    async def _end_by(self, seconds: float, reason: str) -> None:
        await asyncio.sleep(seconds)
        self._tasks.discard(asyncio.current_task())
        await self.stop(reason)

    async def _watch_processes(self) -> None:
        """End a bot that has started too many processes, and them with it."""
        most = self.host.bot_processes
        while self.live:
            await asyncio.sleep(COUNT_PERIOD_S)
            if len(descendants_of(self.pid, most)) > most:
                self.detail = f"It had started more than {most} processes."
                log.error("The bot starts too many processes; ending it", most=most)
                self._tasks.discard(asyncio.current_task())
                await self.kill("bot_crashed")

    async def _gone_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        """Signal the bot's whole group: what it has started ends with it."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            if self.live:  # it has not made its group yet
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        with bound_context(self.context):
            task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
