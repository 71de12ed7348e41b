"""``cordboard call``: a call from the terminal, without a browser."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cordboard.call import CallOptions, CallResult
    from cordboard.call.timeline import Stage

_STAGES = {
    "joined": "the gateway accepted the join",
    "running": "a bot's process holds the room",
    "answered": "the bot answered the offer",
    "connected": "media can flow",
    "first_audio": "the bot was heard",
    "spoken": "the file was spoken to its end",
    "heard_back": "the bot was heard again",
    "left": "the session has ended",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = """\
examples:
  cordboard call webrtc:demo                                is a bot there, and can it be heard?
  cordboard call webrtc:demo --say examples/hello.wav       speak, and hear the answer
  cordboard call webrtc:demo --say in.wav --record out.wav  keep what the bot said
  cordboard call webrtc:demo --seconds 30 -o json           stay half a minute; one object a line

Exit status: 0 when audio came back (with --say: also after the file was spoken) and the
bot did not crash, 1 with the stage that was not reached, 2 for arguments that cannot be used.
"""
    parser.add_argument("room", metavar="ROOM", help="a webrtc: room, e.g. webrtc:demo")
    parser.add_argument("--gateway", metavar="URL", help="the gateway (default: of `cordboard up`)")
    parser.add_argument(
        "--session", metavar="ID", help="the session's id (default: a new one is made)"
    )
    parser.add_argument("--user", metavar="NAME", help="who calls")
    parser.add_argument(
        "--say", type=Path, metavar="FILE.wav", help="speak this when the bot has greeted"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE.wav", help="write what the bot says into this file"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help="stay at least so long in the call (default: until the bot has been heard out)",
    )
    parser.add_argument("--bot", metavar="NAME", help="which of the configured bots to call")
    parser.add_argument(
        "-o",
        "--output",
        choices=("pretty", "json"),
        default="pretty",
        help="form (default %(default)s)",
    )
    parser.add_argument("--config", metavar="FILE", help="settings (default ./cordboard.toml)")


def run(args: argparse.Namespace) -> int:
    """Make the call; print each stage as it is reached."""
    from dataclasses import replace

    from cordboard.cli import _gateway_client

    asked = _gateway_client.open_gateway(args.gateway, args.config)
    from cordboard import call

    options = call.CallOptions(
        room=args.room,
        gateway_url=asked.url,
        control_secret=asked.secret,
        tls_ca=asked.tls_ca,
        session_id=args.session,
        user_name=args.user,
        bot=args.bot,
        say=args.say,
        record=args.record,
        seconds=args.seconds,
    )
    where = call.target_of(options)
    options = replace(options, session_id=where.session_id)
    as_json = args.output == "json"
    pretty = _Pretty(f"session {where.session_id} in {where.room}")
    result = _placed(call, options, _print_json if as_json else pretty.stage)
    return _finish(result, options, as_json=as_json)


def _placed(call: Any, options: "CallOptions", on_stage: Any) -> "CallResult | None":
    """Make the call; a signal ends it properly, and gives None."""
    import asyncio
    import signal

    async def main() -> "CallResult":
        loop = asyncio.get_running_loop()
        placing: asyncio.Task[CallResult] = loop.create_task(call.place_call(options, on_stage))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, placing.cancel)
        return await placing

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        return None


def _finish(result: "CallResult | None", options: "CallOptions", *, as_json: bool) -> int:
    from cordboard.cli import EXIT_INTERRUPTED
    from cordboard.contract.terminal import escape_to_one_line

    logs = f"cordboard logs --local --session {options.session_id}"
    if as_json:
        _say(json.dumps(_summary(result, options, logs), ensure_ascii=False))
    elif result and result.ok and options.record:
        _say(f"recorded {result.recorded_s:.1f} s into {options.record}")
    if result is None:
        _complain("interrupted; left the call.")
    elif result.failed:
        hint = f"\n  {escape_to_one_line(result.hint)}" if result.hint else ""
        _complain(
            f"the call failed at `{result.failed}`: {escape_to_one_line(result.reason)}{hint}"
        )
    if not as_json and (result is None or result.has_logs):
        _say(f"every line of this call:\n  {logs}")
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
    failed = {"failed": result.failed, "reason": result.reason, "hint": result.hint}
    return {
        **common,
        "room": result.room,
        "stages": {stage.name: stage.ms for stage in result.stages},
        **(failed if result.failed else {}),
        **({"recordedSeconds": round(result.recorded_s, 2)} if options.record else {}),
    }


def _print_json(stage: "Stage") -> None:
    _say(json.dumps({"stage": stage.name, "ms": stage.ms, "step_ms": stage.step_ms}))


class _Pretty:
    """The stages for people, under a heading that comes when there is something to head."""

    def __init__(self, heading: str) -> None:
        self._heading = heading

    def stage(self, stage: "Stage") -> None:
        """Print a stage."""
        if self._heading:
            _say(self._heading)
            self._heading = ""
        words = _STAGES[stage.name]
        _say(f"  {stage.ms:8.0f} ms  +{stage.step_ms:<6.0f} {stage.name:<12} {words}")


def _complain(text: str) -> None:
    sys.stderr.write(f"cordboard: {text}\n")
    sys.stderr.flush()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
