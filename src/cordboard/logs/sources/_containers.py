"""What a pod's status says of the runs of its containers: which have a log, which have none, and why.

A container that is restarted has a run before; of earlier ones nothing is kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from cordboard.logs.coverage import Shortfall
from cordboard.logs.query import Query

Group = Literal["", "init", "ephemeral"]

SESSION_ID: Final = "cordboard/session-id"
"""The annotation of a cold runner's pod: it never speaks of another session."""

_GROUPS: Final[tuple[tuple[Group, str, str], ...]] = (
    ("init", "initContainers", "initContainerStatuses"),
    ("", "containers", "containerStatuses"),
    ("ephemeral", "ephemeralContainers", "ephemeralContainerStatuses"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one container, and whether the API has its log.

    Attributes:
        namespace: The pod's namespace.
        pod: The pod's name.
        uid: The pod's identity: a name may be used again.
        container: The container's name.
        group: What kind of container, if no plain one.
        number: 0 for the first run, and one more after each restart.
        previous: The log is that of the run before the present one.
        running: It is not over.
        started: When it began, as Kubernetes writes it, to the second.
        ended: When it ended.
        missing: Why there is no log, or less than there was.
    """

    namespace: str
    pod: str
    uid: str
    container: str
    group: Group
    number: int = 0
    previous: bool = False
    running: bool = False
    started: str | None = None
    ended: str | None = None
    missing: Shortfall | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What no other run has."""
        return self.uid, self.container, self.number

    @property
    def name(self) -> str:
        """What it is called in front of people."""
        marks = f" ({self.group})" if self.group else ""
        marks += " (previous)" if self.previous else ""
        return f"{self.namespace}/{self.pod}/{self.container}{marks}"


def runs(pod: Mapping[str, Any]) -> Iterator[Run]:
    """Yield the runs of all containers of `pod`, as the API returns it; those without a log say why."""
    meta, status = pod["metadata"], pod.get("status") or {}
    for group, declared, told in _GROUPS:
        known = {item["name"]: item for item in status.get(told) or []}
        for container in (pod.get("spec") or {}).get(declared) or []:
            name = container["name"]
            first = Run(meta.get("namespace", ""), meta["name"], meta["uid"], name, group)
            yield from _runs(first, known.get(name) or {}, status)


def session_of(pod: Mapping[str, Any]) -> str | None:
    """Return the one session that `pod`, or a Job, can log lines of; None where it may be any."""
    return (pod["metadata"].get("annotations") or {}).get(SESSION_ID)


def outside(run: Run, since: str | None, until: str | None) -> bool:
    """Return whether `run` lies wholly before the timestamp `since`, or after `until`."""
    too_late = until and run.started and run.started[:19] > until[:19]
    too_early = since and run.ended and run.ended < since[:19]
    return bool(too_late or too_early)


def has_run(job: Mapping[str, Any], query: Query) -> bool:
    """Return whether the pod of `job`, a Job, ran in the window of `query`, and may have logged of its session."""
    status = job.get("status") or {}
    if not (status.get("failed") or status.get("succeeded") or status.get("active")):
        return False
    if query.session and session_of(job) != query.session:
        return False
    life = Run(
        "", "", "", "", "", started=status.get("startTime"), ended=status.get("completionTime")
    )
    return not outside(life, query.since, query.until)


def _runs(first: Run, told: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Run]:
    state, last = told.get("state") or {}, (told.get("lastState") or {}).get("terminated") or {}
    restarts = int(told.get("restartCount") or 0)
    running, ended = state.get("running"), state.get("terminated")
    waiting = running is None and ended is None
    if last or restarts:
        number = max(0, restarts if waiting else restarts - 1)
        lost = "the first run" if number == 1 else f"the first {number} runs"
        yield replace(
            first,
            number=number,
            previous=True,
            started=last.get("startedAt"),
            ended=last.get("finishedAt"),
            missing=Shortfall("rotated", f"the container restarted; no log is left of {lost}")
            if number
            else None,
        )
    if not waiting:
        yield replace(
            first,
            number=restarts,
            running=running is not None,
            started=(running or ended or {}).get("startedAt"),
            ended=(ended or {}).get("finishedAt"),
        )
    elif not (last or restarts):
        yield replace(first, missing=Shortfall("never_started", _why_waiting(state, status)))


def _why_waiting(state: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    waiting = state.get("waiting") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            waiting = condition
    parts = [str(part) for part in (waiting.get("reason"), waiting.get("message")) if part]
    return ": ".join(parts) or "the pod ended before the container started"
