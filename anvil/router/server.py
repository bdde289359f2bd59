"""The main process: one worker, validated reloads, restarts with back-off, drained shutdowns (contract 3.2, 3.3).

granian's process supervision, with our own worker (worker.py) behind it.
"""

from __future__ import annotations

import ipaddress
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from granian.constants import HTTPModes, Interfaces
from granian.server import Server
from granian.server.mp import WorkerProcess
from msgspec import Struct

from anvil.router.announce import Level, say
from anvil.router.config import ConfigError
from anvil.router.door import POST_ROUTES

if TYPE_CHECKING:
    from pathlib import Path

    from anvil.router.loading import Loaded

# The kernel's queue of callers not yet accepted (contract 2.4).
BACKLOG = 1024
# A worker that lives this long after a crash is healthy again: the next restart is immediate.
HEALTHY_S = 30.0
BACKOFF_MAX_S = 30.0
READY_S = 15.0
READY_POLL_S = 0.2
# After its own drain deadline a worker gets this much longer before it is killed.
KILL_GRACE_S = 5


class Listen(Struct, frozen=True):
    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_format: Literal["text", "json"] = "text"
    holder: str = ""  # the Unix socket that gives the published one (holder.py)


class Shared:
    """What the main process tells its workers: reload counts and a ready flag."""

    def __init__(self) -> None:
        self.applied = multiprocessing.Value("L", 0)
        self.refused = multiprocessing.Value("L", 0)
        self.ready = multiprocessing.Event()


def _work(loaded: Loaded, shared: Shared, listen: Listen, sock: socket.socket) -> None:
    from anvil.router import worker  # the main process never needs the door

    worker.run(loaded, shared, listen, sock)


class RouterServer(Server):  # type: ignore[misc]  # granian is untyped here
    """One worker. ``reload`` gives freshly validated configuration or raises ConfigError."""

    def __init__(self, loaded: Loaded, reload: Callable[[], Loaded], listen: Listen) -> None:
        server = loaded.config.server
        self.loaded = loaded
        self._reload_config = reload
        self._listen = listen
        self._shared = Shared()
        self._failures = 0
        self._retired: list[WorkerProcess] = []
        self._yields = False
        super().__init__(
            "anvil",
            address=listen.host,
            port=listen.port,
            interface=Interfaces.RSGI,
            workers=1,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            loop="uvloop",
            log_enabled=False,
            workers_kill_timeout=int(server.drain_timeout_s) + KILL_GRACE_S,
            respawn_failed_workers=True,
            ssl_cert=listen.tls_cert,
            ssl_key=listen.tls_key,
            process_name=None,
        )

    def run(self) -> None:
        self.serve(target_loader=lambda: None, wrap_loader=False)

    def _yield(self, *_: object) -> None:
        self._yields = True
        self.main_loop_interrupt.set()

    # -- granian's steps, ours
    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        signal.signal(signal.SIGUSR1, self._yield)
        super().startup(spawn_target, target_loader)

    def _init_shared_socket(self) -> None:
        """One listening socket for all workers: a reload or a crash loses no queued connection.

        One per worker (SO_REUSEPORT) would reset the old one's queue when it closes.
        """
        family = socket.AF_INET6 if ":" in self.bind_addr else socket.AF_INET
        both = self.bind_addr == "::" and socket.has_dualstack_ipv6()
        self._sso = socket.create_server(
            (self.bind_addr, self.bind_port), family=family, backlog=self.backlog, dualstack_ipv6=both
        )
        self._sso.set_inheritable(True)

    def _drop_shared_socket(self) -> None:
        self._sso.close()

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:
        return WorkerProcess(
            parent=self, idx=idx, target=_work, args=(self.loaded, self._shared, self._listen, self._sso)
        )

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        self.reload_signal = False
        self.main_loop_interrupt.clear()
        running = self.loaded
        try:
            self.loaded = self._reload_config()
        except (ConfigError, OSError) as error:
            self._shared.refused.value += 1
            problems = "; ".join(str(error).splitlines())
            self._say(f"reload refused, the running configuration stays: {problems}", "error")
            return
        if not self._swap(spawn_target):
            self.loaded = running  # what a worker that dies is started with again

    def _swap(self, spawn_target: Any) -> bool:
        """Start a worker on the new configuration; only when it serves does the old one drain."""
        old = self.wrks[0]
        self._shared.ready.clear()
        new = self._spawn_worker(0, spawn_target, None)
        new.start()
        if not self._serves(new):
            new.interrupt_by_parent = True
            new.kill()
            self._say("reload failed: the new worker did not start; the old one keeps serving", "error")
            return False
        self._shared.applied.value += 1
        self.wrks[0] = new
        _retire(old)  # it ends by itself when its requests have, and must not keep us from signals until then
        self._retired = [worker for worker in self._retired if worker.is_alive()] + [old]
        self._say(f"reloaded: configuration {self.loaded.config_hash}")
        return True

    def _serves(self, worker: Any) -> bool:
        """Whether a worker says so in time; one that died is not waited for."""
        until = time.monotonic() + READY_S
        while not self._shared.ready.wait(READY_POLL_S):
            if not worker.is_alive() or time.monotonic() > until:
                return False
        return bool(worker.is_alive())

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        # the flags are looked at before each wait: whoever sets one may do so right before a step clears the event
        while not self.interrupt_signal:
            if not (self.interrupt_children or self._yields or self.reload_signal):
                self.main_loop_interrupt.wait()
            if self.interrupt_signal:
                return
            if self.interrupt_children:
                self._restart(spawn_target)
            if self._yields:
                self._hand_over()
            if self.reload_signal:
                self._reload(spawn_target, target_loader)

    def _hand_over(self) -> None:
        """Another router takes the callers: finish what is here, refuse nothing, wait to be stopped."""
        self._yields = False
        self.main_loop_interrupt.clear()
        _retire(self.wrks[0])
        self._say("handed over: requests in progress finish, no more are taken")

    def _restart(self, spawn_target: Any) -> None:
        self.interrupt_children.clear()
        self.main_loop_interrupt.clear()
        if self.wrks[0].is_alive():  # the one that died was another: it lost its place, or never got it
            return
        alive = time.monotonic() - self.wrks[0].birth
        self._failures = 0 if alive > HEALTHY_S else self._failures + 1
        delay = 0.0 if self._failures <= 1 else min(BACKOFF_MAX_S, 0.5 * 2**self._failures)
        self._say(f"worker died after {alive:.1f} s; starting another in {delay:.1f} s", "error")
        if self.main_loop_interrupt.wait(delay) and self.interrupt_signal:
            return
        worker = self._spawn_worker(0, spawn_target, None)
        self.wrks[0] = worker
        worker.start()

    def _stop_workers(self) -> None:
        self.wrks.extend(worker for worker in self._retired if worker.is_alive())
        super()._stop_workers()

    def shutdown(self, exit_code: int = 0) -> None:
        self.interrupt_children.clear()
        super().shutdown(exit_code)

    def _say(self, message: str, level: Level = "info") -> None:
        say(message, level=level, format=self._listen.log_format)


