"""``cordboard call``: make a call from the terminal, without a browser."""

import argparse
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cordboard.cli import _options

if TYPE_CHECKING:
    from cordboard.call import CallOptions, CallResult
    from cordboard.call.gateway import CallTarget
    from cordboard.call.interruption import Interruption
    from cordboard.call.timeline import CallStage

_STAGES = {
    "joined": "the gateway accepted the join",
    "running": "a bot process holds the room",
    "answered": "the bot answered the offer",
    "connected": "media can flow",
    "first_audio": "the bot's first audio arrived",
    "spoken": "the file was played to its end",
    "heard_back": "audio arrived after the file",
    "left": "the session ended",
}

_STDERR = 2  # also where `sys.stderr` is another object
# As `cordboard up` opens its files. An appended line is written at once, so that several calls can share the file.
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard call webrtc:demo                                check that a bot answers and sends audio
  cordboard call webrtc:demo --say examples/hello.wav       speak, and hear the answer
  cordboard call webrtc:demo --say in.wav --record out.wav  record the bot's speech
  cordboard call webrtc:demo --seconds 30 -o json           stay for half a minute; print JSON lines

If the bot is lost, the call goes on with the bot that takes the session over. The output names each
interruption, and the recording contains its silence. What --say plays is repeated if it was cut off.

Exit status: 0 if audio came back (with --say: also after the file), the bot did not crash, and the call
went on after each interruption; 1 if a stage was not reached (the output names it; `resumed`: the bot was
lost and did not come back; `recorded`: the recording could not be written to its end); 2 for invalid
arguments.
"""
    parser.add_argument("room", metavar="ROOM", help="a webrtc: room, such as webrtc:demo")
    parser.add_argument(
        "--gateway", metavar="URL", help="the gateway (default: that of `cordboard up`)"
    )
    parser.add_argument("--session", metavar="ID", help="session id (default: a new one)")
    parser.add_argument("--user", metavar="NAME", help="name of the caller")
    parser.add_argument(
        "--say", type=Path, metavar="FILE.wav", help="play this file after the bot's greeting"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE.wav", help="record the bot's audio into this file"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help="stay in the call for N seconds, or until the bot was heard (default: until it has finished speaking)",
    )
    parser.add_argument("--bot", metavar="NAME", help="name of the bot (default: `default`)")
    _options.add_output(parser)
    _options.add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Make the call that ``args`` describes, and print its stages; return the exit status."""
    from dataclasses import replace

    from cordboard.cli import _gateway_client

    # Before the slow import of aiortc, so that an invalid URL is reported at once.
    gateway = _gateway_client.open_gateway(args.gateway, args.config)
    from cordboard import call

    options = call.CallOptions(
        room=args.room,
        gateway_url=gateway.url,
        control_secret=gateway.secret,
        tls_ca=gateway.tls_ca,
        session_id=args.session,
        user_name=args.user,
        bot=args.bot,
        say=args.say,
        record=args.record,
        seconds=args.seconds,
    )
    target = call.target_of(options)
    options = replace(options, session_id=target.session_id)
    as_json = args.output == "json"
    heading = f"session {target.session_id} in {target.room}"
    progress = _JsonPrinter() if as_json else _StagePrinter(heading)
    options = replace(options, measures=_open_log(gateway.url, target))
    result = _place(call, options, progress)
    return _finish(result, options, as_json=as_json)


def _open_log(gateway_url: str, target: "CallTarget") -> bool:
    """Write the lines of this process beside those of the `cordboard up` that is called; else to stderr.

    Returns:
        Whether they are beside those. Figures every 5 s are not for people at a terminal.
    """
    from cordboard.context import Context, bind_process
    from cordboard.contract.record import LEVELS
    from cordboard.emit import configure
    from cordboard.emit.bridges import standard
    from cordboard.settings.running import running_up

    fd = _STDERR
    up = running_up()
    if up is not None and up.addresses.get("gateway") == gateway_url:
        with suppress(OSError):
            fd = os.open(Path(up.addresses["logs"], "call.jsonl"), _LOG_FLAGS, 0o600)
    configure(service="call", fd=fd, bridges=False, session_from_environment=False)
    # Of the libraries, warnings only: aioice describes each attempt of a connection.
    standard.install(LEVELS["warn"])
    # They may come from outside the call's tasks, such as asyncio's of a task that aiortc left behind.
    bind_process(
        Context(session_id=target.session_id, user_name=target.user_name, room=target.room)
    )
    return fd != _STDERR


