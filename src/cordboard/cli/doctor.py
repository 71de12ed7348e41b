"""``cordboard doctor``: what is wrong here, and what to do about it."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cordboard.kube import Kube


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: fine, or wrong with the way out."""

    name: str
    fine: bool
    words: str
    hint: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = """\
examples:
  cordboard doctor
  cordboard doctor --bot my_bot.py

Exit status: 0 when everything is fine, else 1.
"""
    parser.add_argument(
        "--bot",
        metavar="[NAME=]FILE",
        help="check this bot file by importing it as a runner would",
    )
    parser.add_argument("--config", metavar="FILE", help="settings (default ./cordboard.toml)")


def run(args: argparse.Namespace) -> int:
    """Make all checks and print them."""
    from cordboard.cli import _output
    from cordboard.contract.terminal import escape_to_one_line

    wrong = 0
    for check in _checks(args):
        wrong += not check.fine
        _output.print_line(
            f"{'ok  ' if check.fine else 'FAIL'}  {check.name:<14} {escape_to_one_line(check.words)}"
        )
        if check.hint:
            _output.print_line(f"      {'':<14} {check.hint}")
    return 1 if wrong else 0


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    from cordboard.contract import extras
    from cordboard.contract.errors import CordboardError

    steps: list[tuple[str, Callable[[argparse.Namespace], str]]] = [
        ("python", _python),
        ("configuration", _configuration),
        ("pipecat", _pipecat),
        ("redis", _redis),
        ("log directory", _log_directory),
        ("reading logs", _reading_logs),
        ("kubernetes", _kubernetes),
        ("bot file", _bot),
        ("up", _up),
    ]
    told: set[str] = set()
    for name, step in steps:
        try:
            yield Check(name, fine=True, words=step(args))
        except ModuleNotFoundError as error:
            missing = extras.missing_extra(error, "local", "This check")
            if missing is None:
                raise
            yield Check(name, fine=False, words=missing.message, hint=missing.hint)
        except CordboardError as error:
            # Without a configuration that can be read most checks fail alike: once is enough.
            if error.message not in told:
                yield Check(name, fine=False, words=error.message, hint=error.hint)
            told.add(error.message)


def _python(_args: argparse.Namespace) -> str:
    import platform

    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _configuration(args: argparse.Namespace) -> str:
    from cordboard.settings import load

    settings = load(args.config)
    return f"{settings.config_file or 'no cordboard.toml here'}; all settings are known"


def _pipecat(_args: argparse.Namespace) -> str:
    from importlib.metadata import PackageNotFoundError, version

    from cordboard.contract.errors import CordboardError

    try:
        return f"pipecat-ai {version('pipecat-ai')}, aiortc {version('aiortc')}"
    except PackageNotFoundError as error:
        raise CordboardError(
            f"{error.name} is not installed, so no bot can run here.",
            hint="pip install 'cordboard[local]'",
        ) from error


def _reading_logs(_args: argparse.Namespace) -> str:
    from cordboard.logs import compiled

    if compiled.are_here():
        return "with the C extensions"
    return (
        "in Python alone, up to four times slower: with a C compiler and Python.h here (Debian: "
        "apt-get install gcc python3-dev), install cordboard again"
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

    async def ask() -> str | None:
        async with open_store(url, shards=settings.shards) as store:
            for shard in store.shards:  # a part works while one shard answers; here each is checked
                await shard.ping()
                await shard.check_permitted()
                await shard.check_writable()
            return await store.eviction_policy()

    policy = asyncio.run(ask())
    if policy is not None:
        raise CordboardError(
            f"Redis at {redacted_url(url)} evicts keys when its memory is full "
            f"(maxmemory-policy {policy}): this would end live calls.",
            hint="Set maxmemory-policy noeviction, the only policy that keeps all keys.",
        )
    return "answers, accepts writes, and permits all commands that are needed"


def _log_directory(args: argparse.Namespace) -> str:
    import contextlib
    import tempfile

    from cordboard.contract.errors import CordboardError
    from cordboard.settings import load

    path = load(args.config).log_path
    new = [item for item in (path, *path.parents) if not item.exists()]
    try:  # what permissions promise, a read-only or full disk, or one that is no disk, does not keep
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"x")
    except OSError as error:
        raise CordboardError(
            f"{path} cannot be written: {error.strerror}.",
            hint="Name another one with CORDBOARD_LOG_DIR.",
        ) from error
    finally:
        for item in new:
            with contextlib.suppress(OSError):
                item.rmdir()
    return str(path)


def _kubernetes(args: argparse.Namespace) -> str:
    from cordboard.contract import extras
    from cordboard.environment import kubeconfig_files
    from cordboard.settings import load

    settings, files = load(args.config), kubeconfig_files()
    if not files and not settings.kubernetes_image:
        return "no kubeconfig here; only cold starts and logs of a cluster need one"
    try:
        extras.require("kubernetes", "A cluster")
    except extras.NotInstalledError as error:
        return f"found a kubeconfig; to use its cluster: {error.hint}"
    from cordboard.kube import merge_kubeconfigs, open_kube

    context = settings.kubernetes_context
    if files and not context and not merge_kubeconfigs(files).get("current-context"):
        return "no current context"
    kube = open_kube(files, context=context, namespace=settings.kubernetes_namespace)
    return _ask_cluster(kube, starts_jobs=settings.kubernetes_image is not None)


def _ask_cluster(kube: "Kube", *, starts_jobs: bool) -> str:
    import asyncio
    import contextlib

    from cordboard.contract.errors import NotFoundError

    async def ask() -> None:
        try:
            await kube.list("Pod", namespace=kube.namespace, fields="metadata.name=none")
            if starts_jobs:
                with contextlib.suppress(NotFoundError):
                    await kube.get("Job", "none", kube.namespace)
        finally:
            await kube.close()

    asyncio.run(ask())
    return f"context {kube.name} answers, and shows its pods in namespace {kube.namespace}"


def _bot(args: argparse.Namespace) -> str:
    from cordboard.contract import extras
    from cordboard.settings import load

    configured = load(args.config).bots
    if not args.bot and not configured:
        return "none named: the built-in parrot"
    extras.require("bots", "Importing a bot file")
    from cordboard.runner.bot_check import check_bot
    from cordboard.runner.bot_file import parse_bot_options

    bots = parse_bot_options([args.bot] if args.bot else [], configured)
    for name, file in bots.items():
        check_bot(name, file)
    return ", ".join(f"{name}: {file}" for name, file in bots.items())


def _up(_args: argparse.Namespace) -> str:
    from cordboard.settings.running import running_up

    running = running_up()
    if running is None:
        return "`cordboard up` does not run on this machine"
    return f"runs (process {running.pid}): {running.addresses['interface']}"
