"""``cordboard up``: run all components on this machine."""

import argparse

from cordboard.cli import _bot_install, _options

_PORTS = {"gateway": 4444, "runner": 7861, "operator": 4445, "interface": 3000, "edge": 7860}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard up                          the built-in bot, which repeats your speech
  cordboard up --bot my_bot.py          your own Pipecat bot
  cordboard up --bot my_bot.py --reload
                                        load it again whenever you save it
  cordboard up --bot my_bot.py --install
                                        install what requirements.txt beside it lists
  cordboard up --bot my_bot.py -- --voice bass
                                        an argument of the bot file
  cordboard up --runners 1              no second runner: less memory, and a call whose runner dies waits
                                        until it has loaded the bots again
  cordboard up --interface-port 0       any free port for the page
  REDIS_URL=redis://localhost cordboard up     your own Redis instead of the embedded one

The bot gets the variables of a file .env beside its file.
Open the address that it prints. Ctrl-C stops everything in order; a second Ctrl-C stops it at once.
"""
    _options.add_bots(parser, "your bot (default: the built-in one)")
    _options.add_reload(parser)
    parser.add_argument(
        "--runners",
        type=int,
        default=2,
        metavar="N",
        help="number of warm runners (default: 2); the second one takes the calls of the first within about a "
        "second after its death, and costs some 160 MB and what your bots load; with 1, such calls wait until "
        "the runner has loaded the bots again",
    )
    _bot_install.add_arguments(parser)
    _options.add_config(parser)
    _add_ports(parser)


def _add_ports(parser: argparse.ArgumentParser) -> None:
    for name, port in _PORTS.items():
        parser.add_argument(
            f"--{name}-port",
            type=int,
            default=port,
            metavar="PORT",
            help=f"port of the {name}; 0 for any free port (default: {port})",
        )
    parser.add_argument(
        "--redis-port",
        type=int,
        metavar="PORT",
        help="port of the embedded Valkey, which needs its password there too; 0 for any free port (default: none, "
        "only a private socket)",
    )


def run(args: argparse.Namespace) -> int:
    """Run all components with ``args`` until a signal; return the exit status."""
    import asyncio
    from pathlib import Path

    from cordboard.emit import configure, shutdown
    from cordboard.emit.setup import name_cell
    from cordboard.environment import set_bot_arguments
    from cordboard.runner.bot_environment import check_environment_file
    from cordboard.runner.bot_file import check_bot_file, parse_bot_options
    from cordboard.settings import load
    from cordboard.up.start_plan import Options
    from cordboard.up.supervisor import Supervisor

    configure(service="up", session_from_environment=False)
    settings = load(args.config)
    name_cell(settings.cell)
    _options.check_positive("--runners", args.runners)
    bot_files = parse_bot_options(args.bot, settings.bots).values()
    for file in bot_files:
        check_bot_file(file)
        check_environment_file(Path(file))
    _bot_install.offer(bot_files, install=args.install)
    if args.bot_arguments is not None:
        set_bot_arguments(args.bot_arguments)
    options = Options(
        gateway_port=args.gateway_port,
        runner_port=args.runner_port,
        operator_port=args.operator_port,
        interface_port=args.interface_port,
        edge_port=args.edge_port,
        redis_port=None if settings.redis_url else args.redis_port,
        runners=args.runners,
        bots=tuple(args.bot),
        config=args.config,
        reload=args.reload,
    )
    try:
        return asyncio.run(Supervisor(settings, options).run())
    finally:
        shutdown()
