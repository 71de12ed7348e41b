"""A cluster of three primaries, and a master with a replica and a sentinel: real servers, on loopback."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import redis

from cordboard.up.embedded import EmbeddedServer
from cordboard.up.ports import first_connection_port, free_port

SLOTS = 16384
# From a node's port to the one by which the other nodes reach it: Redis 6.2 has no setting for that one.
BUS, PORT_MAX = 10000, 65535
START_S = 20.0


def cluster_port() -> int:
    """Return a free port for a node of a cluster, whose second port is free as well.

    No connection can take either: the kernel gives connections higher ports.
    """
    while True:
        port = free_port()
        with contextlib.closing(socket.socket()) as second, contextlib.suppress(OSError):
            if port + BUS < (first_connection_port() or PORT_MAX):
                second.bind(("127.0.0.1", port + BUS))
                return port


class Node(EmbeddedServer):
    """A server with further arguments; kept where it is when it is killed."""

    def __init__(self, *more: str) -> None:
        super().__init__()
        self._more = more

    def _arguments(self) -> list[str]:
        return [*super()._arguments(), *self._more]

    def client(self) -> Any:
        return redis.Redis(port=self.port, decode_responses=True)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        if number is signal.SIGKILL and self.process:
            self.process.wait()


class ClusterNode(Node):
    """A server of a cluster."""

    def __init__(self) -> None:
        super().__init__(
            *("--cluster-enabled", "yes"),
            *("--cluster-require-full-coverage", "no"),
            *("--cluster-node-timeout", "3000"),
        )
        self.port = cluster_port()


class SentinelNode(Node):
    """A sentinel: a server with a file that it writes to."""

    def __init__(self, master: Node) -> None:
        super().__init__()
        self._master = master

    def _arguments(self) -> list[str]:
        file = self._dir / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._dir}\n"
            f"sentinel monitor main 127.0.0.1 {self._master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
        )
        return [str(file), "--sentinel"]


@dataclass(frozen=True)
class Primaries:
    """A cluster, and who in it has which slots."""

    nodes: list[Node]
    replica: Node | None = None  # of the first

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def of(self, key: str) -> Node:
        """The primary of a key."""
        from redis.crc import key_slot

        return self.nodes[key_slot(key.encode()) * len(self.nodes) // SLOTS]


@contextlib.contextmanager
def primaries(count: int = 3, *, replica: bool = False) -> Iterator[Primaries]:
    """Start a cluster whose primaries share the slots evenly; end it afterwards."""
    nodes: list[Node] = [ClusterNode() for _ in range(count + replica)]
    try:
        for node in nodes:
            node.start()
        for number, node in enumerate(nodes[:count]):
            first, last = (-(-SLOTS * n // count) for n in (number, number + 1))
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                if number:
                    client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
        if replica:
            _replicate(nodes[count], nodes[0])
        for node in nodes:
            wait_for(lambda node=node: _knows_all(node, count))  # type: ignore[misc]
        yield Primaries(nodes[:count], nodes[count] if replica else None)
    finally:
        for node in nodes:
            _end(node)


def _replicate(replica: Node, primary: Node) -> None:
    """Make a node of a cluster another one's replica; return when it is in sync."""
    with primary.client() as client:
        name = client.execute_command("CLUSTER MYID")
    with replica.client() as client:
        client.execute_command("CLUSTER MEET", "127.0.0.1", primary.port)
        wait_for(lambda: name in str(client.execute_command("CLUSTER NODES")))
        client.execute_command("CLUSTER REPLICATE", name)
    wait_for(lambda: _info(replica).get("master_link_status") == "up")


def _knows_all(node: Node, count: int) -> bool:
    with node.client() as client:
        info = client.execute_command("CLUSTER INFO")
    if isinstance(info, str):
        info = dict(line.split(":") for line in info.split())
    return (info["cluster_state"], info["cluster_size"]) == ("ok", str(count))


@dataclass(frozen=True)
class Watched:
    """A master, its replica, and the sentinel that watches them."""

    master: Node
    replica: Node
    sentinel: SentinelNode

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main/0"


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    """Start a master, a replica that is in sync, and a sentinel that has seen both."""
    master = Node()
    replica = Node("--replicaof", "127.0.0.1", str(master.port))
    sentinel = SentinelNode(master)
    try:
        for node in (master, replica, sentinel):
            node.start()
        wait_for(lambda: _info(replica)["master_link_status"] == "up")
        wait_for(lambda: _replicas_seen(sentinel) == 1)
        yield Watched(master, replica, sentinel)
    finally:
        for node in (sentinel, replica, master):
            _end(node)


def _info(node: Node) -> Any:
    with node.client() as client:
        return client.info("replication")


def _replicas_seen(sentinel: Node) -> int:
    with sentinel.client() as client:
        return int(client.sentinel_masters()["main"]["num-slaves"])


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def _end(node: Node) -> None:
    if node.process and node.process.poll() is None:
        os.kill(node.pid, signal.SIGCONT)
    node.stop()
