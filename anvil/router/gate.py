"""The commit state machine: what of an answer may leave now (contract 13).

One Gate judges one attempt for a streaming caller. It is pure: events in, bytes out. It never decides what happens
after a failure; it raises GateFault and says through ``committed`` whether anything has left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from anvil.router.reading import Words
from anvil.router.turn import (
    Answer,
    Event,
    Fault,
    Finish,
    Opaque,
    OpaqueDone,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    Text,
    TextDelta,
    ToolCall,
    ToolDone,
    ToolGrow,
    ToolOpen,
    Usage,
    UsageReport,
)

if TYPE_CHECKING:
    from anvil.router.dialects import StreamWriter

State = Literal["waiting", "holding", "live", "ended"]
# Longest text piece of a replayed answer; one giant SSE line would trip readers with 1 MiB line caps.
REPLAY_PIECE = 65_536


class GateFault(Exception):
    """The attempt fails here. Before commit another tier may answer; after it the caller gets one error event."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.label)
        self.fault = fault


class GatePolicy(Struct, frozen=True):
    """How strict one attempt is.

    hold: allow-with-verify, nothing leaves before the whole answer is judged.
    eager: allow on a local tier with verify_local_min off, the first text delta of any kind commits.
    require_call: the caller demanded a tool call; text waits for the first verified one (``require_name`` if set).
    verify_call: name of the failed check for one complete call, None when it passes.
    cap: bytes that may be held before commit.
    """

    hold: bool
    verify_call: Callable[[ToolCall], str | None]
    eager: bool = False
    require_call: bool = False
    require_name: str = ""
    cap: int = 33_554_432


class Gate:
    """States: waiting (nothing substantive yet), holding, live (committed), ended."""

    def __init__(self, writer: StreamWriter, policy: GatePolicy) -> None:
        self.state: State = "holding" if policy.hold else "waiting"
        self.committed = False
        self.finish: Finish | None = None
        self.usage: Usage | None = None
        self.held_bytes = 0
        self.words = Words()
        self._writer = writer
        self._policy = policy
        self._kept: list[Event] = []
        self._open_tools: list[int] = []
        self._substantive = False

    # ------------------------------------------------------------------------------------------ events

    def push(self, event: Event) -> bytes:
        """Take one event; return the bytes that may leave because of it. Raises GateFault."""
        kind = type(event)
        if kind is TextDelta:
            return self._text(event)  # type: ignore[arg-type]  # narrowed by type(), cheaper than isinstance chains
        if kind is UsageReport:
            self.usage = event.usage  # type: ignore[union-attr]  # narrowed above
            return self._writer.write(event) if self.state == "live" else self._keep(event, 0)
        if kind is Fault:
            raise GateFault(event)  # type: ignore[arg-type]  # narrowed above
        return self._rare(event)

    def _text(self, event: TextDelta) -> bytes:
        text = event.text
        self.words.add(text)
        if self.state == "live" and not self._open_tools:
            return self._writer.write(event)
        if not self._substantive and text and not text.isspace():
            self._substantive = True
        self._keep(event, len(text))
        if self.state != "waiting" or self._open_tools or self._policy.require_call:
            return b""
        if self._substantive or (self._policy.eager and text):
            return self._commit()
        return b""

    def _rare(self, event: Event) -> bytes:
        match event:
            case ReasoningDelta() | ReasoningDone():
                return self._pass_or_keep(event, len(event.text) if isinstance(event, ReasoningDelta) else 0)
            case ToolOpen():
                self._open_tools.append(event.index)
                return self._keep(event, 0)
            case ToolGrow():
                return self._hold(event.size)
            case ToolDone():
                return self._tool(event)
            case OpaqueDone():
                return self._opaque(event)
            case Finish():
                self.finish = event
                return b""
            case _:
                return b""

    def _pass_or_keep(self, event: Event, size: int) -> bytes:
        if self.state == "live" and not self._open_tools:
            return self._writer.write(event)
        return self._keep(event, size)

    def _tool(self, event: ToolDone) -> bytes:
        if self.state == "holding":
            return self._settle_tool(event)
        failed = self._policy.verify_call(event.call)
        if failed is not None:
            raise GateFault(Fault("bad_answer", failed))
        self._settle_tool(event)
        if self._open_tools:
            return b""
        if self.state == "live":
            return self._flush()
        wanted = self._policy.require_name
        return b"" if wanted and event.call.name != wanted else self._commit()

    def _settle_tool(self, event: ToolDone) -> bytes:
        """Put the call at the place its ToolOpen holds in the order."""
        for at, kept in enumerate(self._kept):
            if type(kept) is ToolOpen and kept.index == event.index:
                self._kept[at] = event
                break
        else:
            self._kept.append(event)
        if event.index in self._open_tools:
            self._open_tools.remove(event.index)
        return b""

    def _opaque(self, event: OpaqueDone) -> bytes:
        size = sum(map(len, event.frames))
        if self.state == "live" and not self._open_tools:
            return self._writer.write(event)
        self._keep(event, size)
        if self.state == "waiting" and not self._open_tools and not self._policy.require_call:
            return self._commit()
        return b""

    # ------------------------------------------------------------------------------------------ the end

    @property
    def needs_verdict(self) -> bool:
        """True when the terminator is here but nothing was committed: the check chain must judge ``answer()``."""
        return not self.committed

    def accept(self) -> bytes:
        """The chain passed: everything held leaves."""
        return self._commit() + self.end()

    def end(self) -> bytes:
        """Final frames after the terminator of a committed answer. Open tool blocks at the terminator are a defect."""
        if self._open_tools:
            raise GateFault(Fault("unavailable", "tool block never completed"))
        data = self._flush()
        if self.finish is not None:
            data += self._writer.write(self.finish)
        self.state = "ended"
        return data + self._writer.finish()

    def abort(self, fault: Fault, status: int) -> bytes:
        """The one error event that replaces what is left of a committed answer."""
        self.state = "ended"
        self._kept.clear()
        return self._writer.abort(fault, status)

    def answer(self) -> Answer:
        """The uncommitted answer as a whole, for the check chain."""
        return fold([*self._kept, *([self.finish] if self.finish else [])], self.usage)

    # ------------------------------------------------------------------------------------------- inside

    def _keep(self, event: Event, size: int) -> bytes:
        self._kept.append(event)
        return self._hold(size)

    def _hold(self, size: int) -> bytes:
        self.held_bytes += size
        if self.held_bytes > self._policy.cap:
            raise GateFault(Fault("bad_answer", f"buffer cap {self._policy.cap}"))
        return b""

    def _commit(self) -> bytes:
        self.committed = True
        self.state = "live"
        if self.usage is not None:
            self._writer.write(UsageReport(self.usage))
        return self._writer.start() + self._flush()

    def _flush(self) -> bytes:
        kept, self._kept = self._kept, []
        self.held_bytes = 0
        write = self._writer.write
        return b"".join([write(event) for event in merged(kept)])


