"""The checks of ``cordboard doctor --env``: log sources, clusters, STUN and TURN servers.

No image has the packages of all of them: the checks of clusters need lightkube, which `plane` has, and those of STUN
and TURN servers need aiortc, which `bots` has. So a check whose packages are absent has not failed.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cordboard.cli._check import Check, guarded

if TYPE_CHECKING:
    from pathlib import Path

    from cordboard.contract.errors import CordboardError
    from cordboard.logs.sources import Source
    from cordboard.settings import Settings


def check_environment(args: argparse.Namespace) -> Iterator[Check]:
    """Yield a check of each log source of an environment, of its clusters, and of the STUN and TURN servers.

    Args:
        args: The parsed arguments.
    """
    from cordboard.contract.errors import CordboardError
    from cordboard.environment import kubeconfig_files
    from cordboard.logs import environments
    from cordboard.settings import load

    try:
        settings, files = load(args.config), kubeconfig_files()
        if args.env == environments.LOCAL and args.env not in settings.environments:
            yield from _check_local(settings, files)
        else:
            yield from _check_sources(args.env, settings, files)
    except CordboardError as error:
        yield Check("environment", ok=False, message=error.message, hint=error.hint)
        return
    steps = [("cluster", _check_clusters), ("ice servers", check_ice)]
    yield from guarded(steps, args, without_extra=not_checked)


def not_checked(name: str, error: "CordboardError") -> Check:
    """Return a check that could not be made here, because its packages are not installed.

    Args:
        name: The name of the check.
        error: The error that names the extra.
    """
    ways = f"{error.hint}, or run this in the other image (docs/operations.md, Troubleshooting)."
    return Check(name, ok=True, message=f"not checked here: {error.message}", hint=ways)


def check_ice(args: argparse.Namespace) -> str | list[Check]:
    """Check the STUN and TURN servers; return the results.

    Args:
        args: The parsed arguments.

    Raises:
        NotInstalledError: The extra of the check is not installed.
        SettingsError: The settings are invalid.
    """
    from cordboard.contract import extras
    from cordboard.settings import load

    settings = load(args.config)
    if not settings.ice_servers and settings.ice_transport_policy == "all":
        return "none: callers in webrtc: rooms must reach runners directly"
    extras.require("bots", "Checking STUN and TURN servers")
    from cordboard.cli._ice_checks import check_ice_servers

    return [Check(*result) for result in check_ice_servers(settings)]


def _check_local(settings: "Settings", files: "Sequence[Path]") -> Iterator[Check]:
    from cordboard.logs import environments

    sources, notes = environments.local_sources(settings.log_path, files)
    if not settings.log_path.exists():
        # As in a pod, which writes its lines to standard output alone.
        sources = sources[1:]
        yield Check("log directory", ok=True, message=f"none: there is no {settings.log_path}")
    yield from map(_check_source, sources)
    yield from (Check("log source", ok=True, message=note) for note in notes)


def _check_sources(name: str, settings: "Settings", files: "Sequence[Path]") -> Iterator[Check]:
    """Yield a check of each source; one whose packages are absent keeps none of the others from its check."""
    from pathlib import Path

    from cordboard.contract.extras import NotInstalledError
    from cordboard.logs.environments import sources_of

    base = settings.config_file.parent if settings.config_file else Path()
    try:
        sources = sources_of(name, settings.environments, base, files)
    except NotInstalledError:
        for entry in settings.environments[name]:
            try:
                sources = sources_of(name, {name: [entry]}, base, files)
            except NotInstalledError as error:
                yield not_checked(str(entry["type"]), error)
            else:
                yield from map(_check_source, sources)
    else:
        yield from map(_check_source, sources)


def _check_source(source: "Source") -> Check:
    from cordboard.logs.source_check import check_source

    return Check(*check_source(source))


def _check_clusters(args: argparse.Namespace) -> list[Check]:
    from cordboard.cli._cluster_checks import check_clusters
    from cordboard.settings import load

    # Two sources may be in one cluster: what was found twice is told once.
    findings = dict.fromkeys(check_clusters(load(args.config), args.env))
    return [Check(*finding) for finding in findings]
