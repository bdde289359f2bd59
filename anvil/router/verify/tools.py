"""Can the caller execute the tool calls, and are they the ones it asked for? (contract 12.3)"""

from __future__ import annotations

from collections.abc import Mapping

from anvil.router.turn import ToolCall
from anvil.router.verify import schema, strict_json
from anvil.router.verify.evidence import Evidence

_SERVER_CALL = "tool_use"


def tool_call_json_valid(evidence: Evidence) -> bool:
    """Every call names a declared tool and carries strict JSON that does not violate its schema."""
    tools = evidence.tools
    return all(call_is_valid(call, tools) for call in evidence.calls)


def call_is_valid(call: ToolCall, tools: Mapping[str, bytes | None]) -> bool:
    """One call. Without declared tools any name passes; freeform (custom) calls carry no JSON."""
    if call.malformed or not call.name.strip():
        return False
    if tools and call.name not in tools:
        return False
    if call.custom:
        return True
    try:
        arguments = strict_json.decode(call.arguments) if call.arguments.strip() else None
    except strict_json.NotJson:
        return False
    rules = tools.get(call.name)
    return rules is None or schema.conforms({} if arguments is None else arguments, rules)


def tool_choice_honoured(evidence: Evidence) -> bool:
    """A required call is there, the named one where one is named. A server tool call counts: its blocks pass."""
    choice = evidence.tool_choice
    if choice is None or not choice.requires_call or any(kind.endswith(_SERVER_CALL) for kind in evidence.opaque):
        return True
    if choice.mode == "named":
        return any(call.name == choice.name for call in evidence.calls)
    return bool(evidence.calls)
