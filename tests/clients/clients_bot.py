"""A bot of the shape of Pipecat's examples, for their own clients: it says a tone, and answers messages.

It needs no service. The client message ``say`` has it say the tone again, ``body`` is answered with what the
bot got from the caller, ``end`` ends the call from the bot's side.
"""

import math
from array import array
from typing import Any

from pipecat.frames.frames import (
    ClientConnectedFrame,
    Frame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import create_transport
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.workers.runner import WorkerRunner

RATE_HZ = 16_000
TONE_S = 1.2
TONE = array(
    "h", (int(9_000 * math.sin(n * 440 * math.tau / RATE_HZ)) for n in range(int(RATE_HZ * TONE_S)))
).tobytes()
AUDIO = {"audio_in_enabled": True, "audio_out_enabled": True, "audio_out_sample_rate": RATE_HZ}
transport_params = {
    "webrtc": lambda: TransportParams(**AUDIO),
    "websocket": lambda: FastAPIWebsocketParams(**AUDIO, serializer=ProtobufFrameSerializer()),
}


class Speaker(FrameProcessor):  # type: ignore[misc]  # Pipecat has no type hints
    """Says the tone when somebody has connected."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Pass frames on, and greet."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, ClientConnectedFrame):
            await self.say()

    async def say(self) -> None:
        """Say the tone."""
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(audio=TONE, sample_rate=RATE_HZ, num_channels=1))
        await self.push_frame(TTSStoppedFrame())


async def bot(runner_args: Any) -> None:
    """Run the bot until its user has gone."""
    transport = await create_transport(runner_args, transport_params)
    speaker = Speaker()
    worker = PipelineWorker(Pipeline([transport.input(), speaker, transport.output()]))
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)

    @worker.rtvi.event_handler("on_client_message")  # type: ignore[untyped-decorator]
    async def on_client_message(rtvi: Any, message: Any) -> None:
        if message.type == "say":
            await speaker.say()
        elif message.type == "body":
            await rtvi.send_server_response(message, {"body": runner_args.body})
        elif message.type == "end":
            await worker.cancel(reason="the user has said so")

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def on_client_disconnected(_transport: object, _client: object) -> None:
        await runner.cancel()

    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    from pipecat.runner.run import main

    main()
