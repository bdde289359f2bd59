"""Responses input items -> neutral messages (contract 5.5, 6.4); the same pass gathers what policy needs to know.

A model's reasoning, text and calls are separate items here and one assistant message everywhere else; consecutive
outputs gather in one user message of tool results.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, NoReturn

from anvil.router.dialects.encode import splice, unknown_names
from anvil.router.dialects.openai_chat_answer import arguments_text, custom_arguments
from anvil.router.dialects.openai_chat_conversation import split_data_url
from anvil.router.dialects.openai_chat_scan import SYSTEM_ROLES, nests_within, part_text
from anvil.router.dialects.responses_tools import flat_name
from anvil.router.reading import MAX_DEPTH
from anvil.router.turn import BadRequest, Block, Document, Image, Message, Reasoning, Text, ToolCall, ToolResult

_ROLES = ("assistant", "developer", "system", "user")
_TEXT_PARTS = frozenset(("input_text", "output_text", "text"))
_HOSTED_SUFFIXES = ("_call", "_call_output", "_approval_request", "_approval_response", "_list_tools")
_HOSTED_ITEMS = frozenset(("program", "program_output", "tool_search_output", "additional_tools"))
_ITEM_FIELDS = frozenset(("type", "id", "status", "role", "content", "summary", "encrypted_content")) | {
    *("call_id", "name", "namespace", "arguments", "input", "output")
}
_PART_FIELDS = frozenset(("type", "text", "refusal", "image_url", "file_id", "detail", "file_data", "file_url")) | {
    "filename"
}
_KNOWN_PARTS = _TEXT_PARTS | {"refusal", "input_image", "input_file"}
_NOTHING: tuple[object, ...] = (None, "", [], {})
_CONTAINERS = frozenset((dict, list))
# a value of an item lies inside the body, the list and the item
_VALUE_DEPTH = MAX_DEPTH - 3


class Intake:
    """Feed ``input`` once, then read the attributes. Raises BadRequest naming the path.

    system: the leading system and developer texts, part by part. texts: every text that counts as words (5.3).
    lost: Appendix A names of what no tier gets, in order. tool_items: calls or outputs are among the items.
    """

    def __init__(self) -> None:
        self.system: list[str] = []
        self.messages: list[Message] = []
        self.texts: list[str] = []
        self.lost: dict[str, None] = {}
        self.items = self.images = self.documents = self.linked_documents = 0
        self.tool_items = False
        self._leading = True
        self._kind = ""  # of the message being gathered: a role, or "results"
        self._blocks: list[Block] = []
        self._last_call = "call_0"

    def read(self, value: object) -> None:
        if type(value) is str and value:
            self.items = 1
            self._gather("user", self._text(value))
        elif type(value) is list and value:
            self.items = len(value)
            for at, item in enumerate(value):
                self._item(f"input[{at}]", item)
        else:
            raise BadRequest("input: expected a non-empty string or a non-empty list of objects")
        self._flush()

    def _item(self, path: str, item: Any) -> None:
        if type(item) is not dict:
            raise BadRequest(f"{path}: expected an object")
        for value in item.values():
            if type(value) in _CONTAINERS and not nests_within(value, _VALUE_DEPTH):
                raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels")
        kind = item.get("type")
        if kind is None:
            kind = "item_reference" if "role" not in item and "id" in item else "message"
        if type(kind) is not str:
            raise BadRequest(f"{path}.type: expected a string")
        read = _ITEMS.get(kind)
        if read is not None:
            if not _ITEM_FIELDS.issuperset(item):
                self._name_unknown(item, _ITEM_FIELDS)
            read(self, path, item)
        else:
            hosted = kind in _HOSTED_ITEMS or kind.endswith(_HOSTED_SUFFIXES)
            self.lost["tools.hosted" if hosted else f"unknown.{kind}"] = None

    def _name_unknown(self, fields: dict[str, Any], known: frozenset[str]) -> None:
        strange = [name for name, value in fields.items() if name not in known and value not in _NOTHING]
        self.lost.update(dict.fromkeys(unknown_names(strange)))

    def _gather(self, kind: str, blocks: list[Block]) -> None:
        """Neighbours that are one turn of the model, or its results, become one message."""
        if kind != self._kind or kind in ("user", "system"):
            self._flush()
            self._kind = kind
        self._blocks += blocks
        self._leading = False

    def _flush(self) -> None:
        if self._kind:
            role: Any = "user" if self._kind == "results" else self._kind
            self.messages.append(Message(role, tuple(self._blocks)))
        self._kind = ""
        self._blocks = []

    # -------------------------------------------------------------------------------------------- items

    def _message(self, path: str, item: dict[str, Any]) -> None:
        role = item.get("role")
        if type(role) is not str or role not in _ROLES:
            raise BadRequest(f"{path}.role: expected one of {', '.join(_ROLES)}")
        blocks = self._content(f"{path}.content", item.get("content"))
        if role not in SYSTEM_ROLES:
            self._gather(role, blocks)
        elif self._leading:
            self.system += [block.text for block in blocks if type(block) is Text]
        else:
            self._gather("system", blocks)

    def _reasoning(self, path: str, item: dict[str, Any]) -> None:
        """The reasoning itself where it is there, else its summary; encrypted content only its maker can read."""
        if item.get("encrypted_content"):
            self.lost["reasoning.encrypted"] = None
        text = _joined(item.get("content")) or _joined(item.get("summary"))
        if text:
            self._gather("assistant", [Reasoning(text)])

    def _call(self, path: str, item: dict[str, Any]) -> None:
        arguments = arguments_text(item.get("arguments"))
        self._add_call(item, arguments, "function_call", custom=False)

    def _custom_call(self, path: str, item: dict[str, Any]) -> None:
        text = item.get("input")
        arguments = custom_arguments(text) if isinstance(text, str) else None
        self._add_call(item, arguments, "custom_tool_call", custom=True)

    def _add_call(self, item: dict[str, Any], arguments: str | None, kind: str, *, custom: bool) -> None:
        self.tool_items = True
        name = item.get("name")
        if not isinstance(name, str) or not name or arguments is None:
            self.lost[f"unknown.{kind}"] = None
            return
        self._last_call = _text_of(item, "call_id") or _text_of(item, "id") or self._last_call
        namespace = _text_of(item, "namespace")
        name = flat_name(namespace, name) if namespace else name
        self._gather("assistant", [ToolCall(self._last_call, name, arguments, custom=custom)])

    def _output(self, path: str, item: dict[str, Any]) -> None:
        self.tool_items = True
        value = item.get("output")
        if value is not None and type(value) not in (str, list):
            value = splice(value).decode()
        blocks = self._content(f"{path}.output", value, keep_unknown=True)
        content = tuple([block for block in blocks if isinstance(block, Text | Image | Document)])
        self._gather("results", [ToolResult(_text_of(item, "call_id") or self._last_call, content)])

    def _reference(self, path: str, item: dict[str, Any]) -> NoReturn:
        raise BadRequest(f"{path}: points to a stored item; nothing is stored here, send the item itself")

    # ---------------------------------------------------------------------------------------------- parts

    def _content(self, path: str, content: Any, *, keep_unknown: bool = False) -> list[Block]:
        if content is None:
            return []
        if type(content) is str:
            return self._text(content)
        if type(content) is not list:
            raise BadRequest(f"{path}: expected a string, a list of parts or null")
        blocks: list[Block] = []
        for place, part in enumerate(content):
            if type(part) is dict:
                blocks += self._part(part, keep_unknown)
            elif type(part) is str:
                blocks += self._text(part)
            else:
                raise BadRequest(f"{path}[{place}]: expected an object or a string")
        return blocks

    def _text(self, text: str) -> list[Block]:
        if not text:
            return []
        self.texts.append(text)
        return [Text(text)]

    def _part(self, part: dict[str, Any], keep_unknown: bool) -> list[Block]:
        kind = part.get("type")
        kind = kind if type(kind) is str else ""
        if kind in _KNOWN_PARTS and not _PART_FIELDS.issuperset(part):
            self._name_unknown(part, _PART_FIELDS)
        if kind in _TEXT_PARTS or (not kind and "text" in part):
            return self._text(part_text(part))
        if kind == "refusal":
            return self._text(_text_of(part, "refusal"))
        block = self._image(part) if kind == "input_image" else self._file(part) if kind == "input_file" else None
        if block is not None:
            return [block]
        self.lost[f"unknown.{kind or 'part'}"] = None
        return self._text(splice(part).decode()) if keep_unknown else []  # a result reaches the model in some form

    def _image(self, part: dict[str, Any]) -> Block | None:
        url, identity = _text_of(part, "image_url"), _text_of(part, "file_id")
        if not url:
            return self._stored(identity, None)
        self.images += 1
        detail = _text_of(part, "detail") or None
        media_type, data = split_data_url(url)
        return Image(url=url, detail=detail) if data is None else Image(media_type, data, detail=detail)

    def _file(self, part: dict[str, Any]) -> Block | None:
        title = _text_of(part, "filename") or None
        content, url = _text_of(part, "file_data"), _text_of(part, "file_url")
        if not content and not url:
            return self._stored(_text_of(part, "file_id"), title)
        if not content:
            self.documents += 1
            self.linked_documents += 1
            return Document(url=url, title=title)
        media_type, data = split_data_url(content)
        text = _plain_text(media_type, data)
        if text is not None:
            self.texts.append(text)
            return Document(media_type, text=text, title=title)
        self.documents += 1
        return Document(media_type or "application/pdf", data if data is not None else content, title=title)

    def _stored(self, identity: str, title: str | None) -> Block | None:
        """Only the tier that stores the file can read it."""
        if not identity:
            return None
        self.documents += 1
        return Document(file_id=identity, title=title)


_ITEMS: dict[str, Callable[[Intake, str, dict[str, Any]], None]] = {
    "message": Intake._message,
    "reasoning": Intake._reasoning,
    "function_call": Intake._call,
    "custom_tool_call": Intake._custom_call,
    "function_call_output": Intake._output,
    "custom_tool_call_output": Intake._output,
    "item_reference": Intake._reference,
}


def _text_of(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if type(value) is str else ""


def _joined(parts: object) -> str:
    return "\n".join([text for text in map(part_text, parts) if text]) if isinstance(parts, list) else ""


def _plain_text(media_type: str | None, data: str | None) -> str | None:
    """The text of a plain-text file, which every tier can take; None for any other kind."""
    if data is None or media_type is None or not media_type.startswith("text/"):
        return None
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
