"""The Anthropic Messages dialect, both sides: what ``dialects.CallerModule`` and ``dialects.TierModule`` ask for."""

from __future__ import annotations

from anvil.router.dialects.anthropic_answer import read_answer
from anvil.router.dialects.anthropic_reader import StreamReader as _StreamReader
from anvil.router.dialects.anthropic_render import error, render
from anvil.router.dialects.anthropic_request import conversation, parse, parse_count
from anvil.router.dialects.anthropic_upstream import count_request, forward_headers, request
from anvil.router.dialects.anthropic_writer import StreamWriter as _StreamWriter

DEFAULT_MODEL = "claude"

reader = _StreamReader
writer = _StreamWriter

__all__ = [
    "DEFAULT_MODEL",
    "conversation",
    "count_request",
    "error",
    "forward_headers",
    "parse",
    "parse_count",
    "read_answer",
    "reader",
    "render",
    "request",
    "writer",
]
