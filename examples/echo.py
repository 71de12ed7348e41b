"""A minimal bot: it plays back the caller's audio, two seconds later.

cordboard up --bot examples/echo.py
"""

from collections import deque

from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments, SmallWebRTCRunnerArguments
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner

DELAY_FRAMES = 100  # of 20 ms each


class Echo(FrameProcessor):
    """Send the caller's audio back, two seconds later."""

    def __init__(self) -> None:
        super().__init__()
        self._held: deque[InputAudioRawFrame] = deque()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, InputAudioRawFrame):
            await self.push_frame(frame, direction)
            return
        self._held.append(frame)
        if len(self._held) > DELAY_FRAMES:
            old = self._held.popleft()
            await self.push_frame(
                OutputAudioRawFrame(
                    audio=old.audio, sample_rate=old.sample_rate, num_channels=old.num_channels
                )
            )


async def bot(runner_args: RunnerArguments) -> None:
    assert isinstance(runner_args, SmallWebRTCRunnerArguments), "Echo supports only webrtc: rooms."
    print("Echo is here for", runner_args.session_id)  # becomes a line of this session
    transport = SmallWebRTCTransport(
        runner_args.webrtc_connection,
        TransportParams(audio_in_enabled=True, audio_out_enabled=True),
    )
    worker = PipelineWorker(Pipeline([transport.input(), Echo(), transport.output()]))

    @transport.event_handler("on_client_disconnected")
    async def gone(_transport: SmallWebRTCTransport, _client: object) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()
