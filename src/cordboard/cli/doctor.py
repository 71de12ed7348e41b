"""``cordboard doctor``: check this machine and the settings, and suggest fixes."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cordboard.cli import _options
from cordboard.cli._check import Check, Step, guarded, not_installed

if TYPE_CHECKING:
    from cordboard.kube import Kube


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to ``parser``."""
    parser.epilog = """\
examples:
  cordboard doctor
  cordboard doctor --bot my_bot.py
  cordboard doctor --env prod              the log sources and the cluster of an environment

Exit status: 0 if all checks pass, else 1.
"""
    parser.add_argument(
        "--bot",
        metavar="[NAME=]FILE",
        help="import this bot file as a runner would",
    )
    parser.add_argument(
        "--env",
        metavar="NAME",
        help="check the log sources of this environment of cordboard.toml, or of `local`; of a cluster "
        "also each right, the Job of a cold runner (on trial), its Secret, stuck pods and the clock; and the "
        "STUN and TURN servers",
    )
    _options.add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Run all checks with ``args`` and print their results; return the exit status."""
    from cordboard.cli import _output
    from cordboard.cli._environment_checks import check_environment
    from cordboard.contract.terminal import escape_to_one_line

    failures = 0
    for check in check_environment(args) if args.env else _checks(args):
        failures += not check.ok
        _output.print_line(
            f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<14} {escape_to_one_line(check.message)}"
        )
        if check.hint:
            _output.print_line(f"      {'':<14} {check.hint}")
    return 1 if failures else 0


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    from cordboard.cli._environment_checks import check_ice

    steps: list[tuple[str, Step]] = [
        ("python", _python),
        ("configuration", _configuration),
        ("pipecat", _pipecat),
        ("redis", _redis),
        ("log directory", _log_directory),
        ("reading logs", _reading_logs),
        ("kubernetes", check_kubernetes),
        ("ice servers", check_ice),
        ("edge", check_edge),
        ("phone", _phone),
        ("bot file", _bot),
        ("up", _up),
    ]
    yield from guarded(steps, args, without_extra=not_installed)


def _python(_args: argparse.Namespace) -> str:
    import platform

    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _configuration(args: argparse.Namespace) -> str:
    from cordboard.settings import load

    settings = load(args.config)
    return f"{settings.config_file or 'no cordboard.toml here'}; all settings are valid"


def _pipecat(_args: argparse.Namespace) -> str:
    from importlib.metadata import PackageNotFoundError, version

    from cordboard.contract.errors import CordboardError

    try:
        return f"pipecat-ai {version('pipecat-ai')}, aiortc {version('aiortc')}"
    except PackageNotFoundError as error:
        raise CordboardError(
            f"{error.name} is not installed, so bots cannot run here.",
            hint="pip install 'cordboard[local]'",
        ) from error


def _reading_logs(_args: argparse.Namespace) -> str:
    from cordboard.logs import survey

    if survey.is_compiled():
        return "with the C extensions"
    return (
        "without the C extensions, up to six times slower: install a C compiler and Python.h (Debian: "
        "apt-get install gcc python3-dev), then cordboard again"
    )


def _redis(args: argparse.Namespace) -> str:
    import asyncio

    from cordboard.contract.errors import CordboardError
    from cordboard.contract.urls import redacted_url
    from cordboard.settings import load
    from cordboard.settings.running import running_up
    from cordboard.store import open_store
    from cordboard.up.embedded import find_server

    settings = load(args.config)
    running = running_up()
    url = settings.redis_url or (running.secrets()["redis_url"] if running else None)
    if url is None:
        return f"REDIS_URL is not set; `cordboard up` will start {find_server()}"

    async def check() -> str | None:
        async with open_store(url, shards=settings.shards) as store:
            for shard in store.shards:  # components work while one shard is down; doctor checks all
                await shard.ping()
                await shard.check_permitted()
                await shard.check_writable()
            return await store.eviction_policy()

    policy = asyncio.run(check())
    if policy is not None:
        raise CordboardError(
            f"Redis at {redacted_url(url)} evicts keys when its memory is full "
            f"(maxmemory-policy {policy}), which would end live calls.",
            hint="Set maxmemory-policy noeviction, the only policy that keeps all keys.",
        )
    return "answers, accepts writes, and permits all commands that Cordboard needs"


def _log_directory(args: argparse.Namespace) -> str:
    import contextlib
    import tempfile

    from cordboard.contract.errors import CordboardError
    from cordboard.settings import load

    path = load(args.config).log_path
    new = [item for item in (path, *path.parents) if not item.exists()]
    # Permissions alone do not tell: the disk may be read-only or full, or the path may be in /proc.
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"x")
    except OSError as error:
        raise CordboardError(
            f"Cannot write to {path}: {error.strerror}.",
            hint="Use CORDBOARD_LOG_DIR to name another directory.",
        ) from error
    finally:
        for item in new:
            with contextlib.suppress(OSError):
                item.rmdir()
    return str(path)


def check_kubernetes(args: argparse.Namespace) -> str:
    """Check the cluster of the kubeconfig, if there is one; return the result.

    Args:
        args: The parsed arguments.

    Raises:
        CordboardError: The cluster cannot be used.
    """
    from cordboard.contract import extras
    from cordboard.environment import kubeconfig_files
    from cordboard.settings import load

    settings, files = load(args.config), kubeconfig_files()
    if not files and not settings.kubernetes_image:
        return "no kubeconfig here; only cold runners and logs of a cluster need one"
    try:
        extras.require("kubernetes", "Kubernetes")
    except extras.NotInstalledError as error:
        return f"there is a kubeconfig; to use its cluster: {error.hint}"
    from cordboard.kube import merge_kubeconfigs, open_kube

    context = settings.kubernetes_context
    if files and not context and not merge_kubeconfigs(files).get("current-context"):
        return "no current context"
    kube = open_kube(files, context=context, namespace=settings.kubernetes_namespace)
    return _check_cluster(kube, starts_jobs=settings.kubernetes_image is not None)


def _check_cluster(kube: "Kube", *, starts_jobs: bool) -> str:
    import asyncio
    import contextlib

    from cordboard.contract.errors import NotFoundError

    async def check() -> None:
        try:
            await kube.list("Pod", namespace=kube.namespace, fields="metadata.name=none")
            if starts_jobs:
                with contextlib.suppress(NotFoundError):
                    await kube.get("Job", "none", kube.namespace)
        finally:
            await kube.close()

    asyncio.run(check())
    return f"context {kube.name} answers, and lists the pods of namespace {kube.namespace}"


def _phone(args: argparse.Namespace) -> str | list[Check]:
    from cordboard.contract import extras
    from cordboard.settings import load

    settings = load(args.config)
    extras.require("serve", "Checking telephone calls")
    from cordboard.edge.phone.checks import check_phone

    checks = [Check(f"phone {item.name}", *item[1:]) for item in check_phone(settings)]
    return checks or "no telephone carrier is configured"


def check_edge(args: argparse.Namespace) -> str:
    """Check the settings of the edge; return what they permit.

    Args:
        args: The arguments of the command.

    Raises:
        CordboardError: A setting is malformed, or carriers and browsers cannot use the address.
    """
    from cordboard.contract import extras
    from cordboard.contract.errors import CordboardError
    from cordboard.settings import load

    extras.require("serve", "Checking the edge's settings")
    from cordboard.edge.access import EdgeAccess

    settings = load(args.config)
    # Checks the keys, the origins and the address as an edge does when it starts.
    EdgeAccess(settings, local=True)
    url = settings.public_url
    if url is None:
        return "no public_url: clients on this machine only; carriers cannot call"
    if not url.startswith("https://"):
        raise CordboardError(
            f"public_url is {url}, but carriers and the microphone of a browser need https.",
            hint="Put a proxy with TLS in front of the edge, and write https://HOST.",
        )
    return f"{url}; {len(settings.public_keys)} public keys"


def _bot(args: argparse.Namespace) -> str:
    from cordboard.contract import extras
    from cordboard.settings import load

    configured = load(args.config).bots
    if not args.bot and not configured:
        return "none set: the built-in bot"
    extras.require("bots", "Importing a bot file")
    from pathlib import Path

    from cordboard.runner.bot_check import check_bot
    from cordboard.runner.bot_file import parse_bot_options
    from cordboard.runner.bot_requirements import find_requirements

    bots = parse_bot_options([args.bot] if args.bot else [], configured)
    unmet = []
    for name, file in bots.items():
        check_bot(name, file)
        requirements = find_requirements(Path(file))
        unmet += list(map(str, requirements.unmet)) if requirements is not None else []
    files = ", ".join(f"{name}: {file}" for name, file in bots.items())
    return f"{files}; required and not installed: {', '.join(unmet)}" if unmet else files


def _up(_args: argparse.Namespace) -> str:
    from cordboard.settings.running import running_up

    running = running_up()
    if running is None:
        return "`cordboard up` is not running on this machine"
    return f"running (process {running.pid}): {running.addresses['interface']}"
