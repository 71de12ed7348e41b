"""One line when Redis becomes unreachable, one when it is back, and no stack of the client."""

import pytest

from cordboard.contract.errors import StoreUnavailableError
from cordboard.emit import get_logger
from cordboard.emit.render import error_value
from cordboard.store.outage import Outage


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    log = get_logger("test")
    for level in ("info", "warning"):
        monkeypatch.setattr(type(log), level, lambda _self, message, **_meta: lines.append(message))
    return lines


def away() -> StoreUnavailableError:
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except OSError as error:
        told = StoreUnavailableError("Redis does not answer: Connection refused.")
        told.__cause__ = error
        return told


def test_outage_of_many_tasks_is_reported_once(said: list[str]) -> None:
    """The outage ends when all tasks that failed have succeeded, not when another one has."""
    met = Outage(get_logger("test"), "Redis is unavailable")
    for task in ("read", "sweep", "read"):
        met.record_failure(away(), task)
    met.record_success("cold")
    met.record_success("read")
    assert said == ["Redis is unavailable"]
    met.record_success("sweep")
    met.record_success("read")
    assert said == ["Redis is unavailable", "Redis is available again"]


def test_long_outage_is_reported_again(said: list[str]) -> None:
    """A reminder follows when its interval has passed, and not before."""
    frequent = Outage(get_logger("test"), "Redis is unavailable", reminder_s=0)
    frequent.record_failure(away())
    frequent.record_failure(away())
    assert said == ["Redis is unavailable", "Redis is still unavailable"]
    said.clear()
    rare = Outage(get_logger("test"), "Redis is unavailable", reminder_s=60)
    rare.record_failure(away())
    rare.record_failure(away())
    assert said == ["Redis is unavailable"]


def test_outage_is_logged_without_a_stack() -> None:
    """Type and message are kept; the stacks of the client and of its causes are not."""
    assert error_value(away()) == {
        "type": "StoreUnavailableError",
        "message": "Redis does not answer: Connection refused.",
        "stack": "",
    }
    assert "ValueError" in error_value(ValueError("with a stack"))["stack"]
