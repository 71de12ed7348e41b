"""The Job of a cold runner: a pure function."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.contract.errors import SettingsError
from cordboard.contract.ids import canonical_room
from cordboard.contract.job_name import job_name
from cordboard.contract.launch import Launch
from cordboard.contract.pod_annotations import DELETION_COST
from cordboard.launchers.kubernetes_manifest import (
    JobTemplate,
    job_manifest,
    read_template,
)
from cordboard.operator.pod_marks import BUSY

IDS = st.from_regex(r"(?!\.+$)[A-Za-z0-9._~:@-]{1,128}", fullmatch=True)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def launch(session_id: str = "call-7", **over: Any) -> Launch:
    return Launch(**{"session_id": session_id, "room_url": "webrtc:a", "epoch": 3, **over})


def runner(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = [
        item for item in job["spec"]["template"]["spec"]["containers"] if item["name"] == "runner"
    ]
    return dict(found)


def env(job: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in runner(job)["env"]}


class TestName:
    @given(IDS, st.integers(1, 2**53))
    def test_job_name_is_a_dns_label(self, session_id: str, epoch: int) -> None:
        """Any session and epoch give a name that Kubernetes takes, for the Job and its pods."""
        name = job_name(session_id, epoch)
        assert LABEL.fullmatch(name)
        assert len(name) <= 58

    @given(IDS, IDS, st.integers(1, 99), st.integers(1, 99))
    def test_different_launches_have_different_names(
        self, one: str, other: str, epoch: int, later: int
    ) -> None:
        """The same session and epoch give the same name, and no others do."""
        same = (one, epoch) == (other, later)
        assert (job_name(one, epoch) == job_name(other, later)) is same

    def test_similar_ids_have_different_names(self) -> None:
        """Ids that differ in case or in odd characters alone have different names."""
        names = {job_name(item, 1) for item in ("a.b", "a-b", "A.b", "a:b", "a~b", "a@b", "a-b-")}
        assert len(names) == 7


class TestManifest:
    def test_job_is_never_retried_by_kubernetes(self) -> None:
        """One try, one pod at a time, an end in any case, and nobody who could take it along."""
        job = job_manifest(launch(deadline_s=60, max_duration_s=100), JobTemplate())
        spec = job["spec"]
        assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        assert spec["activeDeadlineSeconds"] == 60 + 100 + 120
        assert spec["ttlSecondsAfterFinished"] == 3600
        assert "ownerReferences" not in job["metadata"]

    def test_environment_and_annotations_name_the_session(self) -> None:
        """The session's values are in the environment, each only where there is one."""
        bare = env(job_manifest(launch(), JobTemplate()))
        assert {name for name in bare if name.startswith(("BOT_SESSION", "BOT_ROOM", "TRACE"))} == {
            "BOT_SESSION_ID", "BOT_SESSION_EPOCH", "BOT_ROOM_URL",
        }  # fmt: skip
        full = env(job_manifest(launch(user_id="u", user_name="Ada"), JobTemplate()))
        assert (full["BOT_SESSION_USER_ID"], full["BOT_SESSION_USER_NAME"]) == ("u", "Ada")
        assert full["BOT_SESSION_EPOCH"] == "3"
        assert full["JOB_ID"] == job_name("call-7", 3)

    def test_job_contains_no_secret(self) -> None:
        """Neither the room's token nor the body nor a secret is in it: secrets come by reference."""
        asked = launch(token="room-token", body={"key": "body-value"})
        job = job_manifest(asked, JobTemplate(secret="mine"))
        assert "room-token" not in json.dumps(job)
        assert "body-value" not in json.dumps(job)
        assert env(job)["REDIS_URL"] == {"secretKeyRef": {"name": "mine", "key": "REDIS_URL"}}
        previous = env(job)["BOT_CONTROL_SHARED_SECRET_PREV"]["secretKeyRef"]
        assert previous["optional"] is True
        assert env(job)["CORDBOARD_TURN_SECRET"]["secretKeyRef"]["optional"] is True

    @pytest.mark.parametrize("name", ["t", "token", "access_token", "API_KEY"])
    def test_job_contains_no_token_of_the_room(self, name: str) -> None:
        """No Job contains a token of the room's URL: the canonical form of a room has none."""
        room = canonical_room(f"https://acme.daily.co/standup?{name}=room-token&lang=en")
        job = json.dumps(job_manifest(launch(room_url=room), JobTemplate()))
        assert "room-token" not in job
        assert "https://acme.daily.co/standup" in job

    def test_pod_satisfies_the_restricted_level(self) -> None:
        """By default a Job fits PodSecurity's level "restricted"; a template may say otherwise."""
        spec = job_manifest(launch(), JobTemplate())["spec"]["template"]["spec"]
        assert spec["securityContext"] == {
            "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
        }  # fmt: skip
        assert spec["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        said = {"securityContext": {"runAsNonRoot": False, "runAsUser": 0}}
        ours = {"name": "runner", "securityContext": {"readOnlyRootFilesystem": True}}
        base = {"spec": {"template": {"spec": {**said, "containers": [ours]}}}}
        spec = job_manifest(launch(), JobTemplate(base=base))["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is False
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        context = spec["containers"][0]["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False

    def test_values_are_not_expanded(self) -> None:
        """A value from outside cannot ask for a variable's value."""
        asked = launch(user_name="$(REDIS_URL) $$ $x")
        assert env(job_manifest(asked, JobTemplate()))["BOT_SESSION_USER_NAME"] == (
            "$$(REDIS_URL) $$$$ $$x"
        )
        words = JobTemplate(arguments=["--bot", "$(X).py"])
        assert "$$(X).py" in runner(job_manifest(launch(), words))["args"]

    def test_label_is_set_for_valid_ids_only(self) -> None:
        """The id is a label where it fits, and always, untouched, an annotation."""
        for session_id, fits in (
            ("call-7", True),
            ("a:b", False),
            ("x" * 64, False),
            ("-a", False),
        ):
            meta = job_manifest(launch(session_id), JobTemplate())["metadata"]
            assert meta["annotations"]["cordboard/session-id"] == session_id
            assert meta["labels"].get("cordboard/session-id") == (session_id if fits else None)
            assert meta["labels"]["cordboard/epoch"] == "3"
            assert meta["annotations"]["cordboard/room"] == "webrtc:a"

    def test_memory_probes_and_grace_period_of_the_runner(self) -> None:
        """Memory has a limit; health asks the supervisor alone; draining has its time."""
        job = job_manifest(launch(), JobTemplate(cpu="1", memory="2Gi"))
        assert runner(job)["resources"] == {
            "requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"},
        }  # fmt: skip
        for probe in ("startupProbe", "livenessProbe"):
            assert runner(job)[probe]["httpGet"]["path"] == "/healthz"
        assert job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 600
        args = runner(job)["args"]
        assert args[args.index("--grace") + 1] == "585"

    def test_pod_has_the_marks_of_a_busy_runner(self) -> None:
        """A cluster that removes nodes leaves the call alone from the start; a template may say otherwise."""
        job = job_manifest(launch(), JobTemplate())
        annotations = job["spec"]["template"]["metadata"]["annotations"]
        marks = {name: value for name, value in BUSY.items() if name != DELETION_COST}
        assert marks.items() <= annotations.items()
        assert annotations["cordboard/session-id"] == "call-7"
        said = dict.fromkeys(marks, "x")
        base = {"spec": {"template": {"metadata": {"annotations": said}}}}
        job = job_manifest(launch(), JobTemplate(base=base))
        annotations = job["spec"]["template"]["metadata"]["annotations"]
        assert said.items() <= annotations.items()
        assert annotations["cordboard/session-id"] == "call-7"

    def test_pod_has_no_api_credentials_by_default(self) -> None:
        """A runner has no token of Kubernetes, unless an account is named for it."""
        spec = job_manifest(launch(), JobTemplate())["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        spec = job_manifest(launch(), JobTemplate(service_account="x"))["spec"]["template"]["spec"]
        assert spec["serviceAccountName"] == "x"
        assert "automountServiceAccountToken" not in spec


BASE: dict[str, Any] = {
    "metadata": {"labels": {"team": "voice"}, "ownerReferences": [{"name": "operator"}]},
    "spec": {
        "backoffLimit": 9,
        "ttlSecondsAfterFinished": 5,
        "template": {
            "metadata": {"annotations": {"note": "x"}},
            "spec": {
                "restartPolicy": "OnFailure",
                "terminationGracePeriodSeconds": 100,
                "nodeSelector": {"pool": "bots"},
                "containers": [
                    {"name": "proxy", "image": "p"},
                    {
                        "name": "runner",
                        "image": "mine",
                        "command": ["python"],
                        "env": [
                            {"name": "EXTRA", "value": "1"},
                            {"name": "BOT_SESSION_ID", "value": "forged"},
                            {"name": "LOG_LEVEL", "value": "debug"},
                        ],
                    },
                ],
            },
        },
    },
}


class TestTemplate:
    def test_template_sets_everything_else(self) -> None:
        """What a template says stays: labels, nodes, other containers, variables, times."""
        job = job_manifest(launch(), JobTemplate(base=BASE, environment={"LOG_LEVEL": "info"}))
        pod = job["spec"]["template"]["spec"]
        assert job["metadata"]["labels"]["team"] == "voice"
        assert pod["nodeSelector"] == {"pool": "bots"}
        assert [item["name"] for item in pod["containers"]] == ["runner", "proxy"]
        assert (runner(job)["image"], runner(job)["command"]) == ("mine", ["python"])
        assert (env(job)["EXTRA"], env(job)["LOG_LEVEL"]) == ("1", "debug")
        assert job["spec"]["ttlSecondsAfterFinished"] == 5
        args = runner(job)["args"]
        assert args[args.index("--grace") + 1] == "85"

    def test_template_cannot_override_the_session(self) -> None:
        """What makes it this session's Job, and what keeps it to one try, cannot be overwritten."""
        before = json.dumps(BASE)
        job = job_manifest(launch(), JobTemplate(image="ours", base=BASE))
        assert (job["spec"]["backoffLimit"], runner(job)["image"]) == (0, "ours")
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
        assert "ownerReferences" not in job["metadata"]
        assert env(job)["BOT_SESSION_ID"] == "call-7"
        assert json.dumps(BASE) == before

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a: [", "not YAML"),
            ("- 1", "not part of a Job"),
            ("kind: Pod\nspec: {}", "not part of a Job"),
            ("spec: {template: {spec: {containers: [{image: x}]}}}", "not part of a Job"),
            ("", "not part of a Job"),
        ],
    )
    def test_invalid_template_is_refused_by_name(
        self, tmp_path: Path, text: str, words: str
    ) -> None:
        """An invalid template is refused at the start, with its file name."""
        (tmp_path / "t.yaml").write_text(text)
        with pytest.raises(SettingsError, match=words):
            read_template(str(tmp_path / "t.yaml"))
        with pytest.raises(SettingsError, match="cannot read"):
            read_template(str(tmp_path / "none.yaml"))

    def test_template_is_read_from_its_file(self, tmp_path: Path) -> None:
        """A part of a Job is enough."""
        (tmp_path / "t.yaml").write_text("spec: {template: {spec: {nodeSelector: {a: b}}}}")
        job = job_manifest(launch(), JobTemplate(base=read_template(str(tmp_path / "t.yaml"))))
        assert job["spec"]["template"]["spec"]["nodeSelector"] == {"a": "b"}
