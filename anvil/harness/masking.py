"""Documents that may be shown: secret values become short digests (contract operations.md 18, S6)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_SECRET_KEY = re.compile(
    r"(api[-_]?key|token|secret|password|passwd|authorization|cookie|credential)s?$", re.IGNORECASE
)
_PLACEHOLDER = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


def masked(document: Any, public: Any = None) -> Any:
    """A copy whose secret values read ``<secret xxxxxxxx>`` (8 hex of their SHA-256): changes stay visible.

    ``public`` holds no secret, as what we write ourselves: values that stand in both alike are shown.
    """
    if isinstance(document, dict):
        known = public if isinstance(public, Mapping) else {}
        return {key: _member(str(key), value, known.get(key)) for key, value in document.items()}
    if isinstance(document, list):
        return [masked(item) for item in document]
    return document


def _member(key: str, value: Any, public: Any) -> Any:
    if not _is_secret(key, value) or (public is not None and value == public):
        return masked(value, public)
    return _hidden(value)


def _is_secret(key: str, value: object) -> bool:
    if value is None or (key.lower().endswith("tokens") and isinstance(value, bool | int | float)):
        return False  # maxTokens is a count
    return key.lower() == "headers" or _SECRET_KEY.search(key) is not None


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        marker = isinstance(value.get("source"), str)
        return masked(value) if marker else {key: _hidden(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    if value is None or (isinstance(value, str) and _PLACEHOLDER.fullmatch(value)):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return f"<secret {hashlib.sha256(text.encode()).hexdigest()[:8]}>"
