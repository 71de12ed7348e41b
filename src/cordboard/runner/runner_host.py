"""The properties of a runner that all of its sessions share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cordboard.contract.launch import Launch
from cordboard.runner.context_cipher import ContextCipher
from cordboard.runner.forkserver import ForkServer
from cordboard.runner.pipes import BotOptions
from cordboard.runner.session_context import SessionContext
from cordboard.store import SessionStore


@dataclass(frozen=True, slots=True)
class RunnerHost:
    """A runner, as its sessions see it.

    Attributes:
        store: The session store.
        fork_server: The process from which bot processes are forked.
        runner_id: The id under which this runner registers.
        url: The address at which gateways and operators reach this runner.
        type: Whether this runner waits for sessions (``warm``) or was started for one (``cold``).
        job_name: The Kubernetes Job or process of a cold runner.
        pod: The Kubernetes pod of this runner, as NAMESPACE/NAME; empty elsewhere.
        build: What this runner knows of the build of its sessions.
        bot_options: The settings that concern the bots.
        no_restart: The bots whose sessions fail when their process is killed, instead of going on.
        keep_context: The bots of which what was said is kept.
        cipher: Encrypts what is kept.
        ice_config: Returns the ICE servers for a launch, with credentials; None without servers. Only the
            supervisor has the secret of the TURN servers; a bot process gets the credentials of its session.
    """

    store: SessionStore
    fork_server: ForkServer
    runner_id: str
    url: str
    type: Literal["warm", "cold"] = "warm"
    job_name: str | None = None
    pod: str = ""
    build: Mapping[str, str] = field(default_factory=dict)
    bot_options: BotOptions = field(default_factory=BotOptions)
    no_restart: frozenset[str] = frozenset()
    keep_context: frozenset[str] = frozenset()
    cipher: ContextCipher | None = None
    ice_config: Callable[[Launch], dict[str, Any] | None] = lambda _launch: None

    def session_context(self, launch: Launch) -> SessionContext:
        """Return what was said in the session of `launch`."""
        cipher = self.cipher if launch.bot in self.keep_context else None
        return SessionContext(launch, self.store, self.runner_id, cipher)
