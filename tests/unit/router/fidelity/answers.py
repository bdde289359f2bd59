"""What tiers answer, field by field, and what each caller must get of it (contract 8.2).

A check's place is one in the whole answer; where a stream says the same elsewhere, ``places.py`` knows where.
"""

from __future__ import annotations

from typing import Any

from tests.unit.router.fidelity.checks import Check, Probe, kept, kept_as, mapped, named, probe
from tests.unit.router.fidelity.play import CREATED, ECHO, REPLY_ID

THINK = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
A_TEXT, O_TEXT = "content.0.text", "choices.0.message.content"
R_OUT = "output.0"
O_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
A_CALL = {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}
SIGNED = {"type": "thinking", "thinking": "hmm", "signature": "c2ln"}
OK = {"type": "text", "text": "ok"}
SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}}
CITED = {"type": "text", "text": "ok", "citations": [{"type": "char_location", "cited_text": "quoted"}]}
_FUNCTION = ("id", "type", "function.name", "function.arguments")
NOTES = [{"type": "url_citation", "url_citation": {"url": "https://example.com"}}]
LOGPROBS = {"content": [{"token": "hello", "logprob": -0.25}]}
CACHED = {"prompt_tokens_details": {"cached_tokens": 6}}
READ = {"cache_read_input_tokens": 6}
THOUGHT = {"completion_tokens_details": {"reasoning_tokens": 3}}


def _content() -> list[Probe]:
    calls, thoughts = "tool calls", "reasoning text"
    o_call = {"message": {"content": None, "tool_calls": [O_CALL]}}
    a_call = {"content": [A_CALL]}
    o_thought = {"message": {"content": "ok", "reasoning_content": "hmm"}}
    a_thought = {"content": [SIGNED, OK]}
    return [
        probe("text", "O=>O", {}, kept(O_TEXT)),
        probe("text", "A=>A", {}, kept(A_TEXT)),
        probe("text", "O=>A", {}, mapped(A_TEXT, "hello")),
        probe("text", "A=>O", {}, mapped(O_TEXT, "hello")),
        probe("text", "O=>R", {}, mapped(f"{R_OUT}.content.0.text", "hello")),
        probe("text", "A=>R", {}, mapped(f"{R_OUT}.content.0.text", "hello")),
        probe(calls, "O=>O", o_call, *[kept(f"choices.0.message.tool_calls.0.{name}") for name in _FUNCTION]),
        probe(calls, "A=>A", a_call, *[kept(f"content.0.{name}") for name in ("type", "id", "name", "input")]),
        probe(calls, "O=>A", o_call, *[mapped(f"content.0.{name}", value) for name, value in A_CALL.items()]),
        probe(calls, "A=>O", a_call, *_called("choices.0.message.tool_calls.0", ("id", "function.name"))),
        probe(calls, "O=>R", o_call, *_called(R_OUT, ("call_id", "name"))),
        probe(calls, "A=>R", a_call, *_called(R_OUT, ("call_id", "name"))),
        probe(thoughts, "O=>O", o_thought, kept("choices.0.message.reasoning_content")),
        probe(thoughts, "A=>A", a_thought, kept("content.0.thinking"), **THINK),
        probe(thoughts, "O=>A", o_thought, mapped("content.0.thinking", "hmm"), **THINK),
        probe(thoughts, "A=>O", a_thought, mapped("choices.0.message.reasoning_content", "hmm")),
        probe(thoughts, "O=>R", o_thought, mapped(f"{R_OUT}.content.0.text", "hmm")),
        probe(thoughts, "A=>R", a_thought, mapped(f"{R_OUT}.content.0.text", "hmm")),
        probe("signature", "A=>A", a_thought, kept("content.0.signature"), **THINK),
        probe("signature", "A=>O", a_thought, named("reasoning.signature", "c2ln")),
        probe("signature", "A=>R", a_thought, named("reasoning.signature", "c2ln")),
    ]


