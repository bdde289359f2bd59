"""A Chat Completions request as a neutral conversation, for tiers of another dialect (contract 5.3, 6.4).

The turn is already validated; entries no reader can make sense of are skipped, what cannot be expressed is named.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.encode import NEVER_FORWARDED, absent, splice, unknown_names
from anvil.router.dialects.openai_chat_answer import arguments_text, custom_arguments
from anvil.router.dialects.openai_chat_scan import SYSTEM_ROLES, part_text
from anvil.router.dialects.openai_chat_tools import read_tools
from anvil.router.recent import Recent
from anvil.router.turn import (
    Audio,
    Block,
    Conversation,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)

# fields only OpenAI tiers understand -> the name of the loss elsewhere (Appendix A)
OPENAI_FIELDS = {
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
    "top_k": "top_k",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "modalities": "modalities",
    "audio": "modalities",
    "prediction": "prediction",
    "verbosity": "verbosity",
    "service_tier": "service_tier",
    "prompt_cache_key": "prompt_cache_key",
    "web_search_options": "unknown.web_search_options",
}
_READ = frozenset(("messages", "tools", "functions", "tool_choice", "function_call", "response_format")) | {
    "model",
    "stream",
    "n",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "reasoning_effort",
}

_MESSAGE_FIELDS = frozenset(("role", "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id")) | {
    *("reasoning_content", "reasoning")
}
_PART_FIELDS = frozenset(("type", "text", "refusal", "image_url", "input_audio", "file", "cache_control"))
_TOOL_FIELDS = frozenset(("type", "function"))
_FUNCTION_FIELDS = frozenset(("name", "description", "parameters", "strict"))
_NOTHING: tuple[object, ...] = (None, "", [], {})

_plain = msgspec.json.Decoder().decode


def conversation(turn: Turn) -> Conversation:
    """The whole request. ``openai_fields`` holds what only OpenAI tiers understand, named in ``OPENAI_FIELDS``."""
    body = turn.body
    history = _History()
    for message in _plain(body["messages"]):
        history.add(message)
    kept = {name: raw for name, raw in body.items() if name in OPENAI_FIELDS and not absent(raw)}
    return Conversation(
        system=history.system,
        messages=history.done(),
        temperature=_present(body, "temperature"),
        top_p=_present(body, "top_p"),
        stop=turn.stop,
        parallel_tools=_parallel(body),
        reasoning_effort=_effort(body),
        openai_fields=kept,
        unmapped=list(dict.fromkeys([*history.lost, *_unmapped(body), *_misshapen(turn)])),
    )


def _present(body: dict[str, Raw], name: str) -> Raw | None:
    raw = body.get(name)
    return None if absent(raw) else raw


def _parallel(body: dict[str, Raw]) -> bool | None:
    value = _plain(body.get("parallel_tool_calls", b"null"))
    return value if isinstance(value, bool) else None


def _effort(body: dict[str, Raw]) -> str | None:
    value = _plain(body.get("reasoning_effort", b"null"))
    return value if isinstance(value, str) else None


def _unmapped(body: dict[str, Raw]) -> list[str]:
    names = []
    declared = None if absent(body.get("tools")) else read_tools(body["tools"])
    if declared is not None:
        if declared.hosted:
            names.append("tools.hosted")
        names += _tool_losses(body["tools"])
    strange = [name for name in body if name not in _READ and name not in OPENAI_FIELDS and name not in NEVER_FORWARDED]
    return names + unknown_names([name for name in strange if not absent(body[name])])


def _misshapen(turn: Turn) -> list[str]:
    """Names of known fields whose value no reader could make sense of."""
    body, names = turn.body, []
    if not absent(body.get("reasoning_effort")) and _effort(body) is None:
        names.append("reasoning.effort")
    if not absent(body.get("parallel_tool_calls")) and _parallel(body) is None:
        names.append("unknown.parallel_tool_calls")
    wanted = _plain(body.get("response_format", b"null"))
    plain = wanted is None or (isinstance(wanted, dict) and wanted.get("type") == "text")
    if turn.response_format is None and not plain:
        names.append("response_format")
    return names


def _name_tools(raw: Raw) -> tuple[str, ...]:
    """What declarations say that a neutral tool does not."""
    names: dict[str, None] = {}
    for tool in _plain(raw):
        if tool.get("type") == "custom":
            names["tools.custom"] = None
        elif isinstance(tool.get("function"), dict):
            strange = [name for name in tool if name not in _TOOL_FIELDS]
            strange += [name for name in tool["function"] if name not in _FUNCTION_FIELDS]
            names |= dict.fromkeys(unknown_names(strange))
    return tuple(names)


# an agent repeats the same declarations every turn
_tool_losses = Recent(_name_tools)


class _History:
    """Messages in order; consecutive tool results gather in one user message."""

    def __init__(self) -> None:
        self.system: list[str] = []
        self.lost: dict[str, None] = {}
        self._messages: list[Message] = []
        self._results: list[Block] = []
        self._leading = True
        self._functions = 0  # legacy calls so far: they have no ids of their own

    def done(self) -> list[Message]:
        self._flush()
        return self._messages

    def add(self, message: dict[str, Any]) -> None:
        role = message["role"]
        if not _MESSAGE_FIELDS.issuperset(message):
            self._name_unknown(message, _MESSAGE_FIELDS)
        if role in SYSTEM_ROLES and self._leading:
            self._lead(message)
            return
        self._leading = False
        if role in ("tool", "function"):
            self._results.append(self._result(message))
            return
        self._flush()
        if role == "assistant":
            self._append("assistant", self._assistant(message), message)
        else:
            self._append("user" if role == "user" else "system", self._blocks(message.get("content")), message)

    def _name_unknown(self, fields: dict[str, Any], known: frozenset[str]) -> None:
        strange = [name for name, value in fields.items() if name not in known and value not in _NOTHING]
        self.lost.update(dict.fromkeys(unknown_names(strange)))

    def _lead(self, message: dict[str, Any]) -> None:
        """Each block stays an entry of its own, so that a rotating one can be left out (6.5)."""
        content = message.get("content")
        if message.get("name"):
            self.lost["name"] = None
        blocks = content if isinstance(content, list) else [content]
        self.system += [text for text in map(part_text, blocks) if text]

    def _flush(self) -> None:
        if self._results:
            self._messages.append(Message("user", tuple(self._results)))
            self._results = []

    def _append(self, role: Any, blocks: list[Block], message: dict[str, Any]) -> None:
        name = message.get("name")
        if isinstance(name, str) and name:
            self.lost["name"] = None
        self._messages.append(Message(role, tuple(blocks), name if isinstance(name, str) else None))

    def _result(self, message: dict[str, Any]) -> ToolResult:
        identity = message.get("tool_call_id")
        if not isinstance(identity, str):
            identity = f"call_fn_{max(self._functions - 1, 0)}"
        blocks = self._blocks(message.get("content"))
        content = tuple([block for block in blocks if isinstance(block, Text | Image | Document)])
        if len(content) != len(blocks):
            self.lost["modalities"] = None
        return ToolResult(identity, content)

    def _assistant(self, message: dict[str, Any]) -> list[Block]:
        blocks: list[Block] = []
        thought = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(thought, str):
            blocks.append(Reasoning(thought))
        blocks += self._blocks(message.get("content"))
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            blocks.append(Text(refusal))
        calls = message.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else []):
            read = _read_call(call, place)
            if read is None:
                self.lost["unknown.tool_calls"] = None
            else:
                blocks.append(read)
        legacy = _read_function(f"call_fn_{self._functions}", message.get("function_call"))
        if legacy is not None:
            self._functions += 1
            blocks.append(legacy)
        return blocks

    def _blocks(self, content: Any) -> list[Block]:
        if isinstance(content, str):
            return [Text(content)] if content else []
        blocks = [self._block(part) for part in content or []]
        return [block for block in blocks if block is not None]

    def _block(self, part: Any) -> Block | None:
        if isinstance(part, str):
            return Text(part) if part else None
        if "cache_control" in part:
            self.lost["cache_control"] = None
        read = _PARTS.get(part.get("type")) if isinstance(part.get("type"), str) else None
        block = read(part) if read is not None else None
        if block is not None and not _PART_FIELDS.issuperset(part):
            self._name_unknown(part, _PART_FIELDS)
        if block is None:
            kind = part.get("type")
            return Opaque(kind if isinstance(kind, str) else "", splice(part))
        return None if block == _EMPTY else block


_EMPTY = Text("")


def _text(part: dict[str, Any]) -> Block | None:
    return Text(part_text(part))


def _refusal(part: dict[str, Any]) -> Block | None:
    text = part.get("refusal")
    return Text(text) if isinstance(text, str) else None


def _image(part: dict[str, Any]) -> Block | None:
    inner = part.get("image_url")
    url = inner.get("url") if isinstance(inner, dict) else inner
    if not isinstance(url, str):
        return None
    detail = inner.get("detail") if isinstance(inner, dict) else None
    media_type, data = split_data_url(url)
    if data is not None:
        return Image(media_type, data, detail=detail if isinstance(detail, str) else None)
    return Image(url=url, detail=detail if isinstance(detail, str) else None)


def _audio(part: dict[str, Any]) -> Block | None:
    inner = part.get("input_audio")
    if not isinstance(inner, dict) or not isinstance(inner.get("data"), str):
        return None
    kind = inner.get("format")
    return Audio(inner["data"], kind if isinstance(kind, str) else "wav")


def _file(part: dict[str, Any]) -> Block | None:
    inner = part.get("file")
    if not isinstance(inner, dict):
        return None
    title, identity, content = inner.get("filename"), inner.get("file_id"), inner.get("file_data")
    title = title if isinstance(title, str) else None
    if isinstance(content, str):
        media_type, data = split_data_url(content)
        return Document(media_type or "application/pdf", data if data is not None else content, title=title)
    return Document(file_id=identity, title=title) if isinstance(identity, str) else None


_PARTS = {"text": _text, "refusal": _refusal, "image_url": _image, "input_audio": _audio, "file": _file}


def split_data_url(url: str) -> tuple[str | None, str | None]:
    """Media type and base64 data of a ``data:`` URL; (None, None) for any other URL."""
    head, comma, data = url.partition(",")
    if not comma or head[:5].lower() != "data:" or not head.lower().endswith(";base64"):
        return None, None
    return head[5:].partition(";")[0] or None, data


def _read_call(call: Any, place: int) -> ToolCall | None:
    if not isinstance(call, dict):
        return None
    identity = call.get("id")
    identity = identity if isinstance(identity, str) and identity else f"call_{place}"
    custom = call.get("custom")
    if not isinstance(custom, dict):
        return _read_function(identity, call.get("function"))
    name, text = custom.get("name"), custom.get("input")
    if not isinstance(name, str) or not isinstance(text, str):
        return None
    return ToolCall(identity, name, custom_arguments(text), custom=True)


def _read_function(identity: str, function: Any) -> ToolCall | None:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        return None
    return ToolCall(identity, name, arguments_text(function.get("arguments")) or "")
