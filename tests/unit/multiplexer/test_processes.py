"""Models as child processes: seen started, seen ended, nothing of their group left."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from anvil.multiplexer import processes
from anvil.multiplexer.config import Row
from anvil.multiplexer.containers import ContainerError, State
from anvil.multiplexer.processes import Processes


def row(*code: str, port: int = 1) -> Row:
    return Row(name="a", container="a", port=port, command=(sys.executable, "-c", "\n".join(code)))


@pytest.fixture
async def made() -> AsyncIterator[Processes]:
    children = Processes()
    yield children
    await children.release()


async def until_code(made: Processes, each: Row) -> int | None:
    async with asyncio.timeout(10):
        while (state := await made.inspect(each)).running:
            await asyncio.sleep(0.02)
    return state.exit_code


async def told(made: Processes, each: Row) -> str:
    async with asyncio.timeout(10):
        while not (text := await made.tail(each)):
            await asyncio.sleep(0.02)
    return text


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_one_that_ends_tells_its_code_and_last_lines(made: Processes) -> None:
    each = row("print('no memory', flush=True)", "raise SystemExit(3)")
    assert await made.inspect(each) == State(running=False)
    await made.start(each)
    assert await until_code(made, each) == 3
    assert await made.tail(each) == "no memory"


async def test_a_stop_takes_the_whole_group(made: Processes) -> None:
    each = row(
        "import subprocess, sys, time",
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)",
        "time.sleep(60)",
    )
    await made.start(each)
    worker = int(await told(made, each))
    await made.start(each)  # one that runs is left alone
    await made.stop(each)
    assert not (await made.inspect(each)).running
    async with asyncio.timeout(5):
        while alive(worker):
            await asyncio.sleep(0.02)


async def test_one_that_ignores_the_request_to_stop_is_killed(made: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    each = row(
        "import signal, time", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "print('up', flush=True)",
        "time.sleep(60)",
    )  # fmt: skip
    await made.start(each)
    await told(made, each)
    await made.stop(each)
    assert (await made.inspect(each)).exit_code == -9


async def test_the_rows_environment_is_added(made: Processes) -> None:
    each = Row(
        name="a", container="a", port=1, environment={"MODEL_FLAG": "yes"},
        command=(sys.executable, "-c", "import os; print(os.environ['MODEL_FLAG'], 'PATH' in os.environ)"),
    )  # fmt: skip
    await made.start(each)
    await until_code(made, each)
    assert await made.tail(each) == "yes True"


async def test_a_taken_port_is_said_before_anything_starts(made: Processes) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ContainerError, match="taken by another process"),
    ):
        await made.start(row("pass", port=other.getsockname()[1]))


async def test_a_program_that_is_not_there_is_one_line(made: Processes) -> None:
    with pytest.raises(ContainerError, match="/no/such/engine: No such file"):
        await made.start(Row(name="a", container="a", port=1, command=("/no/such/engine",)))


async def test_the_end_takes_the_children_along() -> None:
    made = Processes()
    each = row("import os, time", "print(os.getpid(), flush=True)", "time.sleep(60)")
    await made.start(each)
    pid = int(await told(made, each))
    assert pid != os.getpid()
    await made.release()
    assert not alive(pid)
