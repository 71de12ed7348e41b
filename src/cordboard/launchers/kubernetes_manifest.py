"""The Job of one cold runner, as a pure function of the launch and what the operator was told."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cordboard.context.carrier import inject_environment
from cordboard.context.launch import context_of
from cordboard.contract.errors import SettingsError
from cordboard.contract.launch import Launch
from cordboard.kube import load_yaml

PREFIX: Final = "cordboard"
SESSION_ID: Final = f"{PREFIX}/session-id"
ROOM: Final = f"{PREFIX}/room"
EPOCH: Final = f"{PREFIX}/epoch"
ATTEMPT: Final = f"{PREFIX}/attempt"
OURS: Final = {
    "app.kubernetes.io/name": "cordboard",
    "app.kubernetes.io/component": "cold-runner",
    "app.kubernetes.io/managed-by": "cordboard-operator",
}
"""The labels by which an operator finds the Jobs and Pods of all cold runners."""

CONTAINER: Final = "runner"
PORT: Final = 7860
SECRETS: Final = {
    "REDIS_URL": True,
    "BOT_CONTROL_SHARED_SECRET": True,
    "BOT_CONTROL_SHARED_SECRET_PREV": False,
}
"""Variables that come from the Secret, and whether the runner cannot do without."""

GRACE_S: Final = 45
"""From SIGTERM to SIGKILL, so that a call may end by itself when its node is drained."""
GRACE_MARGIN_S: Final = 15
"""Of which the runner keeps so many for itself, to end its bot and to say so."""
DEADLINE_MARGIN_S: Final = 120
KEPT_S: Final = 3600
"""A finished Job stays for so long, and its log with it."""

_NAME_SLUG_CHARS: Final = 20
_NAME_HASH_CHARS: Final = 16
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """What all Jobs of an operator have in common.

    Attributes:
        image: The image, unless ``base`` names one.
        secret: The name of the Secret with the values of SECRETS.
        service_account: Whose rights the pod has; None for none.
        cpu: What is asked for.
        memory: What is asked for, and the limit.
        arguments: Further arguments of ``cordboard runner``.
        environment: Further variables, none of them secret; ``base`` may say otherwise.
        base: A Job, or parts of one, that each Job starts from.
    """

    image: str | None = None
    secret: str = "cordboard"  # noqa: S105 - a Secret's name
    service_account: str | None = None
    cpu: str = "500m"
    memory: str = "1Gi"
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=dict)


def job_name(session_id: str, epoch: int) -> str:
    """Return the name of a launch's Job: the same for the same session and epoch, else another.

    A DNS label of at most 58 characters: something to recognise, 80 bits of a hash that tell ids
    apart which look alike in it, and the epoch.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", session_id.lower())[:_NAME_SLUG_CHARS].strip("-")
    mark = hashlib.sha256(session_id.encode()).hexdigest()
    mark = _base32(int(mark, 16))[:_NAME_HASH_CHARS]
    return "-".join(part for part in ("bot", slug, mark, str(epoch)) if part)


def job_manifest(launch: Launch, template: JobTemplate) -> dict[str, Any]:
    """Return the Job of a launch.

    No secret is in it: those come by reference, and the room's token with the launch record, which
    the runner fetches from Redis. It has no owner, as one in the operator's Deployment would take
    every call with it at the next rollout.
    """
    base = template.base
    job = _over(base, _defaults(launch, template))
    job = _over(_ours(launch, template), job)
    job["metadata"].pop("ownerReferences", None)
    pod = job["spec"]["template"]["spec"]
    pod["containers"] = _containers(pod.get("containers") or [], launch, template, _grace_s(pod))
    return job


def read_template(file: str) -> dict[str, Any]:
    """Read a Job, or parts of one, from a YAML file.

    Raises:
        SettingsError: It cannot be read, or is no part of a Job.
    """
    try:
        found = load_yaml(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"kubernetes_template: cannot read {file}: {error.strerror}."
        ) from error
    except ValueError as error:
        raise SettingsError(f"kubernetes_template: {file} is not YAML: {error}.") from error
    try:
        _check_template(found)
    except (TypeError, AttributeError, KeyError) as error:
        raise SettingsError(
            f"kubernetes_template: {file} is no part of a Job.",
            hint="Write `spec: {template: {spec: {...}}}`, with the container `runner` in it.",
        ) from error
    return dict(found)


