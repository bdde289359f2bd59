"""One pass over the decoded messages of an OpenAI Chat request: validation (5.2), signals (5.4, 9.5), repairs (6.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from anvil.router.dialects.openai_chat_usual import UsualMessage
from anvil.router.reading import MAX_DEPTH, is_billing, own_text, system_signal
from anvil.router.recent import recent_words, total_words
from anvil.router.turn import BadRequest, Signals

SYSTEM_ROLES = frozenset(("system", "developer"))
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_RESULT_ROLES = frozenset(("tool", "function"))
_TOOL_PARTS = frozenset(("tool_use", "tool_result", "tool_call", "function_call", "function_call_output"))
_IMAGE_PARTS = frozenset(("image_url", "image", "input_image"))
_DOCUMENT_PARTS = frozenset(("file", "document", "input_file"))
_QUIET = ("disabled", "adaptive")
_CONTAINERS = frozenset((dict, list))
# a value of a message lies inside the body, the list and the message
_VALUE_DEPTH = MAX_DEPTH - 3

_json: Callable[[str], object] = msgspec.json.Decoder(Raw).decode


class Scan:
    """Feed every message in order, then ask. ``message`` raises BadRequest naming the path."""

    __slots__ = (
        "_audio",
        "_calls",
        "_developer",
        "_documents",
        "_images",
        "_leading",
        "_nonce",
        "_system",
        "_texts",
        "_unsound",
        "_users",
    )

    def __init__(self) -> None:
        self._images = self._documents = 0
        self._texts: list[str] = []
        self._audio = self._calls = self._developer = self._nonce = self._unsound = False
        self._leading = True
        self._system: list[str] = []
        self._users: list[str | list[Any]] = []

    def message(self, index: int, message: Any) -> None:
        if type(message) is not dict:
            raise BadRequest(f"messages[{index}]: expected an object")
        for value in message.values():
            if type(value) in _CONTAINERS and not nests_within(value, _VALUE_DEPTH):
                raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels")
        role = message.get("role")
        if type(role) is not str or role not in _ROLES:
            raise BadRequest(f"messages[{index}].role: expected one of {', '.join(sorted(_ROLES))}")
        content = message.get("content")
        text = content if type(content) is str else self._read_content(index, content)
        self._texts.append(text)
        if role == "user":
            self._leading = False
            if content:
                self._users.append(content)
        elif role in SYSTEM_ROLES:
            self._read_system(role, content, text)
        else:
            self._leading = False
            self._calls = self._calls or role in _RESULT_ROLES
        if message.get("tool_calls") or message.get("function_call"):
            self._calls = True
            self._unsound = self._unsound or has_unsound_arguments(message)

    def usual(self, messages: list[UsualMessage]) -> None:
        """The same for a whole history of the usual shape, which needs no validation any more."""
        texts, users = self._texts, self._users
        for message in messages:
            role = message.role
            content: Any = message.content
            if type(content) is str:
                text = content
            elif content is None:
                text = ""
            else:
                content = [part.text for part in content]
                text = "\n".join(filter(None, content))
            texts.append(text)
            if role == "user":
                self._leading = False
                if content:
                    users.append(content)
            elif role in SYSTEM_ROLES:
                self._read_system(role, content, text)
            else:
                self._leading = False
                self._calls = self._calls or role == "tool"
            if message.tool_calls:
                self._calls = True
                if not all([is_json_text(call.function.arguments) for call in message.tool_calls]):
                    self._unsound = True

    def signals(self, thinking: Any, has_tools: bool, has_choice: bool) -> Signals:
        system = "\n".join(self._system)
        return Signals(
            words=total_words(self._texts),
            system_text=system_signal(system, recent_words),
            user_text=self._newest_user_text(),
            thinking=bool(thinking) and not (type(thinking) is dict and thinking.get("type") in _QUIET),
            has_tools=has_tools,
            tool_artifacts=has_tools or has_choice or self._calls,
            images=self._images,
            documents=self._documents,
            audio=self._audio,
            messages=len(self._texts),
        )

    def repairs(self) -> tuple[str, ...]:
        """Names of the repairs of 6.2 these messages need on local tiers."""
        if not (self._developer or self._nonce or self._unsound):
            return ()
        found = (
            ("role.developer", self._developer),
            ("system.nonce", self._nonce),
            ("history.tool_arguments", self._unsound),
        )
        return tuple([name for name, needed in found if needed])

    def _read_content(self, index: int, content: Any) -> str:
        if content is None:
            return ""
        if type(content) is not list:
            raise BadRequest(f"messages[{index}].content: expected a string, a list of parts or null")
        texts = []
        for place, part in enumerate(content):
            if type(part) is dict:
                self._count_part(part.get("type"))
            elif type(part) is not str:
                raise BadRequest(f"messages[{index}].content[{place}]: expected an object or a string")
            text = part_text(part)
            if text:
                texts.append(text)
        return "\n".join(texts)

    def _count_part(self, kind: Any) -> None:
        if kind == "text" or type(kind) is not str:
            return
        if kind in _IMAGE_PARTS:
            self._images += 1
        elif kind in _DOCUMENT_PARTS:
            self._documents += 1
        elif kind == "input_audio":
            self._audio = True
        elif kind in _TOOL_PARTS:
            self._calls = True

    def _read_system(self, role: str, content: Any, text: str) -> None:
        self._developer = self._developer or role == "developer"
        if not self._leading:
            return
        self._system.append(text)
        if type(content) is list:
            self._nonce = self._nonce or any([is_billing(part_text(block)) for block in content])
        else:
            self._nonce = self._nonce or is_billing(text)

    def _newest_user_text(self) -> str:
        for content in reversed(self._users):
            if type(content) is str:
                text = own_text(content)
            else:
                text = "\n".join([own for own in [own_text(part_text(block)) for block in content] if own])
            if text:
                return text
        return ""


def nests_within(value: Any, levels: int) -> bool:
    """Whether a decoded array or object nests at most ``levels`` deep, itself included."""
    if levels <= 0:
        return False
    children = value.values() if type(value) is dict else value
    return all([nests_within(child, levels - 1) for child in children if type(child) in _CONTAINERS])


def part_text(part: Any) -> str:
    """The text of one content part: a string itself, or its ``text`` field; else ""."""
    if type(part) is str:
        return part
    text = part.get("text") if type(part) is dict else None
    return text if type(text) is str else ""


def has_unsound_arguments(message: dict[str, Any]) -> bool:
    """Whether a call of this message carries arguments that are not JSON text: engines answer 400 to it for ever."""
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls if type(call) is dict] if type(calls) is list else []
    functions.append(message.get("function_call"))
    return any(type(function) is dict and not is_json_text(function.get("arguments")) for function in functions)


def is_json_text(arguments: object) -> bool:
    if type(arguments) is not str:
        return False
    try:
        _json(arguments)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
