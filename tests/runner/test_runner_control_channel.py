"""What a bot process may send to its supervisor."""

import asyncio
import json
import socket
from typing import Any

import pytest

from cordboard.contract.errors import BodyTooLargeError, ConflictError, UpstreamError
from cordboard.runner import control_channel
from cordboard.runner.control_channel import ControlChannel
from cordboard.runner.pipes import LINE_MAX_BYTES


def channel_with(lines: bytes) -> ControlChannel:
    """Return a channel on which a bot process has sent `lines`, and closed its end."""
    reader = asyncio.StreamReader()
    reader.feed_data(lines)
    reader.feed_eof()
    writer: Any = None
    return ControlChannel(reader, writer)


@pytest.mark.parametrize("line", [b"1", b'{"absent":true}', b'{"ended":"left"}', b'{"lag_ms":1}'])
async def test_flood_occupies_neither_event_loop_nor_log(
    line: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """A bot that sends one message without end leaves the event loop to others, and fills no log."""
    number, turns = 2000, 0
    channel = channel_with((line + b"\n") * number)

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count_turns())
    tasks_before = len(asyncio.all_tasks())
    await channel.listen()
    assert turns >= number
    assert len(asyncio.all_tasks()) == tasks_before
    assert len(capfd.readouterr().out.splitlines()) <= 1
    other.cancel()


async def test_last_end_report_counts_and_its_detail_is_cut() -> None:
    """However often a bot process reports its end, one report is kept, of a bounded length."""
    detail = "x" * 9999
    lines = f'{{"ended":"left"}}\n{{"ended":"bot_crashed","detail":"{detail}","early":true}}\n'
    channel = channel_with(lines.encode())
    await channel.listen()
    assert channel.is_end_reported.is_set()
    assert channel.end_report is not None
    assert (channel.end_report.reason, channel.end_report.is_early) == ("bot_crashed", True)
    assert channel.end_report.detail == "x" * 500


async def test_invalid_message_changes_nothing() -> None:
    """A value of the wrong type neither ends the listener nor counts as a report."""
    number = b"1" * 400  # an integer that no float can hold
    lag = b'{"lag_ms":%b}\n{"lag_ms":-1}\n' % number
    channel = channel_with(b'{"ended":[]}\n{"lag_ms":"x"}\n[]\n' + lag + b'{"loaded":true}\n')
    await channel.listen()
    assert channel.is_loaded.is_set()
    assert channel.loop_lag_ms < 1e6
    assert channel.end_report is None


async def test_message_of_any_depth_ends_the_channel_at_most() -> None:
    """Like any line that is not JSON; the session's end is written after the listener's."""
    await channel_with(b"[" * 100_000 + b"\n").listen()


async def test_body_that_fits_into_no_message_is_refused() -> None:
    """A longer message would end the channel, and with it the session; numbers grow on the way."""
    channel = channel_with(b"")
    for body in ({"sdp": "x" * LINE_MAX_BYTES}, {"requestData": [1e9] * (LINE_MAX_BYTES // 5)}):
        with pytest.raises(BodyTooLargeError):
            await channel.request("POST", body)


async def test_request_waits_until_the_bot_may_run() -> None:
    """The store tells callers that a session runs before its runner knows; their offers are not refused."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    channel = ControlChannel(reader, writer)
    request = asyncio.create_task(channel.request("POST", {}))
    for _ in range(10):  # it would have been sent by then
        await asyncio.sleep(0)
    await channel.send_go()
    sent = b""
    while sent.count(b"\n") < 2:
        sent += await asyncio.get_running_loop().run_in_executor(None, theirs.recv, 9999)
    assert [next(iter(json.loads(line))) for line in sent.splitlines()] == ["go", "ask"]
    channel.close()
    with pytest.raises(UpstreamError):
        await request
    theirs.close()


async def test_request_to_a_bot_that_starts_too_slowly_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bot whose file is still imported gets no offer; the caller may repeat it."""
    monkeypatch.setattr(control_channel, "GO_TIMEOUT_S", 0.01)
    with pytest.raises(ConflictError):
        await channel_with(b"").request("POST", {})
