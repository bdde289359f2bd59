"""One conversation with the openai Python SDK: URL TASK MODEL PROMPT -> the answer on stdout, exit 1 on an error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import openai
from pydantic import BaseModel

URL, TASK, MODEL, PROMPT = sys.argv[1:]
OWN: Any = {"base_url": f"{URL}/v1", "api_key": os.environ["ANVIL_ROUTER_TOKEN"]}
if URL == "-":  # all is in the environment, where the SDK and we look for it
    OWN, MODEL = {}, os.environ["OPENAI_MODEL"]
client = openai.OpenAI(**OWN, max_retries=0, timeout=30)
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "add", "strict": True, "parameters": PARAMETERS}}
FLAT_TOOL: Any = {"type": "function", "name": "add", "strict": True, "parameters": PARAMETERS}
messages: list[Any] = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": PROMPT}]


class Structured(BaseModel):
    answer: str
    number: int


def add(arguments: str) -> str:
    given = json.loads(arguments)
    return f"anvil-tool-{given['a'] + given['b']}"


def tool_turn(ask: Callable[[], Any]) -> str:
    """Runs what the model asks for until it answers in words."""
    while True:
        message = ask()
        if not message.tool_calls:
            return str(message.content)
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = add(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def created(**extra: Any) -> Any:
    answer = client.chat.completions.create(model=MODEL, messages=messages, **extra)
    assert answer.usage is not None
    assert answer.model == MODEL
    return answer.choices[0].message


def streamed() -> str:
    """The plain iterator, with usage asked for."""
    words, usage, finish = "", None, None
    stream = client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            words += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert usage is not None
    assert finish == "stop", f"finish_reason {finish}"
    return words


def helped(**extra: Any) -> Any:
    with client.chat.completions.stream(model=MODEL, messages=messages, **extra) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    if message.tool_calls:
        assert "tool_calls.function.arguments.done" in kinds, kinds
    else:
        assert {"content.delta", "content.done"} <= kinds, kinds
    return message


def responses_stream() -> str:
    with client.responses.stream(model=MODEL, input=PROMPT) as stream:
        words = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == words
    assert final.usage is not None
    return words


def responses_tool() -> str:
    given: list[Any] = [{"role": "user", "content": PROMPT}]
    for _ in range(3):
        answer = client.responses.create(model=MODEL, input=given, tools=[FLAT_TOOL], store=False)
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return answer.output_text
        given += [item.model_dump(exclude_none=True) for item in answer.output]
        given += [{"type": "function_call_output", "call_id": c.call_id, "output": add(c.arguments)} for c in calls]
    raise AssertionError("no end of tool calls")


def parsed(value: Any) -> str:
    assert isinstance(value, Structured), value
    return f"{value.answer} {value.number}"


TASKS: dict[str, Callable[[], str]] = {
    "plain": streamed,
    "tool": lambda: tool_turn(lambda: helped(tools=[TOOL])),
    "models": lambda: " ".join(model.id for model in client.models.list()),
    "create": lambda: str(created().content),
    "create-tool": lambda: tool_turn(lambda: created(tools=[TOOL])),
    "helper": lambda: str(helped().content),
    "helper-tool": lambda: tool_turn(lambda: helped(tools=[TOOL])),
    "parse": lambda: parsed(
        client.chat.completions.parse(model=MODEL, messages=messages, response_format=Structured)
        .choices[0]
        .message.parsed
    ),
    "responses": lambda: client.responses.create(model=MODEL, input=PROMPT).output_text,
    "responses-stream": responses_stream,
    "responses-tool": responses_tool,
    "responses-parse": lambda: parsed(
        client.responses.parse(model=MODEL, input=PROMPT, text_format=Structured).output_parsed
    ),
}

if __name__ == "__main__":
    try:
        print(TASKS[TASK]())
    except openai.OpenAIError as error:
        sys.exit(f"{type(error).__name__}: {error}")
