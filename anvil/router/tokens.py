"""How many tokens a prompt has at most (contract 2.12), from its text alone.

The bound of a text: half a token per letter, rounded up, for every run of at most 16 ASCII lower-case letters with an
optional leading capital; nothing for a single space before such a run; one token for every other byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Raw

from anvil.router.recent import Recent
from anvil.router.turn import Audio, Document, Image, Opaque, Reasoning, Text, ToolCall, ToolResult

if TYPE_CHECKING:
    from anvil.router.turn import Block, Conversation, Turn

PER_MESSAGE = 8
PER_TOOL = 32
PER_IMAGE = 4096
LONGEST_RUN = 16
# 8 kbit/s speech at 25 tokens a second: base64 bytes that cannot hold more than one token
AUDIO_BYTES = 50

_SMALL, _CAPITAL, _SPACE, _OTHER = b"aA ."
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
    for tool in turn.tools:
        seen.texts += [tool.name, tool.description or "", (tool.schema or b"").decode("utf-8", "replace")]
    if turn.response_format is not None:
        seen.texts.append((turn.response_format.schema or b"").decode("utf-8", "replace"))
    data = "\x00".join(seen.texts).encode("utf-8", "surrogatepass")
    separators = max(len(seen.texts) - 1, 0)
    size = len(data) if per_byte else bytes_bound(data)
    return size - separators + seen.flat + _fixed(turn, image_tokens)


def bytes_bound(data: bytes) -> int:
    """The bound of one UTF-8 text. Linear: a translation and a few substring counts."""
    marks = data.translate(_KINDS)
    if _LONG in marks:
        marks = _LONG_RUN.sub(lambda run: b"." * len(run[0]), marks)
    led = marks.replace(b"Aa", b"#")  # a capital and its first letter make one pair
    pairs = len(marks) - len(led) + led.count(b"aa")
    spaces = led.count(b" a") + led.count(b" #")
    if b"  " in led:
        spaces -= led.count(b"  a") + led.count(b"  #")
    return len(data) - pairs - spaces


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
