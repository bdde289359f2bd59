"""What keeping prefixes stable is worth on a real engine: a Claude-Code-like conversation whose billing line changes.

The tier is llama.cpp's server with SmolLM2-135M-Instruct, from the cache of ``scripts/demo``. It answers in its own
words, and the conversation goes on from them. Once with ``stable_prefix`` and once without, each on a fresh engine.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from msgspec import Struct

from anvil.lab import engine
from anvil.lab.fetch import Unavailable
from tests.router.conftest import config_toml, free_port, tier_toml
from tests.soak.house import ROUTER, House, house

CONTEXT = 4096
TURNS = 6
CAP = 24
START_S = 60.0
MODEL = "smollm2"
_RULES = (
    "Read a file before you change it.", "Keep to the style of the code around.", "Say what you changed and why.",
    "Run the tests that cover a change.", "Ask when a wish can be read in two ways.", "Never print a secret.",
    "Prefer small functions with plain names.", "Leave files you were not asked about alone.",
)  # fmt: skip
SYSTEM = "You are a coding agent in a terminal.\n" + "\n".join(
    f"{number}. {_RULES[number % len(_RULES)]} This holds for part {number} of the work as for every other."
    for number in range(60)
)
ASKED = (
    "What does a parser do?", "And a lexer?", "Which of the two comes first?", "Name one tool that makes parsers.",
    "What is a grammar?", "Thanks. Sum it up in one sentence.",
)  # fmt: skip


class Turn(Struct, frozen=True):
    """Prompt tokens of one turn, how many of them the engine had cached, and the time of the whole call."""

    prompt: int
    cached: int
    seconds: float


def run(*, stable: bool) -> list[Turn]:
    """The conversation, turn by turn, over a fresh engine. Raises Unavailable when there is none for this machine."""
    with _engine() as port:
        url = f"http://127.0.0.1:{port}/v1"
        tier = tier_toml("fast-local", url, model=MODEL, context_limit=CONTEXT, engine="llamacpp", stable_prefix=stable)
        with house(config_toml(tier, presets={"chat": ["fast-local"]}, router=ROUTER)) as made:
            return _converse(made)


def _converse(made: House) -> list[Turn]:
    turns = []
    messages: list[dict[str, Any]] = []
    for asked in ASKED[:TURNS]:
        messages.append({"role": "user", "content": [{"type": "text", "text": asked}]})
        body = {"model": "chat", "max_tokens": CAP, "system": _system(), "messages": messages}
        answer = made.running.client.post("/v1/messages", json=body, timeout=120)
        answer.raise_for_status()
        messages.append({"role": "assistant", "content": answer.json()["content"]})
        (attempt,) = made.running.last()["attempts"]
        turns.append(Turn(attempt["prompt_tokens"], attempt["cached_tokens"] or 0, attempt["duration_ms"] / 1000))
    return turns


def _system() -> list[dict[str, str]]:
    """The system text as Claude Code sends it: a billing line that changes with every request comes first."""
    billing = f"x-anthropic-billing-header: cc_version=2.1.0.{secrets.token_hex(2)}; cc_entrypoint=cli;"
    return [{"type": "text", "text": f"{billing} cch={secrets.token_hex(3)};"}, {"type": "text", "text": SYSTEM}]


@contextmanager
def _engine() -> Iterator[int]:
    """A llama-server of one slot; yields its port."""
    found, weights, port = engine.engine(), engine.weights("tiny"), free_port()
    argv = [str(found.binary), "--model", str(weights), "--alias", MODEL, "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--ctx-size", str(CONTEXT), "--parallel", "1", "--jinja", "--no-webui"]
    with subprocess.Popen(
        argv, env=found.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _await(port, process)
            yield port
        finally:
            process.kill()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise Unavailable(f"llama-server did not start (exit code {process.poll()})")
