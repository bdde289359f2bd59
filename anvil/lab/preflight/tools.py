"""Tool calls: a batch at once behind a long shared prefix, and a turn that hands the result back."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from anvil.lab.chat import Failure, Reply, ToolCall
from anvil.lab.preflight.subject import MARKERS, Subject, empty, has_markers, shown
from anvil.router.verify import strict_json

NAME = "get_weather"
CITIES = ("Oslo", "Lima", "Cairo", "Perth", "Quito", "Delhi", "Turin", "Kyoto", "Accra", "Tunis")
PREFIX_LINES = 400
ALLOWED = "text instead of call"
_LINE_TOKENS = 20  # of one rule, generously
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "The current weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def tools(subject: Subject) -> str:
    system = {"role": "system", "content": prefix(lines_for(subject.window))}
    wanted = [CITIES[number % len(CITIES)] for number in range(subject.settings.tool_batch)]
    outcomes = await asyncio.gather(*(_one(subject, [system, _question(city)]) for city in wanted))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    passed = len(outcomes) - len(failures)
    if failures:
        raise _summary(failures, f"{passed}/{len(outcomes)} passed")
    texts = outcomes.count(ALLOWED)
    return f"{passed}/{passed} called {NAME}" if not texts else f"{texts}/{passed} gave {ALLOWED}"


async def tool_turn(subject: Subject) -> str:
    question = _question("Oslo")
    first = await subject.send([question], tools=[_TOOL])
    if judged(first, subject.settings.allow_text) == ALLOWED:
        return ALLOWED
    call = _calls(first)[0]
    result = [question, *_exchange(call)]
    second = await subject.send(result, tools=[_TOOL])
    if any(_same(call, again) for again in _calls(second)):
        raise Failure("wrong_answer", "the same call again although its result was given")
    if not second.content.strip():
        raise empty(second.thinks)
    if has_markers(second.content):
        raise Failure("garbage", f"template text in the answer: {shown(second.content)}")
    return "answers from the result"


def prefix(lines: int) -> str:
    """Rules nobody will break: text that every request of the batch shares."""
    return "\n".join(
        ["You are a helpful assistant. Use the tools you are given to answer. The house rules:"]
        + [f"{number}. Keep answers short, correct and polite (rule {number})." for number in range(1, lines)]
    )


def lines_for(window: int | None) -> int:
    """400 lines, or as many as fit half a small window."""
    return PREFIX_LINES if window is None else max(2, min(PREFIX_LINES, window // 2 // _LINE_TOKENS))


def judged(reply: Reply, allow_text: bool) -> str:
    """What came: "call", or ALLOWED. Raises Failure."""
    if has_markers(reply.content):
        marker = next(marker for marker in MARKERS if marker in reply.content)
        raise Failure("garbage", f"{marker!r} in content: {shown(reply.content)}")
    calls = _calls(reply)
    if not calls and not reply.content.strip():
        raise empty(True) if reply.thinks else Failure("no_tool_call", "neither a call nor text")
    if not calls:
        if allow_text:
            return ALLOWED
        raise Failure("no_tool_call", f"text instead of a call: {shown(reply.content)}")
    _check(calls)
    return "call"


def _check(calls: list[ToolCall]) -> None:
    ours = [call for call in calls if call.function.name == NAME]
    if not ours:
        raise Failure("wrong_args", f"called {calls[0].function.name!r}, which does not exist")
    for call in ours:
        arguments = _arguments(call)
        if not isinstance(arguments, dict) or not isinstance(arguments.get("city"), str):
            raise Failure("wrong_args", f"arguments are no JSON object with a string city: {shown(_raw(call))}")


def _arguments(call: ToolCall) -> object:
    try:
        return strict_json.decode(call.function.arguments) if isinstance(call.function.arguments, str) else None
    except strict_json.NotJson:
        return None


def _raw(call: ToolCall) -> str:
    return str(call.function.arguments)


async def _one(subject: Subject, messages: list[dict[str, Any]]) -> str | Failure:
    try:
        return judged(await subject.send(messages, tools=[_TOOL]), subject.settings.allow_text)
    except Failure as failure:
        return failure


def _summary(failures: list[Failure], head: str) -> Failure:
    """The class that came most often, with its first text."""
    counts = Counter(failure.kind for failure in failures).most_common()
    kind = counts[0][0]
    told = ", ".join(f"{count} {name}" for name, count in counts)
    first = next(failure for failure in failures if failure.kind == kind)
    return Failure(kind, f"{head}; {told}; {first.detail}")


def _question(city: str) -> dict[str, Any]:
    return {"role": "user", "content": f"What is the weather in {city} now? Use the tool."}


def _exchange(call: ToolCall) -> list[dict[str, Any]]:
    """The call as the model made it, and its result."""
    identity = call.id or "call_1"
    made = {"id": identity, "type": "function", "function": {"name": NAME, "arguments": _raw(call)}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": identity, "content": '{"city": "Oslo", "sky": "rain", "celsius": 7}'},
    ]


def _calls(reply: Reply) -> list[ToolCall]:
    return reply.message.tool_calls or []


def _same(one: ToolCall, other: ToolCall) -> bool:
    return one.function.name == other.function.name and _arguments(one) == _arguments(other)
