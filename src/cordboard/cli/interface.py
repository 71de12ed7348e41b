"""``cordboard interface``: the web application in front of a person."""

import argparse

from cordboard.cli import _tls_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = """\
examples:
  cordboard interface                                 on 127.0.0.1:3000, gateway as in CORDBOARD_GATEWAY_URL
  CORDBOARD_SESSION_SECRET_FILE=/run/secrets/session \\
  BOT_CONTROL_SHARED_SECRET_FILE=/run/secrets/control \\
  CORDBOARD_INTERFACE_LOGIN=name CORDBOARD_INTERFACE_URL=https://voice.example.org \\
    cordboard interface --host 0.0.0.0                for others; behind a proxy with TLS, without
                                                      which browsers give no page a microphone
"""
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default %(default)s)")
    parser.add_argument(
        "--port",
        type=int,
        default=3000,
        help="where to listen; 0: any free port (default %(default)s)",
    )
    parser.add_argument("--config", metavar="FILE", help="settings (default ./cordboard.toml)")
    _tls_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from cordboard.contract.urls import check_http_url
    from cordboard.emit import configure
    from cordboard.interface.app import create_app, stop
    from cordboard.interface.identity import require_login
    from cordboard.interface.login import require_session_secret
    from cordboard.settings import load
    from cordboard.web import auth, serve

    configure(service="interface", session_from_environment=False)
    settings = load(args.config)
    check_http_url("CORDBOARD_GATEWAY_URL", settings.gateway_url)
    local = auth.is_local(args.host)
    auth.require_secret_beyond_loopback(args.host, settings.control_secrets)
    require_session_secret(args.host, settings.session_secrets)
    require_login(args.host, local, settings)
    app = create_app(settings, local=local)
    certificate = _tls_options.certificate(args, settings)
    listener = serve.bind(args.host, args.port)
    return serve.run(app, listener=listener, drain=lambda: stop(app), certificate=certificate)
