"""Cold runners as Jobs of a Kubernetes cluster: one session, one Job, whoever asks how often."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cordboard.context import Context, bound_context
from cordboard.contract.errors import (
    ClusterError,
    ClusterForbiddenError,
    ClusterUnavailableError,
    ConflictError,
    CordboardError,
    LaunchError,
    NotFoundError,
)
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.kube import Kube, Listed, Object, Trouble, follow
from cordboard.launchers import Status
from cordboard.launchers.kubernetes_manifest import (
    EPOCH,
    OURS,
    ROOM,
    SESSION_ID,
    JobTemplate,
    job_manifest,
    job_name,
)
from cordboard.launchers.pod_status import HOPELESS_AT_ONCE, Stuck, end_of, may_run, stuck

__all__ = ["JobTemplate", "KubernetesLauncher", "job_manifest", "job_name"]

CREATE_S: Final = 8.0
"""A create that got no answer is repeated for so long: it is the same Job."""
CREATE_PAUSE_S: Final = 0.25
REFUSED_PAUSE_FIRST_S: Final = 1.0
REFUSED_PAUSE_MAX_S: Final = 10.0
STATUS_S: Final = 3.0
SYNC_S: Final = 3.0
UNSEEN_S: Final = 30.0
"""A Job whose pod has not been seen for so long no longer counts as one that lives."""
NO_POD_S: Final = 5.0
PROMISE_S: Final = 2.0
STUCK_S: Final = 10.0
"""A pod that cannot start for so long is given up, so that its session has time for another try."""
LOOK_S: Final = 1.0

_LABELS: Final = ",".join(f"{name}={value}" for name, value in OURS.items())
_LIVE: Final = "status.phase!=Succeeded,status.phase!=Failed"

log = get_logger("launcher")


@dataclass(slots=True)
class _Pod:
    """What is remembered of a live pod."""

    job: str
    context: Context
    stuck: Stuck | None
    since: float


class KubernetesLauncher:
    """Starts a Job for each launch, and keeps an eye on the pods that live: no more than those.

    It may be restarted, and there may be others: all that it knows it finds in the cluster.

    Args:
        kube: The cluster.
        template: What all Jobs have in common.
        namespace: Where they are.
        most: How many may live at once, whoever started them.
        bots: The bots that the image has; None if they are not known here.
    """

    def __init__(
        self,
        kube: Kube,
        template: JobTemplate,
        *,
        namespace: str,
        most: int,
        bots: Collection[str] | None = None,
    ) -> None:
        self.bots = None if bots is None else frozenset(bots)
        self._kube = kube
        self._template = template
        self._namespace = namespace
        self.most = most
        self._pods: dict[str, _Pod] = {}
        self._unseen: dict[str, float] = {}
        self._told_unseen: set[str] = set()
        self._promised: list[float] = []
        self._well = False
        self._told = False
        self._first = asyncio.Event()
        self._pause_until, self._pause_s = 0.0, REFUSED_PAUSE_FIRST_S
        self._tasks: list[asyncio.Task[None]] = []

    def name(self, launch: Launch) -> str:
        """Return the name of this launch's Job."""
        return job_name(launch.session_id, launch.epoch)

    async def launch(self, name: str, launch: Launch) -> None:
        """Create the Job of one session; once, however often it is asked for.

        Raises:
            LaunchError: It cannot be created; with the reason.
        """
        self._look()
        if self._promised:
            self._promised.pop(0)
        try:
            await self._create(name, job_manifest(launch, self._template))
        except CordboardError as error:
            raise self._failure(error) from error
        self._unseen[name] = time.monotonic()
        self._pause_s = REFUSED_PAUSE_FIRST_S

    async def status(self, name: str) -> Status:
        """Say whether it lives: ``ended`` when the Job is over or gone, and no pod of it may run."""
        try:
            async with asyncio.timeout(STATUS_S):
                over, why = await self._is_over(name)
                pods = await self._pods_of(name) if over else []
        except (CordboardError, TimeoutError) as error:
            log.debug("The cluster cannot say whether a Job lives", job=name, error=error)
            return "unknown"
        if not over:
            return "alive"
        if any(may_run(pod) for pod in pods):
            return "alive"
        why = next((words for words in map(end_of, pods) if words), why)
        log.info("A cold runner's Job has ended", job=name, why=why or "completed")
        return "ended"

    async def stop(self, name: str) -> None:
        """Delete the Job: its pod gets SIGTERM and its grace. Until that is over it is ``alive``."""
        try:
            await self._kube.delete("Job", name, self._namespace, wait_for_dependents=True)
        except CordboardError as error:
            log.warning("A cold runner's Job could not be stopped", job=name, error=error)

    async def room_for_more(self) -> bool:
        """Say whether one more may be started now; not while the cluster refuses or is away.

        A yes counts as started until it is, so that many who ask at once stay below the bound.
        """
        self._look()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), SYNC_S)
        now = time.monotonic()
        if not self._well or now < self._pause_until:
            return False
        self._promised = [at for at in self._promised if at > now - PROMISE_S]
        self._unseen = {job: at for job, at in self._unseen.items() if at > now - UNSEEN_S}
        live = {pod.job for pod in self._pods.values()} | self._unseen.keys()
        if len(live) + len(self._promised) >= self.most:
            return False
        self._promised.append(now)
        return True

    async def close(self) -> None:
        """Let go of the cluster; the Jobs go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._kube.close()

    async def _create(self, name: str, manifest: Mapping[str, Any]) -> None:
        give_up_at = time.monotonic() + CREATE_S
        while True:
            try:
                await self._kube.create("Job", manifest, self._namespace)
            except ClusterUnavailableError as error:
                pause_s = max(CREATE_PAUSE_S, error.retry_after_s or 0)
                if time.monotonic() + pause_s > give_up_at:
                    raise
                await asyncio.sleep(pause_s)
            except ConflictError:
                await self._check_same(name, manifest)
                return
            else:
                return

    async def _check_same(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Accept a Job that is there already when it is this very one."""
        found = (await self._kube.get("Job", name, self._namespace))["metadata"]
        wanted = manifest["metadata"]["annotations"]
        notes = found.get("annotations") or {}
        if any(notes.get(key) != wanted[key] for key in (SESSION_ID, EPOCH, ROOM)):
            raise ConflictError(f"There is a Job {name} already, and it is not this session's.")
        if found.get("deletionTimestamp"):
            raise ConflictError(f"The Job {name} is being deleted.")

    async def _pods_of(self, job: str) -> list[Object]:
        labels = f"{_LABELS},job-name={job}"
        return (await self._kube.list("Pod", namespace=self._namespace, labels=labels)).objects

    async def _is_over(self, name: str) -> tuple[bool, str]:
        try:
            job = await self._kube.get("Job", name, self._namespace)
        except NotFoundError:
            return True, "deleted"
        for condition in (job.get("status") or {}).get("conditions") or []:
            if condition.get("type") in {"Complete", "Failed"} and condition["status"] == "True":
                return True, str(condition.get("message") or condition.get("reason") or "")
        return False, ""

    def _failure(self, error: CordboardError) -> LaunchError:
        """Say it in our words; hold back further starts where the next one would fail as well."""
        where = f"namespace {self._namespace}"
        if not isinstance(error, ConflictError):
            self._pause_until = time.monotonic() + self._pause_s
            self._pause_s = min(self._pause_s * 2, REFUSED_PAUSE_MAX_S)
        if isinstance(error, ClusterForbiddenError) and "exceeded quota" in error.message:
            return LaunchError(f"The quota of {where} is used up: {error.message}")
        if isinstance(error, ClusterForbiddenError):
            return LaunchError(
                f"The operator may not create Jobs in {where}: {error.message}",
                hint="Bind it the Role of docs/kubernetes.md.",
            )
        if isinstance(error, NotFoundError):
            return LaunchError(
                f"There is no {where}: {error.message}", hint="Set kubernetes_namespace."
            )
        if isinstance(error, ClusterError) and not error.retryable:
            return LaunchError(
                f"The cluster refuses the Job: {error.message}", hint="See kubernetes_template."
            )
        return LaunchError(f"A cold runner cannot be started: {error}")

    def _look(self) -> None:
        """Begin to look at the pods, with the first question that comes."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._forever(step), name=step.__name__)
                for step in (self._follow_pods, self._tend_stuck, self._tend_unseen)
            ]

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception:
                log.exception("Looking at the pods of cold runners failed; going on")
                self._well = False
            await asyncio.sleep(LOOK_S)

    async def _follow_pods(self) -> None:
        pods = follow(self._kube, "Pod", namespace=self._namespace, labels=_LABELS, fields=_LIVE)
        async with contextlib.aclosing(pods):
            async for event in pods:
                if isinstance(event, Trouble):
                    self._in_trouble(event)
                    continue
                if isinstance(event, Listed):
                    self._pods.clear()
                    for pod in event.objects:
                        self._see(pod)
                elif event.change == "DELETED":
                    self._pods.pop(event.object["metadata"]["uid"], None)
                else:
                    self._see(event.object)
                self._is_well()

    def _in_trouble(self, trouble: Trouble) -> None:
        self._well = False
        self._first.set()
        if not self._told:
            log.warning(
                "The cluster cannot be asked for its pods; no cold starts until it can",
                namespace=self._namespace,
                error=trouble.error,
            )
            self._told = True

    def _is_well(self) -> None:
        if self._told:
            log.info("The cluster answers again", namespace=self._namespace)
        self._well, self._told = True, False
        self._first.set()

    def _see(self, pod: Object) -> None:
        meta = pod["metadata"]
        known = self._pods.get(meta["uid"])
        problem = None if meta.get("deletionTimestamp") else stuck(pod)
        job = (meta.get("labels") or {}).get("job-name", meta["name"])
        seen = known or _Pod(job, _context(meta), None, 0.0)
        if problem and (seen.stuck is None or seen.stuck.reason != problem.reason):
            with bound_context(seen.context):
                log.warning(
                    "A cold runner's pod does not start",
                    job=job,
                    pod=meta["name"],
                    reason=problem.reason,
                    why=problem.words,
                )
            seen.since = time.monotonic()
        seen.stuck = problem
        self._pods[meta["uid"]] = seen
        self._unseen.pop(job, None)

    async def _tend_stuck(self) -> None:
        """Give up Jobs whose pod cannot start: the session is tried again, or fails and says why."""
        for pod in list(self._pods.values()):
            if pod.stuck and _is_hopeless(pod.stuck, time.monotonic() - pod.since):
                with bound_context(pod.context):
                    await self._give_up(pod, pod.stuck)

    async def _tend_unseen(self) -> None:
        """Tell why a Job has no pod: a quota of pods, a service account that is not there."""
        now = time.monotonic()
        for job, at in list(self._unseen.items()):
            if job in self._told_unseen or now - at < NO_POD_S:
                continue
            self._told_unseen.add(job)
            log.warning("A cold runner's Job has no pod yet", job=job, why=await self._why(job))
        self._told_unseen &= self._unseen.keys()

    async def _why(self, job: str) -> str | None:
        """Return what the cluster itself says about a Job, where it may be asked."""
        about = f"involvedObject.kind=Job,involvedObject.name={job},type=Warning"
        try:
            events = await self._kube.list("Event", namespace=self._namespace, fields=about)
        except CordboardError:
            return None
        return next((str(event.get("message")) for event in reversed(events.objects)), None)

    async def _give_up(self, pod: _Pod, problem: Stuck) -> None:
        try:
            deleted = await self._kube.delete("Job", pod.job, self._namespace)
        except CordboardError as error:
            log.warning("A stuck Job could not be deleted", job=pod.job, error=error)
            return
        if deleted:  # by us: with several operators, one tells
            log.error(
                "A cold runner could not start; its Job was deleted",
                job=pod.job,
                reason=problem.reason,
                why=problem.words,
            )


def _is_hopeless(problem: Stuck, for_s: float) -> bool:
    if problem.heals:
        return False
    return problem.reason in HOPELESS_AT_ONCE or for_s >= STUCK_S


def _context(meta: Mapping[str, Any]) -> Context:
    notes = meta.get("annotations") or {}
    epoch = str(notes.get(EPOCH, ""))
    return Context(
        session_id=notes.get(SESSION_ID),
        room=notes.get(ROOM),
        epoch=int(epoch) if epoch.isascii() and epoch.isdigit() else None,
    )
