"""Models as child processes of the multiplexer, for machines without Docker: one at a time, seen stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time

from anvil.multiplexer.config import Row
from anvil.multiplexer.containers import ContainerError, State

GRACE_S = 30.0
LOOK_S = 0.02
WATCH_S = 0.5
REST_S = 1.0
TAIL_LINES = 20
TAIL_BYTES = 8192


class Child:
    """One process, its group and the end of what it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._swept = False
        self.started_at = f"{time.time():020.6f}"
        self._output = b""
        loop = asyncio.get_running_loop()
        self._tasks = (loop.create_task(self._read()), loop.create_task(self._gone(WATCH_S)))

    @property
    def code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def tail(self) -> str:
        """The last lines it wrote; of one that has ended, all that is still in the pipe counts."""
        if self.code is not None:
            await asyncio.wait(self._tasks[:1], timeout=REST_S)
        return "\n".join(self._output.decode(errors="replace").splitlines()[-TAIL_LINES:])

    async def end(self) -> None:
        """Returns when the process and its group are gone."""
        if self.code is None:
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(GRACE_S):
                    await self._gone(LOOK_S)
            except TimeoutError:
                self._signal(signal.SIGKILL)
        await self._gone(LOOK_S)

    async def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while data := await stream.read(TAIL_BYTES):
            self._output = (self._output + data)[-TAIL_BYTES:]

    async def _gone(self, every: float) -> None:
        """Looks, because asyncio's wait() may also wait for whoever inherited the output."""
        while self.code is None:
            await asyncio.sleep(every)
        if not self._swept:  # once: later the number of its group may be another's
            self._swept = True
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """To the whole group: an engine's own children hold the card too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class Processes:
    """Starts each row's ``command`` in a session of its own, with the multiplexer's environment and the row's."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    async def start(self, row: Row) -> None:
        child = self._children.get(row.container)
        if child is not None and child.code is None:
            return
        _require_free(row)
        try:
            process = await asyncio.create_subprocess_exec(
                *row.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **row.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise ContainerError(f"{row.command[0]}: {error.strerror or error}") from None
        self._children[row.container] = Child(process)

    async def stop(self, row: Row) -> None:
        child = self._children.get(row.container)
        if child is not None:
            await child.end()

    async def inspect(self, row: Row) -> State:
        child = self._children.get(row.container)
        if child is None:
            return State(running=False)
        return State(child.code is None, child.code, child.started_at)

    async def tail(self, row: Row) -> str:
        child = self._children.get(row.container)
        return await child.tail() if child else ""

    async def release(self) -> None:
        """Children end with us: nobody else would know that they hold the card."""
        await asyncio.gather(*(child.end() for child in self._children.values()))


def _require_free(row: Row) -> None:
    """Raises ContainerError when somebody else has the row's port: its answers would be taken for the model's."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((row.host or "127.0.0.1", row.port)) == 0:
            raise ContainerError(f"port {row.port} is taken by another process; stop it")
