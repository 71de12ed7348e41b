"""``cordboard operator``: hands accepted joins to runners."""

import argparse
from typing import TYPE_CHECKING

from cordboard.cli import _tls_options

if TYPE_CHECKING:
    from cordboard.launchers import Launcher
    from cordboard.launchers.kubernetes_manifest import JobTemplate
    from cordboard.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = """\
examples:
  cordboard operator                              cold starts as processes of this machine
  cordboard operator --launcher none              warm runners only
  cordboard operator --bot my_bot.py --most 8     up to 8 cold runners with your bot
  cordboard operator --launcher kubernetes --most 50 --bot /app/my_bot.py
                                                  cold starts as Jobs; kubernetes_image and the
                                                  other settings: docs/kubernetes.md
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
        choices=("process", "kubernetes", "none"),
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
        "--bot",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="the bot of cold runners (on Kubernetes: its path in the image)",
    )
    parser.add_argument("--config", metavar="FILE", help="settings (default ./cordboard.toml)")
    _tls_options.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT."""
    from cordboard.emit import configure
    from cordboard.operator.app import create_app
    from cordboard.settings import load
    from cordboard.web import auth, serve, settings_check

    configure(service="operator", session_from_environment=False)
    settings = load(args.config)
    auth.require_secret_beyond_loopback(args.host, settings.control_secrets)
    settings_check.compare_before_serving(settings, "operator")
    launcher = _launcher(args, settings)
    app = create_app(
        settings,
        settings_check.open_shared_store(settings),
        launcher,
        local=auth.is_local(args.host),
    )
    certificate = _tls_options.certificate(args, settings)
    listener = serve.bind(args.host, args.port)
    return serve.run(app, listener=listener, grace_s=15, certificate=certificate)


def _launcher(args: argparse.Namespace, settings: "Settings") -> "Launcher | None":
    words = [word for bot in args.bot for word in ("--bot", bot)]
    if args.launcher == "process":
        from cordboard.environment import child_environment
        from cordboard.launchers.process import ProcessLauncher
        from cordboard.runner.bot_file import parse_bot_options

        config = ["--config", args.config] if args.config else []
        return ProcessLauncher(
            child_environment,
            max_runners=args.most,
            arguments=[*words, *config, *_tls_options.words(args)],
            bots=parse_bot_options(args.bot, settings.bots),
        )
    return _kubernetes(args, settings, words) if args.launcher == "kubernetes" else None


def _kubernetes(args: argparse.Namespace, settings: "Settings", words: list[str]) -> "Launcher":
    from cordboard.contract import extras
    from cordboard.environment import kubeconfig_files

    extras.require("serve,kubernetes", "--launcher kubernetes")
    from cordboard.kube import open_kube
    from cordboard.launchers.kubernetes_job import KubernetesLauncher
    from cordboard.runner.bot_file import parse_bot_options

    template = _template(settings, words)
    kube = open_kube(kubeconfig_files(), context=settings.kubernetes_context)
    namespace = settings.kubernetes_namespace or kube.namespace
    # Without --bot the bots are those of the image.
    bots = parse_bot_options(args.bot, {}) if args.bot else None
    return KubernetesLauncher(kube, template, namespace=namespace, max_runners=args.most, bots=bots)


def _template(settings: "Settings", words: list[str]) -> "JobTemplate":
    from cordboard.contract.errors import SettingsError
    from cordboard.launchers.kubernetes_manifest import JobTemplate, container_of, read_template
    from cordboard.settings import shared_environment

    file = settings.kubernetes_template
    base = read_template(file) if file else {}
    if not settings.kubernetes_image and not container_of(base).get("image"):
        raise SettingsError(
            "--launcher kubernetes: no image is named.",
            hint="Set CORDBOARD_KUBERNETES_IMAGE to an image with cordboard[bots] and your bot.",
        )
    return JobTemplate(
        image=settings.kubernetes_image,
        secret=settings.kubernetes_secret,
        service_account=settings.kubernetes_service_account,
        cpu=settings.kubernetes_cpu,
        memory=settings.kubernetes_memory,
        arguments=words,
        environment=shared_environment(settings),
        base=base,
    )
