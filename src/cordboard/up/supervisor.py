"""Starts the components together, waits until they are ready, watches them, stops them in order."""

import asyncio
import contextlib
import functools
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cordboard.contract.errors import CordboardError
from cordboard.contract.urls import redacted_url
from cordboard.emit import flush, get_logger
from cordboard.environment import clean_environment, is_inspection_allowed
from cordboard.processes import adopt_orphans, describe_exit_status
from cordboard.runner.bot_file import LOAD_TIMEOUT_S
from cordboard.settings import Settings
from cordboard.settings.running import UP_SOCKET_NAME
from cordboard.store import open_store
from cordboard.up.component import Component
from cordboard.up.component_logs import ComponentLogs
from cordboard.up.embedded import EmbeddedServer
from cordboard.up.ports import free_ports
from cordboard.up.secret_socket import Orphans, SecretSocket
from cordboard.up.start_plan import (
    STOP_ORDER,
    Options,
    SharedSecrets,
    accounts_of_bots,
    component_arguments,
    component_environment,
    component_urls,
    interface_variables,
    is_further_runner,
    service_of,
)
from cordboard.up.state import StateFile
from cordboard.up.stop_signals import StopSignals
from cordboard.up.terminal import wait_for_hangup
from cordboard.up.valkey_log import ValkeyLog

READY_TIMEOUT_S: Final = 60.0
# The runner exits by itself, with the reason, if a bot file takes longer to load than it allows.
RUNNER_READY_S: Final = LOAD_TIMEOUT_S + 20.0
# When the wait is explained; a bot that loads no model is imported in half of this time.
IMPORT_NOTICE_S: Final = 5.0
# Pauses between two looks at the components while they start, and at processes and Redis later.
POLL_S: Final = 0.02
WATCH_S: Final = 0.2
ORPHANS_S: Final = 1.0
# Longer than each component's own grace period: a gateway finishes joins that wait for up to 12 s,
# an operator its hand-over.
GRACE_S: Final = {"edge": 6.0, "interface": 6.0, "gateway": 15.0, "runner": 20.0, "operator": 18.0}
# A component that ends more often does so for a reason that a restart does not remove.
RESTARTS_MAX: Final = 3
RESTART_WINDOW_S: Final = 60.0

log = get_logger("up")


