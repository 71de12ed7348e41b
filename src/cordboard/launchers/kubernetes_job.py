"""Cold runners as Jobs of a Kubernetes cluster: one Job for each session and epoch."""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from cordboard.contract.errors import (
    ClusterError,
    ClusterForbiddenError,
    ClusterUnavailableError,
    ConflictError,
    CordboardError,
    LaunchError,
    NotFoundError,
)
from cordboard.contract.job_name import job_name
from cordboard.contract.launch import Launch
from cordboard.emit import get_logger
from cordboard.kube import Kube, Object
from cordboard.launchers import ColdRunnerEnd, LaunchStatus
from cordboard.launchers.kubernetes_manifest import (
    EPOCH,
    ROOM,
    SESSION_ID,
    JobTemplate,
    job_manifest,
)
from cordboard.launchers.pod_status import end_reason, may_run
from cordboard.launchers.pod_watch import SELECTOR, PodWatch, WatchTimes

# A create without an answer is repeated for this long. The repetition is safe: the Job has the same name.
CREATE_S: Final = 8.0

CREATE_PAUSE_S: Final = 0.25

REFUSED_PAUSE_S: Final = 1.0
# After a refusal no Job is created for this long, doubled up to the maximum: the next would fail, too.
REFUSED_PAUSE_MAX_S: Final = 10.0

# A status that takes longer is ``unknown``. The sweep that asks has other sessions to look at.
STATUS_S: Final = 3.0

# The first ``reserve`` waits this long for the list of pods.
SYNC_S: Final = 3.0

# A reservation without a start expires after this long: its operator had no session to start after all.
RESERVED_S: Final = 2.0

_DEFAULT_TIMES: Final = WatchTimes()

log = get_logger("launcher")


class KubernetesLauncher:
    """Creates a Job for each launch, and follows the live pods of all cold runners.

    It may be restarted, and several may run at once: it reads its state from the cluster.

    Args:
        kube: The cluster, which the launcher closes.
        template: The common part of all Jobs.
        namespace: The namespace of the Jobs.
        max_runners: How many cold runners may live at once, whichever operator started them.
        bots: The bots that the image has; None if they are unknown.
        times: When the launcher acts on a pod that does not start.
        refused_pause_s: Seconds without a new Job after the first refusal.
    """

    def __init__(
        self,
        kube: Kube,
        template: JobTemplate,
        *,
        namespace: str,
        max_runners: int,
        bots: Collection[str] | None = None,
        times: WatchTimes = _DEFAULT_TIMES,
        refused_pause_s: float = REFUSED_PAUSE_S,
    ) -> None:
        self.max_runners = max_runners
        self.bots = None if bots is None else frozenset(bots)
        self._kube = kube
        self._template = template
        self._namespace = namespace
        self._watch = PodWatch(kube, namespace, times)
        self._reserved_at: list[float] = []
        self._first_pause_s = self._pause_s = refused_pause_s
        self._paused_until = 0.0

    def job_name(self, launch: Launch) -> str:
        """Return the name of the Job of ``launch``."""
        return job_name(launch.session_id, launch.epoch)

    async def start(self, name: str, launch: Launch) -> None:
        """Create the Job of one session. A Job that exists already is left as it is.

        Args:
            name: The name of the Job.
            launch: The session.

        Raises:
            LaunchError: The Job cannot be created; the message says why.
        """
        self._watch.start()
        # The reservation becomes a Job, which the watch counts from here on.
        if self._reserved_at:
            self._reserved_at.pop(0)
        try:
            await self._create(name, job_manifest(launch, self._template))
        except CordboardError as error:
            if not isinstance(error, ConflictError):
                self._pause()
            raise launch_error(error, self._namespace) from error
        self._watch.add_job(name)
        self._pause_s = self._first_pause_s

    async def status(self, name: str) -> LaunchStatus:
        """Return ``ended`` if the Job ``name`` is finished or gone, and none of its pods may run."""
        try:
            async with asyncio.timeout(STATUS_S):
                is_finished, why = await self._is_finished(name)
                pods = await self._pods_of(name) if is_finished else []
        except (CordboardError, TimeoutError) as error:
            log.debug("The status of a Job is unknown", job=name, error=error)
            return "unknown"
        if not is_finished or any(may_run(pod) for pod in pods):
            return "alive"
        why = next((reason for reason in map(end_reason, pods) if reason), why)
        log.info("A cold runner's Job has ended", job=name, why=why or "completed")
        return "ended"

    async def next_end(self) -> ColdRunnerEnd:
        """Wait until a pod of a cold runner ends, whichever operator started it, and return it."""
        self._watch.start()
        return await self._watch.ends.get()

    async def stop(self, name: str) -> None:
        """Delete the Job ``name``. Its pod gets SIGTERM; until its grace period ends it is ``alive``."""
        try:
            await self._kube.delete("Job", name, self._namespace, wait_for_dependents=True)
        except CordboardError as error:
            log.warning("A cold runner's Job could not be stopped", job=name, error=error)

    async def reserve(self) -> bool:
        """Return whether a Job may be created now: not while the cluster refuses or does not answer.

        A reservation counts as a live runner until its Job exists, so that several callers together stay below
        the limit.
        """
        self._watch.start()
        is_current = await self._watch.is_current(SYNC_S)
        now = time.monotonic()
        if not is_current or now < self._paused_until:
            return False
        self._reserved_at = [at for at in self._reserved_at if at > now - RESERVED_S]
        if len(self._watch.live_jobs()) + len(self._reserved_at) >= self.max_runners:
            return False
        self._reserved_at.append(now)
        return True

    async def close(self) -> None:
        """Close the connections to the cluster. The Jobs continue."""
        await self._watch.close()
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
        """Accept an existing Job if it belongs to the same session, epoch and room."""
        existing = (await self._kube.get("Job", name, self._namespace))["metadata"]
        expected = manifest["metadata"]["annotations"]
        annotations = existing.get("annotations") or {}
        if any(annotations.get(key) != expected[key] for key in (SESSION_ID, EPOCH, ROOM)):
            raise ConflictError(f"The Job {name} exists, and is not this session's.")
        if existing.get("deletionTimestamp"):
            raise ConflictError(f"The Job {name} is being deleted.")

    async def _pods_of(self, job: str) -> list[Object]:
        labels = f"{SELECTOR},job-name={job}"
        return (await self._kube.list("Pod", namespace=self._namespace, labels=labels)).objects

    async def _is_finished(self, name: str) -> tuple[bool, str]:
        """Return whether a Job is finished or gone, and why."""
        try:
            job = await self._kube.get("Job", name, self._namespace)
        except NotFoundError:
            return True, "deleted"
        for condition in (job.get("status") or {}).get("conditions") or []:
            if condition.get("type") in {"Complete", "Failed"} and condition["status"] == "True":
                return True, str(condition.get("message") or condition.get("reason") or "")
        return False, ""

    def _pause(self) -> None:
        """Create no Job for a while: the next one would be refused, too."""
        self._paused_until = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, REFUSED_PAUSE_MAX_S)


def launch_error(error: CordboardError, namespace: str) -> LaunchError:
    """Return an error of the cluster as one that names the remedy.

    Args:
        error: Why a Job cannot be created.
        namespace: The namespace of the Job.
    """
    where = f"namespace {namespace}"
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
