"""Fixtures of the browser tests: one `cordboard up` for all tests of a file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from browser.browser_support import CONTROL, chromium_path, spoken
from up_support import Up, processes_of, ready, write_parrot


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Up]:
    """Everything, on free ports, with shorter patience; nothing of it is left afterwards.

    A module whose tests kill runners sets ``RUNNERS``.
    """
    chromium_path()
    state = tmp_path_factory.mktemp("state")
    async with ready(
        state,
        *("--bot", write_parrot(state)),
        *("--runners", getattr(request.module, "RUNNERS", "1")),
        BOT_CONTROL_SHARED_SECRET=CONTROL,
        CORDBOARD_INTERFACE_HOSTS="insecure.test",
        CORDBOARD_LEASE_S="5",
    ) as running:
        yield running
    assert processes_of(state) == []


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A microphone into which a sentence is spoken after the greeting."""
    return spoken(tmp_path_factory.mktemp("sound"))
