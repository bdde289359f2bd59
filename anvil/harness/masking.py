"""Documents that may be shown: secret values become short digests (contract operations.md 18, S6)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_WORDS = (
    "(?:(?:api|access|secret|private|signing)[-_]?key|token|secret|password|passwd|passphrase|authorization|cookie"
    "|credential)s?"
)
_SECRET_KEY = re.compile(rf"{_WORDS}$", re.IGNORECASE)
# Where clients write a secret into a longer text: a URL, a header, an option of a command.
_INSIDE = re.compile(
    rf"(?P<url>//)[^/@\s]+(?=@)|(?P<scheme>\b(?:bearer|basic) +)(?!\$)\S+|(?P<option>--?[\w-]*{_WORDS}[= ])(?!\$)\S+",
    re.IGNORECASE,
)
_OPTION = re.compile(rf"--?[\w-]*{_WORDS}", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


def masked(document: Any, public: Any = None) -> Any:
    """A copy whose secret values read ``<secret xxxxxxxx>`` (8 hex of their SHA-256): changes stay visible.

    ``public`` holds no secret, as what we write ourselves: values that stand in both alike are shown.
    """
    if isinstance(document, dict):
        known = public if isinstance(public, Mapping) else {}
        return {key: _member(str(key), value, known.get(key)) for key, value in document.items()}
    if isinstance(document, list):
        return [_item(item, before) for before, item in zip(["", *document], document, strict=False)]
    return _told(document) if isinstance(document, str) and document != public else document


def _item(item: Any, before: Any) -> Any:
    """In the words of a command, what follows --token is one."""
    follows = isinstance(item, str) and isinstance(before, str) and _OPTION.fullmatch(before)
    return _hidden(item) if follows else masked(item)


def _told(text: str) -> str:
    return _INSIDE.sub(_shortened, text)


def _shortened(found: re.Match[str]) -> str:
    lead = found["url"] or found["scheme"] or found["option"]
    return lead + _digest(found[0][len(lead) :])


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
    return _digest(text)


def _digest(text: str) -> str:
    return f"<secret {hashlib.sha256(text.encode()).hexdigest()[:8]}>"
