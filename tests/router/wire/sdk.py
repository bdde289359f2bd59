"""What the official SDKs make of an answer's bytes."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import httpx2
import openai

from tests.router.faults import PATHS
from tests.router.wire.meaning import TOOLS, Block, Said

_FUNCTIONS: list[Any] = [{"type": "function", "function": {"name": n, "parameters": {"type": "object"}}} for n in TOOLS]


def read(path: str, data: bytes, *, stream: bool) -> Said:
    """Texts and calls, as a program that uses the SDK's own accumulators sees them. Raises what the SDK raises."""

    kind = "text/event-stream" if stream else "application/json"
    package: Any = httpx2 if path == PATHS[1] else httpx  # each SDK insists on its own

    def answer(_: Any) -> Any:
        return package.Response(200, headers={"content-type": kind}, content=data)

    with package.Client(transport=package.MockTransport(answer), trust_env=False) as http:
        return _READ[PATHS.index(path)](http, stream)


def _chat(http: Any, stream: bool) -> Said:
    client = openai.OpenAI(api_key="k", base_url="http://router/v1", http_client=http, max_retries=0)
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": _FUNCTIONS}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            for _ in events:
                pass
            whole: Any = events.get_final_completion()
    else:
        whole = client.chat.completions.create(**asked)
    message = whole.choices[0].message
    said = Said([Block("text", message.content or "")], whole.choices[0].finish_reason)
    for call in message.tool_calls or ():
        said.blocks.append(Block("call", name=call.function.name, arguments=json.loads(call.function.arguments)))
    return said


def _messages(http: Any, stream: bool) -> Said:
    client = anthropic.Anthropic(api_key="k", base_url="http://router", http_client=http, max_retries=0)
    asked: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    if stream:
        with client.messages.stream(**asked) as events:
            whole: Any = events.get_final_message()
    else:
        whole = client.messages.create(**asked)
    said = Said(finish=whole.stop_reason)
    for block in whole.content:
        if block.type == "tool_use":
            said.blocks.append(Block("call", name=block.name, arguments=block.input))
        elif block.type == "text":
            said.blocks.append(Block("text", block.text))
    return said


def _responses(http: Any, stream: bool) -> Said:
    client = openai.OpenAI(api_key="k", base_url="http://router/v1", http_client=http, max_retries=0)
    if stream:
        with client.responses.stream(model="m", input="hi") as events:
            for _ in events:
                pass
            whole: Any = events.get_final_response()
    else:
        whole = client.responses.create(model="m", input="hi")
    said = Said([Block("text", whole.output_text)], whole.status)
    for item in whole.output:
        if item.type == "function_call":
            said.blocks.append(Block("call", name=item.name, arguments=json.loads(item.arguments)))
    return said


_READ = (_chat, _messages, _responses)
