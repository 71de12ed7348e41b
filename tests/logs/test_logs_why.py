"""Why a call broke: each cause by its lines; no line of no matter changes it, and no lost line makes a wrong blame."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from cordboard.logs.coverage import Coverage
from cordboard.logs.why import UNKNOWN, Answer, explain, owners
from cordboard.logs.why import story as read
from cordboard.logs.why.rules import LINES_LOST, RULES, TITLES
from cordboard.logs.why.story import LINES_MAX
from cordboard.logs.why.text import text
from docs_support import SOURCE, docs_contract
from logs.why_noise import with_noise
from logs.why_support import (
    CALLS,
    COMPLETE,
    Records,
    cause_of,
    incomplete,
    planted,
    stats,
)
from report_support import Told, connected, ended, joined

pytestmark = pytest.mark.fast

NO_BLAME = {LINES_LOST, UNKNOWN}


def why(
    records: Records, coverage: Coverage = COMPLETE, servers: Sequence[dict[str, Any]] = ()
) -> Answer:
    """Return the answer for records in any order."""
    return explain(sorted(records, key=lambda r: str(r["timestamp"])), coverage, servers)


@pytest.mark.parametrize("name", CALLS)
def test_each_cause_is_proved_by_its_lines(name: str) -> None:
    """A planted cause is the answer, with lines that prove it."""
    call = planted(name)
    answer = why(call.told.records, servers=call.servers)
    assert answer.cause == cause_of(name), answer.words
    assert answer.lines


def test_each_cause_of_the_list_has_a_call() -> None:
    """Every cause but those that name missing evidence is tested."""
    assert {cause_of(name) for name in CALLS} == {rule.cause for rule in RULES}
    assert set(TITLES) == {rule.cause for rule in RULES} | NO_BLAME


@pytest.mark.parametrize("name", CALLS)
def test_lines_of_no_matter_change_nothing(name: str) -> None:
    """The cause stays the same among lines that prove nothing."""
    call = planted(name)
    for seed in range(8):
        answer = why(with_noise(call.told.records, seed), servers=call.servers)
        assert answer.cause == cause_of(name), (seed, answer.words)


@pytest.mark.parametrize("name", CALLS)
def test_lost_lines_never_make_a_wrong_blame(name: str) -> None:
    """Whichever proving lines are lost, and known to be lost, no other cause is blamed."""
    call = planted(name)
    records = call.told.records
    proof = [fact.record for fact in why(records, servers=call.servers).lines]
    for seed in range(12):
        chance = random.Random(seed)
        lost = [record for record in proof if chance.random() < 0.6] or proof
        left = [record for record in records if record not in lost]
        servers = [record for record in call.servers if record not in lost]
        answer = why(left, incomplete(str(record["service"]) for record in lost), servers)
        assert answer.cause in {cause_of(name), *NO_BLAME}, (seed, answer.words)
        assert not answer.complete


@pytest.mark.parametrize("name", CALLS)
def test_any_lost_lines_never_make_a_wrong_blame(name: str) -> None:
    """The same for any lines of the call."""
    call = planted(name)
    for seed in range(12):
        chance = random.Random(seed)
        kept = [record for record in call.told.records if chance.random() < 0.7]
        lost = [record for record in call.told.records if record not in kept]
        if not lost or not kept:
            continue
        answer = why(kept, incomplete(str(record["service"]) for record in lost), call.servers)
        assert answer.cause in {cause_of(name), *NO_BLAME}, (seed, answer.words)


def test_a_survived_death_is_no_cause_of_a_later_crash() -> None:
    """What ended the call is the answer; what it survived is told beside."""
    told = planted("runner_killed, and continued").told
    told.records.pop()
    error = {"type": "KeyError", "message": "'x'"}
    told.say(30_000, "bot", "Bot crashed", event="bot.crashed", level="error", error=error)
    ended(told, 30_050, "bot_crashed", "failed")
    answer = why(told.records)
    assert answer.cause == "bot_raised"
    assert list(answer.also) == ["runner_killed"]


def test_a_crash_after_an_error_of_a_service_is_the_service() -> None:
    """An exception right after a refused key is its consequence."""
    told = planted("bot_raised").told
    told.event(
        8900, "bot", "service.error", category="authentication", processor="LLM#0", recovered=False
    )
    assert why(told.records).cause == "service_authentication"


def test_a_failed_session_is_not_explained_by_what_disturbed_it() -> None:
    """Jitter is no reason for the end of a session whose crash nobody tells of."""
    told = planted("jitter").told
    told.records = [record for record in told.records if record.get("event") != "session.ended"]
    ended(told, 31_020, "bot_crashed", "failed")
    answer = why(told.records)
    assert answer.cause == UNKNOWN
    assert "jitter" in answer.also


def test_a_kill_from_outside_blames_nobody() -> None:
    """SIGKILL may come from the kernel or from anybody: the answer names what is missing."""
    told = stats(connected(joined(Told())))
    told.say(
        9000,
        "runner",
        "Bot crashed",
        event="bot.crashed",
        level="error",
        status="killed by SIGKILL",
    )
    ended(told, 9050, "bot_crashed", "failed")
    answer = why(told.records)
    assert answer.cause == UNKNOWN
    assert any("SIGKILL" in words for words in answer.missing)


def _spoke(told: Told, who: str, at_ms: float) -> None:
    told.event(at_ms, "bot", "speech.started", who=who)
    told.event(at_ms + 400, "bot", "speech.ended", who=who)


def test_a_caller_who_got_no_answer_had_no_healthy_call() -> None:
    """The bot greeted, the caller spoke, and nothing came until the end."""
    told = planted("healthy").told
    _spoke(told, "bot", 6000)
    _spoke(told, "user", 9000)
    answer = why(told.records)
    assert answer.cause == UNKNOWN
    assert answer.ruled_out["healthy"].lines
    _spoke(told, "bot", 10_000)
    assert why(told.records).cause == "healthy"
    _spoke(told, "user", 29_000)  # and left
    assert why(told.records).cause == "healthy"


@pytest.mark.parametrize(("service", "event"), [("bot", "turn.ended"), ("call", "turn.heard")])
def test_an_answer_that_came_much_too_late_is_not_healthy(service: str, event: str) -> None:
    """No service took most of the time: something was wrong, and no rule says what."""
    told = planted("healthy").told
    told.event(20_000, service, event, turn=2, user_bot_latency_ms=9000, heard_ms=9000)
    assert why(told.records).cause == UNKNOWN


def test_a_few_packets_that_were_lost_once_are_no_cause() -> None:
    """An end that is not ready yet drops some; nothing was lost after that, and no end warned."""
    told = stats(connected(joined(Told())))
    samples = [r["meta"] for r in told.records if r.get("event") == "media.stats"]
    for meta in samples[2:]:
        meta |= {"packets_received": 0, "packets_sent": 0}
    samples[0] |= {"packets_received": 300, "packets_lost": 5}
    ended(told, 31_020, "left")
    assert why(told.records).cause != "packet_loss"


def test_a_stall_is_not_counted_again_by_each_of_its_lines() -> None:
    """Each line tells how long the event loop has stood by now: 5 s of 31 s, not 14 s."""
    told = stats(connected(joined(Told())))
    for at_ms, lag_ms in ((9000, 1000), (11_000, 3000), (13_000, 5000), (13_500, 5000)):
        words = "The bot's event loop is late"
        told.say(at_ms, "runner", words, level="warn", loop_lag_ms=lag_ms)
    ended(told, 31_020, "left")
    assert why(told.records).cause == "healthy"


def test_a_caller_whose_offer_was_refused_has_not_left() -> None:
    """The caller was there: what broke the call is not known."""
    told = joined(Told(), browser=False)
    offer: dict[str, Any] = {"method": "POST", "path": "/sessions/call-7/offer", "status": 502}
    told.say(7000, "gateway", "Request served", tag="http", **offer)
    ended(told, 7100, "user_absent")
    answer = why(told.records)
    assert answer.cause == UNKNOWN
    assert "user_left" in answer.unchecked


def test_a_running_call_has_no_cause_yet() -> None:
    """Without the end, a call without trouble is neither healthy nor broken."""
    assert why(connected(joined(Told())).records).cause == UNKNOWN


def test_of_two_sessions_under_one_id_the_last_is_told() -> None:
    """What the first one died of is not blamed for the second one."""
    told = planted("bot_raised").told
    later = planted("healthy").told
    for record in later.records:
        record["timestamp"] = str(record["timestamp"]).replace("2026-", "2027-")
        if "epoch" in record:
            record["epoch"] = 2
    answer = why([*told.records, *later.records])
    assert (answer.cause, answer.stays) == ("healthy", 2)


def test_a_huge_session_is_answered_from_a_bounded_part() -> None:
    """Of a day of statistics the first and the last ones are kept."""
    told = planted("packet_loss").told
    sample = next(record for record in told.records if record.get("event") == "media.stats")
    many = ({**sample, "seq": number} for number in range(50_000))
    answer = explain([*told.records[:-1], *many, told.records[-1]], COMPLETE)
    assert answer.cause == "packet_loss"
    assert len(answer.lines) < LINES_MAX


HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202e</script><b>\n\r\x00"


def test_hostile_text_steers_no_terminal() -> None:
    """Texts of lines are shown with their controls visible, each on its line."""
    told = connected(joined(Told(session_id="call-7")))
    error = {"type": HOSTILE, "message": HOSTILE, "stack": HOSTILE}
    told.say(
        9000, "bot", HOSTILE, event="bot.crashed", level="error", error=error, **{HOSTILE: HOSTILE}
    )
    told.say(8900, "bot", "x", event="service.error", category="server", processor=HOSTILE)
    ended(told, 9050, "bot_crashed", "failed", detail=HOSTILE)
    answer = why(told.records)
    shown = "\n".join(text(answer, "call-7", "cordboard logs"))
    assert answer.cause == "service_failed"
    assert not any(mark in shown for mark in "\x1b\x07\u202e\r\x00")
    assert json.loads(json.dumps(answer.as_dict()))["cause"] == "service_failed"


@pytest.mark.parametrize("value", [None, 7, [], {}, "x", True, 10**400])
def test_records_of_any_types_are_read(value: object) -> None:
    """A record promises nothing of its types."""
    for key in ("meta", "event", "epoch", "error", "timestamp", "message"):
        for name in ("packet_loss", "jitter", "bot_raised", "voice_slow", "queue_full"):
            records = [{**record, key: value} for record in planted(name).told.records]
            explain(records, COMPLETE)


def test_owners_of_events_are_those_of_the_contract() -> None:
    """Only the services that may write an event prove something by it."""
    written = docs_contract.EVENT_SERVICES
    assert {name: set(written[name].split(", ")) for name in owners.EVENTS} == owners.EVENTS


@pytest.mark.parametrize("value", [None, [], {}, "x", True, 10**400, -1])
def test_metadata_of_any_types_is_read(value: object) -> None:
    """Nor does its metadata."""
    for name in CALLS:
        records = [
            {**record, "meta": dict.fromkeys(record.get("meta", {}), value)}
            for record in planted(name).told.records
        ]
        explain(records, COMPLETE)


@pytest.mark.parametrize(
    ("words", "sources"),
    [
        (owners.NO_PATH, ["interface/static/media.js"]),
        (owners.NOTHING_HEARD, ["interface/static/media.js"]),
        (owners.MICROPHONE_REFUSED, ["interface/static/call.js"]),
        (owners.PAGE_CLOSED, ["interface/static/call.js"]),
        (owners.CALL_FAILED, ["interface/static/call.js"]),
        (owners.BOT_LATE, ["runner/heartbeat.py"]),
        (owners.JOB_ENDED, ["launchers/kubernetes_job.py"]),
        (
            read.REDIS_AWAY,
            ["store/outage.py", "gateway/hub.py", "operator/loop.py", "runner/heartbeat.py"],
        ),
    ],
)
def test_messages_that_rules_read_are_written(words: str, sources: list[str]) -> None:
    """A message that is changed at its source would no longer prove anything."""
    for source in sources:
        assert f'"{words}' in (SOURCE / source).read_text(encoding="utf-8"), source