def _called(place: str, names: tuple[str, str]) -> tuple[Check, ...]:
    """Id and name of the call; its arguments as JSON text are compared as JSON by the player."""
    arguments = f"{place}.function.arguments" if "function" in names[1] else f"{place}.arguments"
    return (
        mapped(f"{place}.{names[0]}", "call_1"),
        mapped(f"{place}.{names[1]}", "f"),
        mapped(arguments, {"a": 1}),
    )


def _beside() -> list[Probe]:
    """What a dialect says beside the content proper."""
    row, other = "server tool blocks, citations", "refusal text, annotations, logprobs"
    search, cited = {"content": [SEARCH, OK]}, {"content": [CITED]}
    refusal, notes = {"message": {"refusal": "no way"}}, {"message": {"annotations": NOTES}}
    logprobs = {"choice": {"logprobs": LOGPROBS}}
    found = [
        probe(row, "O=>O", {"message": {"citations": ["https://example.com"]}}, kept("choices.0.message.citations")),
        probe(row, "A=>A", search, *[kept(f"content.0.{name}") for name in ("type", "id", "name", "input")]),
        probe(row, "A=>A", cited, kept("content.0.citations.0")),
        probe(other, "O=>O", refusal, kept("choices.0.message.refusal")),
        probe(other, "O=>O", notes, kept("choices.0.message.annotations")),
        probe(other, "O=>O", logprobs, kept("choices.0.logprobs")),
    ]
    for way in ("A=>O", "A=>R"):
        found.append(probe(row, way, search, named("answer.opaque", "web_search")))
        found.append(probe(row, way, cited, named("citations", "quoted")))
    for way in ("O=>A", "O=>R"):
        found.append(probe(other, way, refusal, named("answer.refusal_text", "no way")))
        found.append(probe(other, way, notes, named("answer.annotations", "url_citation")))
        found.append(probe(other, way, logprobs, named("logprobs", "-0.25")))
    return found


def _endings() -> list[Probe]:
    row, stop = "finish reason", "matched stop string"
    o_cut, a_cut = {"choice": {"finish_reason": "length"}}, {"top": {"stop_reason": "max_tokens"}}
    o_stop = {"choice": {"stop_reason": "END"}}
    a_stop = {"top": {"stop_reason": "stop_sequence", "stop_sequence": "END"}}
    cut = (mapped("status", "incomplete"), mapped("incomplete_details.reason", "max_output_tokens"))
    lost = named("answer.stop_string", "END")
    return [
        probe(row, "O=>O", o_cut, kept("choices.0.finish_reason")),
        probe(row, "A=>A", a_cut, kept("stop_reason")),
        probe(row, "O=>A", o_cut, mapped("stop_reason", "max_tokens")),
        probe(row, "A=>O", a_cut, mapped("choices.0.finish_reason", "length")),
        probe(row, "O=>R", o_cut, *cut),
        probe(row, "A=>R", a_cut, *cut),
        probe(stop, "O=>O", o_stop, kept("choices.0.stop_reason")),
        probe(stop, "A=>A", a_stop, kept("stop_sequence")),
        probe(stop, "O=>A", o_stop, mapped("stop_sequence", "END"), mapped("stop_reason", "stop_sequence")),
        probe(stop, "A=>O", a_stop, lost),
        probe(stop, "O=>R", o_stop, lost),
        probe(stop, "A=>R", a_stop, lost),
    ]


