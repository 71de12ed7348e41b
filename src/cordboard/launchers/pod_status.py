"""What a pod's status says: whether the pod may still run, why it does not start, how it ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_FINAL_PHASES: Final = frozenset({"Succeeded", "Failed"})
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff"})
# Reasons that waiting cannot change.
PERMANENT: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})


@dataclass(frozen=True, slots=True)
class StartProblem:
    """Why a pod does not start.

    Attributes:
        reason: The reason that Kubernetes gives, such as ``ImagePullBackOff`` or ``Unschedulable``.
        message: The details.
        may_resolve: Whether it may well pass without help: a cluster adds a node when one is needed.
    """

    reason: str
    message: str
    may_resolve: bool = False


def may_run(pod: Mapping[str, Any]) -> bool:
    """Return whether a process of ``pod`` may be alive: until Kubernetes has confirmed its end."""
    return (pod.get("status") or {}).get("phase") not in _FINAL_PHASES


def start_problem(pod: Mapping[str, Any]) -> StartProblem | None:
    """Return why ``pod`` does not start; None if it starts, runs or has ended."""
    status = pod.get("status") or {}
    if status.get("phase") != "Pending":
        return None
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason = condition.get("reason") or "Unschedulable"
            message = condition.get("message") or "no node accepts it"
            return StartProblem(reason, message, may_resolve=True)
    for container in _container_statuses(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason and reason not in _STARTING:
            message = waiting.get("message") or f"container {container.get('name')}"
            # The two alternate while the kubelet retries; one name for both is logged once.
            return StartProblem("ImagePullBackOff" if reason in _PULL else reason, message)
    return None


def end_reason(pod: Mapping[str, Any]) -> str:
    """Return how ``pod`` ended, such as ``OOMKilled, exit 137``; empty if its status does not say."""
    status = pod.get("status") or {}
    if status.get("reason"):  # of the whole pod: Evicted, DeadlineExceeded, NodeLost
        return ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
    for container in _container_statuses(status):
        terminated = (container.get("state") or {}).get("terminated") or {}
        if terminated.get("exitCode"):
            return f"{terminated.get('reason') or 'Error'}, exit {terminated['exitCode']}"
    return ""


def _container_statuses(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or []
