"""``cordboard interface``: serve the web application for people."""

import argparse

from cordboard.cli import _options, _tls_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard interface                                 on 127.0.0.1:3000, gateway at CORDBOARD_GATEWAY_URL
  CORDBOARD_SESSION_SECRET_FILE=/run/secrets/session \\
  BOT_CONTROL_SHARED_SECRET_FILE=/run/secrets/control \\
  CORDBOARD_OIDC_CLIENT_SECRET_FILE=/run/secrets/oidc \\
  CORDBOARD_INTERFACE_LOGIN=oidc CORDBOARD_OIDC_ISSUER=https://login.example.org \\
  CORDBOARD_OIDC_CLIENT_ID=voice CORDBOARD_INTERFACE_URL=https://voice.example.org \\
    cordboard interface --host 0.0.0.0                for other machines, behind a proxy with TLS:
                                                      without TLS, browsers block the microphone
"""
    _options.add_listener(parser, 3000)
    _options.add_lame_duck(parser)
    parser.add_argument(
        "--root-path",
        type=_root_path,
        metavar="PATH",
        help="path prefix under which a proxy serves the interface, such as /voice (setting: root_path)",
    )
    _options.add_config(parser)
    _tls_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve with ``args`` until SIGTERM or SIGINT; return the exit status."""
    from dataclasses import replace

    from cordboard.contract.urls import check_http_url
    from cordboard.emit import configure
    from cordboard.emit.setup import name_cell
    from cordboard.interface.app import create_app, stop
    from cordboard.interface.identity import require_login
    from cordboard.interface.login import require_session_secret
    from cordboard.settings import load
    from cordboard.web import auth, serve

    configure(service="interface", session_from_environment=False)
    settings = load(args.config)
    name_cell(settings.cell)
    if args.root_path is not None:
        settings = replace(settings, root_path=args.root_path)
    check_http_url("CORDBOARD_GATEWAY_URL", settings.gateway_url)
    local = auth.is_local(args.host)
    auth.require_secret_beyond_loopback(
        args.host, settings.control_secrets, settings.scrape_secrets
    )
    require_session_secret(args.host, settings.session_secrets)
    require_login(args.host, local, settings)
    app = create_app(settings, local=local)
    certificate = _tls_options.certificate(args, settings)
    listener = serve.bind(args.host, args.port)
    return serve.run(
        app,
        listener=listener,
        drain=lambda: stop(app),
        lame_duck_s=args.lame_duck,
        certificate=certificate,
    )


def _root_path(text: str) -> str:
    """Return a path prefix.

    Raises:
        argparse.ArgumentTypeError: ``text`` is none.
    """
    import re

    from cordboard.contract.urls import ROOT_PATH

    if re.search(ROOT_PATH, text) is None:
        raise argparse.ArgumentTypeError(
            f"expected a path such as /voice, without a slash at its end, got {text!r}"
        )
    return text
