"""The connections of a running release, and what its NetworkPolicies say about them.

Nothing enforces policies on the nodes of the tests. A rule that was forgotten is found by comparison: each
connection between two pods must be allowed by a rule of egress and by one of ingress.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

Labels = Mapping[str, str]
_ESTABLISHED, _LISTENS = "01", "0A"


@dataclass(frozen=True)
class Peer:
    """One end of a connection.

    Attributes:
        name: The component of a pod, or what a foreign address is.
        labels: The labels of the pod; empty for a foreign address.
        address: An address that a rule may name, of a foreign one.
    """

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    address: str = ""


@dataclass(frozen=True)
class Connection:
    """A TCP connection from a pod.

    Attributes:
        source: The end that opened it.
        target: The other one.
        port: The port of the target.
    """

    source: Peer
    target: Peer
    port: int


# --- what runs


def connections(pods: Mapping[str, Peer], foreign: Mapping[int, Peer]) -> Iterator[Connection]:
    """Yield the TCP connections that pods have opened, as the kernel lists them (Linux, as root).

    Args:
        pods: The pods by their names; their `address` is that of the pod.
        foreign: What is at the ports of loopback that belong to no pod.
    """
    by_address = {pod.address: pod for pod in pods.values()}
    sockets = dict(_sockets(pods))
    rows = [*_rows()]
    listens = {local for local, _, state, _ in rows if state == _LISTENS}
    for local, remote, state, inode in rows:
        if state != _ESTABLISHED or inode not in sockets or local in listens:
            continue
        address, port = remote
        target = by_address.get(address) or foreign.get(port)
        yield Connection(sockets[inode], target or Peer(f"{address}:{port}"), port)


def _sockets(pods: Mapping[str, Peer]) -> Iterator[tuple[str, Peer]]:
    """Yield the inode of each socket of the pods' processes, whose environment has the pod's name."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            names = [item[9:].decode() for item in variables if item.startswith(b"POD_NAME=")]
            links = [str(link.readlink()) for link in (process / "fd").iterdir()] if names else []
        except OSError:  # it has ended
            continue
        for link in links:
            if link.startswith("socket:[") and names[0] in pods:
                yield link[8:-1], pods[names[0]]


def _rows() -> Iterator[tuple[tuple[str, int], tuple[str, int], str, str]]:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_, inode = line.split()[:10]
        yield _end(local), _end(remote), state, inode


def _end(text: str) -> tuple[str, int]:
    address, port = text.split(":")
    return str(ip_address(bytes.fromhex(address)[::-1])), int(port, 16)


# --- what the policies say


def denied(connection: Connection, policies: list[dict[str, Any]]) -> list[str]:
    """Return what denies a connection: `egress` of its source, `ingress` of its target, or both."""
    found = []
    if not _is_allowed("egress", connection.source, connection.target, connection.port, policies):
        found.append("egress")
    target = connection.target
    is_pod = bool(target.labels)
    if is_pod and not _is_allowed("ingress", target, connection.source, connection.port, policies):
        found.append("ingress")
    return found


def _is_allowed(
    direction: str, own: Peer, other: Peer, port: int, policies: list[dict[str, Any]]
) -> bool:
    """Return whether a rule of a policy of `own` allows the port and the other end."""
    specs = [
        item["spec"]
        for item in policies
        if _selects(item["spec"]["podSelector"], dict(own.labels))
        and direction.capitalize() in item["spec"]["policyTypes"]
    ]
    # A pod that no policy selects may do everything; the chart must not rely on that.
    rules = [rule for spec in specs for rule in spec.get(direction) or []]
    end = "to" if direction == "egress" else "from"
    return any(_has_port(rule, port) and _has_peer(rule.get(end), other) for rule in rules)


def _has_port(rule: Mapping[str, Any], port: int) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        item.get("protocol", "TCP") == "TCP" and item.get("port", port) == port for item in ports
    )


def _has_peer(peers: list[dict[str, Any]] | None, other: Peer) -> bool:
    if not peers:
        return True
    for peer in peers:
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            # The address of a pod is never meant by a block.
            if other.address and not other.labels and _is_in(block, other.address):
                return True
        elif other.labels and "namespaceSelector" not in peer and _selects(peer["podSelector"], dict(other.labels)):  # fmt: skip
            return True
    return False


def _is_in(block: Mapping[str, Any], address: str) -> bool:
    found = ip_address(address)
    nets = [ip_network(text) for text in (block["cidr"], *block.get("except", []))]
    return found in nets[0] and not any(found in net for net in nets[1:])


def _selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    wanted: Labels = selector.get("matchLabels") or {}
    return bool(labels) and wanted.items() <= labels.items()
