"""The metric of the operators, served to a cluster's autoscaler as an external metric; and the autoscaler."""

import asyncio
import contextlib
import datetime as dt
import json
import re
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

from lightkube.codecs import from_dict
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource

from cluster_support import Cluster
from plane_support import HEADERS
from scaling.warm_runners import NAME, WarmRunners
from tests_support import until
from tls_support import authority

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
METRIC = "cordboard_slots_wanted"
APIService = create_global_resource("apiregistration.k8s.io", "v1", "APIService", "apiservices")
for _version in ("v2", "v2beta2"):
    create_namespaced_resource(
        "autoscaling", _version, "HorizontalPodAutoscaler", "horizontalpodautoscalers"
    )


def slots_wanted(operators: Sequence[str]) -> float | None:
    """Return the maximum of the metric over the operators, as a query of Prometheus would; None without a value."""
    values = []
    for url in operators:
        with (
            contextlib.suppress(OSError),
            urlopen(Request(f"{url}/metrics", headers=HEADERS)) as answer,
        ):
            found = re.search(rf"^{METRIC} (\S+)$", answer.read().decode(), re.MULTILINE)
            values += [float(found[1])] if found else []
    return max(values, default=None)


@contextlib.contextmanager
def _served(operators: Sequence[str], folder: Any) -> Any:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(_answer(self.path.partition("?")[0], operators)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Write nothing."""

    files = authority(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield listener.server_address[1]
    finally:
        listener.shutdown()
        listener.server_close()


def _answer(path: str, operators: Sequence[str]) -> dict[str, Any]:
    version = f"{GROUP}/{VERSION}"
    if path.rstrip("/") == f"/apis/{version}":
        resource = {"name": METRIC, "singularName": "", "namespaced": True,
                    "kind": "ExternalMetricValueList", "verbs": ["get"]}  # fmt: skip
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
                "resources": [resource]}  # fmt: skip
    value = slots_wanted(operators)
    at = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    item = {
        "metricName": METRIC,
        "metricLabels": {},
        "timestamp": at,
        "value": str(round(value or 0)),
    }
    return {"kind": "ExternalMetricValueList", "apiVersion": version, "metadata": {},
            "items": [] if value is None else [item]}  # fmt: skip


@contextlib.asynccontextmanager
async def autoscaler(warm: WarmRunners, *, capacity: int, most: int) -> AsyncIterator[None]:
    """Let the cluster scale the runners by the metric, from 1 to ``most`` pods."""
    cluster = warm.cluster
    urls = [operator.url for operator in warm.operators]
    with _served(urls, cluster.folder / "metrics") as port:
        cluster.make(
            "Service", "metrics", spec={"type": "ExternalName", "externalName": "localhost"}
        )
        name = f"{VERSION}.{GROUP}"
        spec = {"group": GROUP, "version": VERSION, "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"namespace": cluster.namespace, "name": "metrics", "port": port}}  # fmt: skip
        service = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
        cluster.client.create(from_dict(service | {"metadata": {"name": name}, "spec": spec}))
        try:
            await until(lambda: _is_available(cluster, name), 30)
            _create_autoscaler(cluster, capacity, most)
            yield
        finally:
            # Before its server ends: otherwise no namespace can be deleted.
            await asyncio.to_thread(cluster.client.delete, APIService, name)


def _is_available(cluster: Cluster, name: str) -> bool:
    status: Any = cluster.client.get(APIService, name).status or {}
    return any(
        c["type"] == "Available" and c["status"] == "True" for c in status.get("conditions", ())
    )


def _create_autoscaler(cluster: Cluster, capacity: int, most: int) -> None:
    metric = {
        "metric": {"name": METRIC},
        "target": {"type": "AverageValue", "averageValue": str(capacity)},
    }
    at_once = {"stabilizationWindowSeconds": 0,
               "policies": [{"type": "Pods", "value": 10, "periodSeconds": 2}]}  # fmt: skip
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "minReplicas": 1,
        "maxReplicas": most,
        "metrics": [{"type": "External", "external": metric}],
        "behavior": {"scaleUp": at_once, "scaleDown": at_once},
    }
    try:
        cluster.make("HorizontalPodAutoscaler", NAME, "autoscaling/v2", spec=spec)
    except ApiError as error:
        if error.status.code != 404:
            raise
        cluster.make("HorizontalPodAutoscaler", NAME, "autoscaling/v2beta2", spec=spec)
