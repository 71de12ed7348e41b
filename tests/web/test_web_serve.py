"""How a server handles signals."""

import asyncio
import signal

import pytest
from starlette.applications import Starlette

from cordboard.web import serve


async def draining(with_drain: bool) -> tuple[serve.DrainingServer, asyncio.Event]:
    """Return a server whose drain lasts until the event is set."""
    go_on = asyncio.Event()

    async def drain() -> None:
        await go_on.wait()

    server = serve.DrainingServer(serve.uvicorn_config(Starlette()), drain if with_drain else None)
    server._loop = asyncio.get_running_loop()
    return server, go_on


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
async def test_second_sigterm_does_not_interrupt_the_drain(first: signal.Signals) -> None:
    """Kubelets and supervisors repeat SIGTERM; the drain continues."""
    server, go_on = await draining(with_drain=True)
    for number in (first, signal.SIGTERM, signal.SIGTERM):
        server.handle_exit(number, None)
    await asyncio.sleep(0)
    assert not server.should_exit
    assert not server.force_exit
    go_on.set()
    assert server._draining is not None
    await server._draining
    assert server.should_exit
    server.handle_exit(signal.SIGTERM, None)
    assert not server.force_exit


async def test_second_sigint_stops_at_once() -> None:
    """Two Ctrl-C do not wait for the drain, three do not wait for open requests."""
    server, _ = await draining(with_drain=True)
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGINT, None)
    assert not server.should_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.force_exit


async def test_server_without_a_drain_stops_in_order() -> None:
    """Repeated SIGTERM does not force the stop of a server that has nothing to drain."""
    server, _ = await draining(with_drain=False)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        server.handle_exit(number, None)
    assert server.should_exit
    assert not server.force_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.force_exit
