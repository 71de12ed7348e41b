"""A Kubernetes cluster: the only room that imports its client, lightkube.

What comes out are plain dictionaries, bytes and errors of ours. Nothing is logged here, so that
``logs``, which may not meet the writer, can read a cluster too. lightkube costs about 130 ms to
import: whoever may do without a cluster imports this room inside a function.

lightkube lends its configuration, authentication, TLS and request paths. Its streams are not used:
they split lines at characters that JSON and log lines may hold, go on for ever when the API hangs,
and know no list from which an expired watch could start anew.
"""

from cordboard.kube.client import Kind, Kube, Listing, Object
from cordboard.kube.config import load_yaml, merged, open_kube
from cordboard.kube.follow import Changed, Listed, Trouble, follow

__all__ = [
    "Changed",
    "Kind",
    "Kube",
    "Listed",
    "Listing",
    "Object",
    "Trouble",
    "follow",
    "load_yaml",
    "merged",
    "open_kube",
]
