"""The official SDK reads every stream, body and error this dialect writes (contract 24, figure 27)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2 as httpx  # what the SDK speaks
import pytest

from anvil.router.dialects import anthropic_messages as dialect
from anvil.router.dialects import openai_chat
from anvil.router.turn import Answer, BadRequest, Event, Fault, Finish, Reply, Text, TextDelta, ToolCall, ToolDone, Turn
from tests.unit.router.dialects.anthropic_samples import FULL_STREAM, body, claude_code, sse, tier

REPLY = Reply("0123456789abcdef01234567", "planning", 1_700_000_000, prompt_estimate=3)
SAME = Reply("0123456789abcdef01234567", "planning", 1_700_000_000, prompt_estimate=3, same_dialect=True)
ASK: dict[str, Any] = {"model": "planning", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


def client(answer: Callable[[httpx.Request], httpx.Response]) -> anthropic.Anthropic:
    http = httpx.Client(transport=httpx.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", base_url="http://127.0.0.1", max_retries=0, http_client=http)


def streaming(data: bytes) -> anthropic.Anthropic:
    return client(lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=data))


def written(events: list[Event], turn: Turn, reply: Reply = REPLY) -> bytes:
    writer = dialect.writer(turn, reply)
    return writer.start() + b"".join([writer.write(event) for event in events]) + writer.finish()


THINKING = dialect.parse(body(thinking={"type": "enabled", "budget_tokens": 1024}))
PLAIN = dialect.parse(body())


@pytest.mark.parametrize("turn", [PLAIN, THINKING])
def test_a_full_stream(turn: Turn) -> None:
    data = written(dialect.reader().feed(sse(*FULL_STREAM)), turn, SAME)
    with streaming(data).messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == "Grüße, I look."
    kinds = [block.type for block in message.content]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use", "server_tool_use"]
    assert message.content[0].signature == "c2lnbmF0dXJl"
    assert message.content[3].input == {"city": "Köln"}
    assert message.content[4].input == {"query": "x"}
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 7)
    assert message.usage.cache_read_input_tokens == 24


@pytest.mark.parametrize(
    "events",
    [
        [Finish("stop")],
        [TextDelta("a"), TextDelta("\U0001f600"), Finish("length")],
        [
            TextDelta("\n"),
            ToolDone(0, ToolCall("", "f", "")),
            ToolDone(1, ToolCall("c", "g", '{"a":[1]}')),
            Finish("stop"),
        ],
        [TextDelta("a"), Finish("stop_sequence", stop_sequence="##")],
    ],
)
def test_streams_of_every_shape(events: list[Event]) -> None:
    with streaming(written(events, PLAIN)).messages.stream(**ASK) as stream:
        message = stream.get_final_message()
    said = "".join([event.text for event in events if isinstance(event, TextDelta)])
    assert "".join([block.text for block in message.content if block.type == "text"]).strip() == said.strip()
    assert message.stop_reason is not None
    assert message.model == "planning"


def test_a_translated_stream() -> None:
    chunks = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": "hello"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}},
    ]
    data = b"".join([b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]) + b"data: [DONE]\n\n"
    with streaming(written(openai_chat.reader().feed(data), PLAIN)).messages.stream(**ASK) as stream:
        message = stream.get_final_message()
    assert [block.text for block in message.content] == ["hello"]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 2)


def test_an_aborted_stream_raises() -> None:
    writer = dialect.writer(PLAIN, REPLY)
    data = writer.start() + writer.write(TextDelta("a")) + writer.abort(Fault("unavailable", "x"), 503)
    with pytest.raises(anthropic.APIStatusError), streaming(data).messages.stream(**ASK) as stream:
        stream.get_final_message()


def test_a_body() -> None:
    answer = Answer([Text("hi"), ToolCall("", "f", '{"a": 1}')], Finish("tool_calls"))
    data = dialect.render(answer, PLAIN, REPLY, set())
    message = client(lambda _: httpx.Response(200, json=json.loads(data))).messages.create(**ASK)
    assert message.content[0].text == "hi"
    assert message.content[1].input == {"a": 1}
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("status", "kind", "wanted"),
    [
        (400, "invalid_request", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (413, "payload_too_large", anthropic.APIStatusError),
        (429, "rate_limited", anthropic.RateLimitError),
        (503, "service_unavailable", anthropic.InternalServerError),
    ],
)
def test_errors(status: int, kind: str, wanted: type[anthropic.APIStatusError]) -> None:
    data = dialect.error(status, kind, "told plainly")
    with pytest.raises(wanted) as caught:
        client(lambda _: httpx.Response(status, content=data)).messages.create(**ASK)
    assert caught.value.status_code == status
    assert "told plainly" in str(caught.value)


def test_the_tool_runner_falls_back_from_threads_to_the_whole_history() -> None:
    """The SDK's own runner meets our refusal of ``thread`` and goes on without losing anything."""
    asked: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        try:
            turn = dialect.parse(request.content)
        except BadRequest as error:
            return httpx.Response(
                error.status, content=dialect.error(error.status, error.type, error.message, details=error.details)
            )
        blocks: list[Any] = [
            Text("42") if turn.signals.messages > 1 else ToolCall("toolu_1", "add", '{"a": 40, "b": 2}')
        ]
        finish = Finish("stop" if turn.signals.messages > 1 else "tool_calls")
        return httpx.Response(200, json=json.loads(dialect.render(Answer(blocks, finish), turn, REPLY, set())))

    @anthropic.beta_tool
    def add(a: int, b: int) -> str:
        """Add two numbers.

        Args:
            a: one
            b: other
        """
        return str(a + b)

    final = client(answer).beta.messages.tool_runner(**ASK, tools=[add]).until_done()
    assert final.content[0].text == "42"
    assert [message["role"] for message in asked[-1]["messages"]] == ["user", "assistant", "user"]
    assert "thread" not in asked[-1]


def test_counting() -> None:
    counted = client(lambda _: httpx.Response(200, json={"input_tokens": 7}))
    assert counted.messages.count_tokens(model="m", messages=ASK["messages"]).input_tokens == 7


def test_claude_code_bodies_translate_for_an_openai_tier() -> None:
    turn = dialect.parse(claude_code())
    request = openai_chat.request(turn, tier(dialect="openai", reasoning_field=""), dialect.conversation(turn))
    sent = json.loads(request.body)
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "user", "assistant", "tool"]
    assert "x-anthropic-billing-header" not in request.body.decode()
    assert sent["messages"][3]["tool_calls"][0]["function"]["arguments"] == '{"command": "pytest -q"}'
    assert {"cache_control", "context_management", "never_forwarded.metadata", "system.nonce"} <= set(request.lossy)
