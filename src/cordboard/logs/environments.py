"""Which sources an environment has: ``[environments]`` of ``cordboard.toml``.

    [[environments.stg]]
    type = "directory"
    path = "/var/log/cordboard"          # relative to this file

    [[environments.stg]]
    type = "kubernetes"
    context = "stg"
    namespaces = ["voice"]

A type is a module of ``sources/``, or one that an installed package registers under the entry point group
``cordboard.logs.sources``: a module with ``open_source(options) -> Source``. Each type has options of its own.
"""

import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from cordboard.contract import extras
from cordboard.contract.errors import CordboardError, SettingsError
from cordboard.logs.patterns import pattern
from cordboard.logs.query import Query
from cordboard.logs.sources import Source
from cordboard.logs.sources.directory import Directory

if TYPE_CHECKING:
    from pathlib import Path

LOCAL: Final = "local"
TYPES: Final = (
    "directory",
    "kubernetes",
    "cloudwatch",
    "command",
    "gateway",
    "loki",
    "victorialogs",
)
_CONTEXT: Final = pattern(r"""^["']?current-context["']?: *["']?[^\s"']""", re.MULTILINE)
_ROOM: Final = "cordboard.logs.sources"


def sources_of(
    name: str, environments: Mapping[str, Any], base: "Path", kubeconfigs: "Sequence[Path]" = ()
) -> list[Source]:
    """Return the sources of an environment.

    Args:
        name: The environment.
        environments: All of them, as ``cordboard.toml`` has them.
        base: What relative paths are relative to.
        kubeconfigs: The kubeconfig files of a cluster that names none.

    Raises:
        SettingsError: There is no such environment, or a source of it is not described well.
    """
    if name not in environments:
        known = ", ".join(sorted({*environments, LOCAL}))
        raise SettingsError(
            f"Unknown environment {name!r}; known environments: {known}.",
            hint=f'Define it in cordboard.toml: [[environments.{name}]], type = "directory", '
            'path = "/var/log/cordboard".',
        )
    entries = environments[name]
    if not isinstance(entries, list) or not entries:
        raise SettingsError(
            f"cordboard.toml: environments.{name}: expected a list of sources; write "
            f"[[environments.{name}]] before each source."
        )
    return [
        _source(name, number, entry, base, kubeconfigs) for number, entry in enumerate(entries, 1)
    ]


def local_sources(
    directory: "str | Path", kubeconfigs: "Sequence[Path]"
) -> tuple[list[Source], list[str]]:
    """Return what ``--local`` means where ``cordboard.toml`` does not say, and notes.

    Args:
        directory: Where `cordboard up` writes.
        kubeconfigs: The kubeconfig files that are there.
    """
    hint = (
        "`cordboard up` writes its logs there. To read another directory, "
        "set CORDBOARD_LOG_DIR or use --dir."
    )
    sources: list[Source] = [Directory(directory, hint=hint)]
    if not any(_CONTEXT.search(_text(path)) for path in kubeconfigs):
        return sources, []
    try:
        sources.append(open_type("kubernetes", {"kubeconfig": list(map(str, kubeconfigs))}))
    except CordboardError as error:
        return sources, [f"Skipped the Kubernetes context: {error.message} {error.hint}"]
    return sources, []


def located(query: Query, sources: Sequence[Source]) -> tuple[Query, list[str]]:
    """Return a query of a session with its whereabouts, where a gateway knows them, and notes for the reader.

    Args:
        query: The query of a session.
        sources: The sources of its environment.
    """
    notes: list[str] = []
    for source in sources:
        try:
            found = source.locate(query.session or "")
        except CordboardError as error:
            why = error.message.rstrip(".")
            notes.append(
                f"{source.name} did not tell when the session ran ({why}); all times were read."
            )
            continue
        if found is not None:
            place = f" on {found.runner}" if found.runner else ""
            until = f"to {found.until}" if found.until else "on"
            notes.append(
                f"{source.name}: the session ran{place}. Remote sources were read from {found.since} "
                f"{until}; --exact reads all times."
            )
            return query._replace(ran=found), notes
    return query, notes


def open_type(kind: str, options: Mapping[str, Any]) -> Source:
    """Return a source of the type `kind`, with the `options` of its entry in ``cordboard.toml``.

    Raises:
        CordboardError: This release, or this installation, has no such source, or the options are wrong.
    """
    try:
        opened: Source = _module(kind).open_source(options)
    except ModuleNotFoundError as error:
        missing = extras.missing_extra(error, kind, f"Reading from {kind}")
        if missing is None:
            raise
        raise missing from error
    return opened


def _module(kind: str) -> Any:
    """Return the module of a type: one of this package, or one that another package has registered."""
    if kind in TYPES:
        return import_module(f"{_ROOM}.{kind}")
    from importlib.metadata import entry_points

    registered = {point.name: point for point in entry_points(group=_ROOM)}
    if kind in registered:
        return registered[kind].load()
    raise SettingsError(
        f"Unknown type of source {kind!r}.",
        hint=f"The types are {', '.join([*TYPES, *sorted(registered)])}.",
    )


def _source(
    environment: str, number: int, entry: object, base: "Path", kubeconfigs: "Sequence[Path]"
) -> Source:
    where = f"cordboard.toml: environments.{environment}, source {number}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise SettingsError(
            f"{where}: expected a table with a type.",
            hint=f"The types are {', '.join(TYPES)}.",
        )
    options = {key: value for key, value in entry.items() if key != "type"}
    for key in ("path", "kubeconfig"):
        if isinstance(options.get(key), str):
            options[key] = os.path.join(base, os.path.expanduser(options[key]))
    if entry["type"] == "kubernetes":
        options.setdefault("kubeconfig", list(map(str, kubeconfigs)))
    try:
        return open_type(entry["type"], options)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error.message}", hint=error.hint) from error


def _text(path: "Path") -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
