"""``cordboard runner``: host sessions, each in its own bot process."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cordboard.cli import _options, _tls_options

if TYPE_CHECKING:
    from cordboard.runner.forkserver import ForkServer
    from cordboard.runner.pipes import BotOptions
    from cordboard.runner.services import RunnerServices
    from cordboard.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard runner --bot my_bot.py --capacity 8     a warm runner for up to 8 sessions at a time
  cordboard runner --bot sales.py --bot help=h.py   two bots: `default` and `help`
  cordboard runner --once                           a cold runner for the session in BOT_SESSION_ID,
                                                    BOT_SESSION_EPOCH and BOT_ROOM_URL

On SIGTERM, a runner accepts no new sessions, and lets the running ones end within the grace period. Then it
stops the bots that are left, so that other runners continue their sessions, and exits with status 0.
"""
    _options.add_listener(parser, 7861)
    parser.add_argument(
        "--url",
        help="base URL at which gateways and operators reach this runner (default: "
        "http://HOST:PORT; with --host 0.0.0.0 or ::, this machine's address on the default route)",
    )
    parser.add_argument(
        "--capacity",
        type=int,
        metavar="N",
        help="number of sessions at a time (default: runner_capacity, else 4)",
    )
    _options.add_bots(parser, "a bot; may be repeated (default: the built-in bot)")
    _options.add_reload(parser)
    parser.add_argument("--once", action="store_true", help="run one session and exit")
    parser.add_argument(
        "--grace",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="grace period of running sessions after SIGTERM (default: %(default)s)",
    )
    _options.add_config(parser)
    _tls_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve with ``args`` until a signal or, with ``--once``, the session's end; return the status."""
    from pathlib import Path

    from cordboard.emit import configure
    from cordboard.emit.setup import name_cell
    from cordboard.runner.bot_environment import report_environment_file
    from cordboard.runner.bot_file import check_bot_file, parse_bot_options
    from cordboard.runner.forkserver import ForkServer
    from cordboard.settings import load

    configure(service="runner", session_from_environment=False)
    settings = load(args.config)
    name_cell(settings.cell)
    _options.check_positive("--capacity", args.capacity)
    _keeping_bots(settings)  # before the bots are loaded, which takes seconds
    bots = parse_bot_options(args.bot, settings.bots)
    for file in bots.values():
        check_bot_file(file)
        report_environment_file(Path(file))
    fork_server = ForkServer(
        bots,
        _options.bot_arguments(args.bot_arguments, settings.bot_arguments),
        landlock=settings.bot_landlock == "auto",
        memory_mb=settings.bot_memory_mb,
    )
    with _sigterm_deferred():
        fork_server.start()
    return _serve(args, settings, fork_server)


@contextmanager
def _sigterm_deferred() -> Iterator[None]:
    """Defer SIGTERM to the end of the block, which takes milliseconds.

    The block creates files that the fork server removes at its end. A signal in between would leave
    them on the disk.
    """
    import os
    import signal

    received: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        if received:
            os.kill(os.getpid(), signal.SIGTERM)


def _serve(args: argparse.Namespace, settings: "Settings", fork_server: "ForkServer") -> int:
    # Importing these takes as long as the fork server takes to import the bots: do both in parallel.
    from cordboard.context.carrier import extract_environment
    from cordboard.runner.app import connection_class, create_app
    from cordboard.runner.single_session import SingleSession, serve_single_session, session_grant
    from cordboard.web import auth, serve, settings_check
    from cordboard.web.advertised_url import advertised_url

    auth.require_secret_beyond_loopback(
        args.host, settings.control_secrets, settings.scrape_secrets
    )
    context = extract_environment().context
    grant = session_grant(context) if args.once else None
    certificate = _tls_options.certificate(args, settings)
    settings_check.check_ice(settings)
    settings_check.compare_before_serving(settings, "runner")
    listener = serve.bind(args.host, args.port)
    port, tls = listener.getsockname()[1], certificate is not None
    url = _base_url(args.url) or advertised_url(args.host, port, tls=tls)
    services = _services(args, settings, fork_server, url)
    fork_server.wait_until_loaded()
    local = auth.is_local(args.host)
    app = create_app(settings, services, local=local, watches_files=args.reload)
    protocol = connection_class(settings, services, local=local)
    if grant is not None:
        session = SingleSession(services, grant)
        return serve_single_session(app, session, listener, certificate, protocol)
    return serve.run(
        app,
        listener=listener,
        grace_s=2,
        drain=services.drain.run,
        certificate=certificate,
        protocol=protocol,
    )


