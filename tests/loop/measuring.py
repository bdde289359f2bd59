"""Preflight and bench of a tier's engine, with figures and a picture that stay."""

from __future__ import annotations

import json
from typing import Any

from tests.loop.house import Loop

SERVE = "heavy"
LEVELS = (1, 2, 4)


def preflight(loop: Loop) -> None:
    """What the engine can do passes; a tool call, which this model cannot make, fails and is named."""
    loop.step("1. Is the engine fit: preflight")
    file = loop.reports / "preflight.json"
    sized = ("--serve", SERVE, "--needle-tokens", 400)
    loop.anvil("preflight", *sized, "--only", "smoke,schema,needle,stream", "--out", file, "--force")
    report = json.loads(file.read_text())
    for test in report["tests"]:
        loop.tell(f"{test['name']:<8} {test['elapsed_s']:5.1f} s  {test['detail']}")
    loop.claim(report["passed"] and len(report["tests"]) == 4, "4 of 4 tests passed, exit 0", report)
    ran = loop.anvil("preflight", "--serve", SERVE, "--only", "tool_turn", "--json", code=1)
    failed = ran.document["tests"][0]
    loop.tell(f"{failed['name']:<8} {failed['elapsed_s']:5.1f} s  {failed['detail']}")
    loop.claim(failed["class"] == "no_tool_call", "a model without tool calls fails as no_tool_call, exit 1", failed)
    loop.tell(f"report: {file}")


def bench(loop: Loop) -> None:
    """Latency against concurrency: every request completes, and figures and picture lie in files."""
    loop.step("2. How it bears load: bench")
    file, picture = loop.reports / "bench.json", loop.reports / "bench.svg"
    loop.anvil(
        "bench", "--serve", SERVE, "--sweep", ",".join(map(str, LEVELS)), "--requests", 4, "--max-tokens", 12,
        "--ctx-tokens", 128, "--shared-prefix-tokens", 64, "--json-out", file, "--svg-out", picture, "--force",
    )  # fmt: skip
    report: dict[str, Any] = json.loads(file.read_text())
    for level in report["levels"]:
        figures = level["metrics"]
        loop.tell(
            f"{level['concurrency']} at once: first token p50 {figures['ttft_p50_ms']:.0f} ms, whole answer p50"
            f" {figures['e2e_p50_ms']:.0f} ms, {figures['throughput_tok_s']:.1f} tokens/s together"
        )
    loop.claim([level["concurrency"] for level in report["levels"]] == list(LEVELS), "a row for every level")
    done = sum(level["completed"] for level in report["levels"])
    loop.claim(done == 4 * len(LEVELS), f"{done} of {4 * len(LEVELS)} requests completed, none estimated", report)
    loop.claim(not any(level["metrics"]["output_tokens_estimated"] for level in report["levels"]), "tokens are counted")
    text = picture.read_text()
    loop.claim(text.startswith("<svg") and text.count("<polyline") == 6, "the picture has all six lines")
    loop.tell(f"report: {file}")
    loop.tell(f"picture: {picture}")
