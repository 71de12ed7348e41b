"""The Job of one cold runner, as a pure function of the launch and the operator's template."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cordboard.context.carrier import inject_environment
from cordboard.context.launch import context_of
from cordboard.contract.errors import SettingsError
from cordboard.contract.job_name import job_name
from cordboard.contract.launch import Launch
from cordboard.contract.pod_annotations import DO_NOT_DISRUPT, SAFE_TO_EVICT
from cordboard.kube import load_yaml

PREFIX: Final = "cordboard"
SESSION_ID: Final = f"{PREFIX}/session-id"
ROOM: Final = f"{PREFIX}/room"
EPOCH: Final = f"{PREFIX}/epoch"
ATTEMPT: Final = f"{PREFIX}/attempt"
# The labels with which operators find the Jobs and Pods of all cold runners.
LABELS: Final = {
    "app.kubernetes.io/name": "cordboard",
    "app.kubernetes.io/component": "cold-runner",
    "app.kubernetes.io/managed-by": "cordboard-operator",
}

CONTAINER: Final = "runner"
PORT: Final = 7861
# The variables that come from the Secret, and whether the runner requires them.
SECRETS: Final = {
    "REDIS_URL": True,
    "BOT_CONTROL_SHARED_SECRET": True,
    "BOT_CONTROL_SHARED_SECRET_PREV": False,
    "CORDBOARD_TURN_SECRET": False,
    "CORDBOARD_SCRAPE_SECRET": False,
}

# Seconds from SIGTERM to SIGKILL, so that a call may end by itself when its node is drained: as many as the Cluster
# Autoscaler allows by default. A call that is longer is handed over before they are over.
GRACE_S: Final = 600
# Of these, the seconds that the runner needs to stop its bot and to write the session's end.
GRACE_MARGIN_S: Final = 15
# Seconds that a Job may live beyond its session's deadline and duration, for its start and its end. The Job's
# own deadline is a backstop: the runner ends the session earlier.
DEADLINE_MARGIN_S: Final = 120
# Seconds for which a finished Job stays, and its log with it.
KEPT_S: Final = 3600

# The default name of the Secret.
DEFAULT_NAME: Final = "cordboard"

# A cold runner has a call from its start to its end, so its pod has from the start the marks of a busy warm runner.
_BUSY: Final = {SAFE_TO_EVICT: "false", DO_NOT_DISRUPT: "true"}

_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """The common part of all Jobs of an operator.

    Attributes:
        image: The image; None if ``base`` names one.
        secret: The name of the Secret with the variables of ``SECRETS``.
        service_account: The service account of the pod; None for a pod without API credentials.
        cpu: The requested CPU.
        memory: The requested memory, which is also the limit.
        arguments: Further arguments of ``cordboard runner``.
        environment: Further variables, none of them secret; ``base`` may override them.
        base: A Job, or parts of one, on which each Job is based.
    """

    image: str | None = None
    secret: str = DEFAULT_NAME
    service_account: str | None = None
    cpu: str = "500m"
    memory: str = "1Gi"
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)


def job_manifest(launch: Launch, template: JobTemplate) -> dict[str, Any]:
    """Return the Job of a launch.

    The Job contains no secret: the Secret's values are references, and the runner reads the room's token
    from Redis. The Job has no owner: if the operator's Deployment owned it, the next rollout would end
    every call.

    Args:
        launch: The session.
        template: The common part of all Jobs.
    """
    job = _merge(template.base, _defaults(launch, template))
    job = _merge(_required(launch, template), job)
    job["metadata"].pop("ownerReferences", None)
    pod = job["spec"]["template"]["spec"]
    pod["containers"] = _containers(pod.get("containers") or [], launch, template, _grace_s(pod))
    return job


def read_template(file: str) -> dict[str, Any]:
    """Return the Job, or the parts of one, in a YAML file.

    Args:
        file: The name of the file.

    Raises:
        SettingsError: The file cannot be read, or is not part of a Job.
    """
    try:
        base = load_yaml(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"kubernetes_template: cannot read {file}: {error.strerror}."
        ) from error
    except ValueError as error:
        raise SettingsError(f"kubernetes_template: {file} is not YAML: {error}.") from error
    try:
        _check_template(base)
    except (TypeError, AttributeError, KeyError) as error:
        raise SettingsError(
            f"kubernetes_template: {file} is not part of a Job.",
            hint="Write `spec: {template: {spec: {...}}}`, with the container `runner` in it.",
        ) from error
    return dict(base)


def _check_template(base: Any) -> None:
    kind, pod = base.get("kind", "Job"), base["spec"].get("template", {}).get("spec", {})
    if kind != "Job" or not all(item["name"] for item in pod.get("containers", [])):
        raise TypeError
    int(pod.get("terminationGracePeriodSeconds", GRACE_S))


def container_of(base: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the runner's container in ``base``, a Job or parts of one; empty if it has none."""
    pod = ((base.get("spec") or {}).get("template") or {}).get("spec") or {}
    return _runner_of(pod.get("containers") or [])


