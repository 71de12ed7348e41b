"""A Kubernetes cluster. This is the only room that imports its client, lightkube.

It returns plain dictionaries and bytes, and raises Cordboard's errors. It logs nothing, so that ``logs``, which
must not import the logger, can read a cluster, too. Importing it takes about 300 ms, lightkube and
aiohttp: a module that may not need a cluster imports this room inside a function.

Cordboard uses lightkube's configuration, authentication, TLS and request paths, but not its streams: they split
lines at characters that JSON and log lines may contain, continue forever when the API hangs, and cannot
list again after a watch has expired. Logs come by aiohttp (``log_connections``).
"""

from cordboard.kube.client import Kube, KubeTimes, Listing, Object, Right
from cordboard.kube.config import load_yaml, merge_kubeconfigs, open_kube
from cordboard.kube.follow import ObjectChange, ObjectList, WatchFailure, follow
from cordboard.kube.kinds import Kind

__all__ = [
    "Kind",
    "Kube",
    "KubeTimes",
    "Listing",
    "Object",
    "ObjectChange",
    "ObjectList",
    "Right",
    "WatchFailure",
    "follow",
    "load_yaml",
    "merge_kubeconfigs",
    "open_kube",
]
