"""The edge places the rooms that it makes in its own cell."""

from typing import Any

import pytest

from cordboard.edge.sessions import EdgeSessions, JoinRequest
from cordboard.web.http_client import Reply

ANSWER = b'{"sessionId": "CA1", "status": "queued", "epoch": 1, "reused": false}'


class Gateway:
    """Records the path of each request."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def ask(self, _method: str, path: str, _content: bytes, **_more: Any) -> Reply:
        self.paths.append(path)
        return Reply(202, ANSWER, "application/json")


@pytest.mark.parametrize(("cell", "path"), [(None, "/join"), ("eu-1", "/join?cell=eu-1")])
async def test_join_names_the_cell_of_the_edge(cell: str | None, path: str) -> None:
    """The carrier has chosen the edge, and so the cell: the hash of a call's id must not send it elsewhere."""
    gateway: Any = Gateway()
    await EdgeSessions(gateway, cell).join(JoinRequest("CA1", "phone:twilio:CA1"))
    assert gateway.paths == [path]
