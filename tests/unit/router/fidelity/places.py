"""Where a stream says what a whole answer says at a given place."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.unit.router.fidelity.checks import MISSING, at

# place in the whole answer -> places in the frames of a stream, by caller
_MOVED: dict[str, tuple[tuple[str, str], ...]] = {
    "O": ((r"^choices\.0\.message\.", "choices.0.delta."),),
    "A": (
        (r"^content\.0\.citations\.0$", "delta.citation"),
        (r"^content\.0\.(text|thinking|signature)$", r"delta.\1"),
        (r"^content\.0\.input$", "delta.partial_json"),
        (r"^content\.0(?=\.|$)", "content_block"),
        (r"^(stop_reason|stop_sequence)$", r"delta.\1"),
        (r"^(model|id)$", r"message.\1"),
    ),
    "R": ((r"^", "response."),),
}


def place(path: str, caller: str) -> str:
    for pattern, replacement in _MOVED[caller]:
        if re.search(pattern, path):
            return re.sub(pattern, replacement, path, count=1)
    return path


def shows(bodies: list[dict[str, Any]], path: str, value: Any) -> bool:
    """Whether some document, or its pieces joined, say ``value`` at ``path``; JSON text counts by its meaning."""
    found = [there for body in bodies if (there := at(body, path)) is not MISSING]
    if value in found:
        return True
    texts = "".join([text for text in found if isinstance(text, str)])
    return texts == value or (isinstance(value, dict | list) and _means(texts, value))


def _means(text: str, value: Any) -> bool:
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False
