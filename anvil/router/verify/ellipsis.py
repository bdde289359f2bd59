"""Lines that say "and so on": code that has one is not meant to be complete (contract 12.6)."""

from __future__ import annotations

import re

_SIGN = r"(?:\.\.\.|…)"
_ALONE = re.compile(rf"^[ \t]*+{_SIGN}[ \t,;]*+$", re.M)
# Anchored and possessive: each line is read once. A mark inside a string begins no comment.
_DOUBLE, _SINGLE = r'"(?:[^"\\\n]|\\.)*+"', r"'(?:[^'\\\n]|\\.)*+'"
_PYTHON_COMMENT = re.compile(rf"^(?:[^\"'#\n]|{_DOUBLE}|{_SINGLE})*+#[^\n]*?{_SIGN}", re.M)
_JSON_COMMENT = re.compile(rf"^(?:[^\"#/\n]|/(?![/*])|{_DOUBLE})*+(?:#|/[/*])[^\n]*?{_SIGN}", re.M)


def elides_python(text: str) -> bool:
    """Whether a line is a literal ellipsis, alone or in a comment."""
    return _elides(text, _PYTHON_COMMENT)


def elides_json(text: str) -> bool:
    """The same, with the comments people write into JSON."""
    return _elides(text, _JSON_COMMENT)


def _elides(text: str, comment: re.Pattern[str]) -> bool:
    if "..." not in text and "…" not in text:
        return False
    return _ALONE.search(text) is not None or comment.search(text) is not None
