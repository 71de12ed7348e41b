"""A setup file of Pipecat (``PIPECAT_SETUP_FILES``): the bot's services connect to the doubles.

Deepgram's and Cartesia's services, and OpenAI's on WebSockets, take their address from their constructor alone.
Pipecat calls the function below when the services exist and none has connected. OpenAI's others need nothing: its
SDK reads ``OPENAI_BASE_URL``.
"""

import os
from typing import Any

# Each service's attribute that holds its address, and its address at the doubles.
ADDRESSES = {
    "CartesiaHttpTTSService": ("_base_url", "{http}"),
    "CartesiaSTTService": ("_base_url", "{host}"),
    "CartesiaTTSService": ("_url", "{websocket}/tts/websocket"),
    "CartesiaTurnsSTTService": ("_url", "{websocket}/stt/turns/websocket"),
    "DeepgramFluxSTTService": ("_url", "{websocket}/v2/listen"),
    "DeepgramFluxTTSService": ("_url", "{websocket}/v2/speak"),
    "DeepgramHttpTTSService": ("_base_url", "{http}"),
    "DeepgramTTSService": ("_base_url", "{websocket}"),
    "OpenAIRealtimeLLMService": ("base_url", "{websocket}/v1/realtime?{query}"),
    "OpenAIRealtimeSTTService": ("_base_url", "{websocket}/v1/realtime"),
    "OpenAIResponsesLLMService": ("_ws_url", "{websocket}/v1/responses"),
}


async def setup_pipeline_worker(worker: Any) -> None:
    """Direct each service of the pipeline to ``SERVICE_DOUBLES_URL``."""
    http = os.environ["SERVICE_DOUBLES_URL"]
    host = http.removeprefix("http://")
    for service in _services(worker.pipeline):
        name = type(service).__name__
        if name in ADDRESSES:
            attribute, address = ADDRESSES[name]
            query = str(getattr(service, attribute)).partition("?")[2]
            parts = {"http": http, "host": host, "websocket": f"ws://{host}", "query": query}
            setattr(service, attribute, address.format(**parts))
        if name == "CartesiaSTTService":
            service._scheme = "ws"
        elif name == "DeepgramSTTService":
            service._client = _deepgram_client(http, f"ws://{host}")
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
