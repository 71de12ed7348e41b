"""The annotations of pods by which a cluster decides which of them it removes."""

from typing import Final

# ReplicaSets delete pods with a lower cost first; 0 is the cost of a pod without the annotation.
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
# With "false", the Cluster Autoscaler does not remove the pod's node.
SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
# With "true", Karpenter does not remove the pod's node.
DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"
