"""What an answer says, whatever bytes carry it: drawn at random, and read back from what callers get."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

SAME = ("same",)
TOOLS = ("read", "write_file", "x")
# a tier's word -> the caller's word, as (chat, messages, responses) (contract 7.3)
FINISHES: dict[str, tuple[str, str, str]] = {
    "stop": ("stop", "end_turn", "completed"),
    "end_turn": ("stop", "end_turn", "completed"),
    "tool_calls": ("tool_calls", "tool_use", "completed"),
    "tool_use": ("tool_calls", "tool_use", "completed"),
    "length": ("length", "max_tokens", "incomplete"),
    "max_tokens": ("length", "max_tokens", "incomplete"),
    "content_filter": ("content_filter", "refusal", "incomplete"),
    "refusal": ("content_filter", "refusal", "incomplete"),
    "pause_turn": ("stop", "pause_turn", "completed"),
    "eos_token": ("stop", "end_turn", "completed"),
}
_CHARS = 'aé日𝄞\u2028\n\t "\\<>&;:{}[]data: event\r\x7f\u00a0\ufeff0'
TEXT = st.text(_CHARS, min_size=1, max_size=24)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(-1e9, 1e9), TEXT, st.just("")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip
ARGUMENTS = st.dictionaries(st.one_of(TEXT, st.just("path")), _VALUES, max_size=3)


@dataclass(frozen=True)
class Block:
    """kind: text, reasoning or call."""

    kind: str
    text: str = ""
    name: str = ""
    arguments: Any = None
    id: str = ""


@dataclass(frozen=True)
class Usage:
    prompt: int
    completion: int
    cached: int | None = None
    thought: int | None = None


@dataclass
class Said:
    """An answer. ``finish`` is a word of the side it was read on, ``errors`` counts error events."""

    blocks: list[Block] = field(default_factory=list)
    finish: str = ""
    usage: Usage | None = None
    errors: int = 0

    @property
    def text(self) -> str:
        return "".join(b.text for b in self.blocks if b.kind == "text")

    @property
    def reasoning(self) -> str:
        return "".join(b.text for b in self.blocks if b.kind == "reasoning")

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Names and canonical arguments."""
        return [(b.name, json.dumps(b.arguments, sort_keys=True)) for b in self.blocks if b.kind == "call"]

    @property
    def order(self) -> list[str]:
        kinds = [b.kind for b in self.blocks]
        return [kind for at, kind in enumerate(kinds) if kind == "call" or at == 0 or kinds[at - 1] != kind]


def _call(number: int) -> st.SearchStrategy[Block]:
    ids = st.sampled_from([f"call_{number}", f"toolu_{number}:/é", *SAME, ""])
    return st.builds(Block, st.just("call"), name=st.sampled_from(TOOLS), arguments=ARGUMENTS, id=ids)


USAGES = st.one_of(
    st.none(),
    st.builds(Usage, st.integers(10, 9999), st.integers(0, 9999), st.one_of(st.none(), st.integers(0, 10)),
              st.one_of(st.none(), st.integers(0, 99))),
)  # fmt: skip


@st.composite
def said(draw: st.DrawFn, dialect: str) -> Said:
    """One answer a tier of the dialect can give: in OpenAI order, or blocks in any order for Anthropic."""
    calls = [draw(_call(n)) for n in range(draw(st.sampled_from((0, 0, 1, 1, 2, 3))))]
    texts = [Block("text", draw(TEXT)) for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2))))]
    thoughts = [Block("reasoning", draw(TEXT)) for _ in range(draw(st.sampled_from((0, 0, 1))))]
    blocks = thoughts + texts[:1] + calls if dialect == "openai" else draw(st.permutations(thoughts + texts + calls))
    words = (
        ["tool_calls", "tool_use", "stop"] if calls else [w for w in FINISHES if w not in ("tool_calls", "tool_use")]
    )
    return Said(list(blocks), draw(st.sampled_from(words)), draw(USAGES))
