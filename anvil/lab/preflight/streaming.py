"""A streamed answer: the order of its events, its usage, its end."""

from __future__ import annotations

from anvil.lab.chat import Chunk, Failure, StreamChoice
from anvil.lab.preflight.subject import Subject, empty, wrong
from anvil.lab.preflight.texts import SMOKE


async def streamed(subject: Subject) -> str:
    chunks = await subject.listen(SMOKE)  # which also wants [DONE]
    usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)
    if usage is not None:
        subject.count(usage.reasoning_tokens)
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    answer = in_order(choices)
    if not answer.strip():
        thinks = bool(usage and usage.reasoning_tokens) or any(c.delta and c.delta.thought for c in choices)
        raise empty(thinks)
    if "sum(" not in answer:
        wrong(answer, "no `sum(` in the streamed answer")
    if usage is None or usage.completion_tokens is None:
        raise Failure("malformed", "no usage although stream_options.include_usage was asked for")
    return f"{count_content(chunks)} pieces, usage, [DONE]"


def in_order(choices: list[StreamChoice]) -> str:
    """The joined content. Raises Failure unless a role comes first, then content, then one finish reason."""
    pieces: list[str] = []
    role = finished = False
    for choice in choices:
        delta = choice.delta
        role = role or bool(delta and delta.role)
        if delta and delta.content:
            if not role:
                raise Failure("malformed", "content before the role")
            if finished:
                raise Failure("malformed", "content after the finish reason")
            pieces.append(delta.content)
        if choice.finish_reason:
            if finished:
                raise Failure("malformed", "two finish reasons")
            finished = True
    if not finished:
        raise Failure("malformed", "no finish reason")
    return "".join(pieces)


def count_content(chunks: list[Chunk]) -> int:
    return sum(1 for chunk in chunks for choice in chunk.choices if choice.delta and choice.delta.content)
