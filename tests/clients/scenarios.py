"""What every client is put through, and how an outcome is judged. Judging is pure: it reads what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from tests.clients.conversation import EDIT_MARKER, MCP_MARKER, OTHER_PRODUCT, PRODUCT, TOOL_MARKER, Mode
from tests.clients.sandbox import Outcome

ROUTER_EXHAUSTION_MS = 1000
FAST, HEAVY = "FAST-ANSWER", "HEAVY-ANSWER"
Column = Literal["plain", "tool", "rich", "fallback", "cut", "exhausted", "handed", "applied", "extras"]
COLUMNS: tuple[Column, ...] = ("plain", "tool", "rich", "fallback", "cut", "exhausted", "handed", "applied", "extras")

HELLO = "Say hello."
AGAIN = "And once more."
TOOL_PROMPT = f"{TOOL_MARKER}: run the command you were told about and say what it printed."
ADD_PROMPT = "Use the function add to add 19 and 23."
MCP_PROMPT = f"{MCP_MARKER}: let the server add 19 and 23 and say what it answered."
EDIT_PROMPT = f"{EDIT_MARKER}: print the other text in hello.py."


@dataclass(frozen=True)
class Happened:
    """One run of a client: its end, the router's records of it (oldest first), the bodies that reached tiers, and
    how many requests the same thing takes when all tiers are well."""

    outcome: Outcome
    records: list[dict[str, Any]]
    bodies: list[str]
    files: dict[str, str]
    usual: int | None = None


Judge = Callable[[Happened], Iterator[str]]


@dataclass(frozen=True)
class Scenario:
    """``judge`` yields what is wrong, nothing when all is well. ``task`` tells an SDK program what to do; ``model`` is
    the preset asked for; ``limit_s`` replaces the client's own; ``like`` names the
    scenario that takes as many requests; ``handed`` means that the client is configured by what /v1/harness says,
    ``applied`` by `anvil harness apply` over the files of a user. ``interrupted``: Ctrl-C once the answer streams.
    ``again``: asked once before, and the session goes on."""

    name: str
    column: Column
    fast: Mode
    heavy: Mode
    prompt: str
    judge: Judge
    task: str = "plain"
    model: str = "chat"
    limit_s: float | None = None
    like: str = ""
    handed: bool = False
    applied: bool = False
    interrupted: bool = False
    again: bool = False


def succeeded(it: Happened) -> Iterator[str]:
    """The client ended well, and so did every request it made."""
    if it.outcome.code is None:
        yield f"did not end within {it.outcome.seconds:.0f} s"
    elif it.outcome.code != 0:
        yield f"exit {it.outcome.code}: {_last_words(it.outcome)}"
    if not it.records:
        yield "the router has no record of a request"
    for record in it.records:
        if record["outcome"] != "served" or record["status"] != 200:
            yield f"record {record['id']}: {record['outcome']} {record['status']}"


def _last_words(outcome: Outcome) -> str:
    lines = [line.strip() for line in outcome.said.splitlines() if line.strip()]
    return " / ".join(lines[-2:])[:200] or "said nothing"


def _says(it: Happened, words: str) -> Iterator[str]:
    if words not in it.outcome.stdout:
        yield f"{words!r} is not in what it printed: {_last_words(it.outcome)}"


def plain(it: Happened) -> Iterator[str]:
    yield from succeeded(it)
    yield from _says(it, FAST)
    if any(record["fell_back"] for record in it.records):
        yield "a request fell back though the first tier is well"


def tool(it: Happened) -> Iterator[str]:
    """The client ran the tool and a tier got what it printed."""
    yield from succeeded(it)
    yield from _says(it, PRODUCT)
    if not any(PRODUCT in body for body in it.bodies):
        yield "no request carried the tool's result"


def tool_in_order(it: Happened) -> Iterator[str]:
    yield from tool(it)
    yield from _in_order(it)


def _in_order(it: Happened) -> Iterator[str]:
    """Each request that a tier sees extends the one before: no history is lost, and an engine's prefix cache serves."""
    asked = [(_bare(json.loads(body)), PRODUCT in body) for body in it.bodies]
    # the request for a title that some clients make beside a turn has neither tools nor results
    for earlier, later in pairwise(body for body, has_result in asked if body.get("tools") or has_result):
        seen = earlier["messages"]
        if any(earlier.get(part) != later.get(part) for part in ("tools", "system")):
            yield "tools or system changed between the requests of one turn"
        if later["messages"][: len(seen)] != seen:
            yield "a request does not extend the one before"


