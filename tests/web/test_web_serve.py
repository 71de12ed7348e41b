"""How a server takes signals."""

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
async def test_a_second_sigterm_ends_nothing_sooner(first: signal.Signals) -> None:
    """Kubelets and supervisors send SIGTERM twice: the drain goes on, as it does without."""
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


async def test_a_second_sigint_ends_at_once() -> None:
    """A person who presses Ctrl-C twice does not wait for the drain, and thrice not for requests."""
    server, _ = await draining(with_drain=True)
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGINT, None)
    assert not server.should_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.force_exit


async def test_without_a_drain() -> None:
    """A part that has nothing to drain stops in order, whatever number of SIGTERMs come."""
    server, _ = await draining(with_drain=False)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        server.handle_exit(number, None)
    assert server.should_exit
    assert not server.force_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.force_exit
