"""The ``claude`` command as a judge (router contract 21.5): prompt on stdin, no key, no project, 180 seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from anvil.lab.judge import JudgeFailed, Opinion, ProtocolError, Sample, prompt, reply
from anvil.lab.judge.family import CLAUDE

BINARY_VARIABLE = "ANVIL_CLAUDE_BIN"
TIMEOUT_S = 180.0


class BinaryMissing(Exception):
    """The command is not installed, or ANVIL_CLAUDE_BIN names nothing that can be run."""


class ClaudeJudge:
    """Asks the command line client, with whatever login it has; never with an API key of this environment."""

    families = frozenset({CLAUDE})

    def __init__(self, environ: Mapping[str, str], model: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Raises BinaryMissing."""
        wanted = environ.get(BINARY_VARIABLE, "").strip() or "claude"
        found = shutil.which(wanted, path=environ.get("PATH"))
        if found is None:
            raise BinaryMissing(f"{wanted}: not found; install the claude command or set {BINARY_VARIABLE}")
        self.name = f"claude{f' ({model})' if model else ''}"
        self._argv = [str(Path(found).absolute()), "-p", "--output-format", "json"]
        self._argv += ["--model", model] if model else []
        self._environ = {name: value for name, value in environ.items() if name != "ANTHROPIC_API_KEY"}
        self._timeout_s = timeout_s

    def opinion(self, sample: Sample) -> Opinion:
        """Raises JudgeFailed, ProtocolError."""
        return reply.read(_result(self._run(prompt.build(sample))))

    def _run(self, text: str) -> bytes:
        # an empty folder as working directory: instructions of a project must not colour the grade
        with tempfile.TemporaryDirectory(prefix="anvil-judge-") as folder, tempfile.TemporaryFile() as stdin:
            stdin.write(text.encode("utf-8", "replace"))
            stdin.seek(0)
            try:
                done = subprocess.run(
                    self._argv,
                    stdin=stdin,
                    capture_output=True,
                    cwd=folder,
                    env=self._environ,
                    timeout=self._timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise JudgeFailed(f"claude took longer than {self._timeout_s:g} seconds") from None
            except OSError as error:
                raise JudgeFailed(f"claude could not be started: {error.strerror or error}") from None
        if done.returncode != 0:
            raise JudgeFailed(f"claude ended with code {done.returncode}: {_last_line(done.stderr or done.stdout)}")
        return done.stdout


def _result(data: bytes) -> str:
    """The text of the client's JSON document, or of the last result in its list of events."""
    try:
        document: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError("claude printed no JSON document") from None
    if isinstance(document, list):
        document = next((e for e in reversed(document) if isinstance(e, dict) and e.get("type") == "result"), None)
    if not isinstance(document, dict) or not isinstance(document.get("result"), str):
        raise ProtocolError("claude printed a document without a result text")
    if document.get("is_error"):
        raise JudgeFailed(f"claude reports an error: {document['result'][:200]}")
    return str(document["result"])


def _last_line(data: bytes) -> str:
    lines = data.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def from_environment(model: str | None = None) -> ClaudeJudge:
    """The judge of this process's environment. Raises BinaryMissing."""
    return ClaudeJudge(os.environ, model)
