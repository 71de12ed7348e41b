"""An observer that fails costs its own record: neither the others, nor the call, nor memory."""

from types import SimpleNamespace
from typing import Any

import pytest
from pipecat.frames.frames import (
    ClientConnectedFrame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver
from pipecat.observers.startup_timing_observer import StartupTimingObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker

from cordboard.runner import context_keeper
from cordboard.runner.call_records import CallRecords
from cordboard.runner.sound_levels import SoundLevels
from cordboard.runner.startup_watch import StartupWatch
from cordboard.runner.turn_log import TurnLog
from lines_support import Lines, lines
from runner.records_support import Stage, run_call, setup_file

__all__ = ["lines", "setup_file"]

pytestmark = pytest.mark.usefixtures("setup_file")

AUDIO = {"audio": bytes(320), "sample_rate": 8000, "num_channels": 1}
WARNING = "An observer of the pipeline failed; its records are missing from here on"


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The observers that have left their pipeline, by their class."""
    left = []
    remove = PipelineWorker.remove_observer

    async def note(self: Any, observer: Any) -> None:
        await remove(self, observer)
        left.append(type(observer).__name__)

    monkeypatch.setattr(PipelineWorker, "remove_observer", note)
    return left


def warned(lines: Lines, message: str = WARNING) -> list[str]:
    """The observers of which a warning tells."""
    return [line["meta"].get("observer") for line in lines() if line["message"] == message]


@pytest.mark.parametrize(
    "method",
    ["setup", "on_processor_setup", "on_process_frame", "on_push_frame", "on_pipeline_started",
     "_emit_report", "cleanup"],
)  # fmt: skip
async def test_observer_of_the_start_that_raises_leaves(
    lines: Lines, removed: list[str], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Its task does not die, which would leave a queue that grows with each frame of the call."""

    async def broken(_self: object, *_arguments: object) -> None:
        raise LookupError("expected error")

    monkeypatch.setattr(StartupTimingObserver, method, broken)
    await run_call(ClientConnectedFrame(), VADUserStartedSpeakingFrame())
    assert removed == ["StartupWatch"]
    assert warned(lines) == ["StartupTimingObserver"]
    found = {line.get("event") for line in lines()}
    assert found >= {"user.connected", "speech.started", "turn.ended"}


async def test_report_of_the_start_of_another_shape_loses_its_record(
    lines: Lines, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later Pipecat may name a value otherwise."""

    async def report(self: Any) -> None:
        await self._call_event_handler("on_startup_timing_report", SimpleNamespace())

    monkeypatch.setattr(StartupTimingObserver, "_emit_report", report)
    await run_call()
    assert removed == ["StartupWatch"]
    assert warned(lines) == ["StartupTimingObserver"]


async def test_observer_that_cannot_leave_costs_no_call(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays, and does nothing."""

    async def broken(_self: object, _observer: object) -> None:
        raise LookupError("expected error")

    monkeypatch.setattr(PipelineWorker, "remove_observer", broken)
    kinds = (InputAudioRawFrame, OutputAudioRawFrame, TTSAudioRawFrame)
    sound = [kind(**AUDIO) for kind in kinds for _ in range(20)]
    await run_call(ClientConnectedFrame(), *sound, VADUserStartedSpeakingFrame())
    message = "An observer of the pipeline cannot leave it"
    assert set(warned(lines, message)) == {"StartupWatch", "FirstEventObserver"}
    assert len(warned(lines, message)) <= 1 + len(kinds)
    assert "speech.started" in {line.get("event") for line in lines()}


async def test_frames_of_another_shape_cost_the_notes_alone(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read of frames before the observers get them: one warning, and the observers go on."""
    asked = []

    def broken(_self: object, data: Any) -> None:
        asked.append(data)
        raise LookupError("expected error")

    monkeypatch.setattr(CallRecords, "on_frame", broken)
    await run_call(ClientConnectedFrame(), VADUserStartedSpeakingFrame())
    assert len(asked) == 1
    assert warned(lines) == ["CallRecords"]
    assert "speech.started" in {line.get("event") for line in lines()}


@pytest.mark.parametrize("samples", [None, 7, "text", [1], b"", b"1", object()])
def test_sound_of_another_form_has_no_level(samples: Any) -> None:
    """A bot makes its frames itself."""
    levels = SoundLevels()
    levels.take()
    levels.measure("level_in", samples)
    assert levels.take() == {}


@pytest.mark.parametrize("part", ["contexts", "first events", "records"])
async def test_part_that_cannot_be_attached_costs_no_other(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Each part of the setup file is attached by itself."""

    def broken(*_arguments: object) -> None:
        raise LookupError("expected error")

    if part == "contexts":
        monkeypatch.setattr(context_keeper, "KEEPER", SimpleNamespace(attach=broken))
    elif part == "records":
        monkeypatch.setattr(TurnLog, "attach", broken)
    else:
        add = PipelineWorker.add_observer

        def refuse(self: Any, observer: Any) -> None:
            if type(observer).__name__ == "FirstEventObserver":
                broken()
            add(self, observer)

        monkeypatch.setattr(PipelineWorker, "add_observer", refuse)
    await run_call(ClientConnectedFrame(), VADUserStartedSpeakingFrame())
    assert [line for line in lines() if "missing" in line["message"]]
    found = {line.get("event") for line in lines()}
    assert ("user.connected" in found) == (part != "first events")
    assert ("speech.started" in found) == (part != "records")


async def test_observers_of_another_pipecat_cost_no_call(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Pipecat that Cordboard does not know, whose observers take other arguments, loses the records."""

    def other(_self: object) -> None:
        """Take no argument, as in Pipecat 1.9."""

    worker = PipelineWorker(Pipeline([Stage(name="Stage")]))
    monkeypatch.setattr(BaseObserver, "__init__", other)
    await worker._load_setup_files()
    assert len([line for line in lines() if "missing" in line["message"]]) == 2


def test_observer_of_the_start_sees_each_push() -> None:
    """It measures when the first frame leaves each processor."""
    assert StartupWatch(None, None).observe_every_push  # type: ignore[arg-type]
