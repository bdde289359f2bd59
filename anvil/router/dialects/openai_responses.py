"""The OpenAI Responses dialect, caller side only: what ``dialects.CallerModule`` asks for."""

from anvil.router.dialects.openai_chat_render import error
from anvil.router.dialects.responses_render import render
from anvil.router.dialects.responses_request import conversation, parse
from anvil.router.dialects.responses_writer import StreamWriter as writer

DEFAULT_MODEL = "chat"

__all__ = ["DEFAULT_MODEL", "conversation", "error", "parse", "render", "writer"]
