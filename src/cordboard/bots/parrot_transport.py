"""The transport of the built-in bot, for each kind of room."""

from typing import Any

from pipecat.runner.types import RunnerArguments, WebSocketRunnerArguments
from pipecat.runner.utils import create_transport, parse_telephony_websocket
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.serializers.plivo import PlivoFrameSerializer
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.transports.websocket.fastapi import (
    FastAPIWebsocketParams,
    FastAPIWebsocketTransport,
)


def is_phone_call(runner_args: RunnerArguments) -> bool:
    """Return whether the user of `runner_args` comes by the stream of a carrier."""
    is_stream = isinstance(runner_args, WebSocketRunnerArguments)
    return is_stream and runner_args.transport_type != "websocket"


async def make_transport(runner_args: RunnerArguments, sample_rate_hz: int) -> BaseTransport:
    """Return a transport to the user of `runner_args`, with audio of `sample_rate_hz` both ways."""
    audio = {
        "audio_in_enabled": True,
        "audio_in_sample_rate": sample_rate_hz,
        "audio_out_enabled": True,
        "audio_out_sample_rate": sample_rate_hz,
        "audio_out_10ms_chunks": 2,
    }
    if isinstance(runner_args, WebSocketRunnerArguments):
        return await _websocket_transport(runner_args, audio)
    return await create_transport(
        runner_args,
        {
            "daily": lambda: _daily_params(audio),
            "livekit": lambda: _livekit_params(audio),
            "webrtc": lambda: TransportParams(**audio),
        },
    )


async def _websocket_transport(
    runner_args: WebSocketRunnerArguments, audio: dict[str, Any]
) -> BaseTransport:
    if runner_args.transport_type == "websocket":
        from pipecat.serializers.protobuf import ProtobufFrameSerializer

        serializer: FrameSerializer = ProtobufFrameSerializer()
    else:
        carrier, call_data = await parse_telephony_websocket(runner_args.websocket)
        if carrier == "eval":
            return await create_transport(runner_args, {"eval": lambda: _eval_params(audio)})
        serializer = _carrier_serializer(carrier, call_data)
    params = FastAPIWebsocketParams(**audio, add_wav_header=False, serializer=serializer)
    return FastAPIWebsocketTransport(websocket=runner_args.websocket, params=params)


def _carrier_serializer(carrier: str, call_data: Any) -> FrameSerializer:
    """Return the serializer of a phone call.

    Pipecat's own choice ends a call by the carrier's REST interface, for which it needs the account's keys. Here
    the call ends when the stream closes, because that is how the document that started the stream goes on.
    """
    stream_id = call_data["stream_id"]
    if carrier == "twilio":
        twilio = TwilioFrameSerializer.InputParams(auto_hang_up=False)
        return TwilioFrameSerializer(stream_id, params=twilio)
    if carrier == "telnyx":
        telnyx = TelnyxFrameSerializer.InputParams(auto_hang_up=False)
        encoding = call_data["outbound_encoding"]
        return TelnyxFrameSerializer(stream_id, encoding, "PCMU", params=telnyx)
    if carrier == "plivo":
        plivo = PlivoFrameSerializer.InputParams(auto_hang_up=False)
        return PlivoFrameSerializer(stream_id, params=plivo)
    if carrier == "exotel":
        return ExotelFrameSerializer(stream_id)
    raise ValueError(
        f"The first messages of the stream are of no known carrier: expected twilio, telnyx, plivo or exotel, "
        f"got {carrier!r}."
    )


def _daily_params(audio: dict[str, Any]) -> TransportParams:
    from pipecat.transports.daily.transport import DailyParams

    return DailyParams(**audio)


def _livekit_params(audio: dict[str, Any]) -> TransportParams:
    from pipecat.transports.livekit.transport import LiveKitParams

    return LiveKitParams(**audio)


def _eval_params(audio: dict[str, Any]) -> TransportParams:
    from pipecat.evals.transport import EvalTransportParams

    return EvalTransportParams(**audio)
