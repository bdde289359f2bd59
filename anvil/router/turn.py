"""The neutral language of the router: what a caller asked (Turn) and what a tier answers (Event, Answer).

Dialects translate wire bytes into these types once; policy, gate, verifiers, renderers, usage and the decision
record all read the same values. When caller and tier speak the same dialect the decoded body rides along in
``Turn.body`` and is forwarded untouched (contract 6.2); ``Conversation`` is only built when translation must happen.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, Struct, structs

CallerDialect = Literal["openai", "anthropic", "responses"]
TierDialect = Literal["openai", "anthropic"]

# ---------------------------------------------------------------------------------------------- blocks


class Text(Struct, frozen=True, tag="text"):
    """Plain text; ``extra`` keeps unknown fields of the wire block for same-dialect callers."""

    text: str
    extra: dict[str, Raw] | None = None


class Image(Struct, frozen=True, tag="image"):
    """Either ``data`` (base64, with ``media_type``) or ``url``. Never fetched by the router."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    detail: str | None = None


class Document(Struct, frozen=True, tag="document"):
    """A file. ``text`` is set for plain-text documents (they translate to text), else base64 ``data`` or
    ``url``/``file_id``."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    text: str | None = None
    title: str | None = None


class Audio(Struct, frozen=True, tag="audio"):
    """Base64 audio of an OpenAI ``input_audio`` part."""

    data: str
    format: str


class Reasoning(Struct, frozen=True, tag="reasoning"):
    """Thinking text. ``signature`` exactly as the tier gave it, never invented; ``redacted`` is an opaque
    redacted_thinking payload."""

    text: str
    signature: str | None = None
    redacted: str | None = None


class ToolCall(Struct, frozen=True, tag="tool_call"):
    """One complete call. ``arguments`` is JSON text ("" when the tier sent none or null).

    ``custom`` marks a Responses freeform tool. ``malformed`` names a shape defect the JSON text cannot express
    (a call that is not an object, a missing name, arguments of a forbidden type); "" means none.
    ``extra``: unknown fields of the wire call (e.g. a thought signature), for same-dialect callers.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    malformed: str = ""
    extra: dict[str, Raw] | None = None


class ToolResult(Struct, frozen=True, tag="tool_result"):
    call_id: str
    content: tuple[Text | Image | Document, ...]
    is_error: bool = False


class Opaque(Struct, frozen=True, tag="opaque"):
    """A block only its own dialect understands (server tools, citations...). ``raw`` is its whole JSON."""

    kind: str
    raw: bytes


Block = Text | Image | Document | Audio | Reasoning | ToolCall | ToolResult | Opaque

# -------------------------------------------------------------------------------------------- requests


class Message(Struct, frozen=True):
    role: Literal["user", "assistant", "system"]
    blocks: tuple[Block, ...]
    name: str | None = None


class Tool(Struct, frozen=True):
    """A declared function tool. ``schema`` is the JSON text of its parameters exactly as sent (None: none given).

    ``grouped``: namespace and name as the caller knows them, where ``name`` joins the two for tiers.
    """

    name: str
    description: str | None = None
    schema: bytes | None = None
    strict: bool | None = None
    custom: bool = False
    grouped: tuple[str, str] | None = None


class ToolChoice(Struct, frozen=True):
    """``named`` carries ``name``. "unknown" is a shape no dialect defines; it is named lossy when translated."""

    mode: Literal["auto", "none", "required", "named", "unknown"]
    name: str = ""

    @property
    def requires_call(self) -> bool:
        return self.mode in ("required", "named")


class ResponseFormat(Struct, frozen=True):
    """``schema`` is the JSON text of the schema for json_schema, else None."""

    kind: Literal["json_object", "json_schema"]
    schema: bytes | None = None
    name: str = "answer"
    strict: bool | None = None


class Conversation(Struct):
    """The whole request in neutral form, built only for translation (contract 6.4)."""

    system: list[str]
    messages: list[Message]
    temperature: Raw | None = None
    top_p: Raw | None = None
    stop: list[str] | None = None
    parallel_tools: bool | None = None
    reasoning_effort: str | None = None
    # fields that exist in both OpenAI dialects and pass to OpenAI tiers as they are (name -> JSON)
    openai_fields: dict[str, Raw] = {}
    # names (Appendix A) of what the caller's dialect carried and no other dialect can express
    unmapped: list[str] = []


class Signals(Struct):
    """What intent and policy read (contract 5.4, 9.5, 10.1). Texts never leave the process.

    words: whitespace words of system text plus all message texts, tool results included, each counted once.
    system_text: S of 9.5 when it has at most 150 words, else "" (a long system prompt never contributes keywords).
    user_text: U, the text of the newest user message with text of its own, harness noise passed over.
    linked_documents: of ``documents``, those the OpenAI dialect has no words for: by URL, or mixed of text and images.
    """

    words: int = 0
    system_text: str = ""
    user_text: str = ""
    thinking: bool = False
    has_tools: bool = False
    tool_artifacts: bool = False
    images: int = 0
    documents: int = 0
    linked_documents: int = 0
    audio: bool = False
    messages: int = 0


