"""One call from the join to the leave: its stages, and its early end."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from cordboard.call.audio import (
    FRAME_S,
    PAUSE_S,
    RATE,
    Microphone,
    SoundDetector,
    WavRecording,
    read_speech,
)
from cordboard.call.gateway import CallGateway
from cordboard.call.options import CallOptions, CallResult, CallTimeouts, target_of
from cordboard.call.peer import Peer
from cordboard.call.timeline import CallStage, StageFailedError, Timeline, at_stage
from cordboard.contract.errors import CordboardError
from cordboard.contract.state import TERMINAL
from cordboard.ice_client import usable_servers

POLL_S: Final = 0.01  # half an audio frame: no sound waits longer to be noticed

_SESSIONS_HINT: Final = "Its state: cordboard sessions ID"
_NO_RUNNER: Final = ("No runner took the session in time.", "Is one running? See cordboard doctor.")
_NO_PATH: Final = "No path for media was found in time."
_BUSY_LOOP: Final = "The bot must not block its event loop either."
_TOO_BUSY: Final = (
    "The speech could not be sent in real time.",
    "This machine is too busy for a call.",
)

T = TypeVar("T")


async def place_call(
    options: CallOptions, on_stage: Callable[[CallStage], None] = lambda _stage: None
) -> CallResult:
    """Make one call. It always leaves the room, also when it is cancelled.

    Args:
        options: The options of the call.
        on_stage: Called with each stage when it is reached.

    Raises:
        CordboardError: The options are invalid. No request was sent.
    """
    target = target_of(options)
    speech = read_speech(options.say) if options.say else b""
    timeline = Timeline(on_stage)
    failure: StageFailedError | None = None
    with _open_recording(options) as recording:
        async with CallGateway(target) as gateway:
            call = _Call(gateway, timeline, speech, recording, options.timeouts)
            try:
                await call.run(options.seconds)
            except StageFailedError as error:
                failure = error
    return CallResult(
        session_id=target.session_id,
        room=target.room,
        stages=tuple(timeline.stages),
        failed=failure.stage if failure else None,
        reason=failure.message if failure else "",
        hint=failure.hint if failure else "",
        recorded_s=recording.seconds if recording else 0.0,
        has_logs=gateway.has_answered,
    )


@contextlib.contextmanager
def _open_recording(options: CallOptions) -> Iterator[WavRecording | None]:
    if options.record is None:
        yield None
        return
    with contextlib.closing(WavRecording(options.record)) as recording:
        yield recording


class _Call:
    """One call while it lasts."""

    def __init__(
        self,
        gateway: CallGateway,
        timeline: Timeline,
        speech: bytes,
        recording: WavRecording | None,
        timeouts: CallTimeouts,
    ) -> None:
        self._gateway = gateway
        self._timeline = timeline
        self._speech = speech
        self._timeouts = timeouts
        self._microphone = Microphone()
        self._bot_sound = SoundDetector(recording)
        self._is_running = asyncio.Event()
        self._is_complete = False
        self._last_change: dict[str, Any] = {}

    async def run(self, seconds: float | None) -> None:
        """Join, converse, leave.

        Args:
            seconds: How long to stay; None leaves when the bot has finished speaking.

        Raises:
            StageFailedError: A stage was not reached.
        """
        try:
            async with self._timeline.stage("joined"):
                joined = await self._gateway.join()
            await self._converse_and_leave(joined.get("iceConfig"), seconds)
        except (StageFailedError, asyncio.CancelledError) as error:
            # A refused join left nothing behind; an interrupted one may have been accepted.
            if getattr(error, "stage", "") not in {"joined", "left"}:
                with contextlib.suppress(CordboardError):
                    await self._gateway.leave()
            raise

    async def _converse_and_leave(
        self, ice_config: dict[str, Any] | None, seconds: float | None
    ) -> None:
        """Hold the conversation of a session, and end it.

        Args:
            ice_config: The ICE servers of the join's answer; None without any.
            seconds: How long to stay; None leaves when the bot has finished speaking.
        """
        async with contextlib.AsyncExitStack() as stack:
            # Finding servers and addresses takes as long as the bot's start, so both happen at once.
            offered = asyncio.create_task(self._open_peer(ice_config, stack))
            try:
                await self._while_live(self._converse(offered, seconds))
                await self._leave()
            finally:
                offered.cancel()
                await asyncio.gather(offered, return_exceptions=True)

    async def _open_peer(
        self, ice_config: dict[str, Any] | None, stack: contextlib.AsyncExitStack
    ) -> tuple[Peer, dict[str, str]]:
        """Return a connection, which ``stack`` closes, and its offer."""
        servers = await usable_servers(ice_config)
        peer = Peer(self._microphone, self._bot_sound, servers)
        stack.push_async_callback(peer.close)
        return peer, await peer.offer()

    async def _while_live(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` until it is done or the session ends."""
        conversation = asyncio.create_task(work)
        following = asyncio.create_task(self._follow())
        try:
            await asyncio.wait({conversation, following}, return_when=asyncio.FIRST_COMPLETED)
            if conversation.done():
                conversation.result()
            else:
                following.result()
                await self._check_end()
        except CordboardError as error:
            failure = at_stage(self._timeline.next_stage, error)
            # The session's reason is more specific than the error that its end caused here.
            await asyncio.wait({following}, timeout=self._timeouts.ending)
            if self._last_change.get("status") in TERMINAL and following.done():
                raise StageFailedError(failure.stage, *await self._ending()) from error
            raise failure from error
        finally:
            conversation.cancel()
            following.cancel()
            await asyncio.gather(conversation, following, return_exceptions=True)

    async def _follow(self) -> None:
        async for change in self._gateway.states():
            self._last_change = change
            if change.get("status") == "running":
                self._is_running.set()

    async def _check_end(self) -> None:
        """Check that the session ended after the bot was heard, and not by a failure.

        Raises:
            StageFailedError: It did not.
        """
        if not self._is_complete:
            raise StageFailedError(self._timeline.next_stage, *await self._ending())
        if self._last_change.get("status") == "failed":
            raise StageFailedError("left", *await self._ending())

    async def _ending(self) -> tuple[str, str]:
        """Return how the session ended, and a hint."""
        record = dict(self._last_change)
        with contextlib.suppress(CordboardError):
            record |= await self._gateway.record()
        why = ", ".join(str(record[name]) for name in ("reason", "detail") if record.get(name))
        return (
            f"The session has ended: {record.get('status')}{f' ({why})' if why else ''}.",
            "The command below prints its log lines.",
        )

    async def _converse(
        self, offered: "asyncio.Task[tuple[Peer, dict[str, str]]]", seconds: float | None
    ) -> None:
        async with self._timeline.stage("running", self._timeouts.running, _NO_RUNNER):
            await self._is_running.wait()
        async with self._timeline.stage("answered"):
            peer, offer = await offered
            answer = await self._gateway.offer(offer)
        late = (_NO_PATH, f"{peer.no_path_hint} {_BUSY_LOOP}")
        async with self._timeline.stage("connected", self._timeouts.connected, late):
            await peer.accept(answer)
            await peer.connected()
        # ``seconds`` count from here: a slow start must not shorten the call.
        connected_at = time.monotonic()
        await self._hear_greeting()
        if self._speech:
            await self._take_turn()
        if seconds is not None:
            await asyncio.sleep(max(0.0, connected_at + seconds - time.monotonic()))

    async def _hear_greeting(self) -> None:
        """Wait for the bot's first sound, and until the bot has finished speaking."""
        self._timeline.next_stage = "first_audio"
        timeout_s = self._timeouts.greeting if self._speech else self._timeouts.audio
        onset = await _poll(lambda: self._bot_sound.onset_after(0.0), timeout_s)
        if onset is not None:
            self._timeline.reach("first_audio", onset)
            # With something to say, only the reply completes the call.
            self._is_complete = not self._speech
            await self._wait_for_silence()
        elif not self._speech:
            raise _silence_error("first_audio", timeout_s)

    async def _take_turn(self) -> None:
        """Speak, and wait for the bot's reply."""
        self._timeline.next_stage = "spoken"
        self._microphone.speak(self._speech)
        speech_s = len(self._speech) / 2 / RATE
        spoken = await _poll(lambda: self._microphone.spoken_at, speech_s + self._timeouts.turn)
        if spoken is None:
            raise StageFailedError("spoken", *_TOO_BUSY)
        self._timeline.reach("spoken", spoken)
        self._timeline.next_stage = "heard_back"
        # A sound that begins within the speech's last frame cannot be a reply. A bot that began during the speech,
        # and is still speaking after a pause, has replied.
        reply = await _poll(
            lambda: (
                self._bot_sound.onset_after(spoken + FRAME_S)
                or self._bot_sound.loud_after(spoken + PAUSE_S)
            ),
            self._timeouts.audio,
        )
        if reply is None:
            raise _silence_error("heard_back", self._timeouts.audio)
        self._timeline.reach("heard_back", reply)
        self._is_complete = True
        await self._wait_for_silence()

    async def _wait_for_silence(self) -> None:
        """Wait until the bot has finished speaking, but not forever."""
        await _poll(lambda: self._bot_sound.is_quiet(time.monotonic()) or None, self._timeouts.turn)

    async def _leave(self) -> None:
        """Leave the room, and check that the session has ended."""
        async with self._timeline.stage("left"):
            # ``stopping``: the bot did not end within the gateway's 10 s. It may have ended since.
            if await self._gateway.leave() != "stopping":
                return
            if (await self._gateway.record())["status"] not in TERMINAL:
                raise CordboardError("The bot did not confirm its end.", hint=_SESSIONS_HINT)


async def _poll(value: Callable[[], T | None], timeout_s: float) -> T | None:
    """Return the first value that is not None; None if there is none within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        current = value()
        if current is not None or time.monotonic() >= deadline:
            return current
        await asyncio.sleep(POLL_S)


def _silence_error(stage: str, timeout_s: float) -> StageFailedError:
    hint = "Check in its log lines, printed by the command below, whether it speaks."
    if stage == "heard_back":
        hint += " A bot that expects a voice does not answer tones."
    return StageFailedError(
        stage, f"Connected, but nothing was heard from the bot for {timeout_s:g} s.", hint
    )