class Supervisor:
    """All that ``cordboard up`` runs.

    Args:
        settings: The settings.
        options: The options of the command.

    Attributes:
        components: The components by their names.
        redis: The embedded Redis; None if the user has one.
        addresses: The URL of each component that is ready at the start, of Redis, and the log directory.
    """

    def __init__(self, settings: Settings, options: Options) -> None:
        self.settings = settings
        self.options = options
        self.components: dict[str, Component] = {}
        self.redis: EmbeddedServer | None = None
        self.addresses: dict[str, str] = {}
        self._signals = StopSignals(self._kill_all)
        self._secrets = SharedSecrets(control="", session=None, redis_url="")
        self._was_ready = False
        self._import_noticed = False
        self._restarts: dict[str, list[float]] = {}

    async def run(self) -> int:
        """Run until a signal, or until a component cannot be kept running.

        Returns:
            The exit status.

        Raises:
            CordboardError: A port is in use, another `up` runs, Redis does not answer, or a
                component did not start.
        """
        adopt_orphans()  # so that orphans of a bot stay our descendants: see secret_socket
        with StateFile() as state, contextlib.closing(ComponentLogs(self.settings)) as logs:
            self._signals.install()
            try:
                self._prepare(logs)
                await self._check_redis()
                await self._start()
                with self._secret_socket():
                    state.write({"pid": os.getpid(), "addresses": self.addresses})
                    if not self._signals.requested.is_set():
                        self._report_ready()
                        await self._watch()
                return 0
            finally:
                await self._stop_all()

    # --- starting

    def _prepare(self, logs: ComponentLogs) -> None:
        """Choose ports and secrets, and create the components without starting them."""
        ports = free_ports(self.options.ports)
        if not self.settings.redis_url:
            self.redis = EmbeddedServer(
                self.settings.state_dir / "redis",
                ValkeyLog(functools.partial(logs.write, "redis")),
                private=True,
                port=ports.pop("redis", None),
                environment=clean_environment(),
                readable=is_inspection_allowed(),
            )
        self._secrets = SharedSecrets(
            control=(self.settings.control_secrets or (secrets.token_urlsafe(32),))[0],
            session=None if self.settings.session_secret else secrets.token_urlsafe(32),
            redis_url=self.settings.redis_url or (self.redis.url if self.redis else ""),
        )
        self.addresses = {
            **component_urls({n: ports[n] for n in ports if not is_further_runner(n)}),
            "redis": self.redis.address if self.redis else redacted_url(self._secrets.redis_url),
            "logs": str(self.settings.log_path),
        }
        arguments = component_arguments(self.options, self.settings, ports)
        accounts = accounts_of_bots(self.options, self.settings)
        self.components = {
            name: Component(
                name,
                arguments[name],
                ports[name],
                component_environment(
                    name,
                    self.addresses["gateway"],
                    self._secrets,
                    accounts,
                    interface_variables(self.settings),
                ),
                logs.write_component_line,
            )
            for name in arguments
        }

    async def _check_redis(self) -> None:
        """Check that the user's own Redis answers: without it no component would become ready."""
        if self.settings.redis_url:
            async with open_store(self.settings.redis_url) as store:
                await store.ping()
                await store.check_permitted()

    async def _start(self) -> None:
        began = time.monotonic()
        # All at once: most of a start is imports, and they wait for Redis by themselves.
        if self.redis is not None:
            self.redis.spawn()
        waiting = {n: item for n, item in self.components.items() if not is_further_runner(n)}
        await asyncio.gather(*(component.start() for component in waiting.values()))
        if self.redis is not None:
            await asyncio.to_thread(self.redis.wait)
        while waiting and not self._signals.requested.is_set():
            for name, component in list(waiting.items()):
                if not component.is_running:
                    raise await _start_error(component)
                if await component.is_ready():
                    del waiting[name]
            passed_s = time.monotonic() - began
            check_start_time([*waiting], passed_s, self.settings.log_path)
            self._notice_import([*waiting], passed_s)
            await asyncio.sleep(POLL_S)
        log.debug("All components are ready", seconds=round(time.monotonic() - began, 2))

    def _notice_import(self, waiting: Sequence[str], passed_s: float) -> None:
        """Explain, once, why the runner takes long."""
        if _are_runners(waiting) and passed_s > IMPORT_NOTICE_S and not self._import_noticed:
            self._import_noticed = True
            log.info(
                "The runner still imports Pipecat and the bot files",
                bots=list(self.options.bots) or ["the built-in bot"],
                within_s=RUNNER_READY_S,
            )

    def _report_ready(self) -> None:
        self._was_ready = True
        log.info("Cordboard is up", event="up.ready", **self.addresses)
        flush()
        if sys.stdout.isatty():
            sys.stdout.write(_banner(self.addresses))
            sys.stdout.flush()

    # --- watching

    async def _watch(self) -> None:
        """Keep the components running until a signal comes."""
        watchers = [
            asyncio.create_task(
                self._keep_further(item) if is_further_runner(name) else self._keep(item)
            )
            for name, item in self.components.items()
        ]
        watchers.append(asyncio.create_task(self._reap_orphans()))
        if self.redis is not None:
            watchers.append(asyncio.create_task(self._keep_redis(self.redis)))
        if sys.stdin is not None and sys.stdin.isatty():
            watchers.append(asyncio.create_task(self._watch_terminal()))
        stop = asyncio.create_task(self._signals.requested.wait())
        try:
            done, _ = await asyncio.wait([*watchers, stop], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what ended a watcher
        finally:
            for task in (*watchers, stop):
                task.cancel()
            await asyncio.gather(*watchers, stop, return_exceptions=True)

    async def _watch_terminal(self) -> None:
        await wait_for_hangup(sys.stdin.fileno())
        log.info("The terminal was closed; stopping all components in order")

    @contextlib.contextmanager
    def _secret_socket(self) -> Iterator[None]:
        """Give the secrets to commands of this user while the block runs."""
        shared = {"control_secret": self._secrets.control, "redis_url": self._secrets.redis_url}
        secret_socket = SecretSocket(self.settings.state_dir / UP_SOCKET_NAME, shared)
        loop = asyncio.get_running_loop()
        loop.add_reader(secret_socket, secret_socket.answer)
        try:
            yield
        finally:
            loop.remove_reader(secret_socket)
            secret_socket.close()

    async def _reap_orphans(self) -> None:
        orphans = Orphans()
        while True:
            await asyncio.sleep(ORPHANS_S)
            own = {item.process.pid for item in self.components.values() if item.process}
            orphans.reap(own | {self.redis.pid if self.redis else 0})

    async def _keep(self, component: Component) -> None:
        """Restart a component whenever it ends, and log it; give up if that happens often."""
        while True:
            status = await component.wait()
            last = component.last_lines
            log.error(
                "A component ended unexpectedly; restarting it",
                component=component.name,
                status=describe_exit_status(status),
                **({"last_line": last[-1]} if last else {}),
            )
            self._count_restart(component.name)
            await asyncio.sleep(WATCH_S)
            is_runner = service_of(component.name) == "runner"
            await component.start(in_background=is_runner and self._has_first_runner())

    def _has_first_runner(self) -> bool:
        """Return whether a runner runs that takes calls, or will first; it comes before one that is restarted.

        If all are still starting in the background, one of them comes forward: calls wait for it.
        """
        running = [
            item
            for name, item in self.components.items()
            if service_of(name) == "runner" and item.is_running
        ]
        if running and all(item.is_in_background for item in running):
            running[0].come_forward()
        return bool(running)

    async def _keep_further(self, runner: Component) -> None:
        """Start a further runner, which delays no call, and keep it running; without it, all else goes on."""
        await runner.start(in_background=True)
        try:
            if not await runner.becomes_ready():
                raise await _start_error(runner)
            log.info("A further runner is ready", component=runner.name, url=runner.url)
            await self._keep(runner)
        except CordboardError as error:
            log.error(
                "A further runner is given up; calls wait for a restart if the first one dies",
                component=runner.name,
                error=error,
            )
        await asyncio.Event().wait()  # the other watchers go on

    async def _keep_redis(self, redis: EmbeddedServer) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            if redis.process is None or redis.process.poll() is None:
                continue
            log.error(
                "The embedded Redis ended unexpectedly; restarting it with the data on disk",
                status=describe_exit_status(redis.process.returncode),
            )
            self._count_restart("redis")
            redis.spawn()

    def _count_restart(self, name: str) -> None:
        now = time.monotonic()
        recent = [at for at in self._restarts.get(name, []) if now - at < RESTART_WINDOW_S]
        self._restarts[name] = [*recent, now]
        if len(recent) >= RESTARTS_MAX:
            raise CordboardError(
                f"{name} ended {len(recent) + 1} times within {RESTART_WINDOW_S:.0f} s.",
                hint=f"Its last lines are in {self.settings.log_path}.",
            )

    # --- stopping

    def _kill_all(self) -> None:
        for component in self.components.values():
            component.signal(signal.SIGKILL, group=True)

    async def _stop_all(self) -> None:
        await self._end_live_sessions()
        for service in STOP_ORDER:
            components = [
                item for name, item in self.components.items() if service_of(name) == service
            ]
            await asyncio.gather(*(item.stop(GRACE_S[service]) for item in components))
        if self.redis is not None:
            await asyncio.to_thread(self.redis.stop)
        if self.addresses:
            log.info("All components have stopped")
        flush()

    async def _end_live_sessions(self) -> None:
        """End the live sessions while the components that do so run; a second Ctrl-C skips it."""
        is_stopping_in_order = self._signals.requested.is_set() and not self._signals.is_urgent
        if not (is_stopping_in_order and self._was_ready and self.components["gateway"].is_running):
            return
        from cordboard.up.shutdown import end_live_sessions

        try:
            ended = await end_live_sessions(self.addresses["gateway"], self._secrets.control)
        except CordboardError as error:
            log.warning("Live sessions could not be ended", error=error)
            return
        if ended:
            log.info("Live sessions were ended", sessions=ended)


def check_start_time(waiting: Sequence[str], passed_s: float, log_path: Path) -> None:
    """Check that components do not take too long to become ready.

    The runner may take as long as it allows a bot file to load; it ends first, with the reason.

    Args:
        waiting: The names of the components that are not ready.
        passed_s: Seconds since the start.
        log_path: The log directory, for the hint.

    Raises:
        CordboardError: They take too long.
    """
    within_s = RUNNER_READY_S if _are_runners(waiting) else READY_TIMEOUT_S
    if waiting and passed_s > within_s:
        raise CordboardError(
            f"{', '.join(waiting)} did not become ready within {within_s:.0f} s.",
            hint=f"The log lines are in {log_path}.",
        )


def _are_runners(names: Sequence[str]) -> bool:
    return bool(names) and all(service_of(name) == "runner" for name in names)


async def _start_error(component: Component) -> CordboardError:
    status = await component.wait()
    output = "\n".join(f"  {line.removeprefix('cordboard: ')}" for line in component.last_lines)
    return CordboardError(
        f"The {component.name} did not start ({describe_exit_status(status)}).\n{output}".rstrip()
    )


def _banner(addresses: Mapping[str, Any]) -> str:
    # `make` starts this from a virtual environment that is not on the PATH of the user's shell.
    command = "cordboard" if shutil.which("cordboard") else sys.argv[0]
    return (
        f"\n  Cordboard is up. Open {addresses['interface']}\n\n"
        f"  Pipecat's clients connect to:   {addresses['edge']}\n"
        f"  logs of the last ten minutes:   {command} logs --local -t 10m\n"
        f"  a call from the terminal:       {command} call webrtc:demo\n"
        "  stop everything:                Ctrl-C\n\n"
    )