def _runner_of(containers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((item for item in containers if item.get("name") == CONTAINER), {})


def _required(launch: Launch, template: JobTemplate) -> dict[str, Any]:
    """Return the fields that the operator relies on; they override the template."""
    metadata = {
        "labels": {**LABELS, **_labels(launch)},
        "annotations": {
            SESSION_ID: launch.session_id,
            ROOM: launch.room_url,
            EPOCH: str(launch.epoch),
            ATTEMPT: str(launch.attempt),
        },
    }
    pod: dict[str, Any] = {"restartPolicy": "Never"}
    if template.service_account:
        pod["serviceAccountName"] = template.service_account
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(launch.session_id, launch.epoch), **metadata},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "template": {"metadata": metadata, "spec": pod},
        },
    }


def _defaults(launch: Launch, template: JobTemplate) -> dict[str, Any]:
    """Return the fields that the template may override."""
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": GRACE_S,
        # No runner uses the variables of Services; a namespace with many Services has thousands of them.
        "enableServiceLinks": False,
        # Together with that of the container, this satisfies Pod Security's level "restricted".
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if not template.service_account:
        pod["automountServiceAccountToken"] = False
    return {
        "spec": {
            "activeDeadlineSeconds": launch.deadline_s + launch.max_duration_s + DEADLINE_MARGIN_S,
            "ttlSecondsAfterFinished": KEPT_S,
            "template": {"metadata": {"annotations": _BUSY}, "spec": pod},
        }
    }


def _grace_s(pod: Mapping[str, Any]) -> int:
    return max(1, int(pod["terminationGracePeriodSeconds"]) - GRACE_MARGIN_S)


def _containers(
    containers: Sequence[Mapping[str, Any]], launch: Launch, template: JobTemplate, grace_s: int
) -> list[dict[str, Any]]:
    """Return the runner's container, and the template's other ones."""
    base = _runner_of(containers)
    runner = _merge(base, _container(template, grace_s))
    if template.image:
        runner["image"] = template.image
    env = [*_plain(template.environment), *(base.get("env") or []), *_environment(launch, template)]
    runner["env"] = list({item["name"]: item for item in env}.values())  # the last one wins
    return [runner, *(dict(item) for item in containers if item.get("name") != CONTAINER)]


def _container(template: JobTemplate, grace_s: int) -> dict[str, Any]:
    arguments = ["runner", "--once", "--host", "$(POD_IP)", "--port", str(PORT)]
    arguments += ["--grace", str(grace_s)]
    # The runner's supervisor answers this without asking Redis: a Redis outage ends no call.
    health = {"httpGet": {"path": "/healthz", "port": PORT}, "timeoutSeconds": 5}
    return {
        "name": CONTAINER,
        "args": [*arguments, *(_literal(argument) for argument in template.arguments)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": {**health, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 6},
        "resources": {
            "requests": {"cpu": template.cpu, "memory": template.memory},
            "limits": {"memory": template.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _environment(launch: Launch, template: JobTemplate) -> list[dict[str, Any]]:
    """Return the runner's variables; the secret ones as references, without their values."""
    values: dict[str, str] = {}
    inject_environment(context_of(launch), values)
    values["JOB_ID"] = job_name(launch.session_id, launch.epoch)
    fields = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    return [
        *_plain(values),
        *(
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
            for name, path in fields.items()
        ),
        *(
            {
                "name": name,
                "valueFrom": {"secretKeyRef": _secret_key(template.secret, name, required)},
            }
            for name, required in SECRETS.items()
        ),
    ]


def _plain(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": _literal(value)} for name, value in values.items()]


def _secret_key(secret: str, key: str, required: bool) -> dict[str, Any]:
    return {"name": secret, "key": key, **({} if required else {"optional": True})}


def _literal(value: str) -> str:
    """Escape ``$(NAME)``, which Kubernetes would replace by the value of a variable, such as a secret."""
    return value.replace("$", "$$")


def _labels(launch: Launch) -> dict[str, str]:
    labels = {EPOCH: str(launch.epoch)}
    if _LABEL.fullmatch(launch.session_id):
        labels[SESSION_ID] = launch.session_id
    return labels


def _merge(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``lower`` with the values of ``upper``, at every depth; a list replaces a list."""
    merged = dict(lower)
    for key, value in upper.items():
        below = lower.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merge(value, below)
        else:
            merged[key] = value
    return merged
