"""Settings of operators, and of the Jobs with which they start cold runners on Kubernetes."""

from dataclasses import dataclass

from cordboard.settings.kinds import Limit, PlacementPolicy, Positive


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class OperatorSettings:
    """How operators choose runners, and when they distrust the network."""

    placement: PlacementPolicy = "spread"
    """Which warm runner gets a session: `spread` chooses the one with the most free slots, `pack` the
    fullest one that has a free slot, which leaves others empty so that they can be removed."""

    headroom_slots: Limit = 4
    """Free slots of warm runners that the metric `cordboard_slots_wanted` contains in addition to those of
    the sessions. A cluster scales its runners by this metric; the free slots take the sessions that begin
    while a new runner starts."""

    crowd_percent: Positive = 50
    """If more than this percentage of the sessions appear dead at once, an operator first assumes a
    fault of Redis or of the network: it waits for two seconds, and logs this."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class KubernetesSettings:
    """The cluster, the namespace and the Job of a cold runner."""

    kubernetes_context: str | None = None
    """The kubeconfig's context in which cold runners start; by default the current one, and in a pod
    the cluster that it runs in."""

    kubernetes_namespace: str | None = None
    """The namespace of the Jobs of cold runners; by default the context's, or the pod's own."""

    kubernetes_image: str | None = None
    """The image of cold runners: one with `cordboard[bots]` and your bot files in it. Required for
    `--launcher kubernetes` unless the template names one."""

    kubernetes_secret: str = "cordboard"  # noqa: S105 - the name of a Secret
    """The Secret with the keys REDIS_URL and BOT_CONTROL_SHARED_SECRET (and, during a rotation,
    BOT_CONTROL_SHARED_SECRET_PREV; for TURN servers, CORDBOARD_TURN_SECRET; for metrics,
    CORDBOARD_SCRAPE_SECRET). A Job refers to it, and contains no secret itself."""

    kubernetes_service_account: str | None = None
    """The service account of cold runners. If unset, it is the namespace's default account without
    a token, because a runner does not use the Kubernetes API."""

    kubernetes_cpu: str = "500m"
    """The CPU request of a cold runner. There is no CPU limit, because a bot that is throttled at
    its start is audibly late."""

    kubernetes_memory: str = "1Gi"
    """The memory request and limit of a cold runner. Pipecat with voice detection takes about
    300 MiB; the rest is for your bot."""

    kubernetes_pod_marks: bool = False
    """Whether operators write on the pod of each warm runner whether it has sessions, so that the cluster
    removes and evicts idle pods first. Operators need the permission to patch pods; runners need the
    variables POD_NAME and POD_NAMESPACE."""

    kubernetes_template: str | None = None
    """A YAML file with a Job, or parts of one, on which every Job is based: nodes, volumes,
    security, further variables. Cordboard overrides the fields that make it the Job of this
    session."""
