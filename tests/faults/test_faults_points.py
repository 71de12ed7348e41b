"""A process is killed or frozen at every step of a join, before and after the effect.

The steps are accept, claim, assign, start, renew, leave, release, expire and recover. A few run always; all of them with ``-m faults_full``.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from faults.faults_support import LEASE_S, Fault, Plane, plane_of, run_fault
from plane_support import Processes, own_database

pytestmark = pytest.mark.timeout(180)

POINTS = {
    "gateway": ("accept.before", "accept.after", "leave.before", "leave.after",
                "gateway.leave.decided"),
    "operator": ("operator.claim", "assign.before", "assign.after", "operator.start.before",
                 "operator.start.after", "acknowledge.before", "acknowledge.after",
                 "expire.before", "expire.after", "recover.before", "recover.after"),
    "runner": ("register.after", "runner.fork.before", "runner.fork.after", "running.before",
               "running.after", "runner.go", "renew.before", "renew.after", "runner.stop",
               "runner.ended", "finish.before", "finish.after"),
}  # fmt: skip
ALWAYS = {
    "gateway-accept.after-kill",
    "operator-assign.after-kill",
    "operator-operator.start.before-stop",
    "runner-running.after-kill",
    "runner-renew.before-stop",
    "runner-finish.before-kill",
}
ALL = [
    Fault(role, point, action)
    for role, points in POINTS.items()
    for point in points
    for action in ("kill", "stop")
    if not (action == "stop" and point.startswith("register"))
]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Processes]:
    directory = tmp_path_factory.mktemp("faults")
    made = Processes(directory, own_database(redis_url))
    made.over["CORDBOARD_LEASE_S"] = str(LEASE_S)
    yield made
    made.stop()


_parts: dict[str, object] = {}


@pytest.fixture
async def plane(processes: Processes) -> AsyncIterator[Plane]:
    async with plane_of(processes) as opened:
        opened.parts = _parts  # type: ignore[assignment]  # what one test started, the next one uses
        yield opened


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=str(fault), marks=[] if str(fault) in ALWAYS else pytest.mark.faults_full)
        for fault in ALL
    ],
)  # fmt: skip
async def test_fault_at_each_step_breaks_no_promise(plane: Plane, fault: Fault) -> None:
    """Whatever fails, and wherever: no session is lost or doubled, and every reason is true."""
    broken, failed = await run_fault(plane, fault)
    assert broken == []
    assert failed, "the point was never passed"
