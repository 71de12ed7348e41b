"""Starts the parts together, waits until they answer, watches them, stops them in order."""

import asyncio
import contextlib
import functools
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cordboard.contract.errors import CordboardError
from cordboard.contract.urls import redacted_url
from cordboard.emit import flush, get_logger
from cordboard.environment import (
    CONTROL_SECRET,
    SESSION_SECRET,
    SESSION_SECRETS,
    child_environment,
    clean_environment,
    is_inspection_allowed,
)
from cordboard.processes import adopt_orphans, describe_exit_status
from cordboard.runner.bot_file import LOAD_TIMEOUT_S
from cordboard.settings import Settings
from cordboard.settings.running import UP_SOCKET_NAME
from cordboard.store import open_store
from cordboard.up.component import Part
from cordboard.up.component_logs import Lines
from cordboard.up.embedded import EmbeddedServer
from cordboard.up.ports import HOST, free_ports
from cordboard.up.secret_socket import Orphans, SecretSocket
from cordboard.up.state import StateFile
from cordboard.up.terminal import hung_up
from cordboard.up.valkey_log import ValkeyLog

READY_TIMEOUT_S: Final = 60.0
# The runner exits by itself, with the reason, when a bot file takes longer than it allows.
RUNNER_READY_S: Final = LOAD_TIMEOUT_S + 20.0
# When the wait is explained; a bot that loads no model is imported in half of this time.
TELL_IMPORT_S: Final = 5.0
POLL_S: Final = 0.02
ORPHANS_S: Final = 1.0
# Longer than each part's own: a gateway answers joins that wait for up to 12 s, an operator its hand-over.
GRACE_S: Final = {"interface": 6.0, "gateway": 15.0, "runner": 20.0, "operator": 18.0}
STOP_ORDER: Final = ("interface", "gateway", "runner", "operator")
RESTARTS_MAX: Final = 3
RESTART_WINDOW_S: Final = 60.0
RUNNER_GRACE_S: Final = 5
SAME_SIGNAL_S: Final = 0.3  # make hands a signal on that its whole group got: that is one, not two

