"""Asking several shards at once, of which some are away, refuse, or never answer."""

import asyncio

import pytest

from cordboard.contract.errors import StoreUnavailableError
from cordboard.store.sharding.gather import gather_replies_soon, wait_for_any


async def fine() -> None:
    await asyncio.sleep(0)


async def away() -> None:
    raise StoreUnavailableError("It is away.")


async def never() -> None:
    await asyncio.Event().wait()


async def test_one_that_answers_is_enough() -> None:
    """The others may be away, or hang."""
    for works in ([fine()], [away(), fine()], [never(), fine()], [away(), never(), fine()]):
        await wait_for_any(works)


async def test_none_answers() -> None:
    """Then the first error is raised."""
    with pytest.raises(StoreUnavailableError, match="It is away"):
        await wait_for_any([away(), away()])


async def test_who_asks_may_stop() -> None:
    """A look that is cancelled leaves no task behind."""
    before = len(asyncio.all_tasks())
    asked = asyncio.create_task(wait_for_any([never(), never()]))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert asked.cancelled()
    assert len(asyncio.all_tasks()) == before


async def test_who_is_late_counts_as_away() -> None:
    """What must not wait does not."""
    late, good = await gather_replies_soon([never(), fine()])
    assert isinstance(late, StoreUnavailableError)
    assert good is None