def _services(
    args: argparse.Namespace, settings: "Settings", fork_server: "ForkServer", url: str
) -> "RunnerServices":
    import time

    from cordboard.environment import job_identity, pod_identity
    from cordboard.runner.build import runner_build
    from cordboard.runner.context_cipher import ContextCipher
    from cordboard.runner.registry import Registry
    from cordboard.runner.runner_host import RunnerHost
    from cordboard.runner.services import make_services
    from cordboard.store import JoinLimits
    from cordboard.web import auth
    from cordboard.web.settings_check import open_shared_store

    host = RunnerHost(
        store=open_shared_store(settings),
        fork_server=fork_server,
        runner_id=_runner_id(),
        url=url,
        type="cold" if args.once else "warm",
        job_name=job_identity() if args.once else None,
        pod=pod_identity(),
        build=runner_build(settings.build_image),
        no_restart=_bots_without_restart(settings),
        keep_context=_keeping_bots(settings),
        cipher=ContextCipher(lambda: settings.control_secrets),
        bot_options=_bot_options(settings, local=auth.is_local(args.host)),
        # A bot cannot get new credentials, and may reconnect until its session ends.
        ice_config=lambda launch: settings.ice_config(
            launch.session_id, time.time(), lifetime_s=launch.max_duration_s
        ),
    )
    capacity = 1 if args.once else args.capacity or settings.runner_capacity
    bots = () if args.once else tuple(fork_server.bots)
    limits = JoinLimits(per_tenant=settings.sessions_per_tenant)
    return make_services(Registry(host, capacity), bots, args.grace, limits)


def _runner_id() -> str:
    import os
    import secrets
    import socket

    from cordboard.environment import runner_identity

    name = runner_identity() or socket.gethostname()
    return f"{name}-{os.getpid()}-{secrets.token_hex(2)}"


def _bots_without_restart(settings: "Settings") -> frozenset[str]:
    policies = settings.bot_policies.items()
    return frozenset(bot for bot, policy in policies if policy.restart == "never")


def _keeping_bots(settings: "Settings") -> frozenset[str]:
    """Return the bots of which what was said is kept.

    Raises:
        SettingsError: There is such a bot, but no secret from which to derive the key.
    """
    from cordboard.contract.errors import SettingsError

    bots = [bot for bot, policy in settings.bot_policies.items() if policy.keep_context]
    if bots and not settings.control_secrets:
        raise SettingsError(
            f"[bots.{bots[0]}] keep_context: what was said is encrypted with a key from the control secret, "
            "and there is none.",
            hint="Set BOT_CONTROL_SHARED_SECRET (or BOT_CONTROL_SHARED_SECRET_FILE).",
        )
    return frozenset(bots)


def _bot_options(settings: "Settings", *, local: bool) -> "BotOptions":
    from cordboard.runner.pipes import BotOptions
    from cordboard.runner.record_options import RecordOptions

    return BotOptions(
        daily_domains=settings.daily_domains,
        offer_timeout_s=settings.offer_timeout_s,
        user_absent_s=settings.user_absent_s,
        memory_mb=settings.bot_memory_mb,
        file_mb=settings.bot_file_mb,
        processes=settings.bot_processes,
        local=local,
        records=RecordOptions(settings.content, measures=settings.pipeline_metrics),
    )


def _base_url(url: str | None) -> str | None:
    """Return the value of ``--url`` without a trailing slash; None if it was not given.

    Raises:
        UsageError: It is not an http or https URL, or has more than a host, a port and a path.
    """
    from urllib.parse import urlsplit

    from cordboard.contract.errors import UsageError
    from cordboard.contract.urls import redacted_url

    if not url:
        return None
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(
            f"--url {redacted_url(url)}: expected http://HOST:PORT or https://HOST:PORT."
        )
    return url.rstrip("/")
