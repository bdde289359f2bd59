"""The Chat Completions dialect, caller and tier side: the functions of ``CallerModule`` and ``TierModule``."""

from anvil.router.dialects.openai_chat_answer import read_answer
from anvil.router.dialects.openai_chat_conversation import conversation
from anvil.router.dialects.openai_chat_reader import StreamReader as reader
from anvil.router.dialects.openai_chat_render import error, render
from anvil.router.dialects.openai_chat_request import parse
from anvil.router.dialects.openai_chat_upstream import request
from anvil.router.dialects.openai_chat_writer import StreamWriter as writer

DEFAULT_MODEL = "chat"

__all__ = [
    "DEFAULT_MODEL",
    "conversation",
    "error",
    "parse",
    "read_answer",
    "reader",
    "render",
    "request",
    "writer",
]
