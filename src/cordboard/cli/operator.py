"""``cordboard operator``: hands accepted joins to runners."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cordboard.launchers import Launcher

SUMMARY = "run an operator: hands accepted joins to runners"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = """\
examples:
  cordboard operator                              cold starts as processes of this machine
  cordboard operator --launcher none              warm runners only
  cordboard operator --bot my_bot.py --most 8     up to 8 cold runners with your bot
"""
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default %(default)s)")
    parser.add_argument(
        "--port",
        type=int,
        default=4445,
        help="health and metrics; 0: any free port (default %(default)s)",
    )
    parser.add_argument(
        "--launcher",
        choices=("process", "none"),
        default="process",
        help="how a cold runner is started when no warm one is free (default %(default)s)",
    )
    parser.add_argument(
        "--most",
        type=int,
        default=4,
        metavar="N",
        help="cold runners at once (default %(default)s)",
    )
    parser.add_argument(
        "--bot", action="append", default=[], metavar="[NAME=]FILE", help="the bot of cold runners"
    )
    parser.add_argument("--config", metavar="FILE", help="settings (default ./cordboard.toml)")


def run(args: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT."""
    from cordboard.emit import configure
    from cordboard.operator.app import create_app
    from cordboard.settings import load
    from cordboard.store import open_store
    from cordboard.web import auth, serve

    configure(service="operator")
    settings = load(args.config)
    auth.require_secret_beyond_loopback(args.host, settings.control_secrets)
    launcher = _launcher(args) if args.launcher == "process" else None
    app = create_app(settings, open_store(settings.redis_url_or_default), launcher)
    return serve.run(app, listener=serve.bind(args.host, args.port), grace_s=15)


def _launcher(args: argparse.Namespace) -> "Launcher":
    from cordboard.launchers.process import ProcessLauncher
    from cordboard.settings import child_environment

    words = [word for bot in args.bot for word in ("--bot", bot)]
    if args.config:
        words += ["--config", args.config]
    return ProcessLauncher(child_environment, most=args.most, arguments=words)
