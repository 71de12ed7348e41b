"""Which cluster, and as whom: kubeconfig files as kubectl reads them, or this pod's own account."""

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
from cordboard.kube.client import CONNECT_S, REQUEST_S, Kube

_PATHS: Final = {
    "cluster": ("certificate-authority",),
    "user": ("client-certificate", "client-key", "tokenFile"),
}
_KEPT_CONNECTIONS: Final = 32


def open_kube(
    files: Sequence[Path], *, context: str | None = None, namespace: str | None = None
) -> Kube:
    """Return the cluster of a context; of this pod's service account where there are no files.

    Nothing is asked of the cluster yet.

    Args:
        files: kubeconfig files; what an earlier one names wins over a later one.
        context: Which context; by default the current one.
        namespace: Instead of the context's.

    Raises:
        SettingsError: There is no such context, or the configuration cannot be used.
    """
    try:
        if files:
            table = merged(files)
            found = _one(KubeConfig.from_dict(table), context)
            proxy = _named(table, "cluster", found.context.cluster).get("proxy-url")
        else:
            found, proxy = _one(_own_account()), None
        return Kube(_client(found, namespace, proxy), found.context_name)
    except (ConfigError, KeyError, TypeError, OSError, ssl.SSLError, msgspec.MsgspecError) as error:
        raise SettingsError(
            f"The Kubernetes configuration cannot be used: {_words(error)}.",
            hint=f"Looked at {', '.join(map(str, files)) or 'the service account of this pod'}; "
            "`kubectl config get-contexts` lists what there is.",
        ) from error


def _own_account() -> KubeConfig:
    try:
        return KubeConfig.from_service_account()
    except (ConfigError, OSError, KeyError) as error:
        raise SettingsError(
            "There is no kubeconfig, and this process runs in no pod with a service account.",
            hint="Let KUBECONFIG name one; `kubectl config view` shows what kubectl uses.",
        ) from error


def merged(files: Sequence[Path]) -> dict[str, Any]:
    """Read kubeconfig files into one, by kubectl's rule: the first to name a thing wins.

    Raises:
        SettingsError: A file cannot be read.
    """
    whole: dict[str, Any] = {"clusters": [], "contexts": [], "users": []}
    for file in files:
        table = _read(file)
        if table.get("current-context"):
            whole.setdefault("current-context", table["current-context"])
        for kind in ("cluster", "context", "user"):
            known = {item["name"] for item in whole[f"{kind}s"]}
            whole[f"{kind}s"] += [
                {"name": item["name"], kind: _ready(kind, item.get(kind) or {}, file)}
                for item in table.get(f"{kind}s") or []
                if item["name"] not in known
            ]
    return whole


def load_yaml(text: str) -> Any:
    """Read one YAML document.

    Raises:
        ValueError: It is not one; with the place.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found = load_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read {file}: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not YAML.") from error
    return found if isinstance(found, dict) else {}


def _ready(kind: str, values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Make paths absolute, as they are relative to their file; take logins of version 1 too."""
    ready = dict(values)
    for name in _PATHS.get(kind, ()):
        if ready.get(name):
            ready[name] = str(file.parent / ready[name])
    login = ready.get("exec")
    if login:
        # lightkube knows the beta only; what it reads of an answer is the same in both.
        version = str(login.get("apiVersion", "")).replace("k8s.io/v1", "k8s.io/v1beta1")
        ready["exec"] = {**login, "apiVersion": version.replace("v1beta1beta1", "v1beta1")}
    return ready


def _named(table: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        item[kind] for item in table[f"{kind}s"] if item["name"] == name
    )
    return found


def _one(config: KubeConfig, context: str | None = None) -> SingleConfig:
    found = config.get(context)
    assert found is not None  # noqa: S101 - None comes back where a default was given
    return found._replace(user=found.user or User())


def _client(config: SingleConfig, namespace: str | None, proxy: str | None) -> GenericAsyncClient:
    check_http_url("The Kubernetes API's address", config.cluster.server, may_have_user=True)
    proxy = proxy or _proxy(config.cluster.server)
    if proxy:
        _check_proxy(proxy)
    context = verify_cluster(config.cluster, config.user or User(), config.abs_file)
    transport = httpx2.AsyncHTTPTransport(
        verify=context,
        proxy=proxy,
        # A followed log is a connection of its own: no bound on how many there are.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
    )
    timeout = httpx2.Timeout(REQUEST_S, connect=CONNECT_S)
    # lightkube's types know the transport of its other client only.
    parameters = ConnectionParams(timeout=timeout, transport=transport)  # type: ignore[arg-type]
    return GenericAsyncClient(parameters, config, namespace=namespace)


def _proxy(server: str) -> str | None:
    """Return the proxy that the environment names; a transport of one's own does not look there."""
    parts = urlsplit(server)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _check_proxy(proxy: str) -> None:
    """Refuse a proxy whose URL is not valid: the HTTP client's own message contains its password.

    Raises:
        SettingsError: It cannot be read.
    """
    if is_malformed_url(proxy):
        raise SettingsError(
            f"The proxy {redacted_url(proxy)} of the Kubernetes API cannot be read.",
            hint="Write / ? # @ in its password as %2F %3F %23 %40.",
        )


def _words(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else redact(str(error))
