"""The clusters of an environment, as ``cordboard doctor --env`` checks them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cordboard.cli.operator import job_template
from cordboard.contract import extras
from cordboard.contract.errors import CordboardError
from cordboard.environment import kubeconfig_files
from cordboard.settings import Settings

if TYPE_CHECKING:
    from cordboard.kube import Kube
    from cordboard.launchers.cluster_check import Finding


def check_clusters(settings: Settings, environment: str) -> "Iterator[Finding]":
    """Yield what was found in each cluster that an environment, or the operator, uses.

    Args:
        settings: The settings.
        environment: The name of the environment.

    Raises:
        NotInstalledError: The extra for clusters is not installed.
    """
    entries = settings.environments.get(environment, [])
    readers = [entry for entry in entries if entry.get("type") == "kubernetes"]
    starts_jobs = bool(settings.kubernetes_image or settings.kubernetes_template)
    if not readers and not starts_jobs and not settings.kubernetes_pod_marks:
        return
    extras.require("kubernetes", "Checking a cluster")
    for entry in readers:
        yield from _findings(
            partial(_check_reader, namespaces=_texts(entry.get("namespaces"))),
            entry.get("context"),
            _files(settings, entry),
        )
    if starts_jobs or settings.kubernetes_pod_marks:
        yield from _findings(
            partial(_check_operator, settings=settings, starts_jobs=starts_jobs),
            settings.kubernetes_context,
            kubeconfig_files(),
        )


def _findings(
    check: "Callable[[Kube, list[Finding]], Awaitable[None]]",
    context: str | None,
    files: Sequence[Path],
) -> "Iterator[Finding]":
    """Yield the findings in one cluster; one that says so, if it cannot be asked.

    The check adds to a list, so that an error loses nothing that was found before it.
    """
    from cordboard.kube import open_kube
    from cordboard.launchers.cluster_check import Finding, check_clock

    async def run() -> list[Finding]:
        found: list[Finding] = []
        try:
            kube = open_kube(files, context=context)
        except CordboardError as error:
            return [Finding("cluster", ok=False, message=error.message, hint=error.hint)]
        try:
            await check(kube, found)
        except CordboardError as error:
            found.append(Finding("cluster", ok=False, message=error.message, hint=error.hint))
        finally:
            await kube.close()
        found.append(check_clock(kube))
        return found

    yield from asyncio.run(run())


async def _check_reader(kube: "Kube", found: "list[Finding]", namespaces: list[str]) -> None:
    from cordboard.launchers import cluster_check

    everywhere: list[str | None] = [None]
    for namespace in namespaces or everywhere:
        found.append(
            await cluster_check.check_rights(
                kube, namespace, cluster_check.READER_RIGHTS, "log rights"
            )
        )


async def _check_operator(
    kube: "Kube", found: "list[Finding]", settings: Settings, *, starts_jobs: bool
) -> None:
    from cordboard.launchers import cluster_check

    namespace = settings.kubernetes_namespace or kube.namespace
    rights = [
        *(cluster_check.COLD_RIGHTS if starts_jobs else ()),
        *(cluster_check.MARK_RIGHTS if settings.kubernetes_pod_marks else ()),
    ]
    found.append(await cluster_check.check_rights(kube, namespace, rights, "operator"))
    if starts_jobs:
        template = job_template(settings, [])
        found += await cluster_check.check_cold_start(kube, namespace, template)
    found.append(await cluster_check.check_pods(kube, namespace))


def _files(settings: Settings, entry: Mapping[str, Any]) -> Sequence[Path]:
    base = settings.config_file.parent if settings.config_file else Path()
    return [base / file for file in _texts(entry.get("kubeconfig"))] or kubeconfig_files()


def _texts(value: object) -> list[str]:
    """Return a text, or a list of them, as a list; the source itself has refused anything else."""
    texts = [value] if isinstance(value, str) else value
    return [str(text) for text in texts] if isinstance(texts, list) else []
