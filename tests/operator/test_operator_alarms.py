"""The alarms for Prometheus: each fires when it should, stays silent when it should, and is described."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cordboard.kube import load_yaml
from metrics_support import exported, own_metrics

ROOT = Path(__file__).parents[2]
ALARMS = ROOT / "deploy" / "alarms.yaml"
PAGE = ROOT / "docs" / "operations.md"
QUIET = {"cordboard_sessions_live": "0x60"}


@dataclass(frozen=True)
class Case:
    """Series, one sample a minute for an hour, as promtool writes them: with some an alarm fires, with others not."""

    alarm: str
    bad: dict[str, str]
    good: dict[str, str]


CASES = [
    Case(
        "CordboardNoOperator",
        {'cordboard_joins_total{result="accepted"}': "0x60"},
        {'cordboard_joins_total{result="accepted"}': "0x60", **QUIET},
    ),
    Case(
        "CordboardNoSlots",
        {"cordboard_free_slots": "0x60", "cordboard_queue_depth": "2x60"},
        {"cordboard_free_slots": "0x60", "cordboard_queue_depth": "0x60"},
    ),
    Case("CordboardQueueStuck", {"cordboard_queue_age_seconds": "31x60"}, {"cordboard_queue_age_seconds": "29x60"}),
    Case(
        "CordboardJoinsRefused",
        {'cordboard_joins_total{result="queue_full"}': "0+1x60"},
        {'cordboard_joins_total{result="accepted"}': "0+9x60", 'cordboard_joins_total{result="too_many_sessions"}': "0+1x60"},
    ),
    Case("CordboardSessionsExpired", {"cordboard_expiries_total": "0+1x60"}, {"cordboard_expiries_total": "7x60"}),
    Case(
        "CordboardColdStartsFail",
        {'cordboard_assignments_total{kind="failed"}': "0+1x60"},
        {'cordboard_assignments_total{kind="cold"}': "0+1x60"},
    ),
    Case(
        "CordboardSlowStarts",
        {
            'cordboard_stage_seconds_bucket{stage="queued",le="5"}': "0+1x60",
            'cordboard_stage_seconds_bucket{stage="queued",le="10"}': "0+2x60",
            'cordboard_stage_seconds_bucket{stage="queued",le="+Inf"}': "0+2x60",
        },
        {
            'cordboard_stage_seconds_bucket{stage="queued",le="1"}': "0+2x60",
            'cordboard_stage_seconds_bucket{stage="queued",le="+Inf"}': "0+2x60",
        },
    ),
    Case(
        "CordboardRunnersDie",
        {'cordboard_recoveries_total{outcome="queued"}': "0+1x60"},
        {'cordboard_recoveries_total{outcome="queued"}': "0x40 1x20"},
    ),
    Case(
        "CordboardSessionsLost",
        {'cordboard_recoveries_total{outcome="failed"}': "0+1x60"},
        {'cordboard_recoveries_total{outcome="queued"}': "0+1x60"},
    ),
    Case("CordboardSuspects", {"cordboard_sessions_suspect": "3x60"}, {"cordboard_sessions_suspect": "0x60"}),
    Case(
        "CordboardRenewalsLate",
        {'cordboard_lease_renewals_late_total{instance="r:1"}': "0+2x60"},
        {'cordboard_lease_renewals_late_total{instance="r:1"}': "3x60"},
    ),
    Case(
        "CordboardRunnerOverloaded",
        {'cordboard_runner_overloaded{instance="r:1"}': "1x60"},
        {'cordboard_runner_overloaded{instance="r:1"}': "0x60"},
    ),
    Case(
        "CordboardBotsHang",
        {'cordboard_bot_loop_lag_seconds{instance="r:1"}': "1.5x60"},
        {'cordboard_bot_loop_lag_seconds{instance="r:1"}': "0.5x60"},
    ),
    Case(
        "CordboardBotsCrash",
        {
            'cordboard_sessions_ended_total{reason="bot_crashed"}': "0+1x60",
            'cordboard_sessions_ended_total{reason="left"}': "0+9x60",
        },
        {
            'cordboard_sessions_ended_total{reason="bot_crashed"}': "0+1x60",
            'cordboard_sessions_ended_total{reason="left"}': "0+99x60",
        },
    ),
    Case("CordboardOperatorLate", {"cordboard_loop_lag_seconds": "6x60"}, {"cordboard_loop_lag_seconds": "1x60"}),
    Case(
        "CordboardCallsLost",
        {"cordboard_streams_lost_total": "0+2x60", 'cordboard_streams_resumed_total{died="runner"}': "0+1x60"},
        {"cordboard_streams_lost_total": "0+2x60", 'cordboard_streams_resumed_total{died="runner"}': "0+2x60"},
    ),
    Case(
        "CordboardSlotsShort",
        {"cordboard_slots_wanted": "9x60", "cordboard_runner_sessions": "4x60", "cordboard_runner_free_slots": "4x60"},
        {"cordboard_slots_wanted": "8x60", "cordboard_runner_sessions": "4x60", "cordboard_runner_free_slots": "4x60"},
    ),
    Case(
        "CordboardWrongSecrets",
        {'cordboard_auth_refused_total{reason="wrong",instance="g:1"}': "0+60x60"},
        {'cordboard_auth_refused_total{reason="wrong",instance="g:1"}': "0+1x60"},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    """The alarms."""
    groups = load_yaml(ALARMS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_each_alarm_has_a_case_and_a_section(rules: list[dict[str, Any]]) -> None:
    """An alarm that no page explains is no help at three in the morning."""
    names = [rule["alert"] for rule in rules]
    assert sorted(names) == sorted(case.alarm for case in CASES)
    assert (
        re.findall(r"^#### (Cordboard\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        == names
    )
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_alarms_ask_for_metrics_that_exist(rules: list[dict[str, Any]]) -> None:
    """A metric that was renamed would silence its alarm for ever."""
    asked = {name for rule in rules for name in own_metrics(rule["expr"])}
    assert asked - exported() == set()


def test_each_alarm_fires_when_it_should(tmp_path: Path) -> None:
    """After an hour of the bad series it fires; after an hour of the good ones it is silent."""
    check(
        tmp_path,
        *(scene(case.alarm, case.bad, planes=("",)) for case in CASES),
        *(scene(case.alarm, case.good) for case in CASES),
    )


@pytest.mark.parametrize("label", ["namespace", "cell"])
def test_planes_of_one_prometheus_do_not_hide_each_other(label: str, tmp_path: Path) -> None:
    """Each alarm fires for the plane that has the trouble, and for no other one."""
    first, second = f'{label}="one"', f'{label}="two"'
    check(
        tmp_path,
        *(
            scene(case.alarm, labelled(case.bad, first) | labelled(case.good, second), planes=(first,))
            for case in CASES
        ),
        *(
            scene(case.alarm, labelled(case.bad, first) | labelled(case.bad, second), planes=(first, second))
            for case in CASES
        ),
    )  # fmt: skip


def test_plane_of_which_nothing_is_left_is_missed(tmp_path: Path) -> None:
    """With it go the gateways, whose series show that there is a plane; and Prometheus may never have seen one."""
    alarm, first, second = "CordboardNoOperator", 'namespace="one"', 'namespace="two"'
    gone = {"cordboard_sessions_live": "0x40 stale _x20"}
    check(
        tmp_path,
        scene(alarm, {}, planes=("",)),
        scene(alarm, gone, planes=("",)),
        scene(alarm, labelled(gone, first) | labelled(QUIET, second), planes=(first,)),
        scene(alarm, labelled(QUIET, first) | labelled(QUIET, second)),
    )


def labelled(series: dict[str, str], label: str) -> dict[str, str]:
    """Return series with one more label."""
    return {
        f"{name.removesuffix('}')}{',' if '{' in name else '{'}{label}}}": values
        for name, values in series.items()
    }


def scene(alarm: str, series: dict[str, str], planes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a test of promtool: an alarm fires once for each of some planes, which their labels name."""
    firing = f'ALERTS{{alertname="{alarm}",alertstate="firing"}}'
    samples = [{"labels": f"{{{plane}}}", "value": 1} for plane in planes]
    return {
        "interval": "1m",
        "name": f"{alarm}, {planes}, {series}",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count by (namespace, cell) ({firing})",
                "eval_time": "1h",
                "exp_samples": samples,
            }
        ],
    }


def check(folder: Path, *tests: dict[str, Any]) -> None:
    """Let promtool check the alarms by tests."""
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: set PROMTOOL, or install it (apt-get install prometheus)")
    file = folder / "alarms_test.yaml"
    file.write_text(json.dumps({"rule_files": [str(ALARMS)], "tests": [*tests]}))
    for words in (["check", "rules", str(ALARMS)], ["test", "rules", str(file)]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
