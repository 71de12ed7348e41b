"""The routes of public websockets."""

from typing import Final

from fastapi import APIRouter, WebSocket

from cordboard.edge.services import Services

TOKEN_PREFIXES: Final = ("/ws/", "/ws-client/", "/phone/stream/")
"""The paths below which the rest is a token, which no log line may show."""

router = APIRouter()


@router.websocket("/ws")
async def open_telephony_websocket(websocket: WebSocket, services: Services) -> None:
    """Serve a WebSocket whose first messages may name a carrier's call, as a static document has it."""
    await services.stream_entrance.serve(websocket, detects_carrier=True)


@router.websocket("/ws/{token}")
async def open_telephony_websocket_with_token(
    websocket: WebSocket, token: str, services: Services
) -> None:
    """Serve the stream of a call that was started at ``/start``."""
    await services.stream_entrance.serve_with_token(websocket, token, detects_carrier=True)


@router.websocket("/ws-client")
async def open_client_websocket(websocket: WebSocket, services: Services) -> None:
    """Serve a client's WebSocket, with a new session unless it sends a token."""
    await services.stream_entrance.serve(websocket, detects_carrier=False)


@router.websocket("/ws-client/{token}")
async def open_client_websocket_with_token(
    websocket: WebSocket, token: str, services: Services
) -> None:
    """Serve the stream of a client's session that was started at ``/start``."""
    await services.stream_entrance.serve_with_token(websocket, token, detects_carrier=False)


@router.websocket("/phone/stream/{token}")
async def open_phone_stream(websocket: WebSocket, token: str, services: Services) -> None:
    """Serve the stream of a phone call whose webhook was answered with this URL."""
    await services.stream_entrance.serve_with_token(websocket, token, detects_carrier=True)
