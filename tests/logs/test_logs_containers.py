"""Which runs of a pod's containers have a log, and why others have none: a pure function."""

from typing import Any

import pytest

from cordboard.logs.sources._containers import Run, outside, runs

T0, T1, T2 = "2026-11-23T10:00:00Z", "2026-11-23T10:05:00Z", "2026-11-23T10:09:00Z"
RUNNING: dict[str, Any] = {"running": {"startedAt": T2}}
OVER: dict[str, Any] = {"terminated": {"startedAt": T1, "finishedAt": T2}}
LAST: dict[str, Any] = {"terminated": {"startedAt": T0, "finishedAt": T1}}
BACK_OFF: dict[str, Any] = {"waiting": {"reason": "CrashLoopBackOff"}}


def pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"containerStatuses": [{"name": "c", **status}]},
    }


def told(item: dict[str, Any]) -> list[tuple[str, int, bool, str | None]]:
    return [
        (run.name, run.number, run.running, run.missing.reason if run.missing else None)
        for run in runs(item)
    ]


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"state": RUNNING}, [("n/p/c", 0, True, None)]),
        ({"state": OVER}, [("n/p/c", 0, False, None)]),
        (
            {"state": RUNNING, "lastState": LAST, "restartCount": 1},
            [("n/p/c (previous)", 0, False, None), ("n/p/c", 1, True, None)],
        ),
        (
            {"state": RUNNING, "lastState": LAST, "restartCount": 3},
            [("n/p/c (previous)", 2, False, "rotated"), ("n/p/c", 3, True, None)],
        ),
        (
            {"state": BACK_OFF, "lastState": LAST, "restartCount": 1},
            [("n/p/c (previous)", 1, False, "rotated")],
        ),
        ({"state": BACK_OFF, "lastState": LAST}, [("n/p/c (previous)", 0, False, None)]),
        ({"state": {"waiting": {"reason": "X"}}}, [("n/p/c", 0, False, "never_started")]),
        ({}, [("n/p/c", 0, False, "never_started")]),
    ],
)
def test_runs(status: dict[str, Any], wanted: list[Any]) -> None:
    """Of a restarted container the last two runs are there, and of earlier ones it is said."""
    assert told(pod(**status)) == wanted


def test_groups() -> None:
    """Init and ephemeral containers are containers."""
    item = pod(state=RUNNING)
    item["spec"] |= {
        "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "debug"}],
    }  # fmt: skip
    item["status"] |= {
        "initContainerStatuses": [{"name": "i", "state": OVER}],
        "ephemeralContainerStatuses": [{"name": "debug", "state": RUNNING}],
    }
    assert [name for name, *_ in told(item)] == ["n/p/i (init)", "n/p/c", "n/p/debug (ephemeral)"]


def test_why_never() -> None:
    """A container that never started says what it waits for: a node, an image."""
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    (run,) = runs(pod(state={"waiting": waiting}))
    assert run.missing is not None
    assert run.missing.detail == "ImagePullBackOff: no such image"
    item = pod()
    item["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"}
    ]
    (run,) = runs(item)
    assert run.missing is not None
    assert run.missing.detail == "Unschedulable: full"


@pytest.mark.parametrize(
    ("since", "until", "is_outside"),
    [
        (None, None, False),
        ("2026-11-23T10:09:00.999999Z", None, False),
        ("2026-11-23T10:09:01.000000Z", None, True),
        (None, "2026-11-23T10:04:59.999999Z", True),
        (None, "2026-11-23T10:05:00.000001Z", False),
    ],
)
def test_outside(since: str | None, until: str | None, is_outside: bool) -> None:
    """A run is left out only when it lies wholly outside the window, to the second."""
    run = Run("n", "p", "u", "c", "", started=T1, ended=T2)
    assert outside(run, since, until) is is_outside
