"""What a preflight test works on, and how its answers are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx

from anvil.lab.chat import Chunk, Failure, Reply, complete, stream
from anvil.lab.endpoint import Endpoint

# Pieces of a chat template or a tool grammar: in content they mean that a parser did not take them.
MARKERS = ("<<tool", "<|", "function=", "</parameter", "\ufffd")
_SHOWN = 160


@dataclass(frozen=True)
class Settings:
    """``max_tokens`` caps every answer, ``timeout_s`` limits every request, ``allow_text`` accepts text where a tool
    call was asked for."""

    needle_tokens: int
    tool_batch: int = 20
    max_tokens: int = 256
    timeout_s: float = 900.0
    allow_text: bool = False


@dataclass
class Subject:
    """The endpoint under test. ``window`` in tokens, None = unknown; ``reasoning_tokens`` sums what the engine
    counted since the last reset."""

    http: httpx.AsyncClient
    endpoint: Endpoint
    settings: Settings
    window: int | None = None
    reasoning_tokens: int | None = None

    async def ask(self, prompt: str, **more: Any) -> Reply:
        """One user message. Raises Failure."""
        return await self.send([{"role": "user", "content": prompt}], **more)

    async def send(self, messages: list[dict[str, Any]], **more: Any) -> Reply:
        """Raises Failure."""
        reply = await complete(self.http, self.endpoint, self._body(messages, more), self.settings.timeout_s)
        self.count(reply.usage.reasoning_tokens)
        return reply

    async def listen(self, prompt: str) -> list[Chunk]:
        """A streamed answer. Raises Failure."""
        chunks: list[Chunk] = []
        body = self._body([{"role": "user", "content": prompt}], {})
        await stream(self.http, self.endpoint, body, self.settings.timeout_s, chunks.append)
        return chunks

    def count(self, tokens: int | None) -> None:
        if tokens is not None:
            self.reasoning_tokens = (self.reasoning_tokens or 0) + tokens

    def _body(self, messages: list[dict[str, Any]], more: Mapping[str, Any]) -> dict[str, Any]:
        return {"messages": messages, "max_tokens": self.settings.max_tokens, **more}


def text(reply: Reply) -> str:
    """The answer's content. Raises Failure when there is none."""
    if not reply.content.strip():
        raise empty(reply.thinks)
    return reply.content


def empty(thinks: bool) -> Failure:
    if thinks:
        return Failure("empty_content", "content is empty while there is reasoning: thinking is on, see --no-thinking")
    return Failure("empty_content", "content is empty")


def wrong(content: str, wanted: str) -> NoReturn:
    """Raises the Failure of an answer that is not what was wanted."""
    kind = "garbage" if has_markers(content) else "wrong_answer"
    raise Failure(kind, f"{wanted}: {shown(content)}")


def has_markers(content: str) -> bool:
    return any(marker in content for marker in MARKERS)


def shown(content: str) -> str:
    """The start of a model's text on one line, harmless to a terminal."""
    line = " ".join(content[: _SHOWN * 2].split())
    safe = "".join(c if c.isprintable() else "\ufffd" for c in line)
    return repr(safe[:_SHOWN] + ("…" if len(content) > _SHOWN else ""))
