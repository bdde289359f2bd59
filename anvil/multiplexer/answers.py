"""The multiplexer's own answers (contract lab.md 11). Pure functions of what the residency knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from anvil.router.exchange import Plain

if TYPE_CHECKING:
    from anvil.multiplexer.refusal import Kind, Refused
    from anvil.multiplexer.residency import Residency

STATUS: dict[Kind, int] = {
    "model_not_found": 404,
    "insufficient_memory": 503,
    "backend_unavailable": 503,
    "internal_error": 500,
}


def error(status: int, type: str, message: str) -> Plain:
    return Plain(status, msgspec.json.encode({"error": {"type": type, "message": message}}))


def refused(refused: Refused) -> Plain:
    return error(STATUS[refused.kind], refused.kind, refused.message)


def models(residency: Residency, created: int) -> Plain:
    """OpenAI's list; ``status`` says which one is on the card. Nothing is loaded for it."""
    resident = residency.resident.row.name if residency.resident else None
    rows = [
        {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "anvil",
            "status": "loaded" if name == resident else "unloaded",
        }
        for name in residency.rows
    ]
    return Plain(200, msgspec.json.encode({"object": "list", "data": rows}))


def healthz(residency: Residency) -> Plain:
    """Always 200 while the process answers; numbers in milliseconds say so in their name."""
    resident, starting = residency.resident, residency.starting
    document: dict[str, Any] = {
        "status": "ok",
        "resident": resident.row.name if resident else None,
        "starting": starting.name if starting else None,
        "in_flight": residency.in_flight(),
        "waiting": residency.waiting(),
        "last_swap": residency.last_swap,
        "drain_wait_ms": residency.drain_wait_ms,
        "registry": [{"name": row.name, "container": row.container} for row in residency.rows.values()],
    }
    return Plain(200, msgspec.json.encode(document))
