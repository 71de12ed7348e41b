"""What a pod's status says in one look: whether it may still run, why it cannot start, how it ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_OVER: Final = frozenset({"Succeeded", "Failed"})
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff"})
HOPELESS_AT_ONCE: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""No time can heal these."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why a pod does not start.

    Attributes:
        reason: The word of Kubernetes: ``ImagePullBackOff``, ``Unschedulable``.
        words: What is behind it.
        heals: It may well pass by itself: a cluster gets another node when one is wanted.
    """

    reason: str
    words: str
    heals: bool = False


def may_run(pod: Mapping[str, Any]) -> bool:
    """Say whether a process of this pod may be alive: until Kubernetes has confirmed its end."""
    return (pod.get("status") or {}).get("phase") not in _OVER


def stuck(pod: Mapping[str, Any]) -> Stuck | None:
    """Return why a pod does not start; None where it does, or is over."""
    status = pod.get("status") or {}
    if status.get("phase") != "Pending":
        return None
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason = condition.get("reason") or "Unschedulable"
            return Stuck(reason, condition.get("message") or "no node takes it", heals=True)
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason and reason not in _STARTING:
            words = waiting.get("message") or f"container {container.get('name')}"
            return Stuck("ImagePullBackOff" if reason in _PULL else reason, words)
    return None


def end_of(pod: Mapping[str, Any]) -> str:
    """Say how a pod ended, in words: ``OOMKilled, exit 137``; empty where it tells nothing."""
    status = pod.get("status") or {}
    if status.get("reason"):  # Evicted, DeadlineExceeded, NodeLost: the whole pod's
        return ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
    for container in _containers(status):
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return f"{ended.get('reason') or 'Error'}, exit {ended['exitCode']}"
    return ""


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or []
