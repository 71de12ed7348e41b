"""A bot that acts as its room's name says, for what a page must bear.

``silent`` says nothing, ``stubborn`` needs 3 s to end, ``brief`` ends the call by itself after a
second, ``failing`` reports errors over the data channel and says nothing; all others do as
``silent`` does.
"""

import asyncio
from typing import Any

import aioice.ice
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner

aioice.ice.CONSENT_INTERVAL = 1
ERROR = {
    "label": "rtvi-ai",
    "type": "error",
    "data": {"error": "<b>The voice service said no</b>", "fatal": False},
}


async def bot(runner_args: Any) -> None:
    """Run the bot until its user has gone, or as its room says."""
    act = runner_args.body["room_url"].removeprefix("webrtc:").partition("-")[0]
    connection = runner_args.webrtc_connection
    transport = SmallWebRTCTransport(
        connection, TransportParams(audio_in_enabled=True, audio_out_enabled=act != "brief")
    )
    worker = PipelineWorker(Pipeline([transport.input(), transport.output()]))

    @transport.event_handler("on_client_connected")  # type: ignore[untyped-decorator]
    async def on_client_connected(_transport: object, _client: object) -> None:
        if act == "failing":
            connection.send_app_message({"label": "rtvi-ai", "type": "bot-ready", "data": {}})
            connection.send_app_message("no object")
            connection.send_app_message(ERROR)
        if act == "brief":
            await asyncio.sleep(1)
            await worker.cancel(reason="done")

    @transport.event_handler("on_client_disconnected")  # type: ignore[untyped-decorator]
    async def on_client_disconnected(_transport: object, _client: object) -> None:
        await worker.cancel(reason="the user has gone")

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    try:
        await runner.run()
    finally:
        await asyncio.sleep(3 if act == "stubborn" else 0)
