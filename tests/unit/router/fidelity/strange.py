"""What a request may hold that no tier gets: never-forwarded fields, unknown ones at every level, misshapen values."""

from __future__ import annotations

from typing import Any

from tests.unit.router.fidelity.checks import Probe, kept, named, probe
from tests.unit.router.fidelity.requests import (
    A_TOOL,
    HI,
    O_CALL,
    O_CALLED,
    O_TOOL,
    R_TOOL,
    chat,
    items,
    o_result,
    user,
)

NEVER = ("logit_bias", "seed", "user", "metadata", "safety_identifier", "client_metadata", "store", "stream_options")
NEVER_VALUES: dict[str, Any] = {"logit_bias": {"77": 1}, "seed": 771177, "store": True}
ODD = {"type": "zz_new", "zz_new": 1}


def _unknown_and_forbidden() -> list[Probe]:
    """Never-forwarded and unknown fields, the latter at every level of a request."""
    found: list[Probe] = []
    for way in ("O->O", "A->A", "A->O", "O->A", "R->O", "R->A"):
        for field in NEVER:
            value = NEVER_VALUES.get(field, {"why": "not-for-tiers"})
            gone = "" if field in ("stream_options", "user") else f'"{field}"'
            found.append(
                probe(
                    "never-forwarded fields (6.3)",
                    way,
                    {field: value},
                    named(f"never_forwarded.{field}", gone or "not-for-tiers"),
                )
            )
        found.append(_unknown(way, {"zz_new": 1}, "zz_new"))
    tools = {"O": {**O_TOOL, "zz_new": 1}, "A": {**A_TOOL, "zz_new": 1}, "R": {**R_TOOL, "zz_new": 1}}
    for way in ("O->O", "A->A", "A->O", "O->A"):
        message = chat({**HI, "zz_new": 1})
        part = chat(user({"type": "text", "text": "x", "zz_new": 1}))
        found += [_unknown(way, send, "messages.1") for send in (message, part)]
        found.append(_unknown(way, chat(tools=[tools[way[0]]]), "tools.0"))
    for way in ("R->O", "R->A"):
        message = items({**HI, "zz_new": 1})
        part = items(user({"type": "input_text", "text": "x", "zz_new": 1}))
        found += [_unknown(way, send, "") for send in (message, part, items(tools=[tools["R"]]))]
    return found


def _misshapen() -> list[Probe]:
    """Parts, calls and values no reader can make sense of."""
    called = chat({**O_CALLED, "tool_calls": [O_CALL, {"id": "zz_new"}]}, o_result())
    return [
        probe("unknown fields", "O->A", chat(user(ODD)), named("modalities", "zz_new")),
        probe("unknown fields", "O->A", chat(O_CALLED, o_result([ODD])), named("modalities", "zz_new")),
        probe("unknown fields", "O->A", called, named("unknown.tool_calls", "zz_new")),
        probe(
            "unknown fields", "O->A", {"parallel_tool_calls": "zz_new"}, named("unknown.parallel_tool_calls", "zz_new")
        ),
        probe("unknown fields", "A->O", chat(user(ODD)), named("unknown.zz_new", '"zz_new":')),
        probe("unknown fields", "R->O", items(user(ODD)), named("unknown.zz_new", "zz_new")),
        probe("unknown fields", "R->A", items(ODD), named("unknown.zz_new", "zz_new")),
    ]


def _unknown(way: str, send: dict[str, Any], path: str) -> Probe:
    check = kept(path) if way in ("O->O", "A->A") else named("unknown.zz_new", "zz_new")
    return probe("unknown fields", way, send, check)


PROBES: list[Probe] = [*_unknown_and_forbidden(), *_misshapen()]
