"""The multiplexer's process: one thread, one event loop, no workers, because two of them would share one card."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import uvloop

from anvil.multiplexer.app import App
from anvil.multiplexer.config import MultiplexerConfig
from anvil.multiplexer.docker import Docker
from anvil.multiplexer.guard import Guard, available_ram, free_vram
from anvil.multiplexer.lifecycle import Lifecycle
from anvil.multiplexer.processes import Processes
from anvil.multiplexer.relay import Relay
from anvil.multiplexer.residency import Residency
from anvil.router.announce import say
from anvil.router.config import ServerConfig
from anvil.router.listener import Listener
from anvil.router.log import Log
from anvil.router.redact import Scrubber

if TYPE_CHECKING:
    from anvil.multiplexer.containers import Containers

BACKLOG = 1024
LOOK_S = 0.05
# After the drain time, what was cut still gets this long to end.
LAST_WORDS_S = 2.0


def serve(config: MultiplexerConfig, tokens: tuple[bytes, ...]) -> None:
    """Run until SIGTERM or SIGINT; returns after the drain. Raises SystemExit 1 when the port is taken."""
    sock = _bound(*config.address)
    say(f"multiplexer http://{config.listen} models {', '.join(row.name for row in config.registry)}")
    if not ipaddress.ip_address(config.address[0]).is_loopback:
        say(f"warning: listening on {config.address[0]}, beyond loopback")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_served(config, tokens, sock))


async def _served(config: MultiplexerConfig, tokens: tuple[bytes, ...], sock: socket.socket) -> None:
    # the router's limits; only the drain is the file's
    limits = ServerConfig(drain_timeout_s=config.drain_timeout_s)
    log = Log(scrubber=Scrubber([token.decode() for token in tokens]))
    containers: Containers = Processes() if config.runtime == "process" else Docker(config.docker_socket)
    relay = Relay(config, log)
    guard = Guard(config.ram_cap_gb, available_ram, lambda: free_vram(config.gpu))
    relay.residency = Residency(config, Lifecycle(containers, relay.ready), guard, log)
    app = App(limits, tokens, relay.residency, relay, log)
    told = _told()
    with closing(log):
        try:
            relay.residency.open()
            with closing(relay), closing(Listener(sock, app.serve, limits, lambda reason: None)) as listener:
                await listener.start()
                await told.wait()
                await _finished(listener, relay.residency, limits.drain_timeout_s, log)
        finally:
            relay.residency.close()
            await containers.release()


def _told() -> asyncio.Event:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told


async def _finished(listener: Listener, residency: Residency, drain_timeout_s: float, log: Log) -> None:
    """No new requests; what runs may finish for drain_timeout_s, then it is cut."""
    listener.stop()
    residency.drain()
    await _quiet(listener, drain_timeout_s)
    if count := residency.cut():
        log.warning("shutdown cuts requests", cut=count)
    await _quiet(listener, LAST_WORDS_S)


async def _quiet(listener: Listener, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while listener.busy and loop.time() < end:
        await asyncio.sleep(LOOK_S)


def _bound(host: str, port: int) -> socket.socket:
    """Raises SystemExit 1."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        say(f"cannot listen on {host}:{port}: {error.strerror}; change listen or stop its owner")
        raise SystemExit(1) from None
    sock.setblocking(False)
    return sock
