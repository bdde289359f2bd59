"""What callers send, field by field, and what each direction must do with it (contract 8.1)."""

from __future__ import annotations

from typing import Any

from tests.unit.router.fidelity.checks import Probe, excludes, kept, kept_as, mapped, named, probe

HI = {"role": "user", "content": "hi"}
PIXEL, PDF = "iVBORw0KGgo=", "JVBERi0xLjQ="
DATA_URL, PDF_URL = f"data:image/png;base64,{PIXEL}", f"data:application/pdf;base64,{PDF}"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CACHE = {"type": "ephemeral"}
WRAPPED = "<system>\nlate\n</system>"

O_IMAGE = {"type": "image_url", "image_url": {"url": DATA_URL}}
A_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
R_IMAGE = {"type": "input_image", "image_url": DATA_URL}
O_FILE = {"type": "file", "file": {"filename": "f.pdf", "file_data": PDF_URL}}
A_FILE = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    "title": "f.pdf",
}
R_FILE = {"type": "input_file", "filename": "f.pdf", "file_data": PDF_URL}
AUDIO = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
O_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}
A_TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}
R_TOOL = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}}
O_CUSTOM = {"type": "custom", "custom": {"name": "patch", "format": GRAMMAR}}
R_CUSTOM = {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}
CUSTOM_SCHEMA = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
O_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
A_CALL = {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}
R_CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
O_CALLED = {"role": "assistant", "content": None, "tool_calls": [O_CALL]}
A_CALLED = {"role": "assistant", "content": [A_CALL]}


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [HI, *messages], **fields}