class Turn(Struct):
    """One validated request.

    body: the decoded top level, values as raw JSON, key order kept; what same-dialect tiers receive.
    cap: the caller's own token cap, None when absent or null (0 is a cap).
    lossy: names noticed while parsing (Appendix A); each attempt adds its own to the decision record.
    repairs: names of the repairs of contract 6.2 this body needs on local tiers, found while parsing.
    size: bytes of the body as it came, 0 when unknown.
    view: the parsing dialect's own reading of the messages, for its conversation() and request(); nobody else looks.
    """

    dialect: CallerDialect
    body: dict[str, Raw]
    signals: Signals
    model: str | None = None
    stream: bool = False
    include_usage: bool = False
    cap: int | None = None
    stop: list[str] | None = None
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    show_reasoning: bool = True
    lossy: list[str] = []
    repairs: tuple[str, ...] = ()
    size: int = 0
    view: object = None

    @property
    def requires_call(self) -> bool:
        return self.tool_choice is not None and self.tool_choice.requires_call

    def for_dialect(self, dialect: TierDialect) -> Turn:
        """The turn as a tier of ``dialect`` can honour it: no call is demanded when no tool can be translated."""
        if dialect == self.dialect or self.tools or not self.requires_call:
            return self
        return structs.replace(self, tool_choice=ToolChoice("unknown"))


class UpstreamRequest(Struct):
    """Bytes for one tier. ``path`` is appended to the tier's base; ``headers`` are the extra ones (lower-case).

    cap: the cap in force of contract 12.2 (None: none). fitted: the cap was lowered to fit the window
    (reconciliation 11).
    """

    body: bytes
    stream: bool
    cap: int | None = None
    fitted: bool = False
    headers: list[tuple[str, str]] = []
    lossy: list[str] = []


class BadRequest(Exception):
    """The caller's request cannot be accepted. ``status`` 400 unless said; ``details`` go into the Anthropic
    envelope."""

    def __init__(
        self, message: str, *, type: str = "invalid_request", status: int = 400, details: object = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.type = type
        self.status = status
        self.details = details


# --------------------------------------------------------------------------------------------- answers

FinishReason = Literal[
    "stop", "stop_sequence", "tool_calls", "length", "context_window", "content_filter", "pause_turn", "unknown"
]


class Usage(Struct, frozen=True):
    """Token counts; prompt includes cached. ``raw`` is the tier's own usage object for same-dialect callers."""

    prompt: int
    completion: int
    cached: int | None = None
    reasoning: int | None = None
    estimated: bool = False
    raw: bytes | None = None


class TextDelta(Struct, frozen=True, gc=False):
    """``extra``: unknown fields of the delta; ``choice_extra``: of the choice (OpenAI, e.g. logprobs). Same dialect
    only."""

    text: str
    extra: dict[str, Raw] | None = None
    choice_extra: dict[str, Raw] | None = None


class ReasoningDelta(Struct, frozen=True, gc=False):
    text: str


class ReasoningDone(Struct, frozen=True):
    """End of a reasoning block; carries the signature or redacted payload if the tier gave one."""

    signature: str | None = None
    redacted: str | None = None


class ToolOpen(Struct, frozen=True):
    """A tool block has begun at ``index`` (the tier's own order). Later text waits behind it (contract 13.3)."""

    index: int


class ToolGrow(Struct, frozen=True, gc=False):
    """``size`` further bytes of arguments are held."""

    index: int
    size: int


class ToolDone(Struct, frozen=True):
    index: int
    call: ToolCall


class OpaqueDone(Struct, frozen=True):
    """A complete block only a same-dialect caller can receive. ``frames`` are its raw stream event payloads, in
    order."""

    block: Opaque
    frames: list[bytes] = []


class UsageReport(Struct, frozen=True):
    usage: Usage


class Finish(Struct, frozen=True):
    """The terminator. ``raw`` is the tier's own word, ``stop_sequence`` the matched string when known.

    ``extra``: unknown fields of the event that ended a stream, for same-dialect callers.
    """

    reason: FinishReason
    raw: str | None = None
    stop_sequence: str | None = None
    assumed: bool = False
    extra: dict[str, Raw] | None = None


class Fault(Struct, frozen=True):
    """The tier said or did something that ends the attempt. ``failure_class`` as in contract 15.1; ``label`` for the
    record."""

    failure_class: str
    label: str
    message: str = ""
    status: int | None = None
    retry_after_s: float | None = None


Event = (
    TextDelta
    | ReasoningDelta
    | ReasoningDone
    | ToolOpen
    | ToolGrow
    | ToolDone
    | OpaqueDone
    | UsageReport
    | Finish
    | Fault
)


class Answer(Struct):
    """One complete answer, from a JSON body or folded from events.

    envelope: the decoded top level of a JSON answer (same-dialect callers keep its unknown fields), None for streams.
    message: the decoded ``choices[0].message`` of an OpenAI answer, for the same reason.
    lossy: names noticed while reading (``finish.unknown``...).
    """

    blocks: list[Text | Reasoning | ToolCall | Opaque]
    finish: Finish | None = None
    usage: Usage | None = None
    envelope: dict[str, Raw] | None = None
    message: dict[str, Raw] | None = None
    choice: dict[str, Raw] | None = None
    lossy: list[str] = []

    @property
    def text(self) -> str:
        return "".join([b.text for b in self.blocks if type(b) is Text])

    @property
    def calls(self) -> list[ToolCall]:
        return [b for b in self.blocks if type(b) is ToolCall]


class BadAnswer(Exception):
    """A tier's answer that cannot be read (contract 7.1, 7.2); carries the Fault of the attempt."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.label)
        self.fault = fault


class Reply(Struct, frozen=True):
    """What a renderer needs besides the events: identity of the answer and estimates for usage the tier did not report.

    model: echo of the caller's string (or the dialect's default). id: 24 hex. created: unix seconds.
    prompt_estimate: tokens to show in message_start while the real count is unknown.
    same_dialect: the tier speaks the caller's dialect, so raw extras may be sent.
    """

    id: str
    model: str
    created: int
    prompt_estimate: int = 0
    same_dialect: bool = False
