"""What operators and readers of logs need of a cluster, checked without changing anything in it.

``cordboard doctor --env`` uses this. Each right is asked for by a SelfSubjectAccessReview. The Job of a cold runner is
created on trial (``dryRun=All``), which asks for the quota and for all admission controllers at once. Each answer of the
API tells the cluster's time.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from cordboard.contract.errors import ClusterForbiddenError, CordboardError, NotFoundError
from cordboard.contract.launch import Launch
from cordboard.kube import Kube, Right
from cordboard.launchers.kubernetes_job import launch_error
from cordboard.launchers.kubernetes_manifest import LABELS, SECRETS, JobTemplate, job_manifest
from cordboard.launchers.pod_status import start_problem

READER_RIGHTS: Final = (
    Right("get", "pods"),
    Right("list", "pods"),
    Right("watch", "pods"),
    Right("get", "pods/log"),
    Right("list", "jobs", "batch"),
)
"""What `cordboard logs` needs in a namespace. With ``-f`` it watches pods, and gets the pod of a log that ends."""

COLD_RIGHTS: Final = (
    Right("create", "jobs", "batch"),
    Right("get", "jobs", "batch"),
    Right("delete", "jobs", "batch"),
    Right("list", "pods"),
    Right("watch", "pods"),
    Right("list", "events"),
)
"""What an operator needs that starts cold runners."""

MARK_RIGHTS: Final = (Right("patch", "pods"),)
"""What an operator needs that marks the pods of warm runners."""

CLOCK_S: Final = 2.0
"""How far this machine's clock may be from the API server's: its answers tell whole seconds, and take some time."""

_TRIAL: Final = Launch("cordboard-doctor", "webrtc:cordboard-doctor", epoch=1)
_PODS: Final = f"app.kubernetes.io/name={LABELS['app.kubernetes.io/name']}"


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        name: What was checked.
        ok: Whether it is as it should be.
        message: What was found.
        hint: What to do about it; empty if there is nothing to do, or nothing known.
    """

    name: str
    ok: bool
    message: str
    hint: str = ""


async def check_rights(
    kube: Kube, namespace: str | None, rights: Sequence[Right], purpose: str
) -> Finding:
    """Ask for each of some rights.

    Args:
        kube: The cluster.
        namespace: Where they are needed; None for all namespaces.
        rights: The rights.
        purpose: What they are for, as the name of the check.

    Raises:
        ClusterError: The API does not answer.
    """
    missing = [right for right in rights if not await kube.may(right, namespace)]
    where = f"in namespace {namespace}" if namespace else "in all namespaces"
    names = ", ".join(f"{right.verb} {right.resource}" for right in missing or rights)
    if not missing:
        return Finding(purpose, ok=True, message=f"this user may {names} {where}")
    return Finding(
        purpose,
        ok=False,
        message=f"this user may not {names} {where}",
        hint="Grant it the Role of docs/kubernetes.md.",
    )


async def check_cold_start(kube: Kube, namespace: str, template: JobTemplate) -> list[Finding]:
    """Create the Job of a cold runner on trial, and look for the keys of its Secret.

    Args:
        kube: The cluster.
        namespace: The namespace of cold runners.
        template: The common part of all Jobs.

    Raises:
        ClusterError: The API does not answer.
    """
    secret = await _check_secret(kube, namespace, template.secret)
    try:
        await kube.create("Job", job_manifest(_TRIAL, template), namespace, is_trial=True)
    except CordboardError as error:
        refused = launch_error(error, namespace)
        return [Finding("cold start", ok=False, message=refused.message, hint=refused.hint), secret]
    made = f"namespace {namespace} accepts the Job of a cold runner (on trial: nothing was created)"
    return [Finding("cold start", ok=True, message=made), secret]


async def check_pods(kube: Kube, namespace: str) -> Finding:
    """Look for pods of Cordboard that cannot start: images that cannot be pulled, missing Secrets.

    Args:
        kube: The cluster.
        namespace: The namespace of the components.

    Raises:
        ClusterError: The API does not answer.
    """
    try:
        pods = (await kube.list("Pod", namespace=namespace, labels=_PODS)).objects
    except ClusterForbiddenError:
        # No failure: an operator that only marks pods needs no list, and `check_rights` names what is needed.
        message = f"not checked: this user may not list pods in namespace {namespace}"
        return Finding("pods", ok=True, message=message)
    for pod in pods:
        problem = start_problem(pod)
        if problem is not None:
            name = pod["metadata"]["name"]
            return Finding("pods", ok=False, message=f"pod {name} cannot start: {problem.message}")
    return Finding("pods", ok=True, message=f"{len(pods)} in namespace {namespace}, none is stuck")


def check_clock(kube: Kube) -> Finding:
    """Compare this machine's clock with that of a cluster; return the result.

    Args:
        kube: The cluster, which has been asked something.
    """
    offset_s = kube.clock_offset_s
    if offset_s is None:
        return Finding("clock", ok=True, message=f"not checked: {kube.name} has not told its time")
    if abs(offset_s) <= CLOCK_S:
        return Finding("clock", ok=True, message=f"this machine and {kube.name} agree")
    side = "ahead of" if offset_s > 0 else "behind"
    return Finding(
        "clock",
        ok=False,
        message=f"this machine is {abs(offset_s):.0f} s {side} {kube.name}",
        hint="Times of -t and --since are this machine's: set its clock (NTP).",
    )


async def _check_secret(kube: Kube, namespace: str, name: str) -> Finding:
    try:
        secret = await kube.get("Secret", name, namespace)
    except NotFoundError:
        return Finding(
            "secret",
            ok=False,
            message=f"there is no Secret {name} in namespace {namespace}",
            hint="Create it, or set kubernetes_secret.",
        )
    except ClusterForbiddenError:
        return Finding(
            "secret",
            ok=True,
            message=f"the keys of Secret {name} were not checked: this user may not read it",
        )
    # Only the names are read: no value leaves this function.
    missing = [key for key, is_needed in SECRETS.items() if is_needed and not _has(secret, key)]
    if missing:
        return Finding("secret", ok=False, message=f"Secret {name} lacks {', '.join(missing)}")
    return Finding("secret", ok=True, message=f"Secret {name} has all keys")


def _has(secret: dict[str, object], key: str) -> bool:
    data = secret.get("data")
    return isinstance(data, dict) and bool(data.get(key))
