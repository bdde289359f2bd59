"""How many tokens a prompt has at most (contract 2.12), from its text alone.

The bound of a text: half a token per letter, rounded up, for every run of at most 16 ASCII lower-case letters with an
optional leading capital; nothing for a single space before such a run; one token for every other byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Raw, Struct

from anvil.router.recent import Recent, Shared
from anvil.router.turn import Audio, Document, Image, Opaque, Reasoning, Text, Tool, ToolCall, ToolResult

if TYPE_CHECKING:
    from anvil.router.turn import Block, Conversation, Turn

PER_MESSAGE = 8
PER_TOOL = 32
PER_IMAGE = 4096
LONGEST_RUN = 16
# 8 kbit/s speech at 25 tokens a second: base64 bytes that cannot hold more than one token
AUDIO_BYTES = 50

_SMALL, _CAPITAL, _SPACE, _OTHER = b"aA ."
_CAPITALS = b"A"
# looking at capitals one by one is cheaper than marking them all when there are fewer than this
_BYTES_PER_CAPITAL = 64
_LONG = bytes([_SMALL]) * (LONGEST_RUN + 1)
_LONG_RUN = re.compile(rb"A?a{%d,}" % len(_LONG))


def _kind(code: int) -> int:
    if 97 <= code <= 122:
        return _SMALL
    if 65 <= code <= 90:
        return _CAPITAL
    return _SPACE if code == 32 else _OTHER


_KINDS = bytes(map(_kind, range(256)))


def quick_bound(turn: Turn, *, image_tokens: int = PER_IMAGE) -> int:
    """Never below ``upper_bound``, without reading a text: no text costs more tokens than its JSON has bytes."""
    size = turn.size or sum([len(memoryview(raw)) for raw in turn.body.values()])
    return size + _fixed(turn, image_tokens)


def upper_bound(
    turn: Turn,
    conversation: Conversation | None = None,
    *,
    image_tokens: int = PER_IMAGE,
    per_byte: bool = False,
    room: int = -1,
) -> int:
    """At least as many tokens as the prompt has for any tier.

    per_byte: one token for every byte of text, for a tier whose tokeniser once went above the bound.
    room: a coarser number is good enough for the caller when it is not above this; it costs a third.
    """
    if room >= 0 and not per_byte and (coarse := _coarse(turn) + _fixed(turn, image_tokens)) <= room:
        return coarse
    if conversation is None:
        from anvil.router.dialects import caller  # the dialects need this module while they load

        conversation = caller(turn.dialect).conversation(turn)
    seen = _Seen()
    seen.texts += conversation.system
    for message in conversation.messages:
        seen.blocks(message.blocks)
    tools = _tools(turn.tools) if turn.tools else _NO_COST
    if turn.response_format is not None:
        seen.texts.append((turn.response_format.schema or b"").decode("utf-8", "replace"))
    texts = _cost(seen.texts)
    size = texts.size + tools.size if per_byte else texts.bound + tools.bound
    return size + seen.flat + _fixed(turn, image_tokens)


class _Cost(Struct, frozen=True):
    """Of some texts: their bytes, and the bound on their tokens."""

    size: int
    bound: int


_NO_COST = _Cost(0, 0)


def _cost(texts: list[str]) -> _Cost:
    data = "\x00".join(texts).encode("utf-8", "surrogatepass")
    separators = max(len(texts) - 1, 0)  # each counts as one token and ends every run
    return _Cost(len(data) - separators, bytes_bound(data) - separators)


def _cost_of_tools(tools: list[Tool]) -> _Cost:
    texts: list[str] = []
    for tool in tools:
        texts += [tool.name, tool.description or "", (tool.schema or b"").decode("utf-8", "replace")]
    return _cost(texts)


# an agent declares the same tools with every turn
_tools = Shared[Tool, _Cost](_cost_of_tools, lambda cost: cost.size)


def bytes_bound(data: bytes) -> int:
    """The bound of one UTF-8 text. Linear: a translation and a few substring counts."""
    marks = data.translate(_KINDS)
    if _LONG in marks:
        marks = _LONG_RUN.sub(lambda run: b"." * len(run[0]), marks)
    if marks.count(_CAPITALS) * _BYTES_PER_CAPITAL > len(marks):
        marks = marks.replace(b"Aa", b"#")  # a capital and its first letter make one pair
        saved = len(data) - len(marks) + _single_spaces(marks, b" #")
    else:
        saved = _saved_by_capitals(marks)
    return len(data) - saved - marks.count(b"aa") - _single_spaces(marks, b" a")


def _single_spaces(marks: bytes, led: bytes) -> int:
    count = marks.count(led)
    return count - marks.count(b" " + led) if count else 0


def _saved_by_capitals(marks: bytes) -> int:
    """What runs with a capital save beside the pairs of their small letters: a pair if those are odd, and a space."""
    saved = 0
    before = b""
    for at, piece in enumerate(marks.split(_CAPITALS)):
        if at and piece[:1] == b"a":
            letters = len(piece) - len(piece.lstrip(b"a"))
            saved += letters & 1
            saved += before[-1:] == b" " != before[-2:-1]
        before = piece
    return saved


def _coarse(turn: Turn) -> int:
    """The bound of the body's JSON: escapes and punctuation only add to what its texts cost."""
    return sum([_repeated(raw) if name in _REPEATED else _json_bound(raw) for name, raw in turn.body.items()])


def _json_bound(raw: Raw) -> int:
    marks = bytes(raw).translate(_KINDS)
    if _LONG in marks:
        marks = _LONG_RUN.sub(lambda run: b"." * len(run[0]), marks)
    return len(marks) - marks.count(b"aa")


# fields an agent sends unchanged with every turn
_REPEATED = frozenset({"tools", "system", "instructions"})
_repeated = Recent(_json_bound)


def _fixed(turn: Turn, image_tokens: int) -> int:
    signals = turn.signals
    return PER_MESSAGE * signals.messages + PER_TOOL * len(turn.tools) + image_tokens * signals.images


class _Seen:
    """Texts of a prompt, and ``flat``: tokens counted outright."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.flat = 0

    def blocks(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            match block:
                case Text(text=text) | Reasoning(text=text):
                    self.texts.append(text)
                case ToolCall():
                    self.texts += [block.name, block.arguments]
                case ToolResult():
                    self.blocks(block.content)
                case Document():
                    self.flat += _document(block)
                case Audio():
                    self.flat += len(block.data) // AUDIO_BYTES + 1
                case Opaque():
                    self.texts.append(block.raw.decode("utf-8", "replace"))
                case Image():
                    pass  # counted by number


def _document(document: Document) -> int:
    """One token per byte: of the text, of the decoded file where the text inside is unknown."""
    if document.text is not None:
        return len(document.text.encode("utf-8", "surrogatepass")) + len((document.title or "").encode())
    return len(document.data or "") * 3 // 4
