"""What a session amounts to, and what runs in it."""

from pathlib import Path
from typing import Any

import pytest

from cordboard.contract.call_events import LEFT_OUT
from cordboard.runner import build
from cordboard.runner.build import FILES_MAX, bot_build, runner_build
from cordboard.runner.session_figures import DROPPED, SessionFigures


def figures(*records: dict[str, Any]) -> dict[str, Any]:
    """The summary of these records."""
    summed = SessionFigures()
    for record in records:
        summed.note(record)
    return summed.summary()


def event(name: str, **meta: Any) -> dict[str, Any]:
    """A record of a bot."""
    return {"event": name, "meta": meta}


def test_records_add_up() -> None:
    """Turns, speech, latencies, errors and dropped lines; a greeting has no latency of a user."""
    assert figures(
        event("turn.ended", turn=1, user_bot_latency_ms=None),
        *(event("turn.ended", turn=2, user_bot_latency_ms=ms) for ms in (900, 300, 500)),
        event("speech.ended", who="user", ms=1500),
        event("speech.ended", who="user", ms=500),
        event("speech.ended", who="bot", ms=4000),
        event("speech.ended", who="bot"),
        event("service.error", category="timeout"),
        event("bot.crashed"),
        {"message": DROPPED, "meta": {"lines": 7}},
        {"message": LEFT_OUT, "meta": {"count": 5}},
        {"message": LEFT_OUT, "meta": {"count": 6}},
    ) == {
        "turns": 4,
        "user_speech_s": 2.0,
        "bot_speech_s": 4.0,
        "latency_worst_ms": 900,
        "latency_median_ms": 500,
        "errors": 2,
        "lines_dropped": 7,
        "records_left_out": 11,
    }


@pytest.mark.parametrize("value", ["1", True, -1, float("inf"), float("nan"), None, [1], {}])
def test_values_that_make_no_sense_do_not_count(value: Any) -> None:
    """A bot writes its records itself, and may write anything."""
    summary = figures(
        event("turn.ended", user_bot_latency_ms=value),
        event("speech.ended", who="user", ms=value),
        event("speech.ended", who=value, ms=1000),
        {"event": "turn.ended", "meta": value},
        {"message": DROPPED, "meta": {"lines": value}},
        {"message": LEFT_OUT, "meta": {"count": value}},
    )
    assert summary["turns"] == 2
    assert summary["user_speech_s"] == summary["lines_dropped"] == 0
    assert not {"latency_worst_ms", "records_left_out"} & set(summary)


def test_hashes_change_with_the_code_they_name(tmp_path: Path) -> None:
    """A file beside the bot file changes the package alone; other files change nothing."""
    bot, helper = tmp_path / "bot.py", tmp_path / "helper.py"
    bot.write_text("a = 1")
    helper.write_text("b = 1")
    first = bot_build(str(bot))
    assert set(first) == {"bot", "package", "pipecat"}
    assert all(len(first[name]) == build.HASH_CHARS for name in ("bot", "package"))
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "deep.py").write_text("c = 1")  # no package: not the bot's
    assert bot_build(str(bot)) == first
    helper.write_text("b = 2")
    second = bot_build(str(bot))
    assert second["bot"] == first["bot"]
    assert second["package"] != first["package"]
    bot.write_text("a = 2")
    assert bot_build(str(bot))["bot"] != first["bot"]


def test_package_includes_the_folders_below(tmp_path: Path) -> None:
    """A bot file in a package: its modules count wherever they are, but not an environment."""
    for name in ("__init__.py", "bot.py", "inner/one.py", "venv/two.py", ".hidden/three.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    bot = str(tmp_path / "bot.py")
    first = bot_build(bot)["package"]
    for name in ("venv/two.py", ".hidden/three.py"):
        (tmp_path / name).write_text("x = 2")
    assert bot_build(bot)["package"] == first
    (tmp_path / "inner" / "one.py").write_text("x = 2")
    assert bot_build(bot)["package"] != first


def test_what_is_not_known_is_absent(tmp_path: Path) -> None:
    """No file, too many files, no image."""
    assert set(bot_build(str(tmp_path / "none.py"))) <= {"package", "pipecat"}
    for number in range(FILES_MAX + 1):
        (tmp_path / f"m{number}.py").touch()
    assert "package" not in bot_build(str(tmp_path / "m0.py"))
    assert set(runner_build("")) == {"cordboard"}
    assert runner_build("sha256:4f5e")["image"] == "sha256:4f5e"
