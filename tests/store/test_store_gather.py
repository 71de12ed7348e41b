"""Operations in several shards at once, some of which are unreachable, refuse, or never answer."""

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


async def test_one_shard_that_answers_is_enough() -> None:
    """The other shards may be unreachable or hang."""
    for works in ([fine()], [away(), fine()], [never(), fine()], [away(), never(), fine()]):
        await wait_for_any(works)


async def test_first_error_is_raised_if_all_fail() -> None:
    """The first error is raised if no shard answers."""
    with pytest.raises(StoreUnavailableError, match="It is away"):
        await wait_for_any([away(), away()])


async def test_cancelled_wait_leaves_no_task() -> None:
    """A wait that is cancelled leaves no task behind."""
    before = len(asyncio.all_tasks())
    asked = asyncio.create_task(wait_for_any([never(), never()]))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert asked.cancelled()
    assert len(asyncio.all_tasks()) == before


async def test_late_shard_counts_as_unreachable() -> None:
    """A shard that is late counts as unreachable."""
    late, good = await gather_replies_soon([never(), fine()])
    assert isinstance(late, StoreUnavailableError)
    assert good is None