def _counts() -> list[Probe]:
    row, cached, thought = "usage", "cached tokens", "reasoning tokens"
    o, a, r = (
        ("prompt_tokens", "completion_tokens"),
        ("input_tokens", "output_tokens"),
        ("input_tokens", "output_tokens"),
    )
    o_cached = "usage.prompt_tokens_details.cached_tokens"
    r_cached, r_thought = "usage.input_tokens_details.cached_tokens", "usage.output_tokens_details.reasoning_tokens"
    return [
        probe(row, "O=>O", {}, *[kept(f"usage.{name}") for name in o], **_USAGE),
        probe(row, "A=>A", {}, *[kept(f"usage.{name}") for name in a]),
        probe(row, "O=>A", {}, *_numbers(a)),
        probe(row, "A=>O", {}, *_numbers(o), **_USAGE),
        probe(row, "O=>R", {}, *_numbers(r)),
        probe(row, "A=>R", {}, *_numbers(r)),
        probe(cached, "O=>O", {"usage": CACHED}, kept(o_cached), **_USAGE),
        probe(cached, "A=>A", {"usage": READ}, kept("usage.cache_read_input_tokens")),
        probe(
            cached,
            "O=>A",
            {"usage": CACHED},
            mapped("usage.cache_read_input_tokens", 6),
            mapped("usage.input_tokens", 3),
        ),
        probe(cached, "A=>O", {"usage": READ}, mapped(o_cached, 6), mapped("usage.prompt_tokens", 15), **_USAGE),
        probe(cached, "O=>R", {"usage": CACHED}, mapped(r_cached, 6), mapped("usage.input_tokens", 9)),
        probe(cached, "A=>R", {"usage": READ}, mapped(r_cached, 6), mapped("usage.input_tokens", 15)),
        probe(thought, "O=>O", {"usage": THOUGHT}, kept("usage.completion_tokens_details"), **_USAGE),
        probe(thought, "O=>A", {"usage": THOUGHT}, named("unknown.reasoning_tokens", "reasoning_tokens")),
        probe(thought, "O=>R", {"usage": THOUGHT}, mapped(r_thought, 3)),
    ]


_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}


def _numbers(names: tuple[str, str]) -> tuple[Check, ...]:
    return (mapped(f"usage.{names[0]}", 9), mapped(f"usage.{names[1]}", 4))


def _identity() -> list[Probe]:
    row, prefix = "model, id, created", {"O": "chatcmpl-", "A": "msg_", "R": "resp_"}
    made = {"O": "created", "R": "created_at"}
    found = []
    for way in ("O=>O", "A=>A", "O=>A", "A=>O", "O=>R", "A=>R"):
        caller = way[-1]
        checks = [mapped("model", ECHO), mapped("id", prefix[caller] + REPLY_ID)]
        if caller in made:
            checks.append(mapped(made[caller], CREATED))
        found.append(probe(row, way, {}, *checks))
    return found


def _strange() -> list[Probe]:
    """Unknown fields at every level of an answer."""
    row, new = "unknown fields", {"zz_new": "kept-word"}
    o_call = {"message": {"content": None, "tool_calls": [{**O_CALL, **new}]}}
    openai: dict[str, dict[str, Any]] = {
        "zz_new": {"top": new},
        "choices.0.zz_new": {"choice": new},
        "choices.0.message.zz_new": {"message": new},
        "choices.0.message.tool_calls.0.zz_new": o_call,
        "usage.zz_new": {"usage": new},
    }
    anthropic: dict[str, dict[str, Any]] = {
        "zz_new": {"top": new},
        "content.0.zz_new": {"content": [{**OK, **new}]},
        "content.0.zz_new ": {"content": [{**A_CALL, **new}]},
        "usage.zz_new": {"usage": new},
    }
    lost = named("unknown.zz_new", "kept-word")
    found = [probe(row, "O=>O", send, kept_as(place, "kept-word"), **_USAGE) for place, send in openai.items()]
    found += [probe(row, "A=>A", send, kept_as(place.strip(), "kept-word")) for place, send in anthropic.items()]
    for way in ("O=>A", "O=>R"):
        found += [probe(row, way, send, lost) for send in openai.values()]
    for way in ("A=>O", "A=>R"):
        found += [probe(row, way, send, lost, **({} if way[-1] == "R" else _USAGE)) for send in anthropic.values()]
    return found


PROBES: list[Probe] = [*_content(), *_beside(), *_endings(), *_counts(), *_identity(), *_strange()]
