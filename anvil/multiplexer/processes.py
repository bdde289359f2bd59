"""Models as child processes of the multiplexer, for machines without Docker: one at a time, seen stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections import deque

from anvil.multiplexer.config import Row
from anvil.multiplexer.containers import ContainerError, State

GRACE_S = 30.0
TAIL_LINES = 20
LINE_CAP = 65_536


class Child:
    """One process and the last lines it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.started_at = f"{time.time():020.6f}"
        self.lines: deque[str] = deque(maxlen=TAIL_LINES)
        self.reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while data := await stream.read(LINE_CAP):
            # pieces of lines are joined well enough for a message
            self.lines.extend(data.decode(errors="replace").splitlines())
        await self.process.wait()

    def signal(self, number: int) -> None:
        """To the whole group: an engine's own children hold the card too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class Processes:
    """Starts each row's ``command`` in a session of its own, with the multiplexer's environment and the row's."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    async def start(self, row: Row) -> None:
        child = self._children.get(row.container)
        if child is not None and child.process.returncode is None:
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
        if child is None:
            return
        child.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE_S):
                await child.process.wait()
        except TimeoutError:
            child.signal(signal.SIGKILL)
            await child.process.wait()
        child.signal(signal.SIGKILL)  # what the engine left of its group

    async def inspect(self, row: Row) -> State:
        child = self._children.get(row.container)
        if child is None:
            return State(running=False)
        code = child.process.returncode
        return State(code is None, code, child.started_at)

    async def tail(self, row: Row) -> str:
        child = self._children.get(row.container)
        if child is None:
            return ""
        if child.process.returncode is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.shield(child.reader)
        return "\n".join(child.lines)

    def close(self) -> None:
        """Children end with us: nobody else would know that they hold the card."""
        for child in self._children.values():
            if child.process.returncode is None:
                child.signal(signal.SIGKILL)


def _require_free(row: Row) -> None:
    """Raises ContainerError when somebody else has the row's port: its answers would be taken for the model's."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((row.host or "127.0.0.1", row.port)) == 0:
            raise ContainerError(f"port {row.port} is taken by another process; stop it")