log = get_logger("up")


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked of `cordboard up`; a port of 0 means any free one."""

    gateway_port: int = 4444
    runner_port: int = 7860
    operator_port: int = 4445
    interface_port: int = 3000
    bots: tuple[str, ...] = ()
    config: str | None = None


@dataclass(slots=True)
class Supervisor:
    """Everything that runs, by name."""

    settings: Settings
    options: Options
    lines: Lines = field(init=False)
    parts: dict[str, Part] = field(default_factory=dict)
    redis: EmbeddedServer | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    control: str = field(default="", repr=False)
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    redis_url: str = field(default="", repr=False)
    was_ready: bool = False
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _hurried: bool = False
    _deaf: bool = False
    _told_import: bool = False
    _restarts: dict[str, list[float]] = field(default_factory=dict)

    async def run(self) -> int:
        """Run until a signal, or until a part cannot be kept alive; return the exit status.

        Raises:
            CordboardError: A port is taken, another `up` runs, Redis does not answer, or a part did
            not start.
        """
        adopt_orphans()  # so that a bot's orphans stay our descendants: see secret_socket
        with StateFile() as state:
            self.lines = Lines(self.settings)
            self._listen_for_signals()
            try:
                self._prepare()
                await self._check_redis()
                await self._start()
                with self._telling_secrets():
                    state.write({"pid": os.getpid(), "addresses": self.addresses})
                    if not self._stop.is_set():
                        self._tell_ready()
                        await self._watch()
                return 0
            finally:
                await self._stop_all()
                self.lines.close()

    # --- starting

    def _prepare(self) -> None:
        """Choose ports and secrets; declare the parts."""
        ports = self._ports()
        self.control = (self.settings.control_secrets or (secrets.token_urlsafe(32),))[0]
        if not self.settings.redis_url:
            self.redis = EmbeddedServer(
                self.settings.state_dir / "redis",
                ValkeyLog(functools.partial(self.lines.write, "redis")),
                private=True,
                environment=clean_environment(),
                readable=is_inspection_allowed(),
            )
        self.redis_url = self.settings.redis_url or (self.redis.url if self.redis else "")
        urls = {name: f"http://{HOST}:{ports[name]}" for name in STOP_ORDER}
        self.addresses = {
            "interface": urls["interface"],
            "gateway": urls["gateway"],
            "runner": urls["runner"],
            "operator": urls["operator"],
            "redis": self.redis.address if self.redis else redacted_url(self.redis_url),
            "logs": str(self.settings.log_path),
        }
        self.parts = {
            name: Part(name, words, urls[name], self._environment(name), self.lines.speak)
            for name, words in self._commands(ports).items()
        }

    def _environment(self, part: str) -> dict[str, str]:
        """Return the environment of a part: of the secrets only those that it needs."""
        shared = {
            CONTROL_SECRET: self.control,
            "CORDBOARD_GATEWAY_URL": self.addresses["gateway"],
            "LOG_FORMAT": "json",
            "PYTHONUNBUFFERED": "1",
        }
        if part != "interface":
            logins = dict.fromkeys(SESSION_SECRETS)
            return child_environment(**logins, **shared, REDIS_URL=self.redis_url)
        found = child_environment(**shared, REDIS_URL=None)
        if not self.settings.session_secret:
            found[SESSION_SECRET] = self.session
        return found

    def _commands(self, ports: Mapping[str, int]) -> dict[str, list[str]]:
        # On loopback nobody can intercept, and the parts' own calls are plain HTTP.
        shared = ["--tls-cert", ""]
        shared += ["--config", self.options.config] if self.options.config else []
        bots = [word for bot in self.options.bots for word in ("--bot", bot)]
        capacity = str(self.settings.runner_capacity)
        commands = {
            "runner": ["--capacity", capacity, "--grace", str(RUNNER_GRACE_S), *bots],
            "gateway": [],
            "operator": bots,
            "interface": [],
        }
        return {
            name: [name, "--host", HOST, "--port", str(ports[name]), *words, *shared]
            for name, words in commands.items()
        }

    def _ports(self) -> dict[str, int]:
        """Return the port of each part; the one that the user named must be free."""
        return free_ports(
            {
                "gateway": self.options.gateway_port,
                "runner": self.options.runner_port,
                "operator": self.options.operator_port,
                "interface": self.options.interface_port,
            }
        )

    async def _check_redis(self) -> None:
        """See that the user's own Redis answers: without it, no part would ever get ready."""
        if self.settings.redis_url:
            async with open_store(self.settings.redis_url) as store:
                await store.ping()
                await store.check_permitted()

    async def _start(self) -> None:
        began = time.monotonic()
        if self.redis is not None:
            self.redis.spawn()
        await asyncio.gather(*(part.start() for part in self.parts.values()))
        if self.redis is not None:
            await asyncio.to_thread(self.redis.wait)
        waiting = dict(self.parts)
        while waiting and not self._stop.is_set():
            for name, part in list(waiting.items()):
                if not part.alive:
                    raise await _did_not_start(part)
                if await part.ready():
                    del waiting[name]
            self._look_at_time(list(waiting), time.monotonic() - began)
            await asyncio.sleep(POLL_S)
        log.debug("All parts answer", seconds=round(time.monotonic() - began, 2))

    def _look_at_time(self, waiting: list[str], passed_s: float) -> None:
        """Explain a wait for the bot file; end one that lasts too long."""
        within_s = RUNNER_READY_S if waiting == ["runner"] else READY_TIMEOUT_S
        if waiting == ["runner"] and passed_s > TELL_IMPORT_S and not self._told_import:
            self._told_import = True
            log.info(
                "The bot file is still being imported",
                bots=list(self.options.bots),
                within_s=within_s,
            )
        if passed_s > within_s:
            raise CordboardError(
                f"{', '.join(waiting)} did not get ready within {within_s:.0f} s.",
                hint=f"Their lines are in {self.settings.log_path}.",
            )

    def _tell_ready(self) -> None:
        self.was_ready = True
        log.info("Cordboard is up", event="up.ready", **self.addresses)
        flush()
        if sys.stdout.isatty():
            sys.stdout.write(_banner(self.addresses))
            sys.stdout.flush()

    # --- watching

    async def _watch(self) -> None:
        """Look after the parts until a signal comes."""
        watchers = [asyncio.create_task(self._keep(part)) for part in self.parts.values()]
        watchers.append(asyncio.create_task(self._reap_orphans()))
        if self.redis is not None:
            watchers.append(asyncio.create_task(self._keep_redis(self.redis)))
        if sys.stdin is not None and sys.stdin.isatty():
            watchers.append(asyncio.create_task(self._wait_for_hang_up()))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*watchers, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*watchers, stopping):
                task.cancel()
            await asyncio.gather(*watchers, stopping, return_exceptions=True)

    async def _wait_for_hang_up(self) -> None:
        await hung_up(sys.stdin.fileno())
        log.info("The terminal was closed; stopping all parts in order")

    @contextlib.contextmanager
    def _telling_secrets(self) -> Iterator[None]:
        """Give commands of this user the secrets, as long as the block runs."""
        told = {"control_secret": self.control, "redis_url": self.redis_url}
        door = SecretSocket(self.settings.state_dir / UP_SOCKET_NAME, told)
        loop = asyncio.get_running_loop()
        loop.add_reader(door, door.answer)
        try:
            yield
        finally:
            loop.remove_reader(door)
            door.close()

    async def _reap_orphans(self) -> None:
        orphans = Orphans()
        while True:
            await asyncio.sleep(ORPHANS_S)
            started = {part.process.pid for part in self.parts.values() if part.process}
            orphans.reap(started | {self.redis.pid if self.redis else 0})

    async def _keep(self, part: Part) -> None:
        """Start a part again when it ends, and say so; give up when it does so often."""
        while True:
            status = await part.ended()
            last = {"last_words": part.last_words[-1]} if part.last_words else {}
            log.error(
                "A part ended unexpectedly; starting it again",
                part=part.name,
                status=describe_exit_status(status),
                **last,
            )
            self._count_restart(part.name)
            await asyncio.sleep(0.2)
            await part.start()

    async def _keep_redis(self, redis: EmbeddedServer) -> None:
        while True:
            await asyncio.sleep(0.2)
            if redis.process is None or redis.process.poll() is None:
                continue
            log.error(
                "The embedded Redis ended unexpectedly; starting it again with what it had written",
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
                f"{name} ended {len(recent) + 1} times within {RESTART_WINDOW_S:.0f} s; giving up.",
                hint=f"Its last lines are in {self.settings.log_path}.",
            )

    # --- stopping

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        if self._deaf:
            return
        self._deaf = True
        # A timer, not a look at the clock: where the loop was held up, both signals come before it.
        asyncio.get_running_loop().call_later(SAME_SIGNAL_S, self._hear_again)
        first = not self._stop.is_set()
        self._stop.set()
        if first:
            log.info("Stopping all parts in order", signal=number.name)
        elif (
            number is signal.SIGINT
        ):  # a person at a keyboard; other senders that repeat a signal can wait
            self._hurried = True
            log.warning("Stopping at once", signal=number.name)
            for part in self.parts.values():
                part.signal(signal.SIGKILL, group=True)

    def _hear_again(self) -> None:
        self._deaf = False

    async def _stop_all(self) -> None:
        await self._end_live_sessions()
        for name in STOP_ORDER:
            if name in self.parts:
                await self.parts[name].stop(GRACE_S[name])
        if self.redis is not None:
            await asyncio.to_thread(self.redis.stop)
        if self.addresses:
            log.info("All parts have stopped")
        flush()

    async def _end_live_sessions(self) -> None:
        """End the live sessions while the parts that can do it are there; a second Ctrl-C skips it."""
        if (
            self._hurried
            or not self._stop.is_set()
            or not self.was_ready
            or not self.parts["gateway"].alive
        ):
            return
        from cordboard.up.shutdown import end_live_sessions

        try:
            left = await end_live_sessions(self.addresses["gateway"], self.control)
        except CordboardError as error:
            log.warning("Live sessions could not be left", error=error)
            return
        if left:
            log.info("Live sessions were left", sessions=left)


async def _did_not_start(part: Part) -> CordboardError:
    status = await part.ended()
    said = "\n".join(f"  {line.removeprefix('cordboard: ')}" for line in part.last_words)
    return CordboardError(
        f"The {part.name} did not start ({describe_exit_status(status)}).\n{said}".rstrip()
    )


def _banner(addresses: Mapping[str, Any]) -> str:
    # Started by `make`, we may be in an environment that the user's shell does not know.
    us = "cordboard" if shutil.which("cordboard") else sys.argv[0]
    return (
        f"\n  Cordboard is up. Open {addresses['interface']}\n\n"
        f"  logs of the last ten minutes:  {us} logs --local -t 10m\n"
        f"  a call from the terminal:      {us} call webrtc:demo\n"
        "  stop everything:               Ctrl-C\n\n"
    )
