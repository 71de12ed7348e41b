"""``cordboard edge``: serve the public ways in."""

import argparse

from cordboard.cli import _options, _tls_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard edge                                      on 127.0.0.1:7860, gateway at CORDBOARD_GATEWAY_URL
  BOT_CONTROL_SHARED_SECRET_FILE=/run/secrets/control \\
  CORDBOARD_PUBLIC_URL=https://voice.example.com \\
    cordboard edge --host 0.0.0.0                     for carriers and browsers, behind a proxy with TLS
"""
    _options.add_listener(parser, 7860)
    _options.add_lame_duck(parser)
    _options.add_config(parser)
    _tls_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve with ``args`` until SIGTERM or SIGINT; return the exit status."""
    from urllib.parse import urlsplit

    from cordboard.contract.urls import check_http_url
    from cordboard.edge.app import create_app, stop
    from cordboard.edge.rooms.webhooks import check_settings as check_room_settings
    from cordboard.emit import configure
    from cordboard.emit.setup import name_cell
    from cordboard.environment import CONTROL_SECRET
    from cordboard.settings import load
    from cordboard.web import auth, serve

    configure(service="edge", session_from_environment=False)
    settings = load(args.config)
    name_cell(settings.cell)
    check_http_url("CORDBOARD_GATEWAY_URL", settings.gateway_url)
    auth.require_secret_beyond_loopback(
        args.host, settings.control_secrets, settings.scrape_secrets
    )
    # Tokens in the URLs of streams are derived from the secret, so a short one could be found from one URL.
    public_host = urlsplit(settings.public_url or "").hostname or args.host
    auth.refuse_short(public_host, CONTROL_SECRET, settings.control_secrets, origin="public_url")
    check_room_settings(settings)
    app = create_app(settings, local=auth.is_local(args.host))
    certificate = _tls_options.certificate(args, settings)
    listener = serve.bind(args.host, args.port)
    return serve.run(
        app,
        listener=listener,
        drain=lambda: stop(app),
        lame_duck_s=args.lame_duck,
        certificate=certificate,
        websockets=True,
    )
