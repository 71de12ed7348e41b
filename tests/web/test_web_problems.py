"""Errors over HTTP."""

from typing import Annotated

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError
from starlette.types import Message

from cordboard import emit, session_context
from cordboard.web import problems


def _named(value: str) -> str:
    if value != "webrtc:a":
        raise PydanticCustomError("ours", "{text}", {"text": f"room {value!r} is unknown."})
    return value


class Body(BaseModel):
    """One field whose errors name it themselves, and one with an error of pydantic."""

    room: Annotated[str, AfterValidator(_named)]
    number: int = 0


@pytest.fixture
def client() -> TestClient:
    """A client of an application with two routes."""
    app = FastAPI()
    problems.add_problem_handlers(app)

    @app.post("/")
    async def _take(body: Body) -> int:
        return body.number

    @app.get("/broken")
    async def _break() -> None:
        raise RuntimeError("the disk at /dev/secret is gone")

    @app.post("/slow")
    async def _read(request: Request) -> None:
        async def receive() -> Message:
            return {"type": "http.disconnect"}

        await Request(request.scope, receive).body()

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("body", "detail", "field"),
    [
        ('{"room":"webrtc:a","number":"x"}', "number: Input should be a valid integer", "number"),
        ('{"room":"x"}', "room 'x' is unknown.", "room"),
        ("{}", "room: Field required", "room"),
        ("nonsense", "body: invalid JSON at character 0: Expecting value", ""),
        ("[]", "body: Input should be a valid dictionary", ""),
    ],
)
def test_invalid_body_is_422_and_names_the_field(
    client: TestClient, body: str, detail: str, field: str
) -> None:
    """The detail says which field is wrong and what was expected."""
    answer = client.post("/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    problem = answer.json()
    assert problem["detail"].startswith(detail)
    assert problem["errors"][0]["field"] == field


def test_unexpected_error_is_logged_and_not_shown_to_the_caller(client: TestClient) -> None:
    """The caller gets 500 without internal details; the log has all of them."""
    with emit.capture() as records, session_context(session_id="call-7"):
        answer = client.get("/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert "secret" not in answer.text
    (line,) = [r for r in records if r["message"] == "A request failed unexpectedly"]
    assert line["level"] == "error"
    assert line["error"]["message"] == "the disk at /dev/secret is gone"
    assert "_break" in line["error"]["stack"]


def test_client_that_goes_before_its_body_is_complete_is_no_error_of_the_server(
    client: TestClient,
) -> None:
    """Anybody can do so, and no line of an error may come of it."""
    with emit.capture() as records:
        assert client.post("/slow").status_code == 400
    assert [record for record in records if record["level"] == "error"] == []
