"""The cluster and the user: from kubeconfig files, as kubectl reads them, or from the pod's service account."""

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2
import msgspec
import yaml  # type: ignore[import-untyped]
from lightkube.config.client_adapter import ConnectionParams, verify_cluster
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError
from lightkube.core.generic_client import GenericAsyncClient

from cordboard.contract.errors import SettingsError
from cordboard.contract.redaction import redact
from cordboard.contract.urls import check_http_url, is_malformed_url, redacted_url
from cordboard.kube.client import CONNECT_S, DEFAULT_TIMES, Kube, KubeTimes
from cordboard.kube.log_connections import LogConnections

_PATHS: Final = {
    "cluster": ("certificate-authority",),
    "user": ("client-certificate", "client-key", "tokenFile"),
}
# Idle connections that stay open. Each open socket takes a file descriptor from a process that may read
# hundreds of logs at once.
_IDLE_CONNECTIONS_MAX: Final = 32


def open_kube(
    files: Sequence[Path],
    *,
    context: str | None = None,
    namespace: str | None = None,
    times: KubeTimes = DEFAULT_TIMES,
) -> Kube:
    """Return the cluster of a context, or of this pod's service account if there are no files.

    No request is sent yet.

    Args:
        files: kubeconfig files; an entry of an earlier file overrides one of a later file.
        context: The name of the context; None for the current one.
        namespace: The namespace; None for the context's.
        times: How long requests may take.

    Raises:
        SettingsError: There is no such context, or the configuration is invalid.
    """
    try:
        if files:
            table = merge_kubeconfigs(files)
            config = _single_config(KubeConfig.from_dict(table), context)
            proxy = _named(table, "cluster", config.context.cluster).get("proxy-url")
        else:
            config, proxy = _single_config(_service_account()), None
        client, logs = _connections(config, namespace, proxy, times)
        return Kube(client, logs, config.context_name, times)
    except (ConfigError, KeyError, TypeError, OSError, ssl.SSLError, msgspec.MsgspecError) as error:
        raise SettingsError(
            f"The Kubernetes configuration is invalid: {_reason(error)}.",
            hint=f"It comes from {', '.join(map(str, files)) or 'the service account of this pod'}. "
            "`kubectl config get-contexts` lists the contexts.",
        ) from error


def _service_account() -> KubeConfig:
    try:
        return KubeConfig.from_service_account()
    except (ConfigError, OSError, KeyError) as error:
        raise SettingsError(
            "There is no kubeconfig, and this process does not run in a pod with a service account.",
            hint="Set KUBECONFIG to the name of one; `kubectl config view` shows kubectl's.",
        ) from error


def merge_kubeconfigs(files: Sequence[Path]) -> dict[str, Any]:
    """Return the merged content of kubeconfig files, by kubectl's rule: the first file with an entry wins.

    Args:
        files: The files.

    Raises:
        SettingsError: A file cannot be read.
    """
    merged: dict[str, Any] = {"clusters": [], "contexts": [], "users": []}
    for file in files:
        table = _read(file)
        if table.get("current-context"):
            merged.setdefault("current-context", table["current-context"])
        for kind in ("cluster", "context", "user"):
            known = {item["name"] for item in merged[f"{kind}s"]}
            merged[f"{kind}s"] += [
                {"name": item["name"], kind: _resolved(kind, item.get(kind) or {}, file)}
                for item in table.get(f"{kind}s") or []
                if item["name"] not in known
            ]
    return merged


def load_yaml(text: str) -> Any:
    """Return the YAML document in ``text``.

    Raises:
        ValueError: The text is not YAML; the message says where.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _read(file: Path) -> Mapping[str, Any]:
    try:
        table = load_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read {file}: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not YAML.") from error
    return table if isinstance(table, dict) else {}


def _resolved(kind: str, values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return an entry with absolute paths, and with a login command that lightkube accepts."""
    entry = dict(values)
    for name in _PATHS.get(kind, ()):
        if entry.get(name):
            entry[name] = str(file.parent / entry[name])
    login = entry.get("exec")
    if login:
        # lightkube knows v1beta1 only. The fields that it reads are the same in v1.
        version = str(login.get("apiVersion", "")).replace("k8s.io/v1", "k8s.io/v1beta1")
        entry["exec"] = {**login, "apiVersion": version.replace("v1beta1beta1", "v1beta1")}
    return entry


def _named(table: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = next(
        item[kind] for item in table[f"{kind}s"] if item["name"] == name
    )
    return entry


def _single_config(config: KubeConfig, context: str | None = None) -> SingleConfig:
    single = config.get(context)
    if single is None:  # lightkube raises, but its types permit None
        raise ConfigError(f"there is no context {context!r}")
    return single._replace(user=single.user or User())


def _connections(
    config: SingleConfig, namespace: str | None, proxy: str | None, times: KubeTimes
) -> tuple[GenericAsyncClient, LogConnections]:
    check_http_url("The Kubernetes API's address", config.cluster.server, may_have_user=True)
    proxy = proxy or _environment_proxy(config.cluster.server)
    if proxy:
        _check_proxy(proxy)
    context = verify_cluster(config.cluster, config.user or User(), config.abs_file)
    transport = httpx2.AsyncHTTPTransport(
        verify=context,
        proxy=proxy,
        # Each watch has its own connection, so their number is not limited here.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS_MAX),
    )
    timeout = httpx2.Timeout(times.request, connect=CONNECT_S)
    # lightkube annotates this field for its synchronous client only.
    parameters = ConnectionParams(timeout=timeout, transport=transport)  # type: ignore[arg-type]
    client = GenericAsyncClient(parameters, config, namespace=namespace)
    # With the login of lightkube's client, so that a login command runs once for both.
    auth = client._client.auth  # noqa: SLF001 - lightkube shows it nowhere else
    return client, LogConnections(context, auth, proxy)


def _environment_proxy(server: str) -> str | None:
    """Return the environment's proxy for ``server``; httpx2 ignores it when it is given a transport."""
    parts = urlsplit(server)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _check_proxy(proxy: str) -> None:
    """Check a proxy's URL before the HTTP client does: its message would contain the password.

    Raises:
        SettingsError: The URL is invalid.
    """
    if is_malformed_url(proxy):
        raise SettingsError(
            f"Invalid proxy {redacted_url(proxy)} for the Kubernetes API.",
            hint="Write / ? # @ in its password as %2F %3F %23 %40.",
        )


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else redact(str(error))
