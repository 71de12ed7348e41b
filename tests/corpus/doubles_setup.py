"""A setup file of Pipecat (``PIPECAT_SETUP_FILES``): the bot's services connect to the doubles.

Deepgram's and Cartesia's services take their address from their constructor alone. Pipecat calls the function below
when the services exist and none has connected. OpenAI's needs nothing: its SDK reads ``OPENAI_BASE_URL``.
"""

import os
from typing import Any


async def setup_pipeline_worker(worker: Any) -> None:
    """Direct each service of the pipeline to ``SERVICE_DOUBLES_URL``."""
    http = os.environ["SERVICE_DOUBLES_URL"]
    websocket = f"ws{http.removeprefix('http')}"
    for service in _services(worker.pipeline):
        name = type(service).__name__
        if name == "CartesiaTTSService":
            service._url = f"{websocket}/tts/websocket"
        elif name == "CartesiaHttpTTSService":
            service._base_url = http
        elif name == "OpenAIRealtimeSTTService":
            service._base_url = f"{websocket}/v1/realtime"
        elif name == "DeepgramTTSService":
            service._base_url = websocket
        elif name == "DeepgramHttpTTSService":
            service._base_url = http
        elif name == "DeepgramSTTService":
            service._client = _deepgram_client(http, websocket)
        elif name == "FastAPIWebsocketOutputTransport":
            _direct_hang_up(service._params.serializer, http)


def _services(processor: Any) -> list[Any]:
    """Return a pipeline's processors, with those of the pipelines inside."""
    return [processor, *(inner for one in processor.processors for inner in _services(one))]


def _direct_hang_up(serializer: Any, http: str) -> None:
    """Let a serializer of Twilio's end the call at the double."""
    if type(serializer).__name__ == "TwilioFrameSerializer":
        serializer._base_url = http


def _deepgram_client(http: str, websocket: str) -> Any:
    from deepgram import AsyncDeepgramClient, DeepgramClientEnvironment

    environment = DeepgramClientEnvironment(
        base=http, agent=websocket, production=websocket, agent_rest=http
    )
    return AsyncDeepgramClient(api_key=os.environ["DEEPGRAM_API_KEY"], environment=environment)
