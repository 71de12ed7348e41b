"""What the plane does in a Kubernetes cluster: starts of pods, draining, and the reading of logs.

    python benchmarks/cluster/bench_cluster.py [start] [drain] [logs] [silence] [--calls N]

Without names: all but ``silence``, which makes ten calls with sound and takes minutes. A busy machine breaks the
sound of ten calls by itself; ``--calls`` makes fewer. The cluster is that of
KUBE_TEST_CONFIG, or of KUBECONFIG if its server is on loopback; its nodes must see the files of this checkout, and its
pods must have addresses of their own.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from cluster import pod_drain, pod_logs, pod_silence, pod_starts

from cluster_support import Cluster, close_cluster, open_cluster, usable_kubeconfig
from cordboard.up.embedded import EmbeddedServer

Measure = Callable[[Cluster, str, int], Awaitable[None]]


async def start(cluster: Cluster, redis_url: str, _calls: int) -> None:
    await pod_starts.measure(cluster, redis_url, rounds=20)


async def drain(cluster: Cluster, redis_url: str, _calls: int) -> None:
    await pod_drain.measure(cluster, redis_url)


async def logs(cluster: Cluster, _redis_url: str, _calls: int) -> None:
    await pod_logs.measure(cluster, pods=200, megabytes=1.0, rounds=3)


async def silence(cluster: Cluster, redis_url: str, calls: int) -> None:
    await pod_silence.measure(redis_url, cluster.folder, calls=calls)


MEASURES: dict[str, Measure] = {"start": start, "drain": drain, "logs": logs, "silence": silence}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(MEASURES))
    parser.add_argument(
        "--calls", type=int, default=10, metavar="N", help="calls with sound (default: 10)"
    )
    args = parser.parse_args()
    names = args.names or [name for name in MEASURES if name != "silence"]
    if unknown := set(names) - MEASURES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    if usable_kubeconfig() is None:
        print("cluster: left out, as there is no cluster: set KUBE_TEST_CONFIG")
        return
    for name in names:
        with tempfile.TemporaryDirectory(prefix="cordboard-cluster-") as folder:
            server = EmbeddedServer()
            server.start()
            cluster = open_cluster(Path(folder))
            try:
                asyncio.run(MEASURES[name](cluster, server.url, args.calls))  # type: ignore[arg-type]
            finally:
                close_cluster(cluster)
                server.stop()


if __name__ == "__main__":
    main()
