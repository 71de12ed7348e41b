"""How a server handles signals."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from cordboard.contract.errors import UsageError
from cordboard.web import serve
from tests_support import until


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
    """Two Ctrl-C wait neither for the drain nor for open requests; one after a SIGTERM is the first."""
    server, _ = await draining(with_drain=True)
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGINT, None)
    assert not server.should_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    assert server.force_exit


async def test_second_sigint_ends_a_shutdown_that_waits() -> None:
    """The application may take its whole grace period to shut down; a person at a terminal does not wait for it."""
    shutting_down = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        shutting_down.set()
        await asyncio.sleep(600)

    server = serve.DrainingServer(serve.uvicorn_config(Starlette(lifespan=lifespan)), None)
    with contextlib.closing(serve.bind("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server._serve(sockets=[listener]))
        await until(lambda: server.started)
        for number in (signal.SIGINT, signal.SIGTERM):
            server.handle_exit(number, None)
        await shutting_down.wait()
        assert not serving.done()
        server.handle_exit(signal.SIGINT, None)
        await asyncio.wait_for(serving, 20)


@pytest.mark.parametrize("with_drain", [False, True])
async def test_server_accepts_connections_in_the_lame_duck_period(*, with_drain: bool) -> None:
    """The drain begins after it; a second Ctrl-C does not wait for it."""
    go_on = asyncio.Event()

    async def drain() -> None:
        go_on.set()

    configuration = serve.uvicorn_config(Starlette())
    for period_s in (0.01, 600):
        server = serve.DrainingServer(
            configuration, drain if with_drain else None, lame_duck_s=period_s
        )
        server._loop = asyncio.get_running_loop()
        for _ in range(2):
            server.handle_exit(signal.SIGTERM, None)
        assert server._draining is not None
        assert not server.should_exit
        if period_s < 1:
            await server._draining
            assert go_on.is_set() == with_drain
        else:
            for _ in range(2):
                server.handle_exit(signal.SIGINT, None)
            server._draining.cancel()
        assert server.should_exit


async def test_server_without_a_drain_stops_in_order() -> None:
    """Repeated SIGTERM does not force the stop of a server that has nothing to drain."""
    server, _ = await draining(with_drain=False)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        server.handle_exit(number, None)
    assert server.should_exit
    assert not server.force_exit
    server.handle_exit(signal.SIGINT, None)
    assert server.force_exit


@pytest.mark.parametrize("port", [-1, 65536])
def test_number_that_is_no_port_is_a_usage_error(port: int) -> None:
    """It is refused as an argument, with the range."""
    with pytest.raises(UsageError, match=f"--port {port}: expected a number from 0 to 65535"):
        serve.bind("127.0.0.1", port)
