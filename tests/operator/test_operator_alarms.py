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
    Case("CordboardNoOperator", {"cordboard_sessions_live": "_x60"}, QUIET),
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
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: set PROMTOOL, or install it (apt-get install prometheus)")
    tests = [
        {
            "interval": "1m",
            "name": f"{case.alarm}, {kind}",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{case.alarm}",alertstate="firing"}}) or vector(0)',
                    "eval_time": "1h",
                    "exp_samples": [{"labels": "{}", "value": int(kind == "bad")}],
                }
            ],
        }
        for case in CASES
        for kind, series in (("bad", case.bad), ("good", case.good))
    ]
    file = tmp_path / "alarms_test.yaml"
    file.write_text(json.dumps({"rule_files": [str(ALARMS)], "tests": tests}))
    for words in (["check", "rules", str(ALARMS)], ["test", "rules", str(file)]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
