"""Tolerant readings of a Python block (contract 12.6).

The running interpreter's own parser judges; it never compiles or runs anything. Its grammar already accepts a
top-level return, await or yield, so these need no reading of their own. What the parser cannot judge passes: nesting
it might not survive, more code than the time allows, syntax newer than the interpreter.
"""

from __future__ import annotations

import ast
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from itertools import islice, pairwise

from anvil.router.verify.ellipsis import elides_python

# The parser needs up to 4 us per word and holds the interpreter lock meanwhile; ordinary code needs a quarter of it.
MAX_WORDS = 25_000
# What starting the parser costs, in words.
WORDS_PER_PARSE = 10
# Each level of nesting costs the parser a few hundred bytes of C stack, which threads have little of.
MAX_BRACKETS = 90
MAX_CHAIN = 500

_WORD = re.compile(r"\w+|[^\w\s]")
_COMMENT_LINE = re.compile(r"^[ \t]*+#[^\n{]*+$", re.M)
_CHAINING = re.compile(r"\b(?:not|lambda|else|elif|await)\b|\*\*")
_SIGN_RUN = re.compile(r"(?:[-+~]\s*+){100}")
_PROMPT = re.compile(r"[ \t]*(?:>>>|\.\.\.)(?: |$)")
_CONTINUES = ("(", "[", "{", ",", "\\")
_SHELL = re.compile(r"[ \t]*(?:\w+[ \t]*=[ \t]*)?(?:[!%]|\$ )")
_PYTHON_CELLS = re.compile(r"%%(?:time|timeit|capture|prun|memit|mprun)\b")
_OLDER_THAN_312 = sys.version_info < (3, 12)
_SINCE_312 = re.compile(r"^[ \t]*+(?:type[ \t]++\w++[^=\n]{0,200}=|(?:async[ \t]++)?(?:def|class)[ \t]++\w++\[)", re.M)
_REUSED_QUOTE = re.compile(r"""[fF][rR]?(["'])(?:(?!\1)[^\n]){0,200}?\{[^{}\n]{0,100}\1[^{}\n]{0,100}\}""")
_BACKSLASH_INSIDE = re.compile(r"""[fF][rR]?["'][^\n]{0,200}?\{[^{}\n]{0,100}\\[^{}\n]{0,100}\}""")
_JUDGED_LINE = 400


class Budget:
    """Words of Python that may still be parsed for one answer, over all its blocks and readings."""

    def __init__(self, words: int = MAX_WORDS) -> None:
        self.words = words

    def allows(self, source: str) -> bool:
        """Spend what parsing ``source`` costs; False when that is more than is left."""
        if self.words < 0:
            return False
        if "#" in source:
            source = _COMMENT_LINE.sub("", source)
        words = islice(_WORD.finditer(source), self.words + 1)
        self.words -= WORDS_PER_PARSE + sum(1 for _ in words)
        return self.words >= 0


class _NotJudged(Exception):
    """Nothing can be said about the block, so it passes."""


def parses(body: str, budget: Budget) -> bool:
    """Whether any reading of the block parses, or nothing can be said about it."""
    try:
        if any(_parse(reading, budget) for reading in _readings(body)):
            return True
    except _NotJudged:
        return True
    return elides_python(body)


def _readings(body: str) -> Iterator[str]:
    yield body
    lines = body.split("\n")
    if any(line.lstrip().startswith(">>>") for line in lines):
        lines = _session_input(lines)
        yield "\n".join(lines)
    if any(map(_SHELL.match, lines)):
        lines = _without_shell(lines)
        yield "\n".join(lines)
    if _starts_indented(lines):
        yield "class _:\n" + "\n".join(lines)  # accepts what dedenting accepts, and comments at the margin too


def _session_input(lines: list[str]) -> list[str]:
    """What was typed at the prompts; everything else after the first prompt is output."""
    first = next(at for at, line in enumerate(lines) if line.lstrip().startswith(">>>"))
    for line, after in pairwise(lines[first:]):
        if _PROMPT.match(line) and line.rstrip().endswith(_CONTINUES) and not _PROMPT.match(after):
            raise _NotJudged  # input goes on without a prompt: where it ends and output begins cannot be told
    return lines[:first] + [line[prompt.end() :] for line in lines[first:] if (prompt := _PROMPT.match(line))]


def _without_shell(lines: list[str]) -> list[str]:
    """Shell and notebook lines become ``pass``, so that a branch of nothing else keeps a body."""
    kept: list[str] = []
    continued = False
    for line in lines:
        if line.startswith("%%") and not _PYTHON_CELLS.match(line):
            raise _NotJudged  # the rest of the cell is in another language
        shell = continued or _SHELL.match(line) is not None
        if not shell:
            kept.append(line)
        elif not continued:
            kept.append(line[: len(line) - len(line.lstrip())] + "pass")
        continued = shell and line.endswith("\\")
    return kept


def _starts_indented(lines: list[str]) -> bool:
    """Whether the first line of code is indented."""
    for line in lines:
        code = line.lstrip()
        if code and code[0] != "#":
            return len(code) < len(line)
    return False


# The warning filters are process-wide; the parser holds the interpreter lock anyway, so waiting here costs nothing.
_FILTERS = threading.Lock()


def _parse(source: str, budget: Budget) -> bool:
    """Whether the source parses; raises _NotJudged when that cannot be told."""
    if not budget.allows(source) or _nests_deep(source):
        raise _NotJudged
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source, "<answer>")
    except SyntaxError as error:
        if _OLDER_THAN_312 and _is_newer(source, error):
            raise _NotJudged from None
        return False
    except (ValueError, RecursionError, MemoryError) as error:
        raise _NotJudged from error
    return True


def _nests_deep(source: str) -> bool:
    """Whether brackets, prefix operators or right-recursive chains may need more C stack than a thread has."""
    if sum(map(source.count, "([{")) > MAX_BRACKETS and _bracket_depth(source) > MAX_BRACKETS:
        return True
    return len(_CHAINING.findall(source)) > MAX_CHAIN or _SIGN_RUN.search(source) is not None


def _bracket_depth(source: str) -> int:
    """Deepest nesting. Brackets in strings count too: the depth may come out too large, never too small."""
    depth = deepest = 0
    for bracket in re.findall(r"[()\[\]{}]", source):
        if bracket in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif depth:
            depth -= 1
    return deepest


def _is_newer(source: str, error: SyntaxError) -> bool:
    """Whether the fault may be syntax of Python 3.12: type parameters, ``type``, quotes and escapes in f-strings."""
    line = (source.split("\n")[(error.lineno or 1) - 1 :] or [""])[0]
    if len(line) > _JUDGED_LINE:
        return False
    if error.msg.startswith("f-string"):
        return bool(_REUSED_QUOTE.search(line) or _BACKSLASH_INSIDE.search(line))
    return _SINCE_312.match(line) is not None
