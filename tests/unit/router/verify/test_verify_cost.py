"""Contract 12.1 and 24 row 21: every check is linear, on input made to hurt it too; the usual answer costs nothing."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

import pytest

from anvil.router.turn import Answer, Finish, ResponseFormat, Signals, Text, ToolCall, Turn, Usage
from anvil.router.verify import chains, evidence
from anvil.router.verify.code import MAX_TEXT
from anvil.router.verify.evidence import Evidence

LIMIT_S = 0.100
DOUBLING = 2.2
# Below this a measurement says more about the machine than about the check.
RESOLUTION_S = 0.012


def _fill(piece: str, size: int, head: str = "", tail: str = "") -> str:
    """Whole pieces only: a piece cut in half would make the half text another kind of text."""
    return head + piece * ((size - len(head) - len(tail)) // len(piece)) + tail


def _python(piece: str, tail: str = "") -> Callable[[int], str]:
    return lambda size: _fill(piece, size, "```python\n", tail + "\n```")


def _json(piece: str, head: str = "", tail: str = "") -> Callable[[int], str]:
    return lambda size: _fill(piece, size, "```json\n" + head, tail + "\n```")


def _diff(piece: str, head: str = "") -> Callable[[int], str]:
    return lambda size: _fill(piece, size, "```diff\n" + head, "\n```")


def _plain(piece: str, head: str = "") -> Callable[[int], str]:
    return lambda size: _fill(piece, size, head)


TEXTS: dict[str, Callable[[int], str]] = {
    "open fences": _plain("```\n"),
    "tagged fences": _plain("```python\n"),
    "python blocks": _plain("```python\nx = (1,\n  2)\n```\n"),
    "json blocks": _plain('```json\n{"a": [1, 2]}\n```\n'),
    "broken json blocks": _plain('```json\n{"a": [1, 2}\n```\n'),
    "nested markdown": _plain("```bash\nx\n```\n", "```markdown\n"),
    "markdown in markdown": _plain("```md\n"),
    "growing fences": lambda size: "\n".join("`" * n for n in range(3, int((2 * size) ** 0.5)))[:size],
    "shrinking fences": lambda size: "\n".join("`" * n for n in range(int((2 * size) ** 0.5), 2, -1))[:size],
    "tilde and tick": _plain("~~~\n```\n"),
    "every reading": _plain("```md a\n     ```b\n"),
    "backticks": _plain("`"),
    "backtick words": _plain("``` a `"),
    "tildes": _plain("~"),
    "underlined headings": _plain("abcd\n~~~~\n", "```\n"),
    "list markers": _plain("- "),
    "numbered markers": _plain("1. "),
    "spaces": _plain(" ", "x"),
    "blank": _plain(" \n"),
    "blank lines of spaces": _plain("   \n", "x"),
    "deep fences": _plain("       ```\n", "```\n"),
    "list fences": _plain("- ```a\n"),
    "braces": _plain("{"),
    "python braces": _python("{"),
    "python balanced": _python("({[]})"),
    "python nested lists": lambda size: _fill("[", size // 2, "```python\n") + _fill("]", size // 2, "", "\n```"),
    "python statements": _python("x = 1\n"),
    "python late fault": _python("x = 1\n", "def f(:"),
    "python calls late fault": _python("foo(a, b=1, *c)\n", "def f(:"),
    "python semicolons": _python("a;"),
    "python decorators": _python("@a\n"),
    "python escapes": _python("'\\d'\n"),
    "python unary": _python("-", "1"),
    "python not": _python("not "),
    "python lambda": _python("lambda:"),
    "python ternary": _python("a if b else "),
    "python elif": _python("elif a: b\n", ""),
    "python power": _python("a**"),
    "python sum": _python("a+", "a"),
    "python attributes": _python("a.", "a"),
    "python quotes": _python("'"),
    "python triple quotes": _python("'''\n"),
    "python f-strings": _python("f'{a}'\n", "def f(:"),
    "python f-string quotes": _python("f'{a['", ""),
    "python comments": _python("# a\n", "def f(:"),
    "python comment marks": _python("#"),
    "python prompts": _python(">>> x\n1\n", ">>> def f(:"),
    "python shell": _python("!x\n", "def f(:"),
    "python shell continued": _python("!x \\\n", "def f(:"),
    "python indented": _python("    x\n", "    def f(:"),
    "python indents": lambda size: (
        "```python\n" + "\n".join(" " * n + "if a:" for n in range(int((2 * size) ** 0.5) - 20)) + "\n```"
    ),
    "python ellipses": _python("x ...\n", "def f(:"),
    "python ellipsis in strings": _python("'# ...'\n", "def f(:"),
    "python type names": _python("type x", "def f(:"),
    "python unicode": _python("é = 'ü'\n", "def f(:"),
    "json deep": _json("["),
    "json deep objects": _json('{"a":'),
    "json deep closed": lambda size: _fill("[", size // 2, "```json\n") + _fill("]", size // 2, "", "\n```"),
    "json flat": _json("1,", "[", "1]"),
    "json flat late fault": _json("1,", "[", "1}"),
    "json pairs": _json("[],", "[", "[]]"),
    "json objects": _json('{"a":1.5},', "[", "{}]"),
    "json lines": _json('{"a":1}\n'),
    "json lines late fault": _json('{"a":1}\n', "", "}"),
    "json numbers": _json("1 "),
    "json digits": _json("1"),
    "json quotes": _json('"'),
    "json escapes": _json('\\"', '"'),
    "json open strings": _json('"a\n'),
    "json commas": _json(","),
    "json comma spaces": _json(",      "),
    "json spaces": _json(" ", "[1,", "2}"),
    "json comment openers": _json("/*"),
    "json comment stars": _json("/**", "[1 "),
    "json comments": _json("/**/", "[", "1}"),
    "json line comments": _json("// a\n", "[", "1}"),
    "json slashes": _json("/"),
    "json ellipses": _json("... ", "[", "1}"),
    "json ellipsis lines": _json('"..."\n', "[", "1}"),
    "json NaN": _json("NaN,", "[", "NaN]"),
    "diff headers": _diff("--- a\n+++ b\n"),
    "diff old headers": _diff("--- a\n"),
    "diff hunks": _diff("@@ -1 +1 @@\n-a\n+b\n"),
    "diff at signs": _diff("@@\n"),
    "diff at run": _diff("@"),
    "diff digits": _diff("1", "@@ -"),
    "diff long hunk": _diff("+a\n", "@@ -0,0 +1,999999 @@\n"),
    "diff sections": _diff("diff --git a b\n"),
    "diff blanks": _diff("\n", "@@ -1 +1 @@\n-a\n+b\n"),
    "diff signatures": _diff("-- \n", "@@ -1 +1 @@\n-a\n+b\n"),
    "diff blocks": _plain("```diff\n@@ -1 +1 @@\n-a\n+b\n```\n"),
    "diff unfenced": _plain("@@ -1 +1 @@\n-a\n+b\n"),
    "diff unfenced headers": _plain("@@ -1 +1 @@\n"),
    "diff unfenced prose": _plain("@@ a\nb\n", "@@ -1 +1 @@\n-a\n+b\nend\n"),
    "diff unfenced envelope": _plain("*** Begin Patch\n", "@@ -1 +1 @@\n-a\n+b\n"),
    "diff near headers": _plain("@@ -1,1 +1,1 @\n"),
}


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """What a collection costs depends on everything else in the process, so it is kept out of the measurement."""
    gc.disable()
    yield
    gc.enable()


def _cost(run: Callable[[Evidence], object], make: Callable[[int], Evidence], size: int) -> float:
    """CPU seconds of one run, on evidence that remembers nothing."""
    proof = make(size)
    started = time.thread_time()
    run(proof)
    return time.thread_time() - started


# One list for every two characters: page faults and cache misses of the decoder's allocations, no longer its steps.
CROWDED = {"json pairs", "nested just enough"}
CROWDED_DOUBLING = 3.0


def _assert_linear(name: str, run: Callable[[Evidence], object], make: Callable[[int], Evidence]) -> None:
    """Further rounds sharpen both figures, so that a disturbed one does not decide."""
    doubling = CROWDED_DOUBLING if name in CROWDED else DOUBLING
    cost = base = float("inf")
    for _ in range(60):
        cost, base = min(cost, _cost(run, make, MAX_TEXT)), min(base, _cost(run, make, MAX_TEXT // 2))
        if cost <= LIMIT_S and cost <= doubling * max(base, RESOLUTION_S):
            return
    pytest.fail(f"{cost * 1000:.1f} ms, {cost / base:.2f} x for twice the text")


@pytest.mark.parametrize("name", TEXTS)
def test_text_checks_stay_linear(name: str) -> None:
    make = TEXTS[name]

    def proof(size: int) -> Evidence:
        text = make(size)
        assert len(text) <= size
        return Evidence(text=text, finish="stop", response_format=ResponseFormat("json_object"))

    for check in (chains.code_parses, chains.diff_well_formed, chains.format_well_formed, chains.non_empty_content):
        _assert_linear(name, check, proof)
    assert not (chains.FULL.run(proof(MAX_TEXT)).failed or "").endswith("_error")


ARGUMENTS: dict[str, Callable[[int], str]] = {
    "blank": _plain(" "),
    "deep": _plain("["),
    "deep closed": lambda size: "[" * (size // 2) + "]" * (size // 2),
    "flat": lambda size: _fill("1,", size, '{"a":[', "1]}"),
    "flat text": lambda size: _fill('"x",', size, '{"a":[', '"x"]}'),
    "objects": lambda size: _fill('{"b":1},', size, '{"a":[', "{}]}"),
    "members": lambda size: "{" + ",".join(f'"k{n}":1' for n in range(size // 11)) + "}",
    "digits": _plain("1"),
    "exponent": _plain("9", "1e"),
    "quotes": _plain('"'),
    "nested just enough": lambda size: _fill("[" * 120 + "]" * 120 + ",", size, '{"a":[', "1]}"),
}
SCHEMAS = {
    "none": None,
    "plain": b'{"type":"object","properties":{"a":{"type":"array","items":{"type":["integer","string","object"]}}}}',
    "branches": b'{"anyOf":[{"$ref":"#/$defs/t"},{"required":["z"]}],"$defs":{"t":{"anyOf":[{"type":"integer"},'
    b'{"type":"array","items":{"$ref":"#/$defs/t"}},{"type":"object","additionalProperties":{"$ref":"#/$defs/t"}}]}}}',
    "enum": b'{"properties":{"a":{"items":{"enum":[' + b",".join(b"%d" % n for n in range(2, 2000)) + b"]}}}}",
    "itself": b'{"$ref":"#"}',
    "itself twice": b'{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}',
    "widening": b'{"allOf":[{"anyOf":[{"type":"null"},{"items":{"$ref":"#"}}]},{"properties":{"a":{"$ref":"#"}}}]}',
}


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_tool_calls_stay_linear(name: str, schema: str) -> None:
    make = ARGUMENTS[name]

    def proof(size: int) -> Evidence:
        return Evidence(text="", calls=[ToolCall("1", "t", make(size))], tools={"t": SCHEMAS[schema]})

    _assert_linear(name, chains.tool_call_json_valid, proof)
    assert not (chains.MINIMAL.run(proof(MAX_TEXT)).failed or "").endswith("_error")


def test_the_usual_answer_costs_under_three_microseconds() -> None:
    text = ("The function reads the file once and keeps the decoded rows. " * 40)[:2048]
    turn = Turn(dialect="openai", body={}, signals=Signals())
    answer = Answer(blocks=[Text(text)], finish=Finish("stop", "stop"), usage=Usage(100, 400))
    run = chains.MINIMAL.run

    def many(proof: Evidence) -> None:
        for _ in range(2000):
            run(proof)

    assert min(_cost(many, lambda _: evidence.of(answer, turn, None), 0) for _ in range(10)) / 2000 < 3e-6
