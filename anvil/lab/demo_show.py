"""What the demo asks of the running router, and how it shows what came back. Every answer is the model's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anvil.lab.demo_house import Failed
from anvil.router.decisions.record import Decision, decode
from anvil.router.decisions.story import tell

QUESTION = "Name the largest ocean on Earth."
CAP = 24  # tokens
SHORT = {"model": "chat", "temperature": 0, "max_tokens": CAP, "messages": [{"role": "user", "content": QUESTION}]}
# Each needs far more than the 48 tokens that `fast` stops after, and comes to an end by itself.
LONG_QUESTIONS = (
    "Explain in one paragraph how a river becomes wider on its way to the sea.",
    "Describe in two paragraphs how bread is made.",
    "Write a short paragraph about the ocean.",
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SECONDS = 300.0  # for one answer, of a slow machine too


@dataclass
class Asked:
    """One request and what came back. ``text`` is the model's, or the error's for a status other than 200."""

    status: int
    decision: str
    tier: str
    text: str
    seconds: float
    tool_calls: list[str] = field(default_factory=list)


class Show:
    """Requests to one router, and the decisions they caused."""

    def __init__(self, url: str, token: str, console: Console) -> None:
        self.console = console
        self.decisions: list[str] = []
        self.client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS, trust_env=False
        )

    def dialects(self) -> None:
        """One question in each dialect, whole and streamed. Raises Failed."""
        said = [{"role": "user", "content": QUESTION}]
        bodies: dict[str, dict[str, Any]] = {
            "/v1/chat/completions": {"messages": said, "max_tokens": CAP},
            "/v1/messages": {"messages": said, "max_tokens": CAP},
            "/v1/responses": {"input": QUESTION, "max_output_tokens": CAP},
        }
        self.console.print(f"\n[bold]1. Every dialect, whole and streamed[/]: {QUESTION}")
        for path, body in bodies.items():
            for stream in (False, True):
                asked = self._ask(path, {"model": "chat", "temperature": 0, **body}, stream)
                if asked.status != 200 or not asked.text.strip():
                    raise Failed(f"{path} answered {asked.status}: {asked.text.strip() or 'no text'}")
                self._print(f"{path}{' (stream)' if stream else ''}", asked)

    def fallback(self) -> None:
        """An answer that `fast` cuts short, so that `heavy` gives it. Raises Failed when none is cut."""
        self.console.print("\n[bold]2. An answer that is not good enough, and falls back[/]")
        for question in LONG_QUESTIONS:
            self.console.print(
                f"{question} [dim](no cap of the caller's: `fast` stops after 48 tokens)[/]", soft_wrap=True
            )
            body = {"model": "chat", "temperature": 0, "messages": [{"role": "user", "content": question}]}
            asked = self._ask("/v1/chat/completions", body)
            self._print("/v1/chat/completions", asked)
            if self._fell_back(asked):
                self._print("a short question goes to fast again", self._ask("/v1/chat/completions", SHORT))
                return
            self.console.print("[dim]`fast` was up to that one: a longer question.[/]")
        raise Failed("no answer of fast failed its verification: see `anvil decisions`")

    def tool_call(self) -> None:
        """A tool is required; the tiny model calls none, so that the larger one does. Raises Failed."""
        self.console.print("\n[bold]3. A tool call the tiny model cannot make[/]: what is the weather in Oslo now?")
        body = {
            "model": "chat",
            "temperature": 0,
            "max_tokens": 60,
            "messages": [{"role": "user", "content": "What is the weather in Oslo now?"}],
            "tools": [WEATHER],
            "tool_choice": "required",
        }
        asked = self._ask("/v1/chat/completions", body)
        if not asked.tool_calls or not self._fell_back(asked):
            raise Failed(f"no tool call came back ({asked.status}): anvil explain {asked.decision}")
        asked.text = "; ".join(asked.tool_calls)
        self._print("/v1/chat/completions", asked)

    def refused(self) -> None:
        """Planning is denied to small local models until it is measured: an honest 503. Raises Failed."""
        self.console.print("\n[bold]Last: work that no tier here is trusted with[/]: model = planning")
        body = {"model": "planning", "messages": [{"role": "user", "content": "Plan the rewrite of our scheduler."}]}
        asked = self._ask("/v1/chat/completions", body)
        if asked.status != 503:
            raise Failed(f"planning answered {asked.status}, not 503: anvil explain {asked.decision}")
        self._print("/v1/chat/completions", asked)
        self._story(asked)

    def table(self) -> None:
        """The decision records of these requests, oldest first."""
        table = Table("asked", "tries, and the check that failed", "outcome", "tokens", "ms", title="Decisions")
        for record in map(self._record, self.decisions):
            tokens = f"{record.total_prompt_tokens}+{record.total_completion_tokens}"
            outcome = f"{record.outcome} {record.status}"
            row = (f"{record.caller_model} ({record.endpoint})", tries(record), outcome, tokens)
            table.add_row(*map(Text, (*row, f"{record.duration_ms:.0f}")))
        self.console.print()
        self.console.print(table)

    def document(self, client: str) -> dict[str, Any]:
        """The router's own description of a client's configuration."""
        found: dict[str, Any] = self._checked(f"/v1/harness/{client}").json()
        return found

    # ------------------------------------------------------------------------------------------------ requests

    def _ask(self, path: str, body: dict[str, Any], stream: bool = False) -> Asked:
        begun, calls = perf_counter(), list[str]()
        try:
            with self.client.stream("POST", path, json={**body, "stream": stream}) as answer:
                if stream and answer.status_code == 200:
                    text = "".join(deltas(answer.iter_lines()))
                else:
                    answer.read()
                    text, calls = content(answer.json())
        except (httpx.HTTPError, ValueError) as error:
            raise Failed(f"{path}: the router's answer broke: {type(error).__name__}: {error}") from None
        told = answer.headers
        asked = Asked(
            status=answer.status_code,
            decision=told.get("x-anvil-decision", ""),
            tier=told.get("x-anvil-tier", ""),
            text=text,
            seconds=perf_counter() - begun,
            tool_calls=calls,
        )
        self.decisions.append(asked.decision)
        return asked

    def _fell_back(self, asked: Asked) -> bool:
        """Whether `fast` answered, failed a check, and `heavy` served; then its story is told."""
        if asked.status != 200 or asked.tier != "heavy-local":
            return False
        first = self._record(asked.decision).attempts[0]
        if first.outcome == "skipped-circuit":
            raise Failed("fast rests after failing twice in a row, its breaker is open: try again in a minute")
        if (first.tier_id, first.outcome) != ("fast-local", "fallback"):
            return False
        self._story(asked)
        return True

    def _record(self, decision: str) -> Decision:
        return decode(self._checked(f"/v1/decisions/{decision}").content)

    def _checked(self, path: str) -> httpx.Response:
        try:
            return self.client.get(path).raise_for_status()
        except httpx.HTTPError as error:
            raise Failed(f"{path}: {error}") from None

    # ------------------------------------------------------------------------------------------------- showing

    def _print(self, what: str, asked: Asked) -> None:
        who = f"{asked.tier or 'no tier'}, {asked.status}, {asked.seconds:.1f} s"
        line = Text.assemble((f"  {what} ", "cyan"), (f"[{who}] ", "dim"), " ".join(asked.text.split()))
        self.console.print(line, soft_wrap=True)

    def _story(self, asked: Asked) -> None:
        self.console.print(Text(f"  anvil explain {asked.decision}", "dim"), soft_wrap=True)
        for line in tell(self._record(asked.decision))[1:]:
            self.console.print(Text(f"    {line}", "dim"), soft_wrap=True)


def tries(record: Decision) -> str:
    """`fast-local failed not_truncated -> heavy-local served`; "none" where no tier was called."""
    told = [
        f"{attempt.tier_id} {f'failed {attempt.verify_reason}' if attempt.outcome == 'fallback' else attempt.outcome}"
        for attempt in record.attempts
    ]
    return " -> ".join(told) or "none"


def content(body: dict[str, Any]) -> tuple[str, list[str]]:
    """The text of a whole answer in any dialect, or of an error, and its tool calls as `name(arguments)`."""
    if body.get("error"):
        return str(body["error"].get("message", "")), []
    if "choices" in body:
        message = body["choices"][0]["message"]
        calls = [call["function"] for call in message.get("tool_calls") or []]
        return message.get("content") or "", [f"{call['name']}({call['arguments']})" for call in calls]
    if "output" in body:
        parts = [part for item in body["output"] for part in item.get("content", [])]
    else:
        parts = body["content"]
    return "".join(part.get("text", "") for part in parts), []


def deltas(lines: Iterator[str]) -> Iterator[str]:
    """The pieces of text of a stream in any dialect. Raises Failed for an error that came inside it."""
    for line in lines:
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data: "))
        if event.get("type") in ("error", "response.failed") or event.get("error"):
            raise Failed(f"the stream broke: {line.removeprefix('data: ')}")
        yield _delta(event)


def _delta(event: dict[str, Any]) -> str:
    if event.get("choices"):
        return event["choices"][0]["delta"].get("content") or ""
    if event.get("type") == "content_block_delta":
        return str(event["delta"].get("text", ""))
    return str(event["delta"]) if event.get("type") == "response.output_text.delta" else ""
