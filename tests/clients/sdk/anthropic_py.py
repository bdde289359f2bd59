"""One conversation with the anthropic Python SDK: URL TASK MODEL PROMPT -> the answer on stdout, exit 1 on an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import anthropic
from anthropic import beta_tool
from pydantic import BaseModel

URL, TASK, MODEL, PROMPT = sys.argv[1:]
OWN: Any = {"base_url": URL, "api_key": os.environ["ANVIL_ROUTER_TOKEN"]}
if URL == "-":  # all is in the environment, where the SDK and we look for it
    OWN, MODEL = {}, os.environ["ANTHROPIC_MODEL"]
client = anthropic.Anthropic(**OWN, max_retries=0, timeout=30)
TOOL: Any = {
    "name": "add",
    "description": "Adds two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
messages: list[Any] = [{"role": "user", "content": PROMPT}]
BASE: Any = {"model": MODEL, "max_tokens": 1000}


class Structured(BaseModel):
    answer: str
    number: int


@beta_tool
def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: one
        b: other
    """
    return f"anvil-tool-{a + b}"


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def tool_turn(ask: Callable[[], Any]) -> str:
    while True:
        message = ask()
        uses = [block for block in message.content if block.type == "tool_use"]
        if not uses:
            assert message.stop_reason == "end_turn", message.stop_reason
            return text_of(message)
        assert message.stop_reason == "tool_use", message.stop_reason
        messages.append({"role": "assistant", "content": [block.model_dump() for block in message.content]})
        results = [
            {"type": "tool_result", "tool_use_id": use.id, "content": f"anvil-tool-{use.input['a'] + use.input['b']}"}
            for use in uses
        ]
        messages.append({"role": "user", "content": results})


def created(**extra: Any) -> Any:
    message = client.messages.create(**BASE, messages=messages, **extra)
    assert message.model == MODEL
    assert message.usage.output_tokens > 0
    return message


def helped(**extra: Any) -> Any:
    with client.messages.stream(**BASE, messages=messages, **extra) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[-1] == "message_stop", f"the stream ended with {kinds[-1]}"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop"), kinds
    assert final.usage.output_tokens > 0
    return final


def streamed() -> str:
    """The plain iterator. The SDK takes a stream that breaks off silently for whole, so the end is checked here."""
    words, last = "", ""
    for event in client.messages.create(**BASE, messages=messages, stream=True):
        last = event.type
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            words += event.delta.text
    assert last == "message_stop", f"the stream ended with {last}"
    return words


def runner(stream: bool) -> str:
    given: Any = {**BASE, "messages": messages, "tools": [add]}
    if not stream:
        return text_of(client.beta.messages.tool_runner(**given).until_done())
    final: Any = None
    for message in client.beta.messages.tool_runner(**given, stream=True):
        final = message.get_final_message()
    return text_of(final)


def parse() -> str:
    value = client.messages.parse(**BASE, messages=messages, output_format=Structured).parsed_output
    assert isinstance(value, Structured), value
    return f"{value.answer} {value.number}"


def count() -> str:
    return f"{client.messages.count_tokens(model=MODEL, messages=messages, tools=[TOOL]).input_tokens} tokens"


TASKS: dict[str, Callable[[], str]] = {
    "plain": streamed,
    "tool": lambda: tool_turn(lambda: helped(tools=[TOOL])),
    "models": lambda: " ".join(model.id for model in client.models.list()),
    "count": count,
    "create": lambda: text_of(created()),
    "create-tool": lambda: tool_turn(lambda: created(tools=[TOOL])),
    "helper-tool": lambda: tool_turn(lambda: helped(tools=[TOOL])),
    "parse": parse,
    "runner-tool": lambda: runner(stream=False),
    "runner-stream-tool": lambda: runner(stream=True),
}

if __name__ == "__main__":
    try:
        print(TASKS[TASK]())
    except anthropic.AnthropicError as error:
        sys.exit(f"{type(error).__name__}: {error}")
