"""Did the tier stop before it was done? (contract 12.3)"""

from __future__ import annotations

from anvil.router.verify.evidence import LENGTH_STOPS, WINDOW_STOPS, Evidence


def not_truncated(evidence: Evidence) -> bool:
    """Reaching the caller's own cap is compliance; a full context window never is."""
    finish = evidence.finish
    if finish in WINDOW_STOPS or evidence.raw_finish == "model_context_window_exceeded":
        return False
    return finish not in LENGTH_STOPS or not evidence.short_of_cap
