"""``cordboard call``: make a call from the terminal, without a browser."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cordboard.cli import _options

if TYPE_CHECKING:
    from cordboard.call import CallOptions, CallResult
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard call webrtc:demo                                check that a bot answers and sends audio
  cordboard call webrtc:demo --say examples/hello.wav       speak, and hear the answer
  cordboard call webrtc:demo --say in.wav --record out.wav  record the bot's speech
  cordboard call webrtc:demo --seconds 30 -o json           stay for half a minute; print JSON lines

Exit status: 0 if audio came back (with --say: also after the file) and the bot did not crash; 1 if a
stage was not reached (the output names it); 2 for invalid arguments.
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
        help="stay in the call for at least N seconds (default: until the bot has finished speaking)",
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
    on_stage = _print_json if as_json else _StagePrinter(heading).print_stage
    result = _place(call, options, on_stage)
    return _finish(result, options, as_json=as_json)


def _place(call: Any, options: "CallOptions", on_stage: Any) -> "CallResult | None":
    """Make the call and return its result; None if a signal interrupted it, after leaving the room."""
    import asyncio
    import signal

    async def main() -> "CallResult":
        loop = asyncio.get_running_loop()
        task: asyncio.Task[CallResult] = loop.create_task(call.place_call(options, on_stage))
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
    elif result and result.ok and options.record:
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
        **(failure if result.failed else {}),
        **({"recordedSeconds": round(result.recorded_s, 2)} if options.record else {}),
    }


def _print_json(stage: "CallStage") -> None:
    _print(json.dumps({"stage": stage.name, "ms": stage.ms, "step_ms": stage.step_ms}))


class _StagePrinter:
    """Prints stages for people, with a heading above the first one.

    Args:
        heading: The heading. A call that fails before its first stage has none.
    """

    def __init__(self, heading: str) -> None:
        self._heading = heading

    def print_stage(self, stage: "CallStage") -> None:
        """Print ``stage``."""
        if self._heading:
            _print(self._heading)
            self._heading = ""
        meaning = _STAGES[stage.name]
        _print(f"  {stage.ms:8.0f} ms  +{stage.step_ms:<6.0f} {stage.name:<12} {meaning}")


def _print_error(text: str) -> None:
    sys.stderr.write(f"cordboard: {text}\n")
    sys.stderr.flush()


def _print(text: str) -> None:
    """Print ``text`` at once: a call takes seconds, and stdout may be a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
