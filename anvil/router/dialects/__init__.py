"""Wire dialects. A caller dialect reads requests and writes answers; a tier dialect writes requests and reads answers.

Chat Completions and Messages are both; Responses is a caller dialect only. ``caller(name)`` and ``tier(name)`` give
the module that implements the protocol below; modules are stateless, stream readers and writers are small objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from anvil.router.turn import Answer, Conversation, Event, Fault, Reply, Turn, UpstreamRequest

if TYPE_CHECKING:
    from anvil.router.config import TierConfig


class StreamWriter(Protocol):
    """Turns events into the caller's SSE bytes. Frames leave in contract order (14.3 to 14.5).

    ``start`` gives the lifecycle frames that precede content; ``write`` the frames of one event (b"" when the event
    shows nothing, e.g. ToolOpen or usage kept for the end); ``finish`` what is left after the terminator.
    ``abort`` gives the one error event that replaces everything left (13.4, 13.5).
    """

    lossy: set[str]

    def start(self) -> bytes: ...
    def write(self, event: Event) -> bytes: ...
    def finish(self) -> bytes: ...
    def abort(self, fault: Fault, status: int) -> bytes: ...


class StreamReader(Protocol):
    """Turns a tier's SSE bytes into events; UTF-8 and lines may be split anywhere (7.2).

    ``feed`` raises BadAnswer on caps and malformed streams; ``complete`` says whether the terminator was seen;
    ``bad_events`` counts skipped undecodable events. ``lossy`` names what was assumed (finish.assumed...).
    """

    complete: bool
    bad_events: int
    lossy: set[str]

    def feed(self, data: bytes) -> list[Event]: ...
    def close(self) -> list[Event]: ...


class CallerModule(Protocol):
    DEFAULT_MODEL: str

    def parse(self, data: bytes) -> Turn: ...
    def conversation(self, turn: Turn) -> Conversation: ...
    def render(self, answer: Answer, turn: Turn, reply: Reply, lossy: set[str]) -> bytes: ...
    def writer(self, turn: Turn, reply: Reply) -> StreamWriter: ...
    def error(
        self, status: int, type: str, message: str, *, code: str | None = None, details: object = None
    ) -> bytes: ...


class TierModule(Protocol):
    def request(self, turn: Turn, tier: TierConfig, conversation: Conversation | None) -> UpstreamRequest: ...
    def read_answer(self, data: bytes) -> Answer: ...
    def reader(self) -> StreamReader: ...


def caller(name: str) -> CallerModule:
    """The module for a caller dialect name of ``Turn.dialect``."""
    return _CALLERS[name]


def tier(name: str) -> TierModule:
    """The module for a tier's ``dialect``."""
    return _TIERS[name]


from anvil.router.dialects import anthropic_messages, openai_chat, openai_responses  # noqa: E402

_CALLERS: dict[str, CallerModule] = {
    "openai": openai_chat,
    "anthropic": anthropic_messages,
    "responses": openai_responses,
}
_TIERS: dict[str, TierModule] = {"openai": openai_chat, "anthropic": anthropic_messages}
