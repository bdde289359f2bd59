"""The main process when workers die and signals come at bad moments; real processes are in tests/router."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from anvil.router.server import Listen, RouterServer


class Worker:
    """``start`` does what the test wants; a death is told to the main process as granian's watcher does."""

    def __init__(self, server: Server, start: Callable[[Worker], None] = lambda _: None) -> None:
        self.server, self._start = server, start
        self.inner = SimpleNamespace(pid=None)
        self.birth = time.monotonic()
        self.interrupt_by_parent = False
        self.alive = True

    def start(self) -> None:
        self._start(self)

    def is_alive(self) -> bool:
        return self.alive

    def kill(self) -> None:
        self.alive = False

    def die(self) -> None:
        self.alive = False
        if not self.interrupt_by_parent:
            self.server.interrupt_children.append(0)
            self.server.main_loop_interrupt.set()

    def serves(self) -> None:
        self.server._shared.ready.set()


class Server(RouterServer):
    def __init__(self) -> None:
        super().__init__(loaded("old"), lambda: loaded("new"), Listen())
        self.first = Worker(self)
        self.wrks = [self.first]
        self.spawned: list[str] = []
        self.begin: Callable[[Worker], None] = Worker.serves

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:
        self.spawned.append(self.loaded.config_hash)
        return Worker(self, self.begin)

    def begun(self) -> threading.Thread:
        """The main loop until a signal says stop."""
        thread = threading.Thread(target=self._serve_loop, args=(None, None), daemon=True)
        thread.start()
        return thread


def loaded(name: str) -> Any:
    return SimpleNamespace(config=SimpleNamespace(server=SimpleNamespace(drain_timeout_s=1)), config_hash=name)


@pytest.fixture
def server() -> Server:
    return Server()


def ended(server: Server, thread: threading.Thread) -> bool:
    time.sleep(0.05)
    server.signal_handler_interrupt()
    thread.join(5)
    return not thread.is_alive()


def test_a_dead_worker_is_started_again(server: Server) -> None:
    thread = server.begun()
    server.first.die()
    assert ended(server, thread)
    assert (server.spawned, server.wrks[0] is server.first) == (["old"], False)


def test_a_new_worker_that_dies_at_once_leaves_the_old_one_and_its_configuration(server: Server) -> None:
    server.begin = Worker.die
    thread = server.begun()
    server.signal_handler_reload()
    assert ended(server, thread), "nobody waits for a worker that is dead"
    assert (server.spawned, server.wrks, server.loaded.config_hash) == (["new"], [server.first], "old")
    assert (server._shared.applied.value, server._failures) == (0, 0)


def test_an_old_worker_that_dies_while_it_is_replaced_is_not_started_again(server: Server) -> None:
    def begin(worker: Worker) -> None:
        server.first.die()
        worker.serves()

    server.begin = begin
    thread = server.begun()
    server.signal_handler_reload()
    assert ended(server, thread)
    assert (server.spawned, server.loaded.config_hash, server._shared.applied.value) == (["new"], "new", 1)
    assert server.wrks[0].alive


@pytest.mark.parametrize("moment", ["stop", "reload"])
def test_a_signal_right_before_a_step_clears_the_event_is_not_lost(server: Server, moment: str) -> None:
    class Children(list[int]):
        def clear(self) -> None:
            super().clear()
            server.signal_handler_interrupt() if moment == "stop" else server.signal_handler_reload()

    server.interrupt_children = Children()
    thread = server.begun()
    server.first.die()
    if moment == "stop":
        thread.join(5)
        assert not thread.is_alive()
    else:
        assert ended(server, thread)
        assert server.spawned == ["old", "new"]
