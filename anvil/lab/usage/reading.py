"""One pass over the session logs of Claude Code: calls, tools, workflows; every call once however often it is logged.

A log line is an object {type, timestamp, sessionId, isSidechain, message}; an assistant's message has id, model, usage
and content blocks. One call is logged once per content block, and again in the log of a session that was resumed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

# what the client writes in the place of an answer of its own, such as an error message
NO_MODEL = "<synthetic>"
_AGENT_TOOLS = ("Task", "Agent")
_WORKFLOW = re.compile(r"<usage>|<task-notification>")
_AGENTS = re.compile(r"<agent_count>\s*(\d{1,9})\s*</agent_count>")
_TOKENS = re.compile(r"<subagent_tokens>\s*(\d{1,15})\s*</subagent_tokens>")


@dataclass(frozen=True)
class Call:
    """One answer. Token counts; ``when`` is UTC, None = not logged."""

    model: str
    session: str
    when: datetime | None
    fresh: int
    cache_creation: int
    cache_read: int
    output: int
    subagent: bool

    @property
    def context(self) -> int:
        return self.fresh + self.cache_creation + self.cache_read


@dataclass
class Log:
    """Everything that is kept of the logs."""

    files: int = 0
    unreadable_files: int = 0
    bad_lines: int = 0
    with_sidechain_field: int = 0
    calls: dict[str, Call] = field(default_factory=dict)
    tools: Counter[str] = field(default_factory=Counter)
    skills: Counter[str] = field(default_factory=Counter)
    agent_types: Counter[str] = field(default_factory=Counter)
    workflows: list[tuple[int, int]] = field(default_factory=list)  # agents, tokens
    _seen: set[str] = field(default_factory=set)

    def first_time(self, identity: object) -> bool:
        """Whether something with this identity was not met before; without one it is always new."""
        if not isinstance(identity, str):
            return True
        known = identity in self._seen
        self._seen.add(identity)
        return not known


def read(folder: Path) -> Log:
    """Every ``*.jsonl`` below ``folder``, in the order of their names. Lines that are no JSON object are counted."""
    log = Log()
    for file in sorted(folder.rglob("*.jsonl")):
        log.files += 1
        try:
            with file.open("rb") as lines:
                for line in lines:
                    _line(line, file.stem, log)
        except OSError:
            log.unreadable_files += 1
    return log


def _line(line: bytes, session: str, log: Log) -> None:
    if not line.strip():
        return
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        log.bad_lines += 1
        return
    log.with_sidechain_field += isinstance(entry.get("isSidechain"), bool)
    message = entry.get("message")
    if not isinstance(message, dict):
        return
    if entry.get("type") == "assistant":
        _answer(entry, message, session, log)
    elif entry.get("type") == "user" and log.first_time(entry.get("uuid")):
        for text in _texts(message.get("content")):
            _workflow(text, log)


def _answer(entry: dict[str, Any], message: dict[str, Any], session: str, log: Log) -> None:
    usage = message.get("usage")
    if not isinstance(usage, dict) or message.get("model") == NO_MODEL:
        return
    call = Call(
        model=_name(message.get("model")) or "unknown",
        session=_name(entry.get("sessionId")) or session,
        when=_when(entry.get("timestamp")),
        fresh=_count(usage.get("input_tokens")),
        cache_creation=_count(usage.get("cache_creation_input_tokens")),
        cache_read=_count(usage.get("cache_read_input_tokens")),
        output=_count(usage.get("output_tokens")),
        subagent=entry.get("isSidechain") is True,
    )
    identity = message.get("id")
    key = f"{identity} {entry.get('requestId')}" if isinstance(identity, str) else f"line {len(log.calls)}"
    known = log.calls.get(key)
    # while an answer streams its output is logged as it stands, so the largest is the whole
    if known is None or call.output > known.output:
        log.calls[key] = call
    for block in _blocks(message.get("content")):
        if block.get("type") == "tool_use" and log.first_time(block.get("id")):
            _tool(block, log)


def _tool(block: dict[str, Any], log: Log) -> None:
    name = _name(block.get("name"))
    if not name:
        return
    log.tools[name] += 1
    given = block.get("input")
    words = given if isinstance(given, dict) else {}
    if name == "Skill" and (skill := _name(words.get("skill") or words.get("command"))):
        log.skills[skill] += 1
    if name in _AGENT_TOOLS:
        log.agent_types[_name(words.get("subagent_type")) or "unnamed"] += 1


def _workflow(text: str, log: Log) -> None:
    """The notice a finished workflow leaves: how many agents ran, how many tokens they took."""
    if not _WORKFLOW.search(text):
        return
    agents, tokens = _AGENTS.search(text), _TOKENS.search(text)
    if agents or tokens:
        log.workflows.append((int(agents[1]) if agents else 0, int(tokens[1]) if tokens else 0))


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in _blocks(content):
        if isinstance(block.get("text"), str):
            yield block["text"]
        if block.get("type") == "tool_result":
            yield from _texts(block.get("content"))


def _blocks(content: object) -> list[dict[str, Any]]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _name(value: object) -> str:
    """A short printable name, so that no text of a conversation can pass for one."""
    return value if isinstance(value, str) and len(value) <= 120 and value.isprintable() else ""


def _when(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if moment is None else moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
