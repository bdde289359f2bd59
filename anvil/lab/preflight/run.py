"""The tests in order, and the document they make."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import httpx
import msgspec

from anvil.lab import chat
from anvil.lab.chat import Failure
from anvil.lab.endpoint import Endpoint
from anvil.lab.preflight import needle
from anvil.lab.preflight.needle import length
from anvil.lab.preflight.streaming import streamed
from anvil.lab.preflight.subject import Settings, Subject
from anvil.lab.preflight.texts import json_object, schema, smoke
from anvil.lab.preflight.tools import PREFIX_LINES, lines_for, tool_turn, tools
from anvil.lab.preflight.vision import vision
from anvil.lab.reach import Seen, Unreachable, look, reach

Test = Callable[[Subject], Awaitable[str]]
TESTS: Mapping[str, Test] = {
    "smoke": smoke,
    "json": json_object,
    "schema": schema,
    "needle": needle.needle,
    "tools": tools,
    "tool_turn": tool_turn,
    "stream": streamed,
    "vision": vision,
}
DEFAULT = tuple(name for name in TESTS if name != "vision")


class Result(msgspec.Struct, frozen=True):
    """One test. ``class`` is the failure class, None when passed."""

    name: str
    passed: bool
    detail: str
    elapsed_s: float
    class_: str | None = msgspec.field(name="class", default=None)
    reasoning_tokens: int | None = None


class Trouble(msgspec.Struct, frozen=True):
    """Why nothing was tested."""

    detail: str
    class_: str = msgspec.field(name="class")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """anvil.preflight/v1. ``window`` in tokens, None = unknown; ``started`` in ISO 8601, UTC; ``error`` is there when
    the endpoint could not be reached."""

    schema: str = "anvil.preflight/v1"
    base_url: str
    model: str
    engine: str | None
    window: int | None
    tests: list[Result]
    passed: bool
    started: str
    elapsed_s: float
    notes: list[str]
    error: Trouble | None = None


async def preflight(
    endpoint: Endpoint,
    settings: Settings,
    names: tuple[str, ...] = DEFAULT,
    *,
    wait_s: float = 0,
    tell: Callable[[Result], None] = lambda _: None,
    http: httpx.AsyncClient | None = None,
) -> Report:
    """Run the named tests one after another; ``tell`` hears each result as it comes. Raises nothing of the
    endpoint's: a report with ``error`` says that it was not reached."""
    started, begun = datetime.now(UTC), time.monotonic()
    results: list[Result] = []
    seen, error = Seen(), None
    async with http or chat.client(endpoint) as client:
        try:
            await reach(client, endpoint, wait_s)
        except Unreachable as trouble:
            error = Trouble(str(trouble), trouble.kind)
        else:
            seen = await look(client, endpoint)
            subject = Subject(client, endpoint, settings, seen.window)
            for name in names:
                results.append(await _one(name, subject))
                tell(results[-1])
    return Report(
        base_url=endpoint.base_url,
        model=endpoint.model,
        engine=endpoint.facts.engine or seen.engine,
        window=seen.window,
        tests=results,
        passed=error is None and all(result.passed for result in results),
        started=started.isoformat(timespec="seconds"),
        elapsed_s=round(time.monotonic() - begun, 3),
        notes=[*endpoint.notes, *seen.notes, *_clamps(settings, seen, names)],
        error=error,
    )


async def _one(name: str, subject: Subject) -> Result:
    subject.reasoning_tokens = None
    begun = time.monotonic()
    failed, detail = None, ""
    try:
        detail = await TESTS[name](subject)
    except Failure as failure:
        failed, detail = failure.kind, failure.detail
    except Exception as error:  # an endpoint may not stop the other tests
        failed, detail = "malformed", subject.endpoint.masked(f"{type(error).__name__}: {error}")
    return Result(
        name=name,
        passed=failed is None,
        detail=detail,
        elapsed_s=round(time.monotonic() - begun, 3),
        class_=failed,
        reasoning_tokens=subject.reasoning_tokens,
    )


def _clamps(settings: Settings, seen: Seen, names: tuple[str, ...]) -> list[str]:
    notes = []
    if seen.window is None:
        return ["the window is unknown: prompts are not clamped"] if "needle" in names else []
    used = length(settings.needle_tokens, seen.window)
    if "needle" in names and used < settings.needle_tokens:
        notes.append(f"needle clamped to {used} tokens: the window is {seen.window}")
    lines = lines_for(seen.window)
    if "tools" in names and lines < PREFIX_LINES:
        notes.append(f"the tools' shared prefix is cut to {lines} lines: the window is {seen.window}")
    return notes
