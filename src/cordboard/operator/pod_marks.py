"""Marks on the pods of warm runners: whether a pod has sessions, so that a cluster removes idle pods first.

A mark is a hint. Without marks, or with late ones, a busy pod may be removed; its runner then hands its
sessions over. So a cluster that does not answer delays nothing but the marks.

Several operators write the same marks, from the same state in Redis. Each of them corrects a mark of its own
that has arrived late, so they need not agree on one that writes.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cordboard.contract.errors import CordboardError, NotFoundError, StoreUnavailableError
from cordboard.contract.pod_annotations import DELETION_COST, DO_NOT_DISRUPT, SAFE_TO_EVICT
from cordboard.emit import get_logger
from cordboard.store import RedisStore

if TYPE_CHECKING:  # its import takes long, and most operators need none
    from cordboard.kube import Kube

# How soon an idle pod, or one that another operator has given a session, is marked. A pod whose last session ends
# and that gets another one meanwhile is not marked at all.
INTERVAL_S: Final = 5.0

# Seconds between two rounds that sessions cause: a round reads two small values for each runner.
PAUSE_S: Final = 0.5

# Requests to the cluster at a time. An operator that starts marks all pods.
REQUESTS_MAX: Final = 8

# Pauses after a failure, doubled up to the maximum.
RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 60.0

IDLE: Final[Mapping[str, str | None]] = {
    DELETION_COST: "0",
    SAFE_TO_EVICT: "true",
    DO_NOT_DISRUPT: None,
}
BUSY: Final[Mapping[str, str | None]] = {
    DELETION_COST: "10",
    SAFE_TO_EVICT: "false",
    DO_NOT_DISRUPT: "true",
}

log = get_logger("operator")


@dataclass(slots=True)
class PodMarks:
    """Writes the marks of all warm runners' pods.

    Attributes:
        kube: The cluster.
        shards: The shards of the store.
        interval_s: Seconds between two rounds without new sessions.
        retry_s: Seconds of the pause after a first failure of the cluster.
    """

    kube: "Kube"
    shards: Sequence[RedisStore]
    interval_s: float = INTERVAL_S
    retry_s: float = RETRY_MIN_S
    _pods: dict[str, str] = field(default_factory=dict)
    _is_busy: dict[str, bool] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _failures: int = 0

    def add_session(self, runner_id: str) -> None:
        """Mark the pod of the runner ``runner_id`` soon: it has got a session."""
        if not self._is_busy.get(self._pods.get(runner_id, "")):
            self._wake.set()

    async def run(self) -> None:
        """Write marks until cancelled."""
        while True:
            pause_s = await self._try_round()
            await asyncio.sleep(pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self.interval_s - pause_s, 0)):
                    await self._wake.wait()
            self._wake.clear()

    async def _try_round(self) -> float:
        """Run a round, and return the seconds until the next one may begin."""
        try:
            await self._mark_changed(await self._read())
        except StoreUnavailableError as error:
            log.debug("The pods stay marked as they are", error=error)
        except CordboardError as error:
            return self._record_failure(error)
        except Exception:
            log.exception("The pods of runners could not be marked")
        else:
            if self._failures:
                log.info("The pods of runners are marked again")
            self._failures = 0
        return PAUSE_S

    async def _read(self) -> dict[str, bool]:
        """Return for each pod whether it has sessions; a runner may have them in several shards."""
        pods: dict[str, str] = {}
        sessions: defaultdict[str, int] = defaultdict(int)
        for shard in self.shards:
            for runner in await shard.runners.in_pods():
                pods[runner.runner_id] = runner.pod
                sessions[runner.pod] += runner.sessions
        self._pods = pods
        return {pod: count > 0 for pod, count in sessions.items()}

    async def _mark_changed(self, is_busy: Mapping[str, bool]) -> None:
        """Mark the pods that have become busy or idle since they were marked, the busy ones first."""
        self._is_busy = {pod: busy for pod, busy in self._is_busy.items() if pod in is_busy}
        changed = [pod for pod, busy in is_busy.items() if self._is_busy.get(pod) is not busy]
        changed.sort(key=lambda pod: not is_busy[pod])
        for start in range(0, len(changed), REQUESTS_MAX):
            pods = changed[start : start + REQUESTS_MAX]
            results = await asyncio.gather(
                *(self._mark(pod, is_busy[pod]) for pod in pods), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result  # the others would fail as well

    async def _mark(self, pod: str, busy: bool) -> None:
        namespace, _, name = pod.partition("/")
        with contextlib.suppress(NotFoundError):  # it is gone, and its runner will be
            await self.kube.annotate("Pod", name, namespace, BUSY if busy else IDLE)
        self._is_busy[pod] = busy

    def _record_failure(self, error: CordboardError) -> float:
        if not self._failures:
            log.warning(
                "The pods of runners cannot be marked as idle or busy; retrying",
                error=error,
                hint="The operator needs the permission to patch pods (docs/warm-runners.md).",
            )
        pause_s: float = min(self.retry_s * 2**self._failures, RETRY_MAX_S)
        self._failures = min(self._failures + 1, 16)
        return max(pause_s, error.retry_after_s or 0)
