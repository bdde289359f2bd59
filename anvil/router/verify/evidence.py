"""What a check may look at: one complete answer beside the few facts of the request it answers (contract 12.2)."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from anvil.router.turn import Answer, Opaque, ResponseFormat, Text, ToolCall, ToolChoice, Turn
from anvil.router.verify import fences
from anvil.router.verify.fences import Layout

LENGTH_STOPS = frozenset({"length", "max_tokens", "model_length"})
WINDOW_STOPS = frozenset({"context_window", "model_context_window_exceeded"})
# How ordinary answers end, in the tiers' own words; a full window may hide behind any other.
_PLAIN_STOPS = frozenset({"stop", "end_turn"})
# A reported count this close to the cap counts as having reached it: engines count the stop token differently.
CAP_SLACK_TOKENS = 16
CAP_SLACK_SHARE = 0.05


class Evidence(Struct, kw_only=True):
    """One answer as the checks see it.

    finish: neutral reason (turn.FinishReason) or the tier's own word; raw_finish: always the tier's own word.
    cap: the token cap in force (None: none, or one the router lowered itself).
    completion_tokens: None unless the tier reported it.
    tools: declared tool name -> JSON text of its schema (None: no schema); empty when none is declared.
    opaque: kinds of the blocks only the tier's dialect understands (server tools).
    stop_strings: the caller named strings that may end the text anywhere.
    prompt: JSON text of the request's messages, read only when a text check is about to fail.
    """

    text: str
    finish: str | None = None
    raw_finish: str | None = None
    calls: list[ToolCall] = []
    cap: int | None = None
    completion_tokens: int | None = None
    tools: dict[str, bytes | None] = {}
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    opaque: tuple[str, ...] = ()
    stop_strings: bool = False
    prompt: Raw | None = None
    found_blocks: Layout | None = None

    @property
    def layout(self) -> Layout:
        """The fenced blocks of the text, found once for all checks."""
        if self.found_blocks is None:
            self.found_blocks = fences.layout(self.text)
        return self.found_blocks

    @property
    def short_of_cap(self) -> bool:
        """Whether a length stop came although the cap in force leaves room, or without any cap (12.3)."""
        if self.cap is None:
            return True
        if self.completion_tokens is None:
            return False
        missing = self.cap - self.completion_tokens
        return missing > CAP_SLACK_TOKENS and missing > self.cap * CAP_SLACK_SHARE

    @property
    def open_ended(self) -> bool:
        """Whether the caller's own cap or stop strings ended the text, so that an unfinished tail proves nothing."""
        if self.finish in LENGTH_STOPS:
            return not self.short_of_cap
        return self.stop_strings or self.finish == "stop_sequence"

    @property
    def unremarkable(self) -> bool:
        """Whether a text has come to its end and nothing but text was asked for or given."""
        text: object = self.text
        choice = self.tool_choice
        return (
            self.finish == "stop"
            and self.raw_finish in _PLAIN_STOPS
            and type(text) is str
            and not (self.calls or self.opaque or self.response_format is not None)
            and (choice is None or not choice.requires_call)
            and bool(text)
            and not text.isspace()
        )

    @property
    def unmarked(self) -> bool:
        """Whether the text holds neither a fence nor a hunk header."""
        text = self.text
        return fences.absent(text) and ("@" not in text or "@@ -" not in text)

    def continues_prefill(self) -> bool:
        """Whether the prompt ends with the assistant's own words, so that the text starts in the middle."""
        if self.prompt is None:
            return False
        try:
            messages = msgspec.json.decode(self.prompt, type=list[_Message])
        except msgspec.MsgspecError:
            return False
        return bool(messages) and messages[-1].role == "assistant"


class _Message(Struct):
    role: str = ""


def of(answer: Answer, turn: Turn, cap: int | None) -> Evidence:
    """The evidence for one answer. ``cap`` is the cap in force (12.2); pass None for one fitted to a window."""
    blocks = answer.blocks
    calls: list[ToolCall] = []
    opaque: tuple[str, ...] = ()
    if len(blocks) == 1 and type(blocks[0]) is Text:
        text = blocks[0].text
    else:
        text = answer.text
        calls = answer.calls
        opaque = tuple([block.kind for block in blocks if isinstance(block, Opaque)])
    finish, usage = answer.finish, answer.usage
    return Evidence(
        text=text,
        finish=None if finish is None else finish.reason,
        raw_finish=None if finish is None else finish.raw,
        calls=calls,
        cap=cap,
        completion_tokens=None if usage is None or usage.estimated else usage.completion,
        tools=declared_tools(turn, calls) if calls else {},
        tool_choice=turn.tool_choice,
        response_format=turn.response_format,
        opaque=opaque,
        stop_strings=bool(turn.stop),
        prompt=turn.body.get("messages"),
    )


def declared_tools(turn: Turn, calls: list[ToolCall]) -> dict[str, bytes | None]:
    """Name -> schema of every tool that ``calls`` may name.

    Typed client tools (Anthropic ``bash_20250124``...) have a name but no schema, and dialects do not list them in
    ``Turn.tools``; the body is searched for them only when a call names a tool that is not listed. Responses has none:
    its hosted tools reach no tier, so no call may name them.
    """
    tools = {tool.name: tool.schema for tool in turn.tools}
    if tools and turn.dialect != "responses" and any(call.name not in tools for call in calls):
        for name in _typed_tool_names(turn.body.get("tools")):
            tools.setdefault(name, None)
    return tools


class _TypedTool(Struct):
    name: str | None = None
    type: str | None = None


def _typed_tool_names(tools: Raw | None) -> list[str]:
    names = []
    for raw in _decode_list(tools):
        try:
            tool = msgspec.json.decode(raw, type=_TypedTool)
        except msgspec.MsgspecError:
            continue
        if tool.name and tool.type not in (None, "function"):
            names.append(tool.name)
    return names


def _decode_list(raw: Raw | None) -> list[Raw]:
    try:
        return [] if raw is None else msgspec.json.decode(raw, type=list[Raw])
    except msgspec.MsgspecError:
        return []
