"""One record as the story of its request, in plain words, for ``anvil explain``."""

from __future__ import annotations

from typing import Final

from anvil.router.decisions.record import UNCALLED_OUTCOMES, Attempt, Decision

_SOURCES: Final = {
    "declared-preset": "the caller named this preset",
    "pinned": "the caller named one tier",
    "inferred": "the router inferred it from the request",
}
_DROPPED: Final = {
    "missing": "not in the configuration",
    "duplicate": "listed twice, kept once",
    "context": "window too small for the request",
    "constraint": "cannot take the tools, images, documents or audio of the request",
    "metered": "costs money, and this work class is not in metered_cloud",
    "denied": "its quality verdict for this work class is deny",
    "unbound": "has no usable credential or model",
}
_ATTEMPTS: Final = {
    "served": "its answer was delivered",
    "fallback": "its answer was not good enough",
    "error": "it failed",
    "overflow": "its answer was larger than may be held",
    "rate-limited": "it asked for a pause",
    "misconfigured": "it refused in a way only its configuration explains",
    "over-context": "it found the request too large",
    "caller-error": "it found the request wrong",
    "busy": "not called: no place became free in time",
    "skipped-circuit": "not called: its breaker was open",
    "resting": "not called: it was resting after a rate limit",
    "model-unknown": "not called: its model id is unknown",
    "unknown-tier": "not called: no such tier in the configuration",
    "budget-stop": "not called: the token ceiling of the request was reached",
    "cancelled": "cancelled, the caller had left",
}
_OUTCOMES: Final = {
    "served": "Served",
    "exhausted": "No answer: every usable tier was tried or skipped",
    "unbound": "No answer: no candidate has a usable credential or model",
    "gated": "No answer: the metered or the quality gate left no tier",
    "constrained": "No answer: no tier can take what the request needs",
    "over_context": "Refused: larger than every candidate's window",
    "invalid_request": "Refused: the request was not valid",
    "caller_error": "The tier's own error about the request was passed on",
    "client_gone": "The caller left before the end",
    "aborted_after_commit": "Cut: the answer broke after its first byte had left, and the caller was told",
    "deadline": "No answer: the deadline of the request passed",
    "internal_error": "A defect of the router",
    "advised": "Advice only (/v1/route), no tier was called",
    "counted": "Tokens counted, no answer was generated",
}


def tell(record: Decision) -> list[str]:
    """Lines of text: what was asked, why which tiers, what each did, what came of it and what it cost."""
    return [
        *_asked(record),
        *_candidates(record),
        *_walk(record),
        *_result(record),
    ]


def _asked(record: Decision) -> list[str]:
    how = ", streamed" if record.stream else ""
    lines = [f"{record.id}  {record.ts}  {record.endpoint} in {record.dialect}{how}"]
    intent = record.intent
    if intent is None:
        return [*lines, "Intent: never resolved."]
    asked = f"model {record.caller_model!r}" if record.caller_model else "no model"
    preset = f"preset {intent.preset}" if intent.preset else "no preset"
    why = _SOURCES.get(intent.source, intent.source) + (", ambiguous" if intent.ambiguous else "")
    lines.append(
        f"Intent: {asked} -> {preset}, work class {record.work_class or 'none'}"
        f" ({why}; confidence {intent.confidence:g})."
    )
    signals = intent.signals
    evidence = [f"{signals.token_estimate} words", f"thinking {'on' if signals.thinking_enabled else 'off'}"]
    evidence.append("tools offered" if signals.has_tools else "no tools")
    if signals.matched_keywords:
        evidence.append(f"matched words: {', '.join(signals.matched_keywords)}")
    if signals.urgency:
        evidence.append(f"urgency {signals.urgency}")
    return [*lines, f"Evidence: {'; '.join(evidence)}."]


def _candidates(record: Decision) -> list[str]:
    lines = []
    if record.needs is not None:
        needs = record.needs
        named = [name for name in ("tools", "images", "documents", "audio") if getattr(needs, name)]
        lines.append(f"Needs: a window of at least {needs.context} tokens{''.join(f', {name}' for name in named)}.")
    if record.requested_tiers or record.intent is not None:
        lines.append(f"Candidates, in order: {', '.join(record.requested_tiers) or 'none left'}.")
    for step, reason in _DROPPED.items():
        if tiers := getattr(record.dropped, step):
            lines.append(f"  dropped {', '.join(tiers)}: {reason}.")
    if record.gate_note:
        lines.append(f"Quality gate: {record.gate_note}.")
    if record.residency is not None:
        lines.append(f"Swap group {record.residency.group}: resident is {record.residency.resident or 'unknown'}.")
    return lines


def _walk(record: Decision) -> list[str]:
    if not record.attempts:
        return ["Attempts: none."]
    return ["Attempts:", *[_attempt(number, attempt) for number, attempt in enumerate(record.attempts, 1)]]


def _attempt(number: int, attempt: Attempt) -> str:
    model = f" ({attempt.model})" if attempt.model else ""
    verdict = f", verdict {attempt.verdict}" if attempt.verdict else ""
    parts = [f"  {number}. {attempt.tier_id}{model}{verdict}: {_ATTEMPTS[attempt.outcome]}"]
    if attempt.failure_class:
        parts.append(f"failure class {attempt.failure_class}")
    if attempt.verifier_passed is not None:
        parts.append("checks passed" if attempt.verifier_passed else f"failed check {attempt.verify_reason}")
    elif attempt.verify_reason:
        parts.append(attempt.verify_reason)
    if attempt.advisories:
        parts.append(f"remarks: {', '.join(attempt.advisories)}")
    if attempt.upstream_status is not None:
        parts.append(f"tier answered {attempt.upstream_status}")
    if attempt.outcome not in UNCALLED_OUTCOMES:
        parts.append(_spent(attempt))
    elif attempt.wait_ms:
        parts.append(f"waited {_duration(attempt.wait_ms)}")
    return "; ".join(parts) + "."


def _spent(attempt: Attempt) -> str:
    source = "counted by the tier" if attempt.usage_source == "upstream" else "estimated"
    cached = f" ({attempt.cached_tokens} cached)" if attempt.cached_tokens else ""
    waited = f" after waiting {_duration(attempt.wait_ms)}" if attempt.wait_ms >= 1 else ""
    return (
        f"{attempt.prompt_tokens}{cached} + {attempt.completion_tokens} tokens {source},"
        f" {_duration(attempt.duration_ms)}{waited}, {_money(attempt.cost_usd)}"
    )


def _result(record: Decision) -> list[str]:
    by = ""
    if record.served_tier:
        by = f" by {record.served_tier} ({record.served_tier_privacy or 'unknown place'}, {record.served_model})"
    fell = ", after falling back" if record.fell_back else ""
    first = f", first content after {_duration(record.ttft_ms)}" if record.ttft_ms is not None else ""
    took = f"{_duration(record.duration_ms)} in all"
    lines = [f"Outcome: {_OUTCOMES[record.outcome]}{by}{fell}. HTTP {record.status}{first}, {took}."]
    if record.pinged:
        lines.append("Headers left before a tier was chosen (hold_ping_s).")
    if record.lossy:
        lines.append(f"Lost or repaired on the way: {', '.join(record.lossy)}.")
    lines.append(f"Cost: {_money(record.cost_usd)}, and {_money(record.wasted_cost_usd)} spent on attempts not served.")
    return lines


def _money(usd: float) -> str:
    return f"${usd:.6f}".rstrip("0").rstrip(".") if usd else "$0"


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
