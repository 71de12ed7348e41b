"""The live pods of cold runners in one namespace: how many there are, and which of them cannot start."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cordboard.context import Context, bound_context
from cordboard.contract.errors import CordboardError
from cordboard.emit import get_logger
from cordboard.kube import Kube, Object, ObjectList, WatchFailure, follow
from cordboard.launchers import ColdRunnerEnd
from cordboard.launchers.kubernetes_manifest import EPOCH, LABELS, ROOM, SESSION_ID
from cordboard.launchers.pod_status import PERMANENT, StartProblem, start_problem

# The label selector of all Jobs and Pods of cold runners.
SELECTOR: Final = ",".join(f"{name}={value}" for name, value in LABELS.items())

# A Job without a pod counts as live for this long. A Job controller that works makes the pod in a second.
UNSEEN_S: Final = 30.0

_LIVE: Final = "status.phase!=Succeeded,status.phase!=Failed"

log = get_logger("launcher")


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """When the watch acts on a pod.

    Attributes:
        stuck_s: Seconds after which a pod that cannot start is given up, so that its session has time for
            another attempt within its deadline.
        no_pod_s: Seconds after which a Job without a pod is reported.
        check_s: Seconds between two checks for such pods and Jobs, and before a failed watch is repeated.
    """

    stuck_s: float = 10.0
    no_pod_s: float = 5.0
    check_s: float = 1.0


@dataclass(slots=True)
class _LivePod:
    """A pod that may run.

    Attributes:
        job: The name of its Job.
        context: The session that it was started for.
        problem: Why it does not start; None if it does.
        since: When this problem was first seen, by the monotonic clock.
    """

    job: str
    context: Context
    problem: StartProblem | None = None
    since: float = 0.0


class PodWatch:
    """Follows the live pods of all cold runners, whichever operator started them.

    Args:
        kube: The cluster.
        namespace: The namespace of the pods.
        times: When the watch acts on a pod.

    Attributes:
        ends: The sessions whose pods have ended.
    """

    def __init__(self, kube: Kube, namespace: str, times: WatchTimes) -> None:
        self._kube = kube
        self._namespace = namespace
        self._times = times
        self.ends: asyncio.Queue[ColdRunnerEnd] = asyncio.Queue()
        self._pods: dict[str, _LivePod] = {}
        self._jobs_without_pod: dict[str, float] = {}
        self._reported_jobs: set[str] = set()
        self._is_current = False
        self._is_failure_reported = False
        self._first_answer = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start to follow the pods, unless the watch has started already."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._repeat(step), name=step.__name__)
                for step in (self._follow_pods, self._delete_stuck, self._report_jobs_without_pod)
            ]

    async def is_current(self, timeout_s: float) -> bool:
        """Return whether the watch knows all pods.

        Args:
            timeout_s: Seconds to wait for the first answer of the cluster.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._first_answer.wait()
        return self._is_current

    def add_job(self, job: str) -> None:
        """Count the new Job ``job`` as live until its pod is seen."""
        self._jobs_without_pod[job] = time.monotonic()

    def live_jobs(self) -> set[str]:
        """Return the names of the Jobs whose pods may run, and of those that are new."""
        oldest = time.monotonic() - UNSEEN_S
        self._jobs_without_pod = {
            job: at for job, at in self._jobs_without_pod.items() if at > oldest
        }
        return {pod.job for pod in self._pods.values()} | self._jobs_without_pod.keys()

    async def close(self) -> None:
        """Stop following the pods."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception:
                log.exception("Following the pods of cold runners failed; retrying")
                self._is_current = False
            await asyncio.sleep(self._times.check_s)

    async def _follow_pods(self) -> None:
        events = follow(self._kube, "Pod", namespace=self._namespace, labels=SELECTOR, fields=_LIVE)
        async with contextlib.aclosing(events):
            async for event in events:
                if isinstance(event, WatchFailure):
                    self._record_failure(event)
                    continue
                if isinstance(event, ObjectList):
                    before, self._pods = self._pods, {}
                    for pod in event.objects:
                        self._update(pod)
                    for uid in before.keys() - self._pods.keys():
                        self._report_end(before[uid])
                elif event.change == "DELETED":
                    # The selector contains live pods only, so this is the end of the pod as well.
                    ended = self._pods.pop(event.object["metadata"]["uid"], None)
                    if ended is not None:
                        self._report_end(ended)
                else:
                    self._update(event.object)
                self._record_answer()

    def _report_end(self, pod: _LivePod) -> None:
        context = pod.context
        if context.session_id and context.epoch:
            self.ends.put_nowait(ColdRunnerEnd(context.session_id, context.epoch))

    def _record_failure(self, failure: WatchFailure) -> None:
        self._is_current = False
        self._first_answer.set()
        if not self._is_failure_reported:
            log.warning(
                "The cluster does not list its pods; no cold starts until it does",
                namespace=self._namespace,
                error=failure.error,
            )
            self._is_failure_reported = True

    def _record_answer(self) -> None:
        if self._is_failure_reported:
            log.info("The cluster answers again", namespace=self._namespace)
        self._is_current, self._is_failure_reported = True, False
        self._first_answer.set()

    def _update(self, pod: Object) -> None:
        metadata = pod["metadata"]
        job = (metadata.get("labels") or {}).get("job-name", metadata["name"])
        live = self._pods.get(metadata["uid"]) or _LivePod(job, _session_context(metadata))
        # A pod that is being deleted does not start, and is not reported.
        problem = None if metadata.get("deletionTimestamp") else start_problem(pod)
        if problem and (live.problem is None or live.problem.reason != problem.reason):
            with bound_context(live.context):
                log.warning(
                    "A cold runner's pod does not start",
                    job=job,
                    pod=metadata["name"],
                    reason=problem.reason,
                    why=problem.message,
                )
            live.since = time.monotonic()
        live.problem = problem
        self._pods[metadata["uid"]] = live
        self._jobs_without_pod.pop(job, None)

    async def _delete_stuck(self) -> None:
        """Delete Jobs whose pod cannot start. The session is tried again, or fails with the reason."""
        for pod in list(self._pods.values()):
            problem = pod.problem
            if problem is None or not self._is_hopeless(problem, time.monotonic() - pod.since):
                continue
            with bound_context(pod.context):
                await self._delete(pod.job, problem)

    def _is_hopeless(self, problem: StartProblem, for_s: float) -> bool:
        if problem.may_resolve:
            return False
        return problem.reason in PERMANENT or for_s >= self._times.stuck_s

    async def _delete(self, job: str, problem: StartProblem) -> None:
        try:
            is_deleted = await self._kube.delete("Job", job, self._namespace)
        except CordboardError as error:
            log.warning("A stuck Job could not be deleted", job=job, error=error)
            return
        if is_deleted:  # by this operator: of several, one logs it
            log.error(
                "A cold runner could not start; its Job was deleted",
                job=job,
                reason=problem.reason,
                why=problem.message,
            )

    async def _report_jobs_without_pod(self) -> None:
        """Log why a Job has no pod, such as a used-up quota of pods or a missing service account."""
        now = time.monotonic()
        for job, at in list(self._jobs_without_pod.items()):
            if job in self._reported_jobs or now - at < self._times.no_pod_s:
                continue
            self._reported_jobs.add(job)
            why = await self._last_warning(job)
            log.warning("A cold runner's Job has no pod yet", job=job, why=why)
        self._reported_jobs &= self._jobs_without_pod.keys()

    async def _last_warning(self, job: str) -> str | None:
        """Return the cluster's last warning event about a Job; None without the right to read events."""
        selector = f"involvedObject.kind=Job,involvedObject.name={job},type=Warning"
        try:
            events = await self._kube.list("Event", namespace=self._namespace, fields=selector)
        except CordboardError:
            return None
        return next((str(event.get("message")) for event in reversed(events.objects)), None)


def _session_context(metadata: Mapping[str, Any]) -> Context:
    annotations = metadata.get("annotations") or {}
    epoch = str(annotations.get(EPOCH, ""))
    return Context(
        session_id=annotations.get(SESSION_ID),
        room=annotations.get(ROOM),
        epoch=int(epoch) if epoch.isascii() and epoch.isdigit() else None,
    )