def merged(events: list[Event]) -> list[Event]:
    """Join neighbouring plain text deltas, so that a held answer is replayed in few frames."""
    out: list[Event] = []
    run: list[str] = []
    size = 0
    for event in events:
        if type(event) is TextDelta and event.extra is None and event.choice_extra is None and size < REPLAY_PIECE:
            run.append(event.text)
            size += len(event.text)
            continue
        if run:
            out.append(TextDelta("".join(run)))
            run, size = [], 0
        if type(event) is TextDelta and event.extra is None and event.choice_extra is None:
            run.append(event.text)
            size = len(event.text)
        else:
            out.append(event)
    if run:
        out.append(TextDelta("".join(run)))
    return out


def fold(events: list[Event], usage: Usage | None = None) -> Answer:
    """Events -> one complete Answer."""
    answer = Answer(blocks=[], usage=usage)
    thought: list[str] = []

    def end_thought(done: ReasoningDone | None = None) -> None:
        if thought or done is not None:
            block = Reasoning("".join(thought), done.signature if done else None, done.redacted if done else None)
            if block.text or block.signature or block.redacted:
                answer.blocks.append(block)
            thought.clear()

    for event in merged(events):
        match event:
            case ReasoningDelta():
                thought.append(event.text)
                continue
            case ReasoningDone():
                end_thought(event)
                continue
            case TextDelta():
                end_thought()
                answer.blocks.append(Text(event.text, event.extra))
            case ToolDone():
                end_thought()
                answer.blocks.append(event.call)
            case OpaqueDone():
                end_thought()
                answer.blocks.append(event.block)
            case UsageReport():
                answer.usage = event.usage
            case Finish():
                answer.finish = event
            case _:
                pass
    end_thought()
    return answer


def unfold(answer: Answer) -> list[Event]:
    """One complete Answer -> the events a stream would have had."""
    events: list[Event] = []
    for index, block in enumerate(answer.blocks):
        match block:
            case Text():
                if block.text:
                    events.append(TextDelta(block.text, block.extra))
            case Reasoning():
                if block.text:
                    events.append(ReasoningDelta(block.text))
                events.append(ReasoningDone(block.signature, block.redacted))
            case ToolCall():
                events += [ToolOpen(index), ToolDone(index, block)]
            case Opaque():
                events.append(OpaqueDone(block))
    if answer.finish is not None:
        events.append(answer.finish)
    if answer.usage is not None:
        events.append(UsageReport(answer.usage))
    return events
