"""One session on this runner, from the fork of its bot process to the written end."""

import asyncio
import signal
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from cordboard import faults
from cordboard.context import Context, bound_context
from cordboard.context.launch import context_of
from cordboard.contract.errors import ConflictError, CordboardError
from cordboard.contract.ids import is_webrtc_room
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.processes import signal_group
from cordboard.runner import metrics, pipes
from cordboard.runner.bot_stop import CANCEL_GRACE_S, TERM_GRACE_S, stop_in_steps
from cordboard.runner.control_channel import ControlChannel
from cordboard.runner.forked_process import ForkedProcess
from cordboard.runner.lease_guard import LeasePage, steady_time
from cordboard.runner.output_capture import OutputCapture
from cordboard.runner.pipes import BotStart
from cordboard.runner.process_count import wait_for_too_many
from cordboard.runner.runner_host import RunnerHost
from cordboard.runner.session_context import SessionContext
from cordboard.runner.session_end import EndWriter, SessionEnd, session_end
from cordboard.runner.session_figures import SessionFigures
from cordboard.store import HandOverCause, Holder

# How long the rest of the control channel may take after the process has ended.
LAST_MESSAGES_S: Final = 1.0

log = get_logger("session")

Status = Literal["starting", "running", "stopping", "ended"]


@dataclass(slots=True)
class BotSession:
    """A session and its bot process.

    Attributes:
        launch: The session.
        host: The runner.
        context: The context of the session's log lines.
        said: What was said in the session, as far as it is kept.
        status: Where the session is in its life on this runner.
        reason: Why it ended, once it has.
        detail: The reason as text.
        hand_over: Why the session goes on elsewhere; None if it ends with this process.
        started_at: The ``time.monotonic`` time at which the session began here.
        figures: What the session amounts to so far, in this process.
        build: What runs in it, once it has been forked.
        gone: Set once the process and everything that it started have ended.
        finished: Set once the end has been written as well.
    """

    launch: Launch
    host: RunnerHost
    status: Status = "starting"
    reason: str | None = None
    detail: str | None = None
    hand_over: HandOverCause | None = None
    started_at: float = field(default_factory=time.monotonic)
    figures: SessionFigures = field(default_factory=SessionFigures)
    build: dict[str, str] = field(default_factory=dict)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    context: Context = field(init=False)
    said: SessionContext = field(init=False)
    _lease_page: LeasePage = field(default_factory=LeasePage.create)
    _process: ForkedProcess | None = None
    _channel: ControlChannel | None = None
    _stop_reason: str | None = None
    _end_facts: dict[str, Any] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Set what depends on the launch."""
        self.context = context_of(self.launch)
        self.said = self.host.session_context(self.launch)

    @property
    def pid(self) -> int:
        """The bot process; 0 before the fork."""
        return self._process.pid if self._process is not None else 0

    @property
    def connections(self) -> socket.socket | None:
        """Where the bot process gets connections; None without a process."""
        return self._process.connections if self._process and self.is_live else None

    @property
    def holder(self) -> Holder:
        """This runner and process, as the holder of the room."""
        host = self.host
        return Holder(host.runner_id, host.url, host.type, self.pid, host.job_name, self.build)

    @property
    def loop_lag_ms(self) -> float:
        """How late the bot's event loop is, in milliseconds; 0 before the fork."""
        return self._channel.loop_lag_ms if self._channel is not None else 0.0

    @property
    def is_live(self) -> bool:
        """Whether the bot process may still exist."""
        return not self.gone.is_set()

    @property
    def renewed_at(self) -> float:
        """The time (``steady_time``) at which the last confirmed renewal was requested; now if the bot has gone."""
        return self._lease_page.renewed_at if self.is_live else steady_time()

    @property
    def ran_at(self) -> float:
        """The time (``steady_time``) at which the bot process last ran; now if it has gone."""
        return self._lease_page.ran_at if self.is_live else steady_time()

    def record_renewal(self, requested_at: float) -> None:
        """Record a confirmed renewal, requested at `requested_at` (``steady_time``)."""
        if self.is_live:  # else the page has been released
            self._lease_page.renewed_at = requested_at

    async def start(self) -> None:
        """Fork the process, let the store confirm the session, and only then let the bot run.

        Raises:
            StaleEpochError: The room has been granted again.
            ConflictError: The session has ended, or belongs to another runner.
            StoreUnavailableError: Redis is not reachable.
        """
        try:
            faults.point("runner.fork.before")
            channel = await self._fork()
            faults.point("runner.fork.after")
            if self._process is not None and self._process.imports_bot:
                self._spawn(self._run_once_loaded(channel))
            else:
                await self._run(channel)
        except BaseException:
            await self._abandon()
            raise

    async def _run_once_loaded(self, channel: ControlChannel) -> None:
        """Let the bot run once its file is imported; no offer to a ``running`` session waits for that."""
        if not await self._is_loaded_in_time(channel) or self._stop_reason is not None:
            return  # `_finish` writes the end
        try:
            await self._run(channel)
        except CordboardError as error:
            log.warning("The session cannot run", error=error)
            self._detach_current_task()
            await self._abandon()

    async def _run(self, channel: ControlChannel) -> None:
        """Let the store confirm that this process holds the room; then let the bot run, and watch it."""
        # Taken before the request is sent: the lease lasts from when the store decided, or longer.
        requested_at = steady_time()
        _, said = await asyncio.gather(
            self.host.store.confirm_running(
                self.launch.session_id, self.launch.epoch, self.holder, room=self.launch.room_url
            ),
            self.said.read(),
        )
        self.record_renewal(requested_at)
        self.status = "running"
        metrics.stages.labels("starting").observe(time.monotonic() - self.started_at)
        log.info(
            "Bot started",
            event="bot.started",
            pid=self.pid,
            attempt=self.launch.attempt,
            build=self.build,
        )
        await channel.send_go(said)
        faults.point("runner.go")
        self._spawn(self._is_loaded_in_time(channel))
        self._spawn(self.said.run())
        self._spawn(self._stop_after(self.launch.max_duration_s, "max_duration"))
        self._spawn(self._stop_when_user_absent(channel))
        self._spawn(self._watch_process_count())

    async def stop(
        self, reason: str, detail: str | None = None, *, grace_s: float = CANCEL_GRACE_S
    ) -> None:
        """Stop the bot with cancellation, SIGTERM and SIGKILL, each after a grace period.

        Args:
            reason: Why the session ends, unless it is being stopped already. With the reason ``draining`` it
                does not end: another runner continues it.
            detail: The reason as text.
            grace_s: How long the bot may take to handle its cancellation, in seconds.
        """
        if self._channel is None or not self.is_live:
            return
        self.detail = detail or self.detail
        if self._stop_reason is None:
            self._stop_reason = reason
            self.status = "stopping"
            log.info("Stopping the bot", reason=reason)
            faults.point("runner.stop")
            imports_bot = self._process is not None and self._process.imports_bot
            await stop_in_steps(self, self._channel, reason, grace_s, imports_bot=imports_bot)
        await self.gone.wait()

    async def kill(self, reason: str, detail: str | None = None) -> None:
        """Kill the bot at once, because it must not run any longer.

        Args:
            reason: Why the session ends, unless it is being stopped already.
            detail: The reason as text.
        """
        if self._process is None or not self.is_live:
            return
        self.detail = detail or self.detail
        self._stop_reason = self._stop_reason or reason
        self.status = "stopping"
        self.signal(signal.SIGKILL)
        await self.gone.wait()

    def kill_frozen(self) -> None:
        """Kill a process that no longer runs; the session goes on as after any death of its process."""
        self.signal(signal.SIGKILL)

    async def request(self, method: str, body: Any) -> tuple[int, Any]:
        """Send a request for WebRTC signalling to the bot process.

        Args:
            method: ``POST`` for an offer, ``PATCH`` for candidates.
            body: The body of the HTTP request.

        Returns:
            The status and the body of the answer.

        Raises:
            ConflictError: The bot is not running.
            UpstreamTimeoutError: The process did not answer in time.
            UpstreamError: The process ended before it answered.
        """
        if self.status not in {"starting", "running"} or self._channel is None:
            raise ConflictError(f"Session {self.launch.session_id} is {self.status}.")
        return await self._channel.request(method, body)

    async def _fork(self) -> ControlChannel:
        began_at = time.monotonic()
        start = BotStart(
            self.launch,
            self.host.bot_options,
            self.host.store.periods.lease_s,
            ice_config=self._ice_config(),
            keep_context=self.said.cipher is not None,
        )
        process = await self.host.fork_server.fork(start, self._lease_page.descriptor)
        channel = ControlChannel(process.reader, process.writer, self.said.offer)
        self._process, self._channel = process, channel
        self.build = {**process.build, **self.host.build}
        log.info(
            "Bot forked",
            event="bot.forked",
            pid=process.pid,
            ms=round((time.monotonic() - began_at) * 1000, 1),
        )
        capture = OutputCapture(process, self.context, start.boot, self.figures)
        listening = self._spawn(channel.listen())
        self._spawn(self._finish(process, channel, capture, listening))
        self._spawn(self._kill_after_reported_end(channel))
        return channel

    def _ice_config(self) -> dict[str, Any] | None:
        launch = self.launch
        return self.host.ice_config(launch) if is_webrtc_room(launch.room_url) else None

    async def _abandon(self) -> None:
        """End a session that never ran, because the store refused it or the fork failed."""
        self._stop_reason = "refused"
        if self._process is not None:
            self.signal(signal.SIGKILL)
            await self.gone.wait()  # `_finish` does the rest
        else:
            self._lease_page.release()
            self.status = "ended"
            self.gone.set()
        self.finished.set()

    async def _finish(
        self,
        process: ForkedProcess,
        channel: ControlChannel,
        capture: OutputCapture,
        listening: asyncio.Task[None],
    ) -> None:
        """Wait for the end of the process, end what it started, and write the session's end."""
        exit_status = await self.host.fork_server.wait(process)
        stop_reason = self._stop_reason  # one that comes later has stopped nothing
        faults.point("runner.ended")
        await asyncio.wait({listening}, timeout=LAST_MESSAGES_S)  # raises nothing of the task's
        has_run = self.status in {"running", "stopping"}
        self.signal(signal.SIGKILL)  # what the bot started and left in its group
        await self.host.fork_server.kill_orphans()  # and what has left the group
        await capture.wait()
        channel.close()
        end = session_end(
            stop_reason=stop_reason,
            is_self_killed=self._lease_page.is_self_killed,
            report=channel.end_report,
            exit_status=exit_status,
            has_run=has_run,
            may_restart=self.launch.bot not in self.host.no_restart,
        )
        self._record_end(end)
        # No await before `gone` is set: other tasks use these of a session that is live.
        process.connections.close()
        self._lease_page.release()
        self.status = "ended"
        self.gone.set()
        if self._stop_reason != "refused" and not end.is_unknown:
            await self._end_writer.run()
        self.finished.set()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    @property
    def _end_writer(self) -> EndWriter:
        host, launch = self.host, self.launch
        end = SessionEnd(self.reason or "", self.detail, self.hand_over)
        figures = self.figures.summary() | self._end_facts | {"build": self.build}
        return EndWriter(
            host.store, launch, end, self.started_at, host.runner_id, self.said, figures
        )

    def _record_end(self, end: SessionEnd) -> None:
        self.reason, self.hand_over = end.reason, end.hand_over
        self.detail, self._end_facts = end.detail or self.detail, end.facts
        if end.is_crash_unreported:  # otherwise the bot process has written this event
            facts = {"pid": self.pid, "status": self.detail, **end.facts}
            log.error("Bot crashed", event="bot.crashed", **facts)

    async def _kill_after_reported_end(self, channel: ControlChannel) -> None:
        """Kill a process that has reported its end but does not exit."""
        await channel.is_end_reported.wait()
        await asyncio.sleep(pipes.EXIT_GRACE_S + TERM_GRACE_S)
        self.signal(signal.SIGKILL)

    async def _is_loaded_in_time(self, channel: ControlChannel) -> bool:
        """Return whether the process gets its bot in time; kill one that takes too long."""
        timeout_s = self._process.load_timeout_s if self._process is not None else 0.0
        outcome = await channel.load_outcome(self.gone, timeout_s, self._keep_page)
        if outcome == "late":
            self.signal(signal.SIGKILL)
        return outcome == "loaded"

    def _keep_page(self) -> None:
        """Let a process that still imports its bot file live: it has no lease yet, and has not called the bot."""
        if self.status == "starting":
            self.record_renewal(steady_time())

    async def _stop_when_user_absent(self, channel: ControlChannel) -> None:
        await channel.is_user_absent.wait()
        if self._stop_reason is None:
            await self._stop_after(0, "user_absent")

    async def _stop_after(self, seconds: float, reason: str) -> None:
        await asyncio.sleep(seconds)
        self._detach_current_task()
        await self.stop(reason)

    async def _watch_process_count(self) -> None:
        """Kill a bot that has started too many processes, together with them."""
        limit = self.host.bot_options.processes
        await wait_for_too_many(self.pid, limit)
        log.error("The bot has started too many processes; killing it", limit=limit)
        self._detach_current_task()
        await self.kill("bot_crashed", f"The bot had started more than {limit} processes.")

    def _detach_current_task(self) -> None:
        """Keep `_finish` from cancelling the task that waits for it."""
        self._tasks.discard(asyncio.current_task())

    async def is_gone_within(self, seconds: float) -> bool:
        """Wait for the end of the process up to `seconds`; return whether it came."""
        try:
            async with asyncio.timeout(seconds):
                await self.gone.wait()
        except TimeoutError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group of the bot, so that what it started gets it as well."""
        signal_group(self.pid, number, may_lack_group=self.is_live)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        with bound_context(self.context):
            task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
