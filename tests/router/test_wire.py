"""Whatever way a tier words an answer, every caller is told exactly that answer, in its own grammar, whole or streamed.

WIRE_EXAMPLES=N tries N answers nobody has seen before instead of the same few.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.router import tier as t
from tests.router.faults import DIALECTS, PATHS
from tests.router.wire import callers, meaning, sdk, tiers
from tests.router.wire.house import CAP, House, request
from tests.router.wire.house import house as open_house
from tests.router.wire.meaning import Said

MANY = os.environ.get("WIRE_EXAMPLES")
quick = settings(
    max_examples=int(MANY or 40), deadline=None, derandomize=not MANY, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("wire")) as made:
        yield made


def refused(said: Said, path: str, *, stream: bool, hold: bool) -> bool:
    """Whether the checks of 12.3 must turn this answer down before anything left (12.4, 13.2)."""
    if not said.calls and not said.text.strip():
        return True
    if stream and not hold and said.text.strip():
        return False  # it was live before its end came
    if said.finish not in ("length", "max_tokens"):
        return False
    if path != "/v1/messages":
        return True  # no cap is in force
    return said.usage is not None and said.usage.completion < min(CAP - 16, CAP * 0.95)


def agree(got: Said, said: Said, path: str, dialect: str) -> None:
    """The caller's side says what the tier's side said. Blank texts beside others may be left out."""
    blank = any(block.kind == "text" and not block.text.strip() for block in said.blocks)
    assert (squeezed(got.text) == squeezed(said.text)) if blank else (got.text == said.text)
    assert (got.reasoning, got.calls) == (said.reasoning, said.calls)
    assert got.finish == finish(said, path)
    if path != PATHS[0] and not blank:
        assert got.order == said.order
    if said.usage is not None and got.usage is not None:
        assert (got.usage.prompt, got.usage.completion) == (said.usage.prompt, said.usage.completion)
        assert (got.usage.cached or 0) == (said.usage.cached or 0)
        if path == PATHS[2] and dialect == "openai":
            assert got.usage.thought == (said.usage.thought or 0)


def squeezed(text: str) -> str:
    return "".join(text.split())


def finish(said: Said, path: str) -> str:
    word = meaning.FINISHES[said.finish][PATHS.index(path)]
    return "tool_use" if word == "end_turn" and said.calls else word


def worded(data: st.DataObject, said: Said, dialect: str) -> t.Script:
    """The answer in one of the ways a tier of the dialect may send it; it streams or not, whatever was asked."""
    draw = data.draw
    if draw(st.booleans(), "streams"):
        events = draw(tiers.openai_stream(said) if dialect == "openai" else tiers.anthropic_stream(said))
        body, kind = draw(tiers.sse(events, named=dialect == "anthropic")), "text/event-stream"
    else:
        body = draw(tiers.openai_whole(said) if dialect == "openai" else tiers.anthropic_whole(said))
        kind = "application/json"
    steps, close = draw(tiers.script(body, kind))
    return t.Script(list(steps), close=close)


@quick
@given(st.data())
def test_every_wording_of_an_answer_is_told_as_that_answer(house: House, data: st.DataObject) -> None:
    draw = data.draw
    dialect, path = draw(st.sampled_from(DIALECTS)), draw(st.sampled_from(PATHS))
    stream, hold, include_usage = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    said = draw(meaning.said(dialect))
    script = worded(data, said, dialect)
    house.tiers[dialect].behaviour = lambda _: script
    preset = f"{dialect}-{'verify' if hold else 'allow'}"
    told = house.ask(path, request(path, preset, stream=stream, include_usage=include_usage))
    record = house.running.last()
    note(f"{told}\n{json.dumps(record)}")
    assert record["id"] == told.headers["x-anvil-decision"]
    if refused(said, path, stream=stream, hold=hold):
        assert (told.status, record["outcome"]) == (503, "exhausted")
        return
    assert (told.status, record["outcome"], told.headers["x-anvil-tier"]) == (200, "served", dialect)
    got = callers.READERS[path][stream](told.body)
    assert not got.errors
    agree(got, said, path, dialect)
    if stream and path == PATHS[0]:
        assert (got.usage is not None) is include_usage
    [attempt] = record["attempts"]
    if said.usage is not None:
        assert (attempt["prompt_tokens"], attempt["completion_tokens"]) == (said.usage.prompt, said.usage.completion)
    assert attempt["usage_source"] == ("upstream" if said.usage else "estimate")
    if stream and got.finish in ("length", "content_filter", "incomplete"):
        return  # OpenAI's stream helpers raise on these by design
    heard = sdk.read(path, told.body, stream=stream)
    assert (heard.text, heard.calls, heard.finish) == (got.text, got.calls, got.finish)


ONE_ID = [meaning.Block("call", name="read", arguments={"path": at}, id="same") for at in ("a", "b")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_calls_that_share_an_id_are_told_apart(house: House, dialect: str, path: str, stream: bool) -> None:
    """Clients match results by it, and a service refuses a history in which two calls have one."""
    script = simple(Said(ONE_ID, "tool_calls"), dialect, stream=stream)
    house.tiers[dialect].behaviour = lambda _: script
    told = house.ask(path, request(path, f"{dialect}-allow", stream=stream, include_usage=False))
    got = callers.READERS[path][stream](told.body)
    assert [block.arguments for block in got.blocks] == [{"path": "a"}, {"path": "b"}]
    assert got.blocks[0].id == "same"
    assert got.blocks[1].id not in ("", "same")


def simple(said: Said, dialect: str, *, stream: bool) -> t.Script:
    calls = [{"id": b.id, "function": {"name": b.name, "arguments": json.dumps(b.arguments)}} for b in said.blocks]
    uses = [{"type": "tool_use", "id": b.id, "name": b.name, "input": b.arguments} for b in said.blocks]
    if not stream:
        return t.chat(None, tool_calls=calls) if dialect == "openai" else t.messages(content=uses)
    if dialect == "openai":
        deltas = [t.chunk({"tool_calls": [{"index": at, **call}]}) for at, call in enumerate(calls)]
        return t.sse(*deltas, t.chunk({}, "tool_calls"), t.DONE)
    blocks = [
        frame for at, use in enumerate(uses)
        for frame in (t.event("content_block_start", index=at, content_block=use), t.event("content_block_stop", index=at))
    ]  # fmt: skip
    end = t.event("message_delta", delta={"stop_reason": "tool_use"}, usage={})
    return t.sse(t.event("message_start", message={"usage": {}}), *blocks, end)
