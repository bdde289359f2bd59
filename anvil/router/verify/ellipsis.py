"""Lines that say "and so on": code that has one is not meant to be complete (contract 12.6)."""

from __future__ import annotations

import re

_SIGN = r"(?:\.\.\.|…)"
_ALONE = re.compile(rf"^[ \t]*+{_SIGN}[ \t,;]*+$", re.M)
# Anchored and possessive: each line is read once. A mark inside a string begins no comment.
_DOUBLE, _SINGLE = r'"(?:[^"\\\n]|\\.)*+"', r"'(?:[^'\\\n]|\\.)*+'"
_PYTHON_COMMENT = re.compile(rf"^(?:[^\"'#\n]|{_DOUBLE}|{_SINGLE})*+#[^\n]*?{_SIGN}", re.M)
_OUTSIDE_STRINGS = re.compile(rf"^(?:[^\".…\n]|\.(?!\.\.)|{_DOUBLE})*+{_SIGN}", re.M)


def elides_python(text: str) -> bool:
    """Whether a line is a literal ellipsis, alone or in a comment."""
    if "..." not in text and "…" not in text:
        return False
    return _ALONE.search(text) is not None or _PYTHON_COMMENT.search(text) is not None


def elides_json(text: str) -> bool:
    """Whether an ellipsis stands anywhere outside a string, as in ``[0.1, 0.2, ...]``: it can mean nothing else."""
    return _OUTSIDE_STRINGS.search(text) is not None
