"""The parts of uvicorn that the runner and the bot's process use without its server exist and mean what they should.

Read ``web.http_protocol``, ``runner.runner_protocol`` and ``runner.bot_server`` before you extend the versions.
"""

import asyncio
import inspect
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from cordboard.runner.bot_server import UVICORN_VERSIONS
from cordboard.web.serve import uvicorn_config


async def app(_scope: Any, _receive: Any, _send: Any) -> None:
    """Serve nothing."""


def test_release_is_one_of_those_that_were_tested() -> None:
    """The major and the minor number; a fix release is trusted."""
    assert ".".join(uvicorn.__version__.split(".")[:2]) in UVICORN_VERSIONS


@pytest.mark.parametrize("protocol", [HttpToolsProtocol, WebSocketsSansIOProtocol])
async def test_connection_has_the_arguments_and_attributes(protocol: Any) -> None:
    """One is made from a configuration, the state of a server, and the state of its scopes."""
    config = uvicorn_config(app, websockets=True)
    config.load()
    state = ServerState()
    made = protocol(config=config, server_state=state, app_state={"key": "value"})
    assert made.app_state == {"key": "value"}
    assert made.connections is state.connections
    assert made.loop is asyncio.get_running_loop()
    methods = (
        "connection_made",
        "connection_lost",
        "data_received",
        "pause_writing",
        "resume_writing",
    )
    for name in methods:
        assert inspect.isfunction(getattr(protocol, name))


async def test_websocket_has_what_tells_its_end() -> None:
    """The code with which its peer has closed it."""
    config = uvicorn_config(app, websockets=True)
    config.load()
    made = WebSocketsSansIOProtocol(config=config, server_state=ServerState(), app_state={})
    assert (made.close_sent, made.conn.close_rcvd) == (False, None)
    assert list(inspect.signature(made.handle_close).parameters) == ["event"]


async def test_http_connection_has_what_the_limits_need() -> None:
    """The state of its parser, and the methods that it calls."""
    config = uvicorn_config(app)
    config.load()
    made = HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})
    for name in ("cycle", "transport", "client", "pipeline", "flow", "logger", "parser"):
        assert hasattr(made, name)
    for name in (
        "on_message_begin", "on_headers_complete", "on_body", "on_message_complete",
        "handle_websocket_upgrade",
    ):  # fmt: skip
        assert inspect.isfunction(getattr(HttpToolsProtocol, name))


async def test_configuration_takes_a_class_for_websockets() -> None:
    """It is used as it is, after the configuration was loaded."""
    config = uvicorn_config(app, websockets=True)
    config.ws = WebSocketsSansIOProtocol
    config.load()
    assert config.ws_protocol_class is WebSocketsSansIOProtocol
    assert not config.ws_per_message_deflate
    assert (config.ws_max_size, config.ws_ping_interval, config.ws_ping_timeout) == (2**20, 20, 20)
