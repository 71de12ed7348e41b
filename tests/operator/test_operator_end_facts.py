"""What an operator adds to the end of a session that it logs."""

from cordboard.operator.end_facts import end_facts
from cordboard.store import SessionRecord

STAGES = {"queued": 1000, "running": 2000}


def record(stages: dict[str, int], build: dict[str, str]) -> SessionRecord:
    """A session in its second attempt."""
    return SessionRecord(
        "s-1", "https://rooms.example/1", "failed", 2, 2, "default", 1000, 61_000, stages,
        build=build,
    )  # fmt: skip


def test_end_has_what_the_record_has() -> None:
    """Recoveries always; the build of the last runner, and how long the session ran, if they are known."""
    build = {"bot": "4029ce68746d", "cordboard": "0.2.0"}
    assert end_facts(record(STAGES | {"ended": 33_540}, build)) == {
        "recoveries": 1,
        "build": build,
        "seconds": 31.5,
    }
    assert end_facts(record(STAGES, {})) == {"recoveries": 1}
    assert end_facts(record({"queued": 1000, "ended": 2000}, {})) == {"recoveries": 1}
