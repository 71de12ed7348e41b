"""A bot that sends each message of its stream back at once: what is left is the way there and back."""

from typing import Any


async def bot(runner_args: Any) -> None:
    """Echo until the caller closes the stream."""
    websocket = runner_args.websocket
    while True:
        message = await websocket.receive()
        if message["type"] != "websocket.receive":
            return
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])


if __name__ == "__main__":
    from pipecat.runner.run import main

    main()
