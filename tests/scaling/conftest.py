"""Fixtures of the tests of warm runners in a cluster."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster_support import Cluster
from plane_support import own_database
from scaling.warm_runners import WarmRunners, warm_runners


@pytest.fixture
async def warm(cluster: Cluster, tmp_path: Path, redis_url: str) -> AsyncIterator[WarmRunners]:
    """A Deployment of warm runners, and the components that use it."""
    async with warm_runners(cluster, tmp_path, own_database(redis_url)) as made:
        yield made
