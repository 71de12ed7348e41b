"""A gateway is killed or frozen between the steps of a join over three shards.

The steps in the store itself, all of them, by many callers: ``tests/store/test_store_claims.py``.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from faults.faults_support import LEASE_S, Fault, Plane, plane_of, run_fault
from plane_support import Processes, own_database

pytestmark = pytest.mark.timeout(180)

SHARDS = 3
FAULTS = [
    Fault("gateway", point, action)
    for point in ("claim.before", "claim.after", "accept.before", "accept.after")
    for action in ("kill", "stop")
]
ALWAYS = "gateway-claim.after-kill"


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("shards")
    made = Processes(directory, own_database(redis_url))
    made.over |= {"CORDBOARD_LEASE_S": str(LEASE_S), "CORDBOARD_SHARDS": str(SHARDS)}
    yield made
    made.stop()


_parts: dict[str, object] = {}


@pytest.fixture
async def plane(processes: Processes) -> AsyncIterator[Plane]:
    async with plane_of(processes, shards=SHARDS) as opened:
        opened.parts = _parts  # type: ignore[assignment]  # what one test started, the next one uses
        yield opened


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=str(fault), marks=[] if str(fault) == ALWAYS else pytest.mark.faults_full)
        for fault in FAULTS
    ],
)  # fmt: skip
async def test_fault_of_a_gateway_over_shards_breaks_no_promise(plane: Plane, fault: Fault) -> None:
    """A session id that a dead or frozen gateway has claimed is one session: not lost, not doubled."""
    broken, failed = await run_fault(plane, fault)
    assert broken == []
    assert failed, "the point was never passed"