def _retire(worker: Any) -> None:
    """Tell a worker that another one has taken over: it finishes its requests and ends."""
    worker.interrupt_by_parent = True
    try:
        os.kill(worker.inner.pid, signal.SIGUSR1)
    except (ProcessLookupError, TypeError):
        return


def serve(loaded: Loaded, reload: Callable[[], Loaded], listen: Listen) -> None:
    """Run until a signal says stop; exit code 0 after a clean drain. Raises SystemExit 1 when the port is taken."""
    _refuse_busy_port(listen)
    banner(loaded, listen)
    RouterServer(loaded, reload, listen).run()


def banner(loaded: Loaded, listen: Listen) -> None:
    """What starts where, and every warning an operator should see."""
    scheme = "https" if listen.tls_cert else "http"
    tiers = ", ".join(loaded.binding.keys) or "none"
    release = loaded.release or "none"
    tell = partial(say, format=listen.log_format)
    tell(f"{scheme}://{listen.host}:{listen.port} release {release} configuration {loaded.config_hash} tiers {tiers}")
    tell(f"routes {' '.join(sorted(POST_ROUTES))}")
    named = " or ".join(loaded.config.server.auth_env)
    tell(f"callers need the token in {named}" if loaded.tokens else "callers need no token: [server] names no auth_env")
    warn = partial(tell, level="warning")
    for note in loaded.notes:
        warn(f"warning: {note}")
    if not _is_loopback(listen.host):
        if loaded.tokens:
            warn(f"warning: listening on {listen.host}, beyond loopback")
        else:
            warn(f"WARNING: listening on {listen.host} WITHOUT A TOKEN: anyone who reaches it may use your models")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_busy_port(listen: Listen) -> None:
    """granian would only say so from a dying worker; one clear line is better."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            advice = "use another --port or stop its owner"
            message = f"cannot listen on {listen.host}:{listen.port}: {error.strerror}; {advice}"
            say(message, level="error", format=listen.log_format)
            raise SystemExit(1) from None
