"""The official SDK reads every body, stream and error this dialect writes (contract 24; facts/clients.md 9)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2 as httpx  # what the SDK speaks
import openai
import pydantic
import pytest

from anvil.router.dialects import openai_responses as dialect
from anvil.router.turn import (
    Answer,
    BadRequest,
    Event,
    Fault,
    Finish,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    Text,
    TextDelta,
    ToolCall,
    ToolDone,
    Turn,
    Usage,
)
from tests.unit.router.dialects.responses_samples import REPLY

USAGE = Usage(9, 3, cached=4, reasoning=1)
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
PATCH: dict[str, Any] = {"type": "custom", "name": "patch", "description": "edit"}
ASK: dict[str, Any] = {"model": "planning", "input": "hi", "tools": [WEATHER, PATCH]}
ANSWER = Answer(
    [
        Reasoning("hm"),
        Text('{"city":"Köln"}'),
        ToolCall("c1", "weather", '{"city":"Köln"}'),
        ToolCall("c2", "patch", '{"input":"+a"}'),
    ],
    Finish("tool_calls"),
    USAGE,
)
EVENTS: list[Event] = [
    ReasoningDelta("hm"),
    ReasoningDone(),
    TextDelta('{"city":'),
    TextDelta('"Köln"}'),
    ToolDone(0, ToolCall("c1", "weather", '{"city":"Köln"}')),
    ToolDone(1, ToolCall("c2", "patch", '{"input":"+a"}')),
    Finish("tool_calls"),
]


class City(pydantic.BaseModel):
    city: str


class Router:
    """Parses what the SDK sends and answers from memory; ``turns`` are the requests as the dialect understood them."""

    def __init__(self, answer: Callable[[Turn], httpx.Response]) -> None:
        self.turns: list[Turn] = []
        self._answer = answer
        http = httpx.Client(transport=httpx.MockTransport(self._serve))
        self.sdk = openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1/v1", http_client=http, max_retries=0)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/responses"
        try:
            turn = dialect.parse(request.content)
        except BadRequest as refused:
            return httpx.Response(refused.status, content=dialect.error(refused.status, refused.type, refused.message))
        self.turns.append(turn)
        return self._answer(turn)


def body_of(turn: Turn) -> httpx.Response:
    return httpx.Response(
        200, headers={"content-type": "application/json"}, content=dialect.render(ANSWER, turn, REPLY, set())
    )


def stream_of(events: list[Event], fault: Fault | None = None) -> Callable[[Turn], httpx.Response]:
    def answer(turn: Turn) -> httpx.Response:
        assert turn.stream
        writer = dialect.writer(turn, REPLY)
        data = writer.start() + b"".join([writer.write(event) for event in events])
        data += writer.finish() if fault is None else writer.abort(fault, 503)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data)

    return answer


def check(response: Any) -> None:
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert response.output_text == '{"city":"Köln"}'
    assert response.output[0].content[0].text == "hm"
    assert (response.output[2].call_id, response.output[2].arguments) == ("c1", '{"city":"Köln"}')
    assert (response.output[3].call_id, response.output[3].input) == ("c2", "+a")
    assert (response.id, response.model) == ("resp_" + REPLY.id, "planning")
    assert response.status == "completed"
    assert [tool.type for tool in response.tools] == ["function", "custom"]


def test_create() -> None:
    router = Router(body_of)
    response = router.sdk.responses.create(**ASK, temperature=0.5, instructions="be brief")
    check(response)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.total_tokens) == (9, 12)
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert response.usage.output_tokens_details.reasoning_tokens == 1
    assert (response.temperature, response.instructions) == (0.5, "be brief")
    assert [(tool.name, tool.custom) for tool in router.turns[0].tools] == [("weather", False), ("patch", True)]


def test_parse() -> None:
    router = Router(body_of)
    response = router.sdk.responses.parse(**ASK, text_format=City)
    assert response.output_parsed == City(city="Köln")
    wanted = router.turns[0].response_format
    assert wanted is not None
    assert (wanted.kind, wanted.name, wanted.strict) == ("json_schema", "City", True)
    assert json.loads(wanted.schema or b"")["required"] == ["city"]


def test_stream_of_raw_events() -> None:
    stream = Router(stream_of(EVENTS)).sdk.responses.create(**ASK, stream=True)
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    check(events[-1].response)
    for event in events[2:-1]:  # the lifecycle events lack only a count no tier reports (cache_write_tokens)
        type(event).model_validate_json(event.model_dump_json(exclude_unset=True))


def test_stream_helper() -> None:
    with Router(stream_of(EVENTS)).sdk.responses.stream(**ASK, text_format=City) as stream:
        text = "".join([event.delta for event in stream if event.type == "response.output_text.delta"])
        final = stream.get_final_response()
    assert text == '{"city":"Köln"}'
    check(final)
    assert final.output_parsed == City(city="Köln")


def test_an_agent_loop_sends_back_what_it_got() -> None:
    router = Router(body_of)
    first = router.sdk.responses.create(**ASK)
    history: list[Any] = [{"role": "user", "content": "hi"}, *first.output]
    history += [
        {"type": "function_call_output", "call_id": "c1", "output": "12 degrees"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
    ]
    router.sdk.responses.create(**{**ASK, "input": history})
    messages = dialect.conversation(router.turns[1]).messages
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert messages[1].blocks == (
        Reasoning("hm"),
        Text('{"city":"Köln"}'),
        ToolCall("c1", "weather", '{"city":"Köln"}'),
        ToolCall("c2", "patch", '{"input":"+a"}', custom=True),
    )


def test_a_cut_stream_is_told() -> None:
    router = Router(stream_of([TextDelta("ha")], Fault("unavailable", "x")))
    with router.sdk.responses.stream(**ASK) as stream:
        events = list(stream)
        with pytest.raises(RuntimeError, match="completed"):
            stream.get_final_response()
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert events[-1].response.error.code == "server_error"


def test_an_incomplete_stream_is_told() -> None:
    events = list(Router(stream_of([TextDelta("ha"), Finish("length")])).sdk.responses.create(**ASK, stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details is not None
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"
    assert events[-1].response.output_text == "ha"


def test_a_refusal_is_a_bad_request() -> None:
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        Router(body_of).sdk.responses.create(**ASK, previous_response_id="resp_1")