def _place(
    call: Any, options: "CallOptions", progress: "_JsonPrinter | _StagePrinter"
) -> "CallResult | None":
    """Make the call and return its result; None if a signal interrupted it, after leaving the room."""
    import asyncio
    import signal

    async def main() -> "CallResult":
        loop = asyncio.get_running_loop()
        task: asyncio.Task[CallResult] = loop.create_task(
            call.place_call(options, progress.print_stage, progress.print_interruption)
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        return None


def _finish(result: "CallResult | None", options: "CallOptions", *, as_json: bool) -> int:
    from cordboard.cli import EXIT_INTERRUPTED
    from cordboard.contract.terminal import escape_to_one_line

    logs = f"cordboard logs --local --session {options.session_id}"
    if as_json:
        _print(json.dumps(_summary(result, options, logs), ensure_ascii=False))
    elif result:
        _print_interruptions(result)
        if result.ok and options.record:
            _print(f"recorded {result.recorded_s:.1f} s into {options.record}")
    if result is None:
        _print_error("interrupted; left the call.")
    elif result.failed:
        hint = f"\n  {escape_to_one_line(result.hint)}" if result.hint else ""
        reason = escape_to_one_line(result.reason)
        _print_error(f"the call failed at `{result.failed}`: {reason}{hint}")
    if not as_json and (result is None or result.has_logs):
        _print(f"all lines of this call:\n  {logs}")
    if result is None:
        return EXIT_INTERRUPTED
    return 0 if result.ok else 1


def _summary(result: "CallResult | None", options: "CallOptions", logs: str) -> dict[str, object]:
    common: dict[str, object] = {
        "sessionId": options.session_id,
        "ok": bool(result and result.ok),
        **({"logs": logs} if result is None or result.has_logs else {}),
    }
    if result is None:
        return {**common, "interrupted": True}
    failure = {"failed": result.failed, "reason": result.reason, "hint": result.hint}
    return {
        **common,
        "room": result.room,
        "stages": {stage.name: stage.ms for stage in result.stages},
        **({"seconds": round(result.seconds, 2)} if result.seconds else {}),
        **(failure if result.failed else {}),
        **({"recordedSeconds": round(result.recorded_s, 2)} if options.record else {}),
        **(
            {"interruptions": [*map(_described, result.interruptions)]}
            if result.interruptions
            else {}
        ),
    }


def _described(interruption: "Interruption") -> dict[str, object]:
    fields = {
        "sign": interruption.sign,
        "ms": interruption.ms,
        "epoch": interruption.epoch,
        "newEpoch": interruption.new_epoch,
        "silenceMs": interruption.silence_ms,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _print_interruptions(result: "CallResult") -> None:
    for one in result.interruptions:
        at = f"interrupted at {one.ms / 1000:.1f} s"
        if one.silence_ms is None:
            _print(f"{at}: the bot (epoch {one.epoch}) was not heard again")
        else:
            bot = "the same bot" if one.new_epoch == one.epoch else "another bot"
            epochs = f"epoch {one.epoch}, then {one.new_epoch}"
            _print(f"{at}: {one.silence_ms / 1000:.2f} s of silence, then {bot} ({epochs})")


class _JsonPrinter:
    """Prints stages and interruptions for programs, one object a line."""

    def print_stage(self, stage: "CallStage") -> None:
        """Print ``stage``."""
        _print(json.dumps({"stage": stage.name, "ms": stage.ms, "step_ms": stage.step_ms}))

    def print_interruption(self, interruption: "Interruption") -> None:
        """Print ``interruption``, which begins or ends."""
        _print(json.dumps({"interruption": _described(interruption)}))


class _StagePrinter:
    """Prints stages for people, with a heading above the first one, each with the time since the row above.

    Args:
        heading: The heading. A call that fails before its first stage has none.
    """

    def __init__(self, heading: str) -> None:
        self._heading = heading
        self._last_ms = 0.0

    def print_stage(self, stage: "CallStage") -> None:
        """Print ``stage``."""
        if self._heading:
            _print(self._heading)
            self._heading = ""
        self._print_row(stage.ms, stage.name, _STAGES[stage.name])

    def print_interruption(self, interruption: "Interruption") -> None:
        """Print ``interruption``, which begins or ends."""
        from cordboard.call.interruption import SIGN_MEANINGS

        if interruption.silence_ms is None:
            meaning = f"{SIGN_MEANINGS[interruption.sign]} (epoch {interruption.epoch})"
            self._print_row(interruption.ms, "interrupted", meaning)
        else:
            at = interruption.ms + interruption.silence_ms
            meaning = f"a bot is heard again (epoch {interruption.new_epoch})"
            self._print_row(at, "resumed", meaning)

    def _print_row(self, ms: float, name: str, meaning: str) -> None:
        # A sound is dated when it arrived, which may be before the row above was printed.
        step_ms, self._last_ms = max(ms - self._last_ms, 0.0), ms
        _print(f"  {ms:8.0f} ms  +{step_ms:<6.0f} {name:<12} {meaning}")


def _print_error(text: str) -> None:
    sys.stderr.write(f"cordboard: {text}\n")
    sys.stderr.flush()


def _print(text: str) -> None:
    """Print ``text`` at once: a call takes seconds, and stdout may be a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
