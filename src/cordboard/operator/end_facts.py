"""What an operator knows of a session whose end it logs. The figures of its bot are known to its runner alone."""

from typing import Any

from cordboard.store import SessionRecord


def end_facts(record: SessionRecord) -> dict[str, Any]:
    """Return members of `session.ended`: recoveries, and the build and the length as far as the record has them."""
    facts: dict[str, Any] = {"recoveries": record.attempt - 1}
    if record.build:
        facts["build"] = dict(record.build)
    began_ms, ended_ms = record.stages.get("running"), record.stages.get("ended")
    if began_ms is not None and ended_ms is not None:
        facts["seconds"] = round((ended_ms - began_ms) / 1000, 1)
    return facts
