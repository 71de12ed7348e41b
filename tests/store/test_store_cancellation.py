"""A task that is cancelled while it uses Redis ends, whatever it is doing at that moment."""

import asyncio
from typing import Any

import pytest

from cordboard.store import open_store

pytestmark = pytest.mark.timeout(120)


async def ping_forever(client: Any) -> None:
    """Use Redis until cancelled, as heartbeats and the steps of an operator do."""
    while True:
        await client.ping()


async def test_cancelled_task_ends_at_whatever_step_it_is(redis_url: str) -> None:
    """Whoever stops a component waits for its tasks; one that lost its cancellation would never end.

    A command takes some ten steps of the event loop, so the cancellations meet each of them.
    """
    async with open_store(redis_url) as store:
        client = store.shards[0].connection.client
        await client.ping()
        lost = []
        for steps in range(200):
            task = asyncio.create_task(ping_forever(client))
            for _ in range(steps % 50):
                await asyncio.sleep(0)
            task.cancel()
            # A task that has lost its cancellation never ends; one that has not, ends in a few steps.
            await asyncio.wait({task}, timeout=1)
            if not task.done():
                lost.append(steps)
                task.cancel()
        assert lost == []
        assert await client.echo("the connection has no reply of another command") == (
            "the connection has no reply of another command"
        )
