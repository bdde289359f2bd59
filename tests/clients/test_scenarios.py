"""The judges see what they are there for: each is shown a run that is well and the runs it must not pass."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.clients import scenarios as s
from tests.clients.conversation import OTHER_PRODUCT, PRODUCT
from tests.clients.sandbox import Outcome
from tests.clients.scenarios import Happened, Scenario

SERVED = {"id": "dec_1", "outcome": "served", "status": 200, "fell_back": False, "served_tier": "fast-local",
          "duration_ms": 5.0}  # fmt: skip
HEAVY = SERVED | {"fell_back": True, "served_tier": "heavy-local"}
NONE = SERVED | {"outcome": "exhausted", "status": 503, "served_tier": None}
BROKEN = SERVED | {"outcome": "aborted_after_commit"}


def run(stdout: str, *records: dict[str, Any], code: int | None = 0, **more: Any) -> Happened:
    return Happened(
        Outcome(code, stdout, "", 1.0), list(records), more.pop("bodies", []), more.pop("files", {}), **more
    )


ASKED: dict[str, Any] = {"tools": [{"name": "add"}], "messages": [{"role": "user", "content": "hi"}]}
MARKED = ASKED | {"messages": [{"role": "user", "content": "hi", "cache_control": {}}]}
MORE = ASKED | {"messages": [*ASKED["messages"], {"role": "tool", "content": PRODUCT}]}
TITLE = {"messages": [{"role": "user", "content": "a title, please"}]}
ORDER, REVERSED = ([json.dumps(body) for body in bodies] for bodies in ((MARKED, TITLE, MORE), (MORE, ASKED)))
LOST = [json.dumps(ASKED), json.dumps({"messages": [{"role": "tool", "content": PRODUCT}]})]
RETOOLED = [json.dumps(ASKED), json.dumps(MORE | {"tools": [{"name": "sub"}]})]

GOOD = {
    "plain": (s.PLAIN, run(s.FAST, SERVED)),
    "tool": (s.TOOL, run(PRODUCT, SERVED, SERVED, bodies=ORDER)),
    "tool, order of its own": (s.TOOL_LOOSE, run(PRODUCT, SERVED, SERVED, bodies=REVERSED)),
    "rich": (s.RICH, run(f"{PRODUCT} {OTHER_PRODUCT}", SERVED, SERVED, bodies=[PRODUCT])),
    "edit": (s.EDIT, run("", SERVED, files={"hello.py": 'print("anvil-edit-42")'})),
    "fallback": (s.EMPTY, run(s.HEAVY, HEAVY, usual=1)),
    "broken": (s.BROKEN, run(PRODUCT, HEAVY, HEAVY, bodies=[PRODUCT], usual=2)),
    "exhausted": (s.EXHAUSTED, run("503", NONE, code=1)),
    "persistent": (s.PERSISTENT, run("", NONE, NONE, code=None)),
    "cut told": (s.CUT, run("cut short", BROKEN, code=1)),
    "cut asked again": (s.CUT, run(s.HEAVY, BROKEN, HEAVY)),
    "engine": (s.ENGINE_PLAIN, run("Hi", SERVED)),
    "engine called": (s.ENGINE_TOOL, run("", SERVED, NONE, code=1)),
    "context": (s.CONTEXT, run("Tokens: 5")),
}
GONE = SERVED | {"outcome": "client_gone"}
TURNS = [
    json.dumps({"messages": [{"role": "user", "content": text}]}) for text in ("x", f"{s.FAST} hello there. {s.AGAIN}")
]
GOOD |= {
    "stopped": (s.STOPPED, run("", GONE, code=-2)),
    "resumed": (s.RESUMED, run(s.FAST, SERVED, bodies=TURNS)),
}
BAD = {
    "stopped: went on": (s.STOPPED, run("", SERVED, code=-2), "not client_gone"),
    "stopped: no end": (s.STOPPED, run("", GONE, code=None), "did not end"),
    "stopped: asked nobody": (s.STOPPED, run("", code=-2), "no record"),
    "resumed: forgotten": (s.RESUMED, run(s.FAST, SERVED, bodies=TURNS[:1]), "turn before"),
    "plain: nothing said": (s.PLAIN, run("", SERVED), "not in what it printed"),
    "plain: bad end": (s.PLAIN, run(s.FAST, SERVED, code=1), "exit 1"),
    "plain: no end": (s.PLAIN, run(s.FAST, SERVED, code=None), "did not end"),
    "plain: asked nobody": (s.PLAIN, run(s.FAST), "no record"),
    "plain: refused once": (
        s.PLAIN,
        run(s.FAST, SERVED | {"outcome": "invalid_request", "status": 400}, SERVED),
        "400",
    ),
    "plain: fell back": (s.PLAIN, run(s.FAST, HEAVY), "fell back"),
    "tool: not returned": (s.TOOL, run(PRODUCT, SERVED), "no request carried"),
    "tool: prefix changed": (s.TOOL, run(PRODUCT, SERVED, bodies=REVERSED), "does not extend"),
    "tool: history lost": (s.TOOL, run(PRODUCT, SERVED, bodies=LOST), "does not extend"),
    "tool: tools changed": (s.TOOL, run(PRODUCT, SERVED, bodies=RETOOLED), "tools or system changed"),
    "tool: not run": (s.TOOL, run("sorry", SERVED, bodies=ORDER), "not in what it printed"),
    "rich: one call of two": (s.RICH, run(PRODUCT, SERVED, bodies=[PRODUCT]), OTHER_PRODUCT),
    "edit: file as before": (s.EDIT, run("", SERVED, files={"hello.py": ""}), "not edited"),
    "fallback: not by the record": (s.EMPTY, run(s.HEAVY, SERVED), "took over"),
    "fallback: both tiers heard": (s.EMPTY, run(s.FAST + s.HEAVY, HEAVY), "failed tier"),
    "fallback: asked twice": (s.EMPTY, run(s.HEAVY, HEAVY, HEAVY, usual=1), "noticed"),
    "exhausted: slow": (s.EXHAUSTED, run("503", NONE | {"duration_ms": 1500.0}, code=1), "1500 ms"),
    "exhausted: silent": (s.EXHAUSTED, run("", NONE, code=1), "said nothing"),
    "exhausted: no end": (s.EXHAUSTED, run("503", NONE, code=None), "did not end"),
    "exhausted: wrong status": (s.EXHAUSTED, run("500", NONE | {"status": 500}, code=1), "500"),
    "persistent: slow": (s.PERSISTENT, run("", NONE | {"duration_ms": 1500.0}, code=None), "1500 ms"),
    "cut: half taken for whole": (s.CUT, run(s.FAST, BROKEN), "as if all were well"),
    "cut: unrecorded": (s.CUT, run("cut short", SERVED, code=1), "no record"),
    "engine: silent": (s.ENGINE_PLAIN, run(" ", SERVED), "printed nothing"),
    "engine: no call": (s.ENGINE_TOOL, run("42", SERVED), "did not ask"),
    "engine: failed": (s.ENGINE_TOOL, run("42", NONE, SERVED), "exhausted"),
    "context: generated": (s.CONTEXT, run("Tokens: 5", SERVED), "generated"),
}


@pytest.mark.parametrize(("scenario", "it"), GOOD.values(), ids=GOOD)
def test_a_run_that_is_well_passes(scenario: Scenario, it: Happened) -> None:
    assert list(scenario.judge(it)) == []


@pytest.mark.parametrize(("scenario", "it", "word"), BAD.values(), ids=BAD)
def test_a_run_that_is_not_well_fails_for_that_reason(scenario: Scenario, it: Happened, word: str) -> None:
    wrong = list(scenario.judge(it))
    assert any(word in sentence for sentence in wrong), wrong


def test_what_only_sdks_do_fails_on_a_router_fault_and_on_lost_history() -> None:
    judge = s.prints("42")
    assert list(judge(run("42", SERVED))) == []
    assert list(judge(run("42", SERVED | {"outcome": "internal_error", "status": 500})))
    assert list(judge(run("41", SERVED)))
    assert list(judge(run("42", SERVED, bodies=REVERSED)))
    assert list(judge(replace(run("42"), outcome=Outcome(1, "42", "", 1.0))))
