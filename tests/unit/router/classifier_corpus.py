"""The labelled turns of tests/corpus/classifier as the requests their harnesses would send, and what comes of them.

``python -m tests.unit.router.classifier_corpus`` writes docs/classifier.md. Labels say what the human wanted: the
figures are what the rules of contract 9.5 reach, not a target they were fitted to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from anvil.router import dialects
from anvil.router.classify import Classified, Classifier

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "corpus" / "classifier"
PAGE = ROOT / "docs" / "classifier.md"
CLASSES = ("chat", "bounded-edit", "multi-file-refactor", "planning", "review", "long-context")
# Agents open with a manual of thousands of words full of "edit", "plan" and "review": it must not decide anything.
MANUAL = "You are a coding agent. Plan before you edit, review your changes, refactor only when asked. " * 30
REMINDER = "<system-reminder>Review the todo list; plan the next change.</system-reminder>"
INTERNAL = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> plan review edit <<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}}


class Row(Struct, forbid_unknown_fields=True):
    """One labelled turn. turn "loop": it comes again after tool results, as in an agent loop."""

    label: str
    text: str
    turn: str = "first"
    attached_words: int = 0

    @property
    def said(self) -> str:
        return self.text + " lorem" * self.attached_words


class Seen(Struct):
    harness: str
    row: Row
    found: Classified

    @property
    def right(self) -> bool:
        return self.found.work_class == self.row.label


def rows() -> Iterator[tuple[str, Row]]:
    for file in sorted(FOLDER.glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            yield file.stem, msgspec.json.decode(line, type=Row)


# --------------------------------------------------------------------------------- what each harness sends


def _claude_code(row: Row) -> tuple[str, dict[str, Any]]:
    billing = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=0f;"}
    said = [{"type": "text", "text": REMINDER}, {"type": "text", "text": row.said}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": said}]
    if row.turn == "loop":
        call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "plan.md"}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "please review and refactor this"}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    return "anthropic", {
        "model": "claude-sonnet-4-5", "max_tokens": 32000, "thinking": {"type": "adaptive"}, "messages": messages,
        "system": [billing, {"type": "text", "text": MANUAL}], "tools": [{"name": "Read", "input_schema": SCHEMA}],
    }  # fmt: skip


def _codex(row: Row) -> tuple[str, dict[str, Any]]:
    items: list[dict[str, Any]] = [_item("user", "<environment_context><cwd>/srv/app</cwd></environment_context>")]
    items.append(_item("user", row.said))
    if row.turn == "loop":
        items.append({"type": "function_call", "call_id": "c1", "name": "shell", "arguments": '{"path":"."}'})
        items.append({"type": "function_call_output", "call_id": "c1", "output": "please review and refactor this"})
    tool = {"type": "function", "name": "shell", "parameters": SCHEMA, "strict": False}
    return "responses", {
        "model": "gpt-5-codex",
        "instructions": MANUAL,
        "input": items,
        "tools": [tool],
        "store": False,
    }


def _item(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def _openclaw(row: Row) -> tuple[str, dict[str, Any]]:
    messages = [
        {"role": "system", "content": MANUAL},
        {"role": "user", "content": f"[Tue 2026-11-24 07:17 UTC] {row.said}"},
        {"role": "user", "content": INTERNAL},
    ]
    return "openai", {"model": "auto", "messages": messages}


def _aider(row: Row) -> tuple[str, dict[str, Any]]:
    messages = [
        {"role": "system", "content": MANUAL},
        {"role": "user", "content": "I have *added these files to the chat* so you can go ahead and edit them."},
        {"role": "assistant", "content": "Ok, any changes I propose will be to those files."},
        {"role": "user", "content": row.said},
    ]
    return "openai", {"model": "auto", "messages": messages}


def _opencode(row: Row) -> tuple[str, dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": MANUAL}, {"role": "user", "content": row.said}]
    if row.turn == "loop":
        call = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": "c1", "content": "please review and refactor this"})
    body: dict[str, Any] = {"model": "auto", "messages": messages}
    if not row.text.startswith("Generate a short title"):
        body["tools"] = [{"type": "function", "function": {"name": "read", "parameters": SCHEMA}}]
    return "openai", body


def _web_chat(row: Row) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": row.said}]
    return "openai", {"model": "", "messages": messages}


STYLES = {
    "claude-code": _claude_code, "codex": _codex, "openclaw": _openclaw, "aider": _aider, "opencode": _opencode,
    "web-chat": _web_chat,
}  # fmt: skip


def classify_all() -> list[Seen]:
    """Every row through its dialect's parser and the shipped vocabulary."""
    classifier = Classifier()
    seen = []
    for harness, row in rows():
        dialect, body = STYLES[harness](row)
        turn = dialects.caller(dialect).parse(json.dumps(body).encode())
        seen.append(Seen(harness, row, classifier.classify(turn.signals)))
    return seen