def _bare(value: Any) -> Any:
    """Without cache marks: clients move those from turn to turn, and they are no part of the prompt."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items() if key != "cache_control"}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


def rich(it: Happened) -> Iterator[str]:
    """One answer with thinking, words and two calls: both calls run, both results come back."""
    yield from tool(it)
    yield from _says(it, OTHER_PRODUCT)


def edit(it: Happened) -> Iterator[str]:
    yield from succeeded(it)
    if "anvil-edit-42" not in it.files.get("hello.py", ""):
        yield f"hello.py was not edited: {_last_words(it.outcome)}"


def fell_back(inner: Judge | None) -> Judge:
    """The heavy tier answered and the client saw nothing but its answer."""

    def judge(it: Happened) -> Iterator[str]:
        yield from succeeded(it) if inner is None else inner(it)
        if inner is None:
            yield from _says(it, HEAVY)
        if FAST in it.outcome.said:
            yield "words of the failed tier reached the client"
        if not any(record["fell_back"] and record["served_tier"] == "heavy-local" for record in it.records):
            yield "no record says that the heavy tier took over"
        if it.usual is not None and len(it.records) != it.usual:
            yield f"{len(it.records)} requests where {it.usual} are usual: the client noticed"

    return judge


_SILENT = "the client said nothing"


def exhausted(it: Happened) -> Iterator[str]:
    """The client was told, and the router told it at once."""
    if it.outcome.code is None:
        yield f"did not end within {it.outcome.seconds:.0f} s"
    if "ANSWER" in it.outcome.stdout:
        yield "the client printed an answer"
    if not it.outcome.said.strip():
        yield _SILENT
    if not it.records:
        yield "the router has no record of a request"
    for record in it.records:
        if (record["outcome"], record["status"]) != ("exhausted", 503):
            yield f"record {record['id']}: {record['outcome']} {record['status']}, not exhausted 503"
        if record["duration_ms"] >= ROUTER_EXHAUSTION_MS:
            yield f"the router took {record['duration_ms']:.0f} ms to say so"


def cut_live(it: Happened) -> Iterator[str]:
    """A tier dies in the middle of a stream: the client must not take the half for the whole."""
    if not any(record["outcome"] == "aborted_after_commit" for record in it.records):
        yield "no record of an answer that broke off"
    if it.outcome.code is None:
        yield f"did not end within {it.outcome.seconds:.0f} s"
    if it.outcome.code == 0 and HEAVY not in it.outcome.stdout:
        yield f"ended as if all were well: {_last_words(it.outcome)}"


def stopped(it: Happened) -> Iterator[str]:
    """Ctrl-C in the middle of an answer ends the client, and the router lets go of the tier at once."""
    if it.outcome.code is None:
        yield f"did not end within {it.outcome.seconds:.0f} s"
    if not it.records:
        yield "the router has no record of a request"
    for record in it.records:
        if record["outcome"] != "client_gone":
            yield f"record {record['id']}: {record['outcome']}, not client_gone"


def resumed(it: Happened) -> Iterator[str]:
    """The second run of a session brings the first one back, word for word."""
    yield from plain(it)
    yield from _in_order(it)
    if not any(f"{FAST} hello there." in body and AGAIN in body for body in it.bodies):
        yield "no request carried the answer of the turn before"


def persistent(it: Happened) -> Iterator[str]:
    """Like ``exhausted`` for a client that retries longer than anybody wants to wait: it may still be trying."""
    yield from (wrong for wrong in exhausted(it) if not wrong.startswith("did not end") and wrong != _SILENT)


def context(it: Happened) -> Iterator[str]:
    """`/context` counts tokens and generates nothing."""
    if it.outcome.code != 0 or "Tokens" not in it.outcome.stdout:
        yield f"exit {it.outcome.code}: {_last_words(it.outcome)}"
    if it.records:
        yield "counting generated something"


def prints(words: str) -> Judge:
    """For what only SDKs do: the program checked its own steps; its words and an absence of router faults are left."""

    def judge(it: Happened) -> Iterator[str]:
        if it.outcome.code != 0:
            yield f"exit {it.outcome.code}: {_last_words(it.outcome)}"
        yield from _says(it, words)
        yield from _in_order(it)
        for record in it.records:
            if record["status"] >= 500:
                yield f"record {record['id']}: {record['outcome']} {record['status']}"

    return judge


def answers(it: Happened) -> Iterator[str]:
    """A real model said something; what it said is its own affair."""
    yield from succeeded(it)
    if not it.outcome.stdout.strip():
        yield "it printed nothing"


def calls(it: Happened) -> Iterator[str]:
    """A real model asked for the function and was sent the sum. What so small a model then makes of it (it may write
    something that the engine itself rejects) is not judged."""
    if len(it.records) < 2:
        yield f"the model did not ask for the function: {_last_words(it.outcome)}"
    elif it.records[0]["outcome"] != "served":
        yield f"record {it.records[0]['id']}: {it.records[0]['outcome']}"


PLAIN = Scenario("plain", "plain", "good", "good", HELLO, plain)
TOOL = Scenario("tool", "tool", "good", "good", TOOL_PROMPT, tool_in_order, "tool")
TOOL_LOOSE = replace(TOOL, judge=tool)  # for a client that moves a message of its own to the end of each request
RICH = Scenario("thinking, words and two calls", "rich", "rich", "good", TOOL_PROMPT, rich, "tool")
EDIT = Scenario("edit", "tool", "good", "good", EDIT_PROMPT, edit)


def _fallback(name: str, fast: Mode, model: str = "chat") -> Scenario:
    return Scenario(f"fallback: {name}", "fallback", fast, "good", HELLO, fell_back(None), model=model, like="plain")


EMPTY = _fallback("empty answer", "empty")
STATUS = _fallback("status 500", "http500")
EARLY = _fallback("cut before the answer", "cut")
HELD = _fallback("held answer", "empty", "review")
BROKEN = replace(
    TOOL, name="fallback: broken tool call", column="fallback", fast="broken-tool", judge=fell_back(tool), like="tool"
)
EDIT_EMPTY = replace(
    EDIT, name="fallback: empty edit", column="fallback", fast="empty", judge=fell_back(edit), like="edit"
)
CUT = Scenario("cut in mid-answer", "cut", "cut-live", "good", HELLO, cut_live)
MCP = Scenario("tool of an MCP server", "extras", "good", "good", MCP_PROMPT, tool, "mcp")
STOPPED = Scenario("Ctrl-C in mid-answer", "cut", "slow", "good", HELLO, stopped, interrupted=True)
RESUMED = Scenario("a session goes on", "extras", "good", "good", AGAIN, resumed, again=True)
CONTEXT = Scenario("count_tokens through /context", "extras", "good", "good", "/context", context)
HANDED = replace(PLAIN, name="configured by the router", column="handed", model="", handed=True)
APPLIED = replace(PLAIN, name="anvil harness apply over own files", column="applied", model="", applied=True)
EXHAUSTED = Scenario("exhausted", "exhausted", "http500", "http500", HELLO, exhausted)
PERSISTENT = replace(EXHAUSTED, judge=persistent, limit_s=25)

ENGINE_PLAIN = Scenario("plain", "plain", "good", "good", "Say hello in one short sentence.", answers)
ENGINE_TOOL = Scenario("tool", "tool", "good", "good", ADD_PROMPT, calls, "tool", model="heavy-local")

STANDARD = (PLAIN, TOOL, RICH, EMPTY, STATUS, BROKEN, EARLY, HELD, CUT, EXHAUSTED, HANDED)
HARNESS = (*STANDARD, APPLIED)  # of a client that has files of its own
