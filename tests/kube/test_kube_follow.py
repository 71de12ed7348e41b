"""List-then-watch against an API that misbehaves as told, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cordboard.contract.errors import ClusterForbiddenError, ClusterUnavailableError
from cordboard.kube import (
    Kube,
    KubeTimes,
    ObjectChange,
    ObjectList,
    WatchFailure,
    follow,
    open_kube,
)
from tests_support import served

Answer = Callable[[], Response]


def pod(name: str, version: int, **notes: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "annotations": notes}}


def listing(version: int, *names: str) -> Answer:
    items = [pod(name, version) for name in names]
    return lambda: JSONResponse({"items": items, "metadata": {"resourceVersion": str(version)}})


def refusal(code: int, **headers: str) -> Answer:
    body = {"kind": "Status", "code": code, "message": f"said {code}"}
    return lambda: JSONResponse(body, code, {k.replace("_", "-"): v for k, v in headers.items()})


def events(*items: tuple[str, dict[str, Any]]) -> Answer:
    async def lines() -> AsyncIterator[bytes]:
        for change, item in items:
            yield msgspec.json.encode({"type": change, "object": item}) + b"\n"

    return lambda: StreamingResponse(lines())


def hanging() -> Answer:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(30)
        yield b""

    return lambda: StreamingResponse(nothing())


@dataclass
class Api:
    """Answers lists and watches from two lists of answers; notes what was asked."""

    lists: list[Answer]
    watches: list[Answer]
    asked: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.asked.append(asked)
        answers = self.watches if "watch" in asked else self.lists
        return (answers.pop(0) if answers else hanging())()


@asynccontextmanager
async def kube_of(api: Api, folder: Path) -> AsyncIterator[Kube]:
    app = Starlette(routes=[Route("/{path:path}", api.answer, methods=["GET"])])
    async with served(app) as url:
        file = folder / "config"
        table = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "contexts": [{"name": "x", "context": {"cluster": "c"}}],
            "current-context": "x",
        }
        file.write_bytes(msgspec.json.encode(table))
        kube = open_kube([file], times=KubeTimes(watch_grace=0.3, watch=0))
        yield kube
        await kube.close()


async def told(
    api: Api, folder: Path, count: int
) -> list[ObjectList | ObjectChange | WatchFailure]:
    """Return the first so many events of following the pods of an API."""
    async with (
        kube_of(api, folder) as kube,
        aclosing(follow(kube, "Pod", first_pause_s=0.01)) as following,
    ):
        found: list[ObjectList | ObjectChange | WatchFailure] = []
        async for event in following:
            found.append(event)
            if len(found) == count:
                break
        return found


def words(found: list[ObjectList | ObjectChange | WatchFailure]) -> list[str]:
    return [
        ",".join(item["metadata"]["name"] for item in event.objects) or "none"
        if isinstance(event, ObjectList)
        else f"{event.change} {event.object['metadata']['name']}"
        if isinstance(event, ObjectChange)
        else str(event.error.message)
        for event in found
    ]


async def test_watch_continues_after_a_closed_stream(tmp_path: Path) -> None:
    """A watch that the server closes goes on from the last version seen, bookmarks included."""
    first = events(("ADDED", pod("b", 8)), ("BOOKMARK", pod("", 11)))
    api = Api([listing(7, "a")], [first, events(("DELETED", pod("a", 12)))])
    assert words(await told(api, tmp_path, 3)) == ["a", "ADDED b", "DELETED a"]
    assert [asked.get("resourceVersion") for asked in api.asked] == [None, "7", "11"]


@pytest.mark.parametrize(
    "expired",
    [events(("ERROR", {"code": 410, "message": "too old"})), refusal(410)],
    ids=["in the stream", "as status"],
)
async def test_expired_version_leads_to_a_new_list(tmp_path: Path, expired: Answer) -> None:
    """A version that the API has forgotten leads to a new list, without a word of trouble."""
    api = Api([listing(7, "a"), listing(50, "b")], [expired, events(("ADDED", pod("c", 51)))])
    assert words(await told(api, tmp_path, 3)) == ["a", "b", "ADDED c"]
    assert api.asked[-1]["resourceVersion"] == "50"


@pytest.mark.parametrize("code", [429, 500, 503, 403, 409, 404])
async def test_refusal_is_reported_and_repeated(tmp_path: Path, code: int) -> None:
    """Whatever the API says, it is told, asked again, and a list says that all is well."""
    api = Api([refusal(code), listing(7, "a")], [refusal(code)])
    api.lists.append(listing(9, "a", "b"))
    found = await told(api, tmp_path, 4)
    assert words(found) == [f"Kubernetes: said {code}.", "a", f"Kubernetes: said {code}.", "a,b"]


async def test_retry_after_is_respected(tmp_path: Path) -> None:
    """The API's own word on when to come back is kept to."""
    found = await told(Api([refusal(429, Retry_After="7")], []), tmp_path, 1)
    assert isinstance(found[0], WatchFailure)
    assert found[0].pause_s > 5


