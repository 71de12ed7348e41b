"""Errors over HTTP."""

from typing import Annotated

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError

from cordboard import emit, session_context
from cordboard.web import problems


def _named(value: str) -> str:
    if value != "webrtc:a":
        raise PydanticCustomError("ours", "{words}", {"words": f"room {value!r} is none."})
    return value


class Body(BaseModel):
    """A body with one field whose errors name it, and one of pydantic's."""

    room: Annotated[str, AfterValidator(_named)]
    number: int = 0


@pytest.fixture
def client() -> TestClient:
    """An application with one call."""
    app = FastAPI()
    problems.add_problem_handlers(app)

    @app.post("/")
    async def _take(body: Body) -> int:
        return body.number

    @app.get("/broken")
    async def _break() -> None:
        raise RuntimeError("the disk at /dev/secret is gone")

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("body", "detail", "field"),
    [
        ('{"room":"webrtc:a","number":"x"}', "number: Input should be a valid integer", "number"),
        ('{"room":"x"}', "room 'x' is none.", "room"),
        ("{}", "room: Field required", "room"),
        ("nonsense", "body: not JSON: Expecting value, at letter 0", ""),
        ("[]", "body: Input should be a valid dictionary", ""),
    ],
)
def test_what_does_not_fit_is_named(client: TestClient, body: str, detail: str, field: str) -> None:
    """422 with the field and what was expected."""
    answer = client.post("/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    problem = answer.json()
    assert problem["detail"].startswith(detail)
    assert problem["errors"][0]["field"] == field


def test_what_nobody_foresaw_is_told_to_us_alone(client: TestClient) -> None:
    """The caller learns that it is our fault and nothing of our inside; the log has it all."""
    with emit.capture() as records, session_context(session_id="call-7"):
        answer = client.get("/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert "secret" not in answer.text
    (line,) = [r for r in records if r["message"].startswith("A request failed for a reason")]
    assert line["level"] == "error"
    assert line["error"]["message"] == "the disk at /dev/secret is gone"
    assert "_break" in line["error"]["stack"]
