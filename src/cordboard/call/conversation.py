"""One call from the join to the leave: its stages, and its early end."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from cordboard.call.audio import Microphone, SoundDetector, read_speech
from cordboard.call.connection import BotConnection
from cordboard.call.gateway import CallGateway
from cordboard.call.heard import HeardTurns
from cordboard.call.interruption import Interruption, Interruptions
from cordboard.call.measuring import HeardLog, watch_media
from cordboard.call.options import CallOptions, CallResult, target_of
from cordboard.call.peer import Peer
from cordboard.call.peers import Offered, Peers
from cordboard.call.recording import TimedRecording, WavRecording
from cordboard.call.session_state import SessionState
from cordboard.call.talk import Talk
from cordboard.call.timeline import CallStage, StageFailedError, Timeline, at_stage
from cordboard.contract.errors import CordboardError
from cordboard.contract.state import TERMINAL
from cordboard.emit import session_context

# Seconds after a hint within which a death is confirmed: the bots of a dead runner are given 1 s to die.
CONFIRM_S: Final = 3.0

_SESSIONS_HINT: Final = "Its state: cordboard sessions ID"
_NO_RUNNER: Final = ("No runner took the session in time.", "Is one running? See cordboard doctor.")
_NO_PATH: Final = "No path for media was found in time."
_BUSY_LOOP: Final = "The bot must not block its event loop either."
# The reasons with which a session ends although nothing went wrong, also for a caller that has lost its connection.
_PROPER_ENDS: Final = ("bot_finished", "left", "max_duration")


async def place_call(
    options: CallOptions,
    on_stage: Callable[[CallStage], None] = lambda _stage: None,
    on_interruption: Callable[[Interruption], None] = lambda _interruption: None,
) -> CallResult:
    """Make one call. It always leaves the room, also when it is cancelled.

    Args:
        options: The options of the call.
        on_stage: Called with each stage when it is reached.
        on_interruption: Called with each interruption when it begins, and again when it ends.

    Raises:
        CordboardError: The options are invalid. No request was sent.
    """
    target = target_of(options)
    speech = read_speech(options.say) if options.say else b""
    timeline = Timeline(on_stage)
    interruptions = Interruptions(timeline.began_at, on_interruption)
    with (
        _open_recording(options) as recording,
        session_context(session_id=target.session_id, user_name=target.user_name, room=target.room),
    ):
        async with CallGateway(target) as gateway:
            call = _Call(gateway, timeline, interruptions, options, recording)
            failure = await call.run(speech)
    return CallResult(
        session_id=target.session_id,
        room=target.room,
        stages=tuple(timeline.stages),
        failed=failure.stage if failure else None,
        reason=failure.message if failure else "",
        hint=failure.hint if failure else "",
        seconds=call.seconds,
        recorded_s=recording.file.seconds if recording else 0.0,
        has_logs=gateway.has_answered,
        interruptions=tuple(interruptions.all),
    )


@contextlib.contextmanager
def _open_recording(options: CallOptions) -> Iterator[TimedRecording | None]:
    if options.record is None:
        yield None
        return
    with contextlib.closing(WavRecording(options.record)) as file:
        yield TimedRecording(file)


class _Call:
    """One call while it lasts.

    Attributes:
        seconds: How long it lasted, from its connection to its end.
    """

    def __init__(
        self,
        gateway: CallGateway,
        timeline: Timeline,
        interruptions: Interruptions,
        options: CallOptions,
        recording: TimedRecording | None,
    ) -> None:
        self._gateway = gateway
        self._timeline = timeline
        self._interruptions = interruptions
        self._options = options
        self._timeouts = options.timeouts
        self._recording = recording
        self._session = SessionState(gateway)
        self._heard = HeardLog()
        turns = HeardTurns(self._heard.add) if options.measures else None
        self._microphone = Microphone(turns)
        self._bot_sound = SoundDetector(recording, turns)
        self._peers = Peers(gateway, self._microphone, self._bot_sound)
        self._talk: Talk | None = None
        self._connected_at: float | None = None
        self.seconds = 0.0

    async def run(self, speech: bytes) -> StageFailedError | None:
        """Join, converse, leave; return why a stage was not reached, or None.

        Args:
            speech: The samples to speak; empty to listen only.
        """
        try:
            async with self._timeline.stage("joined"):
                joined = await self._gateway.join()
            await self._converse_and_leave(joined.get("iceConfig"), speech)
            self._check_recording()
        except (StageFailedError, asyncio.CancelledError) as error:
            # A refused join left nothing behind; an interrupted one may have been accepted.
            if getattr(error, "stage", "") not in {"joined", "left", "recorded"}:
                with contextlib.suppress(CordboardError):
                    await self._gateway.leave()
            if isinstance(error, StageFailedError):
                return error
            raise
        return None

    async def _converse_and_leave(self, ice_config: dict[str, Any] | None, speech: bytes) -> None:
        """Hold the conversation of a session, and end it.

        Args:
            ice_config: The ICE servers of the join's answer; None without any.
            speech: The samples to speak.
        """
        # Finding servers and addresses takes as long as the bot's start, so both happen at once.
        offered = asyncio.create_task(self._peers.open(ice_config))
        try:
            await self._while_live(self._converse(offered, speech))
            await self._leave()
        finally:
            offered.cancel()
            await asyncio.gather(offered, return_exceptions=True)
            await self._peers.close()

    async def _while_live(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` until it is done or the session ends."""
        following = asyncio.create_task(self._session.follow())
        try:
            if not await _ends_first(work, following):
                await self._check_end()
        except CordboardError as error:
            failure = at_stage(self._timeline.next_stage, error)
            # The session's reason is more specific than the error that its end caused here.
            await asyncio.wait({following}, timeout=self._timeouts.ending)
            if self._session.is_final and following.done():
                raise StageFailedError(failure.stage, *await self._session.ending()) from error
            raise failure from error
        finally:
            # Here, because leaving takes time that is not the call's.
            self._hang_up(time.monotonic())
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _hang_up(self, now: float) -> None:
        """End the call's own time at ``now``, a monotonic time."""
        if self._connected_at is not None:
            self.seconds = now - self._connected_at
        if self._recording is not None:
            self._recording.finish(now)

    def _check_recording(self) -> None:
        """Check that the whole call was recorded, if it was to be.

        Raises:
            StageFailedError: It was not.
        """
        file = self._recording.file if self._recording is not None else None
        if file is not None and file.error is not None:
            raise StageFailedError(
                "recorded",
                f"{self._options.record} could not be written after {file.seconds:.1f} s:"
                f" {file.error.strerror}.",
                "The call itself went on. A minute takes 5.8 MB.",
            )

    async def _check_end(self) -> None:
        """Check that the session ended after the bot was heard, and not by a failure.

        Raises:
            StageFailedError: It did not.
        """
        change = self._session.last_change
        if self._interruptions.is_open:
            if change.get("reason") not in _PROPER_ENDS:
                raise StageFailedError("resumed", *await self._session.ending())
            self._interruptions.withdraw()
        if self._talk is None or not self._talk.is_complete:
            raise StageFailedError(self._timeline.next_stage, *await self._session.ending())
        if change.get("status") == "failed":
            raise StageFailedError("left", *await self._session.ending())

    async def _converse(self, offered: asyncio.Task[Offered], speech: bytes) -> None:
        peer = await self._connect(offered)
        # ``seconds`` count from here: a slow start must not shorten the call.
        self._connected_at = connected_at = time.monotonic()
        if self._recording is not None:
            self._recording.start(connected_at)
        connection = BotConnection(
            self._gateway, self._session, self._peers, self._interruptions, peer
        )
        self._heard.connection = connection
        self._talk = Talk(
            self._timeline,
            connection,
            self._interruptions,
            self._microphone,
            self._bot_sound,
            self._timeouts,
        )
        keeping = asyncio.create_task(connection.keep())
        tasks = [keeping]
        if self._options.measures:
            watching = watch_media(connection, self._microphone, self._bot_sound)
            tasks.append(asyncio.create_task(watching))
        try:
            await _ends_first(self._stay(self._talk, speech, connected_at), keeping)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stay(self, talk: Talk, speech: bytes, connected_at: float) -> None:
        await talk.run(speech)
        if self._options.seconds is None:
            await talk.wait_for_silence()
        else:
            await asyncio.sleep(max(0.0, connected_at + self._options.seconds - time.monotonic()))
        # Whether the bot comes back belongs to the result.
        await self._interruptions.until_closed()

    async def _connect(self, offered: asyncio.Task[Offered]) -> Peer:
        """Return the first connection to the bot, or to the next bot if the first one dies before that."""
        while True:
            async with self._timeline.stage("running", self._timeouts.running, _NO_RUNNER):
                await self._session.until_running()
            epoch = self._session.epoch
            try:
                return await self._connect_once(offered)
            except StageFailedError:
                if not await self._is_handed_over(epoch):
                    raise
            offered = asyncio.create_task(self._peers.open_again())

    async def _connect_once(self, offered: asyncio.Task[Offered]) -> Peer:
        async with self._timeline.stage("answered"):
            peer, offer = await offered
            answer = await self._gateway.offer(offer)
        late = (_NO_PATH, f"{peer.no_path_hint} {_BUSY_LOOP}")
        async with self._timeline.stage("connected", self._timeouts.connected, late):
            await peer.accept(answer)
            await peer.connected()
        return peer

    async def _is_handed_over(self, epoch: int) -> bool:
        """Return whether the bot of ``epoch``, which could not be reached, is dead and another one follows."""
        with contextlib.suppress(CordboardError):
            await self._gateway.suspect()
        return await self._session.moves_on(epoch, CONFIRM_S)

    async def _leave(self) -> None:
        """Leave the room, and check that the session has ended."""
        async with self._timeline.stage("left"):
            # ``stopping``: the bot did not end within the gateway's 10 s. It may have ended since.
            if await self._gateway.leave() != "stopping":
                return
            if (await self._gateway.record())["status"] not in TERMINAL:
                raise CordboardError("The bot did not confirm its end.", hint=_SESSIONS_HINT)


async def _ends_first(work: Coroutine[Any, Any, None], other: asyncio.Task[None]) -> bool:
    """Run ``work``, and return whether it ended before ``other``, which stays the caller's."""
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({working, other}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            other.result()
            return False
        working.result()
        return True
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
