"""``cordboard gateway``: accept joins over HTTP."""

import argparse

from cordboard.cli import _options, _tls_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard gateway                                   on 127.0.0.1:4444, Redis at REDIS_URL
  BOT_CONTROL_SHARED_SECRET_FILE=/run/secrets/control \\
    cordboard gateway --host 0.0.0.0                  for other machines, which need the secret
"""
    _options.add_listener(parser, 4444)
    _options.add_lame_duck(parser)
    _options.add_config(parser)
    _tls_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve with ``args`` until SIGTERM or SIGINT; return the exit status."""
    from cordboard.emit import configure
    from cordboard.emit.setup import name_cell
    from cordboard.gateway.app import GRACE_S, create_app, drain
    from cordboard.settings import load
    from cordboard.web import auth, serve, settings_check

    configure(service="gateway", session_from_environment=False)
    settings = load(args.config)
    name_cell(settings.cell)
    auth.require_secret_beyond_loopback(
        args.host, settings.control_secrets, settings.scrape_secrets
    )
    settings_check.check_ice(settings)
    settings_check.compare_before_serving(settings, "gateway")
    app = create_app(
        settings,
        settings_check.open_shared_store(settings),
        local=auth.is_local(args.host),
    )
    certificate = _tls_options.certificate(args, settings)
    listener = serve.bind(args.host, args.port)
    return serve.run(
        app,
        listener=listener,
        grace_s=GRACE_S,
        drain=lambda: drain(app),
        lame_duck_s=args.lame_duck,
        certificate=certificate,
    )
