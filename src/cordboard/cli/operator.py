"""``cordboard operator``: hand accepted joins to runners."""

import argparse
from typing import TYPE_CHECKING

from cordboard.cli import _options, _tls_options

if TYPE_CHECKING:
    from cordboard.kube import Kube
    from cordboard.launchers import Launcher
    from cordboard.launchers.kubernetes_manifest import JobTemplate
    from cordboard.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard operator                              cold runners as processes of this machine
  cordboard operator --launcher none              warm runners only
  cordboard operator --bot my_bot.py --max-cold 8
                                                  up to 8 cold runners with your bot
  cordboard operator --launcher kubernetes --max-cold 50 --bot /app/my_bot.py
                                                  cold runners as Jobs; kubernetes_image and the
                                                  other settings: docs/kubernetes.md
"""
    _options.add_listener(parser, 4445, purpose=" for health and metrics")
    parser.add_argument(
        "--launcher",
        choices=("process", "kubernetes", "none"),
        default="process",
        help="how to start a cold runner if no warm runner has a free slot (default: %(default)s)",
    )
    parser.add_argument(
        "--max-cold",
        type=int,
        default=4,
        metavar="N",
        help="maximum number of cold runners at a time (default: %(default)s)",
    )
    # The name of --max-cold before 0.2.
    parser.add_argument(
        "--most", type=int, dest="max_cold", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    _options.add_bots(parser, "the bot of cold runners (on Kubernetes: its path in the image)")
    _options.add_config(parser)
    _tls_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve with ``args`` until SIGTERM or SIGINT; return the exit status."""
    from cordboard.emit import configure
    from cordboard.emit.setup import name_cell
    from cordboard.operator.app import create_app
    from cordboard.settings import load
    from cordboard.web import auth, serve, settings_check

    configure(service="operator", session_from_environment=False)
    settings = load(args.config)
    name_cell(settings.cell)
    auth.require_secret_beyond_loopback(
        args.host, settings.control_secrets, settings.scrape_secrets
    )
    settings_check.compare_before_serving(settings, "operator")
    launcher = _launcher(args, settings)
    app = create_app(
        settings,
        settings_check.open_shared_store(settings),
        launcher,
        kube=_kube_for_marks(settings),
        local=auth.is_local(args.host),
    )
    certificate = _tls_options.certificate(args, settings)
    listener = serve.bind(args.host, args.port)
    return serve.run(app, listener=listener, grace_s=15, certificate=certificate)


def _launcher(args: argparse.Namespace, settings: "Settings") -> "Launcher | None":
    bot_arguments = [word for bot in args.bot for word in ("--bot", bot)]
    if args.launcher == "process":
        from cordboard.environment import child_environment
        from cordboard.launchers.process import ProcessLauncher
        from cordboard.runner.bot_file import parse_bot_options

        config = ["--config", args.config] if args.config else []
        return ProcessLauncher(
            child_environment,
            max_runners=args.max_cold,
            arguments=[*bot_arguments, *config, *_tls_options.as_arguments(args)],
            bots=parse_bot_options(args.bot, settings.bots),
        )
    return _kubernetes(args, settings, bot_arguments) if args.launcher == "kubernetes" else None


def _kubernetes(
    args: argparse.Namespace, settings: "Settings", bot_arguments: list[str]
) -> "Launcher":
    from cordboard.contract import extras
    from cordboard.environment import kubeconfig_files

    extras.require("serve,kubernetes", "--launcher kubernetes")
    from cordboard.kube import open_kube
    from cordboard.launchers.kubernetes_job import KubernetesLauncher
    from cordboard.runner.bot_file import parse_bot_options

    template = job_template(settings, bot_arguments)
    kube = open_kube(kubeconfig_files(), context=settings.kubernetes_context)
    namespace = settings.kubernetes_namespace or kube.namespace
    # Without --bot the bots are those of the image.
    bots = parse_bot_options(args.bot, {}) if args.bot else None
    return KubernetesLauncher(
        kube, template, namespace=namespace, max_runners=args.max_cold, bots=bots
    )


def _kube_for_marks(settings: "Settings") -> "Kube | None":
    """Return the cluster whose pods the operator marks; None if it marks none."""
    if not settings.kubernetes_pod_marks:
        return None
    from cordboard.contract import extras
    from cordboard.environment import kubeconfig_files

    extras.require("serve,kubernetes", "kubernetes_pod_marks")
    from cordboard.kube import open_kube

    return open_kube(kubeconfig_files(), context=settings.kubernetes_context)


def job_template(settings: "Settings", bot_arguments: list[str]) -> "JobTemplate":
    """Return the common part of the Jobs of cold runners.

    Args:
        settings: The settings.
        bot_arguments: The options ``--bot`` of the operator.

    Raises:
        SettingsError: No image is set, or the template cannot be read.
    """
    from cordboard.contract.errors import SettingsError
    from cordboard.launchers.kubernetes_manifest import JobTemplate, container_of, read_template
    from cordboard.settings import shared_environment

    file = settings.kubernetes_template
    base = read_template(file) if file else {}
    if not settings.kubernetes_image and not container_of(base).get("image"):
        raise SettingsError(
            "--launcher kubernetes needs an image.",
            hint="Set CORDBOARD_KUBERNETES_IMAGE to an image with cordboard[bots] and your bot.",
        )
    return JobTemplate(
        image=settings.kubernetes_image,
        secret=settings.kubernetes_secret,
        service_account=settings.kubernetes_service_account,
        cpu=settings.kubernetes_cpu,
        memory=settings.kubernetes_memory,
        arguments=bot_arguments,
        environment=shared_environment(settings),
        base=base,
    )
