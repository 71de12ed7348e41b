"""How long a caller hears nothing: a bot that is never silent, and the silences of a recording of it."""

import math
from array import array
from dataclasses import dataclass

# A bot for every kind of room. It makes sound from the moment at which its transport has started.
TONE_BOT = '''
"""Plays a tone for as long as its user is there."""
import math
from array import array

from cordboard.bots.parrot import PHONE_SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, is_phone_call
from cordboard.bots.parrot_transport import make_transport
from pipecat.frames.frames import OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.workers.runner import WorkerRunner

HZ = 400  # a whole number of periods in 20 ms at each rate


async def bot(args):
    rate = PHONE_SAMPLE_RATE_HZ if is_phone_call(args) else SAMPLE_RATE_HZ
    transport = await make_transport(args, rate)
    worker = PipelineWorker(
        Pipeline([transport.input(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=rate, audio_out_sample_rate=rate),
        idle_timeout_secs=None,
    )
    turn = 2 * math.pi * HZ / rate
    second = array("h", (int(8000 * math.sin(turn * one)) for one in range(rate))).tobytes()

    async def play():
        import asyncio
        began, sent = asyncio.get_running_loop().time(), 0
        while True:
            frame = OutputAudioRawFrame(audio=second[: rate // 5 * 2], sample_rate=rate, num_channels=1)
            await worker.queue_frame(frame)
            sent += 1
            # A fifth of a second ahead, so that a busy machine causes no silence.
            await asyncio.sleep(max(0.0, began + (sent - 1) * 0.2 - asyncio.get_running_loop().time()))

    playing = []

    @transport.event_handler("on_client_connected")
    async def on_client_connected(_transport, _client):
        import asyncio
        if not playing:
            playing.append(asyncio.create_task(play()))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(_transport, _client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=args.handle_sigint)
    await runner.add_workers(worker)
    await runner.run()
'''

WINDOW_S = 0.01
# The amplitude of 32767 below which a window counts as silent. The tone has 8000; codecs and echo
# cancellers change it, and what they leave of silence stays far below.
LOUD_MIN = 400


@dataclass(frozen=True)
class Silence:
    """A silent stretch of a recording.

    Attributes:
        start_s: Seconds from the recording's start to its beginning.
        end_s: Seconds to its end; infinite if no sound follows.
    """

    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s


def silences(samples: bytes, rate: int, *, min_s: float = 0.04) -> list[Silence]:
    """Return the silent stretches between the first sound and the end of a recording.

    Args:
        samples: 16-bit mono samples.
        rate: Samples a second.
        min_s: The shortest stretch that counts, in seconds. A tone crosses zero, and a codec fades in.
    """
    values = array("h", samples)
    step = int(rate * WINDOW_S)
    loud = [
        start
        for start in range(0, len(values), step)
        if max(map(abs, values[start : start + step])) >= LOUD_MIN
    ]
    found = []
    for before, after in zip(loud, [*loud[1:], math.inf], strict=True):
        one = Silence((before + step) / rate, after / rate)
        # What is left after the last sound, if it is shorter, is no silence either.
        if min(one.end_s, len(values) / rate) - one.start_s >= min_s:
            found.append(one)
    return found


def silence_around(
    samples: bytes, rate: int, at_s: float, *, early_s: float = 0.5, late_s: float = 2.0
) -> Silence:
    """Return the silence that a fault caused, as it is heard: the longest that began about then.

    Args:
        samples: 16-bit mono samples of a bot that is never silent.
        rate: Samples a second.
        at_s: When the fault happened, in seconds of the recording.
        early_s: How much earlier in the recording its effect may begin: clocks are compared, and a recording
            may lag.
        late_s: How much later: buffers play on for a while.
    """
    about = [
        one
        for one in silences(samples, rate)
        if one.end_s > at_s - early_s and one.start_s < at_s + late_s
    ]
    return max(about, key=lambda one: one.seconds, default=Silence(at_s, at_s))