def _check_template(base: Any) -> None:
    kind, pod = base.get("kind", "Job"), base["spec"].get("template", {}).get("spec", {})
    if kind != "Job" or not all(item["name"] for item in pod.get("containers", [])):
        raise TypeError
    int(pod.get("terminationGracePeriodSeconds", GRACE_S))


def container_of(base: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a template says about the runner's container."""
    pod = ((base.get("spec") or {}).get("template") or {}).get("spec") or {}
    found = [item for item in pod.get("containers") or [] if item.get("name") == CONTAINER]
    return found[0] if found else {}


def _ours(launch: Launch, template: JobTemplate) -> dict[str, Any]:
    """What makes it this session's Job; wins over the template."""
    about = {
        "labels": {**OURS, **_labels(launch)},
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
        "metadata": {"name": job_name(launch.session_id, launch.epoch), **about},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "template": {"metadata": about, "spec": pod},
        },
    }


def _defaults(launch: Launch, template: JobTemplate) -> dict[str, Any]:
    """What the template may say otherwise."""
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": GRACE_S,
        # A Service named cordboard-x would put CORDBOARD_X_PORT into the environment: no setting.
        "enableServiceLinks": False,
        # With that of the container, this satisfies PodSecurity's level "restricted".
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if not template.service_account:
        pod["automountServiceAccountToken"] = False
    return {
        "spec": {
            "activeDeadlineSeconds": launch.deadline_s + launch.max_duration_s + DEADLINE_MARGIN_S,
            "ttlSecondsAfterFinished": KEPT_S,
            "template": {"spec": pod},
        }
    }


def _grace_s(pod: Mapping[str, Any]) -> int:
    return max(1, int(pod["terminationGracePeriodSeconds"]) - GRACE_MARGIN_S)


def _containers(
    given: Sequence[Mapping[str, Any]], launch: Launch, template: JobTemplate, grace_s: int
) -> list[dict[str, Any]]:
    """The runner's container, and whatever others the template has."""
    said = next((item for item in given if item.get("name") == CONTAINER), {})
    runner = _over(said, _container(template, grace_s))
    if template.image:
        runner["image"] = template.image
    env = [*_plain(template.environment), *(said.get("env") or []), *_environment(launch, template)]
    runner["env"] = list({item["name"]: item for item in env}.values())  # the last one wins
    return [runner, *(dict(item) for item in given if item.get("name") != CONTAINER)]


def _container(template: JobTemplate, grace_s: int) -> dict[str, Any]:
    words = [
        "runner",
        "--once",
        "--host",
        "$(POD_IP)",
        "--port",
        str(PORT),
        "--grace",
        str(grace_s),
    ]
    # Health is asked of the supervisor, which never asks Redis for it: Redis away kills no call.
    health = {"httpGet": {"path": "/healthz", "port": PORT}, "timeoutSeconds": 5}
    return {
        "name": CONTAINER,
        "args": [*words, *(_literal(word) for word in template.arguments)],
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
    """Only what has a value; names alone of what is secret."""
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
            {"name": name, "valueFrom": {"secretKeyRef": _key(template.secret, name, needed)}}
            for name, needed in SECRETS.items()
        ),
    ]


def _plain(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": _literal(value)} for name, value in values.items()]


def _key(secret: str, name: str, needed: bool) -> dict[str, Any]:
    return {"name": secret, "key": name, **({} if needed else {"optional": True})}


def _literal(value: str) -> str:
    """Keep Kubernetes from putting a variable's value, perhaps a secret's, where ``$(NAME)`` is."""
    return value.replace("$", "$$")


def _labels(launch: Launch) -> dict[str, str]:
    labels = {EPOCH: str(launch.epoch)}
    if _LABEL.fullmatch(launch.session_id):
        labels[SESSION_ID] = launch.session_id
    return labels


def _over(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, all the way down; a list replaces a list."""
    merged = dict(lower)
    for key, value in upper.items():
        below = lower.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _over(value, below)
        else:
            merged[key] = value
    return merged


def _base32(number: int) -> str:
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    text = ""
    while number:
        number, rest = divmod(number, 32)
        text += digits[rest]
    return text
