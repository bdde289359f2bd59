"""The process that serves: one thread, one event loop; started and replaced by the main process (contract 3.2, 3.3)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
from typing import TYPE_CHECKING

import uvloop

from anvil.router import lease
from anvil.router.app import App
from anvil.router.listener import Listener

if TYPE_CHECKING:
    from anvil.router.loading import Loaded
    from anvil.router.server import Listen, Shared

LOOK_S = 0.05
# A request makes some hundred objects and no cycles: collecting every 700 would be every few requests.
YOUNG_OBJECTS = 10_000
# After the drain time, streams still get this long to send their error event.
LAST_WORDS_S = 2.0


def run(loaded: Loaded, shared: Shared, listen: Listen, sock: socket.socket) -> None:
    """Serve on ``sock`` until told to stop. The main process handles Ctrl-C for both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Worker(loaded, shared, listen, sock).serve())


class _Worker:
    def __init__(self, loaded: Loaded, shared: Shared, listen: Listen, sock: socket.socket) -> None:
        self._app = App(loaded, shared, listen)
        self._shared = shared
        self._limits = loaded.config.server
        self._tls = _tls(listen)
        self._holder = listen.holder
        self._sock = sock
        self._parent = os.getppid()
        self._told = asyncio.Event()
        self._retired = False

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._app.start(loop)
        self._sock.setblocking(False)
        listener = Listener(self._sock, self._app.serve, self._limits, self._app.runtime.refused, self._tls)
        await listener.start()
        held = loop.create_task(lease.keep(self._holder, listener)) if self._holder else None
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGUSR1, self._retire)
        gc.collect()
        gc.freeze()  # what is here now stays until the end: no collection needs to look at it
        gc.set_threshold(YOUNG_OBJECTS, 10, 10)
        self._shared.ready.set()
        try:
            await self._until_told()
            if held is not None:
                held.cancel()
            await self._finish(listener)
        finally:
            listener.close()
            self._app.close()

    async def _until_told(self) -> None:
        """A signal, or the death of the main process: a worker without one could never be stopped."""
        while not self._told.is_set() and os.getppid() == self._parent:
            try:
                async with asyncio.timeout(1.0):
                    await self._told.wait()
            except TimeoutError:
                continue

    async def _finish(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.drain_timeout_s
        if self._retired:
            listener.retire()
            while listener.connections and loop.time() < end:
                self._app.runtime.recorder.followers.close()  # new decisions are made elsewhere: let readers go there
                await asyncio.sleep(LOOK_S)
        else:
            listener.stop()
        self._app.runtime.drain()
        while listener.busy and loop.time() < end:
            await asyncio.sleep(LOOK_S)
        self._app.runtime.cut()
        end = loop.time() + LAST_WORDS_S
        while listener.busy and loop.time() < end:
            await asyncio.sleep(LOOK_S)

    def _stop(self) -> None:
        self._told.set()

    def _retire(self) -> None:
        """Another worker has taken over: finish what is here, refuse nothing."""
        self._retired = True
        self._told.set()


def _tls(listen: Listen) -> ssl.SSLContext | None:
    if listen.tls_cert is None or listen.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(listen.tls_cert, listen.tls_key)
    return context