def items(*extra: Any, **fields: Any) -> dict[str, Any]:
    return {"input": [HI, *extra], **fields}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def o_result(content: Any = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c1", "content": content}


def a_result(content: Any = "done", **fields: Any) -> dict[str, Any]:
    return user({"type": "tool_result", "tool_use_id": "c1", "content": content, **fields})


def r_result(output: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": "c1", "output": output}


def _texts() -> list[Probe]:
    row, lead = "system text", {"role": "system", "content": "s"}
    late, said = {"role": "system", "content": "late"}, {"role": "developer", "content": "dev"}
    as_system = {"role": "system", "content": "dev"}
    late_row, dev_row = "late system message", "developer role"
    wrapped = {"role": "user", "content": WRAPPED}
    return [
        probe(row, "O->O", {"messages": [lead, HI]}, kept("messages.0")),
        probe(row, "A->A", {"system": "s"}, kept("system")),
        probe(row, "A->O", {"system": "s"}, mapped("messages.0", lead)),
        probe(row, "O->A", {"messages": [lead, HI]}, mapped("system.0.text", "s")),
        probe(row, "R->O", {"instructions": "s"}, mapped("messages.0", lead)),
        probe(row, "R->A", {"instructions": "s"}, mapped("system.0.text", "s")),
        probe(late_row, "O->O", chat(late), kept("messages.1")),
        probe(late_row, "A->A", chat(late), kept("messages.1"), privacy="cloud"),
        probe(late_row, "A->A", chat(late), mapped("messages.1.content.0.text", WRAPPED, "role.late_system")),
        probe(late_row, "A->O", chat(late), mapped("messages.1", wrapped, "role.late_system")),
        probe(late_row, "O->A", chat(late), mapped("messages.1.content.0.text", WRAPPED, "role.late_system")),
        probe(late_row, "R->O", items(late), mapped("messages.1", wrapped, "role.late_system")),
        probe(late_row, "R->A", items(late), mapped("messages.1.content.0.text", WRAPPED, "role.late_system")),
        probe(dev_row, "O->O", {"messages": [said, HI]}, kept("messages.0"), privacy="cloud"),
        probe(dev_row, "O->O", {"messages": [said, HI]}, mapped("messages.0", as_system, "role.developer")),
        probe(dev_row, "O->A", {"messages": [said, HI]}, mapped("system.0.text", "dev")),
        probe(dev_row, "R->O", {"input": [said, HI]}, mapped("messages.0", as_system)),
        probe(dev_row, "R->A", {"input": [said, HI]}, mapped("system.0.text", "dev")),
        probe("text", "O->O", chat(), kept("messages.0")),
        probe("text", "A->A", chat(), kept("messages.0")),
        probe("text", "A->O", chat(user({"type": "text", "text": "a"}, "b")), mapped("messages.1.content", "a\nb")),
        probe("text", "O->A", chat(), mapped("messages.0.content.0", {"type": "text", "text": "hi"})),
        probe("text", "R->O", {"input": "hi"}, mapped("messages.0", HI)),
        probe("text", "R->A", {"input": "hi"}, mapped("messages.0.content.0.text", "hi")),
    ]


def _media() -> list[Probe]:
    blind, bookless = excludes(vision=False), excludes(documents=False)
    image, file = "messages.1.content.0", "messages.1.content.0"
    return [
        probe("image", "O->O", chat(user(O_IMAGE)), kept(image), blind),
        probe("image", "A->A", chat(user(A_IMAGE)), kept(image), blind),
        probe("image", "A->O", chat(user(A_IMAGE)), mapped(image, O_IMAGE), blind),
        probe("image", "O->A", chat(user(O_IMAGE)), mapped(image, A_IMAGE), blind),
        probe("image", "R->O", items(user(R_IMAGE)), mapped(image, O_IMAGE), blind),
        probe("image", "R->A", items(user(R_IMAGE)), mapped(image, A_IMAGE), blind),
        probe("document, file", "O->O", chat(user(O_FILE)), kept(file), bookless),
        probe("document, file", "A->A", chat(user(A_FILE)), kept(file), bookless),
        probe("document, file", "A->O", chat(user(A_FILE)), mapped(file, O_FILE), bookless),
        probe("document, file", "O->A", chat(user(O_FILE)), mapped(file, A_FILE), bookless),
        probe("document, file", "R->O", items(user(R_FILE)), mapped(file, O_FILE), bookless),
        probe("document, file", "R->A", items(user(R_FILE)), mapped(file, A_FILE), bookless),
        probe("audio", "O->O", chat(user(AUDIO)), kept("messages.1.content.0"), excludes(dialect="anthropic")),
        probe("audio", "O->A", chat(user(AUDIO)), excludes()),
    ]


def _tools() -> list[Probe]:
    row, custom, hosted = "tools (function)", "custom (freeform) tools", "typed server tools"
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    lone = {"type": "web_search", "external_web_access": False}
    as_function = {"type": "function", "function": {"name": "patch", "parameters": CUSTOM_SCHEMA}}
    return [
        probe(row, "O->O", chat(tools=[O_TOOL]), kept("tools")),
        probe(row, "A->A", chat(tools=[A_TOOL]), kept("tools")),
        probe(row, "A->O", chat(tools=[A_TOOL]), mapped("tools", [O_TOOL])),
        probe(row, "O->A", chat(tools=[O_TOOL]), mapped("tools", [A_TOOL])),
        probe(row, "R->O", items(tools=[R_TOOL]), mapped("tools", [O_TOOL])),
        probe(row, "R->A", items(tools=[R_TOOL]), mapped("tools", [A_TOOL])),
        probe(custom, "O->O", chat(tools=[O_CUSTOM]), kept("tools")),
        probe(custom, "O->A", chat(tools=[O_CUSTOM]), named("tools.custom", "lark")),
        probe(custom, "R->O", items(tools=[R_CUSTOM]), mapped("tools.0", as_function), named("tools.grammar", "lark")),
        probe(
            custom,
            "R->A",
            items(tools=[R_CUSTOM]),
            mapped("tools.0", {"name": "patch", "input_schema": CUSTOM_SCHEMA}),
            named("tools.grammar", "lark"),
        ),
        probe(hosted, "O->O", chat(tools=[lone]), kept("tools")),
        probe(hosted, "A->A", chat(tools=[search]), kept("tools")),
        probe(hosted, "A->O", chat(tools=[search]), named("tools.hosted", "web_search")),
        probe(hosted, "O->A", chat(tools=[lone]), named("tools.hosted", "web_search")),
        probe(hosted, "R->O", items(tools=[lone]), named("tools.hosted", "web_search")),
        probe(hosted, "R->A", items(tools=[lone]), named("tools.hosted", "web_search")),
        *_choices(),
        *_parallel(),
    ]


def _choices() -> list[Probe]:
    row, o, a, r = "tool_choice", {"tools": [O_TOOL]}, {"tools": [A_TOOL]}, {"tools": [R_TOOL]}
    o_named, a_named = {"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}
    r_named = {"type": "function", "name": "f"}
    return [
        probe(row, "O->O", chat(**o, tool_choice=o_named), kept("tool_choice")),
        probe(row, "A->A", chat(**a, tool_choice=a_named), kept("tool_choice")),
        probe(row, "A->O", chat(**a, tool_choice={"type": "any"}), mapped("tool_choice", "required")),
        probe(row, "A->O", chat(**a, tool_choice={"type": "none"}), mapped("tool_choice", "none")),
        probe(row, "A->O", chat(**a, tool_choice=a_named), mapped("tool_choice", o_named)),
        probe(row, "O->A", chat(**o, tool_choice="required"), mapped("tool_choice", {"type": "any"})),
        probe(row, "O->A", chat(**o, tool_choice="none"), mapped("tool_choice", {"type": "none"})),
        probe(row, "O->A", chat(**o, tool_choice=o_named), mapped("tool_choice", a_named)),
        probe(row, "R->O", items(**r, tool_choice=r_named), mapped("tool_choice", o_named)),
        probe(row, "R->A", items(**r, tool_choice=r_named), mapped("tool_choice", a_named)),
    ]


def _parallel() -> list[Probe]:
    row, o, a, r = "parallel flag", {"tools": [O_TOOL]}, {"tools": [A_TOOL]}, {"tools": [R_TOOL]}
    off = {"type": "auto", "disable_parallel_tool_use": True}
    return [
        probe(row, "O->O", chat(**o, parallel_tool_calls=False), kept("parallel_tool_calls")),
        probe(row, "A->A", chat(**a, tool_choice=off), kept("tool_choice")),
        probe(row, "A->O", chat(**a, tool_choice=off), mapped("parallel_tool_calls", False)),
        probe(row, "O->A", chat(**o, parallel_tool_calls=False), mapped("tool_choice", off)),
        probe(row, "R->O", items(**r, parallel_tool_calls=False), mapped("parallel_tool_calls", False)),
        probe(row, "R->A", items(**r, parallel_tool_calls=False), mapped("tool_choice", off)),
    ]


def _history() -> list[Probe]:
    calls, results = "tool calls in history", "tool results"
    o, a, r = chat(O_CALLED, o_result()), chat(A_CALLED, a_result()), items(R_CALL, r_result())
    a_written = {"type": "tool_result", "tool_use_id": "c1", "content": "done"}
    failed = chat(A_CALLED, a_result("boom", is_error=True))
    return [
        probe(calls, "O->O", o, kept("messages.1.tool_calls")),
        probe(calls, "A->A", a, kept("messages.1")),
        probe(calls, "A->O", a, mapped("messages.1", O_CALLED)),
        probe(calls, "O->A", o, mapped("messages.1", A_CALLED)),
        probe(calls, "R->O", r, mapped("messages.1", O_CALLED)),
        probe(calls, "R->A", r, mapped("messages.1", A_CALLED)),
        probe(results, "O->O", o, kept("messages.2")),
        probe(results, "A->A", a, kept("messages.2")),
        probe(results, "A->O", a, mapped("messages.2", o_result())),
        probe(results, "O->A", o, mapped("messages.2.content.0", a_written)),
        probe(results, "R->O", r, mapped("messages.2", o_result())),
        probe(results, "R->A", r, mapped("messages.2.content.0", a_written)),
        probe("tool_result is_error", "A->A", failed, kept("messages.2")),
        probe("tool_result is_error", "A->O", failed, mapped("messages.2", o_result("[tool error]\nboom"))),
        *_result_images(),
        *_thoughts(),
    ]


def _result_images() -> list[Probe]:
    row, blind = "images in tool results", excludes(vision=False)
    o, a, r = (
        chat(O_CALLED, o_result([O_IMAGE])),
        chat(A_CALLED, a_result([A_IMAGE])),
        items(R_CALL, r_result([R_IMAGE])),
    )
    return [
        probe(row, "O->O", o, kept("messages.2")),
        probe(row, "A->A", a, kept("messages.2")),
        probe(row, "A->O", a, mapped("messages.3.content.0", O_IMAGE), blind),
        probe(row, "O->A", o, mapped("messages.2.content.0.content.0", A_IMAGE), blind),
        probe(row, "R->O", r, mapped("messages.3.content.0", O_IMAGE), blind),
        probe(row, "R->A", r, mapped("messages.2.content.0.content.0", A_IMAGE), blind),
    ]


def _thoughts() -> list[Probe]:
    row, signed = "thinking / reasoning history", "signature, redacted_thinking"
    o = chat({"role": "assistant", "content": "ok", "reasoning_content": "hmm"})
    thought = {"type": "thinking", "thinking": "hmm", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "b3BhcXVl"}
    a = chat({"role": "assistant", "content": [thought, hidden, {"type": "text", "text": "ok"}]})
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hmm"}], "encrypted_content": "Z0FBQQ"}
    r = items(item, {"role": "assistant", "content": "ok"})
    lost = named("reasoning.history", "hmm")
    return [
        probe(row, "O->O", o, kept("messages.1")),
        probe(row, "A->A", a, kept("messages.1")),
        probe(row, "A->O", a, mapped("messages.1.reasoning_content", "hmm")),
        probe(row, "A->O", a, lost, reasoning_field=""),
        probe(row, "O->A", o, lost),
        probe(row, "R->O", r, mapped("messages.1.reasoning_content", "hmm")),
        probe(row, "R->O", r, lost, reasoning_field=""),
        probe(row, "R->A", r, lost),
        probe(signed, "A->A", a, kept("messages.1"), privacy="cloud"),
        probe(signed, "A->O", a, named("reasoning.signature", "c2ln"), named("reasoning.signature", "b3BhcXVl")),
        probe(signed, "R->O", r, named("reasoning.encrypted", "Z0FBQQ")),
        probe(signed, "R->A", r, named("reasoning.encrypted", "Z0FBQQ")),
    ]


def _parameters() -> list[Probe]:
    effort, cap = "thinking / effort parameters", "max tokens"
    thinks = {"thinking": {"type": "enabled", "budget_tokens": 2048}, "output_config": {"effort": "high"}}
    return [
        probe(effort, "O->O", {"reasoning_effort": "high"}, kept("reasoning_effort")),
        probe(effort, "A->A", thinks, kept("thinking"), kept("output_config")),
        probe(effort, "A->O", {"thinking": thinks["thinking"]}, named("reasoning.effort", "budget_tokens")),
        probe(effort, "A->O", {"output_config": {"effort": "high"}}, named("reasoning.effort", "high")),
        probe(effort, "O->A", {"reasoning_effort": "high"}, named("reasoning.effort", "high")),
        probe(effort, "O->A", {"reasoning_effort": {"budget": 3}}, named("reasoning.effort", "budget")),
        probe(effort, "R->O", {"reasoning": {"effort": "high"}}, mapped("reasoning_effort", "high")),
        probe(effort, "R->A", {"reasoning": {"effort": "high"}}, named("reasoning.effort", "high")),
        probe(
            cap, "O->O", {"max_tokens": 7}, mapped("max_completion_tokens", 7), max_tokens_field="max_completion_tokens"
        ),
        probe(cap, "A->A", {"max_tokens": 7}, kept("max_tokens")),
        probe(
            cap, "A->O", {"max_tokens": 7}, mapped("max_completion_tokens", 7), max_tokens_field="max_completion_tokens"
        ),
        probe(cap, "O->A", {"max_completion_tokens": 7}, mapped("max_tokens", 7)),
        probe(cap, "O->A", {}, mapped("max_tokens", 1024)),
        probe(cap, "R->O", {"max_output_tokens": 7}, mapped("max_tokens", 7)),
        probe(cap, "R->A", {"max_output_tokens": 7}, mapped("max_tokens", 7)),
        *[
            probe("temperature, top_p", way, {"temperature": 0.25, "top_p": 0.5}, kept("temperature"), kept("top_p"))
            for way in ("O->O", "A->A", "A->O", "O->A", "R->O", "R->A")
        ],
        probe("stop strings", "O->O", {"stop": ["END"]}, kept("stop")),
        probe("stop strings", "A->A", {"stop_sequences": ["END"]}, kept("stop_sequences")),
        probe("stop strings", "A->O", {"stop_sequences": ["END"]}, mapped("stop", ["END"])),
        probe("stop strings", "O->A", {"stop": "END"}, mapped("stop_sequences", ["END"])),
        *_formats(),
    ]


def _formats() -> list[Probe]:
    row = "response format"
    o = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    a = {"format": {"type": "json_schema", "schema": SCHEMA}}
    r = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}}
    loose = {"type": "json_object"}
    return [
        probe(row, "O->O", {"response_format": o}, kept("response_format")),
        probe(row, "A->A", {"output_config": a}, kept("output_config")),
        probe(row, "A->O", {"output_config": a}, mapped("response_format", o)),
        probe(row, "O->A", {"response_format": o}, mapped("output_config", a)),
        probe(row, "O->A", {"response_format": loose}, named("response_format", "json_object")),
        probe(row, "O->A", {"response_format": {"type": "grammar"}}, named("response_format", "grammar")),
        probe(row, "R->O", {"text": r}, mapped("response_format", o)),
        probe(row, "R->A", {"text": r}, mapped("output_config", a)),
        probe(row, "R->A", {"text": {"format": loose}}, named("response_format", "json_object")),
    ]


def _only_some() -> list[Probe]:
    """Fields that some dialects have and others can only name."""
    cached = chat(user({"type": "text", "text": "x", "cache_control": CACHE}))
    bob = {"role": "user", "content": "x", "name": "bob"}
    lead = {"messages": [{"role": "system", "content": "s", "name": "bob"}, HI]}
    return [
        probe("cache_control", "O->O", cached, kept("messages.1")),
        probe("cache_control", "A->A", cached, kept("messages.1")),
        probe("cache_control", "A->O", cached, named("cache_control", "ephemeral")),
        probe(
            "cache_control",
            "A->O",
            {"tools": [{**A_TOOL, "cache_control": CACHE}]},
            named("cache_control", "ephemeral"),
        ),
        probe("names of participants", "O->O", chat(bob), kept("messages.1")),
        probe("names of participants", "O->A", chat(bob), named("name", "bob")),
        probe("names of participants", "O->A", lead, named("name", "bob")),
        *_fields("top_k", {"top_k": 40}, "O->O A->A", "A->O O->A"),
        *_fields("presence, frequency penalty", {"presence_penalty": 0.75}, "O->O", "O->A", "penalties"),
        *_fields("presence, frequency penalty", {"frequency_penalty": 0.75}, "O->O", "O->A", "penalties"),
        *_fields("logprobs", {"logprobs": True, "top_logprobs": 3}, "O->O", "O->A", "logprobs"),
        *_fields("logprobs", {"top_logprobs": 3}, "R->O", "R->A", "logprobs"),
        *_fields("context_management, container, mcp_servers", {"context_management": {"edits": []}}, "A->A", "A->O"),
        *_fields("context_management, container, mcp_servers", {"container": "c_1"}, "A->A", "A->O"),
        *_fields("context_management, container, mcp_servers", {"mcp_servers": [{"name": "m"}]}, "A->A", "A->O"),
        *_fields(_TIERS, {"service_tier": "flex"}, "O->O A->A R->O", "A->O O->A R->A"),
        *_fields(_TIERS, {"verbosity": "low"}, "O->O", "O->A"),
        probe(_TIERS, "R->O", {"text": {"verbosity": "low"}}, kept_as("verbosity", "low")),
        probe(_TIERS, "R->A", {"text": {"verbosity": "low"}}, named("verbosity", "low")),
        *_fields(_TIERS, {"prediction": {"type": "content", "content": "x"}}, "O->O", "O->A"),
        *_fields("prompt_cache_key", {"prompt_cache_key": "k1"}, "O->O R->O", "O->A R->A"),
    ]


_TIERS = "service_tier, verbosity, prediction"


def _fields(row: str, send: dict[str, Any], keep: str, lose: str, name: str = "") -> list[Probe]:
    """Top-level fields that go as they are where they exist, and are named elsewhere."""
    own = [probe(row, way, send, *[kept(field) for field in send]) for way in keep.split()]
    return own + [probe(row, way, send, named(name or next(iter(send)), next(iter(send)))) for way in lose.split()]


_BETAS = {"anthropic-beta": "context-1m-2025-08-07", "anthropic-version": "2023-06-01"}
PROBES: list[Probe] = [
    *_texts(),
    *_media(),
    *_tools(),
    *_history(),
    *_parameters(),
    *_only_some(),
    *[
        probe("anthropic-beta, anthropic-version", "A->A", {}, kept_as(f"headers.{name}", value), inbound=_BETAS)
        for name, value in _BETAS.items()
    ],
]