async def test_silent_watch_is_repeated(tmp_path: Path) -> None:
    """An API that is open but silent is given up, and asked anew."""
    api = Api([listing(7, "a"), listing(8, "b")], [hanging()])
    assert words(await told(api, tmp_path, 3)) == [
        "a", "The Kubernetes API does not answer in time.", "b",
    ]  # fmt: skip


async def test_only_newlines_end_an_event(tmp_path: Path) -> None:
    """Characters that text processing takes for a line's end do not break an event."""
    odd = pod("a", 8, user="x\x85y\u2028z\x1c")
    found = await told(Api([listing(7)], [events(("ADDED", odd))]), tmp_path, 2)
    assert isinstance(found[1], ObjectChange)
    assert found[1].object == odd


async def test_pages_that_expire_are_read_again(tmp_path: Path) -> None:
    """A long list comes in pages; one that expires while they are turned starts anew."""
    page = {"items": [pod("a", 1)], "metadata": {"continue": "next"}}
    last = {"items": [pod("b", 1)], "metadata": {"resourceVersion": "9"}}
    api = Api([], [])
    api.lists = [
        lambda: JSONResponse(page), refusal(410), lambda: JSONResponse(page),
        lambda: JSONResponse(last),
    ]  # fmt: skip
    async with kube_of(api, tmp_path) as kube:
        found = await kube.list("Pod")
    assert [item["metadata"]["name"] for item in found.objects] == ["a", "b"]
    assert (found.version, [asked.get("continue") for asked in api.asked]) == (
        "9", [None, "next", None, "next"],
    )  # fmt: skip


async def test_refusals_are_cordboards_errors(tmp_path: Path) -> None:
    """What the API refuses comes as an error of ours, in its words and with a way out."""
    api = Api([refusal(401), refusal(403), lambda: Response("<html>", 502)], [])
    async with kube_of(api, tmp_path) as kube:
        with pytest.raises(ClusterForbiddenError, match="Log in to the cluster again"):
            await kube.list("Pod")
        with pytest.raises(ClusterForbiddenError, match="said 403"):
            await kube.list("Pod")
        with pytest.raises(ClusterUnavailableError, match="<html>"):
            await kube.list("Pod")
    async with kube_of(api, tmp_path) as kube:
        pass
    with pytest.raises(ClusterUnavailableError, match="cannot be reached"):
        await open_kube([tmp_path / "config"]).list("Pod")


@pytest.mark.parametrize("answer", [{}, {"status": "ok"}, {"kind": "Status", "code": 200}])
async def test_answer_that_is_no_list_is_an_error(tmp_path: Path, answer: dict[str, Any]) -> None:
    """A proxy that answers something else with status 200 is not an empty cluster."""
    async with kube_of(Api([lambda: JSONResponse(answer)], []), tmp_path) as kube:
        with pytest.raises(ClusterUnavailableError, match="no list"):
            await kube.list("Pod")
    async with kube_of(Api([lambda: JSONResponse({"items": None})], []), tmp_path) as kube:
        assert (await kube.list("Pod")).objects == []