# ---------------------------------------------------------------------------------------------- the page


def rate(seen: list[Seen]) -> float:
    return sum(one.right for one in seen) / len(seen) if seen else 0.0


def page() -> str:
    seen = classify_all()
    sure = [one for one in seen if one.found.confident]
    unsure = [one for one in seen if not one.found.confident]
    wrong = [one for one in sure if not one.right]
    mute = [one for one in wrong if not one.found.keywords and one.found.work_class == "bounded-edit"]
    lines = [
        "# How well requests are classified",
        "",
        "<!-- written by: python -m tests.unit.router.classifier_corpus -->",
        "",
        "A request that names no preset and no tier is classified by its words (a vocabulary of four classes), its",
        "length, its thinking parameter and its tools. This page says how often that meets what the person wanted, on",
        f"{len(seen)} labelled turns in the style of six harnesses (`tests/corpus/classifier/`). They were written by hand",
        "and labelled by intent; their author knew the vocabulary, so take the figures as an estimate.",
        "",
        "| turns | correct | share |",
        "|---|---|---|",
        _share("all", seen),
        _share("confident: sent to the class's preset", sure),
        _share("not confident: sent to the safer tier, whatever the guess", unsure),
        "",
        "A guess that is not confident is cheap: the request starts at the last tier in configuration order that its",
        f"class may use. Confident mistakes are what costs: {len(wrong)} here, of which {len(mute)} hold no word of the",
        "vocabulary and look like edits only because tools are offered. Name a preset in the client and nothing is",
        "guessed: every document of `/v1/harness` does so.",
        "",
        "## By harness",
        "",
        "| harness | correct | share |",
        "|---|---|---|",
    ]
    lines += [_share(name, [one for one in seen if one.harness == name]) for name in STYLES]
    return "\n".join(
        [*lines, "", *_matrix("Confusion matrix, all turns", seen), "", *_matrix("Confident only", sure), ""]
    )


def _share(name: str, seen: list[Seen]) -> str:
    return f"| {name} | {sum(one.right for one in seen)} of {len(seen)} | {rate(seen):.1%} |"


def _matrix(title: str, seen: list[Seen]) -> list[str]:
    """Rows: what was wanted. Columns: what was found."""
    cells = Counter((one.row.label, one.found.work_class) for one in seen)
    lines = [
        f"## {title}",
        "",
        f"| wanted \\ found | {' | '.join(CLASSES)} | recall |",
        "|---" * (len(CLASSES) + 2) + "|",
    ]
    for label in CLASSES:
        counts = [cells[label, found] for found in CLASSES]
        recall = f"{cells[label, label] / sum(counts):.0%}" if sum(counts) else "-"
        lines.append(f"| {label} | {' | '.join(map(str, counts))} | {recall} |")
    found_by = [sum(cells[label, found] for label in CLASSES) for found in CLASSES]
    precision = [f"{cells[c, c] / n:.0%}" if n else "-" for c, n in zip(CLASSES, found_by, strict=True)]
    return [*lines, f"| precision | {' | '.join(precision)} | |"]


if __name__ == "__main__":
    PAGE.write_text(page())
