"""Words, depth and noise (contract 5.1, 9.5, 10.1, reconciliation c)."""

from __future__ import annotations

import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.reading import Words, check_depth, count_words, is_billing, own_text, system_signal

BLANKS = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]


@pytest.mark.parametrize("blank", BLANKS, ids=[f"U+{ord(c):04X}" for c in BLANKS])
def test_every_unicode_blank_separates_words_in_long_texts(blank: str) -> None:
    text = blank + f"ein{blank}{blank}Wort—" * 300
    assert count_words(text) == len(text.split())


@given(
    st.lists(st.sampled_from(["a", "bc", " ", "  ", "\n", "\t", "\x1c", "\x85", "\u2003", "é", "漢", "😀", "\ud800"]))
)
def test_words_equal_split(parts: list[str]) -> None:
    for text in ("".join(parts), "".join(parts) * 60, "x y " * 200 + "".join(parts)):
        assert count_words(text) == len(text.split())


@pytest.mark.parametrize("text", ["", " " * 500, "x" * 500, "x" * 500 + " ", " " + "x " * 500])
def test_words_at_the_edges(text: str) -> None:
    assert count_words(text) == len(text.split())


def test_counting_words_is_faster_than_splitting() -> None:
    text = "The quick brown fox\n    jumps over {'it': [1, 2]} and runs " * 1700
    assert best(lambda: count_words(text)) < best(lambda: len(text.split()))


@given(st.lists(st.text(alphabet="ab \n\u00a0\u2003", max_size=6), max_size=300))
def test_words_of_pieces_are_those_of_the_whole(pieces: list[str]) -> None:
    words = Words()
    for piece in pieces:
        words.add(piece)
    assert words.count == count_words("".join(pieces))


def best(work: object) -> float:
    assert callable(work)
    spans = []
    for _ in range(9):
        begin = time.process_time()  # what neighbours on a loaded machine take does not count
        work()
        spans.append(time.process_time() - begin)
    return min(spans)


def test_system_signal_ends_at_150_words() -> None:
    assert system_signal("plan " * 150) == "plan " * 150
    assert system_signal("plan " * 151) == ""


# ------------------------------------------------------------------------------------------------ depth


def nested(depth: int) -> bytes:
    return b'{"a":[' * (depth // 2) + b"[" * (depth % 2) + b"]" * (depth % 2) + b"]}" * (depth // 2)


@pytest.mark.parametrize(
    ("depth", "ok"), [(1, True), (127, True), (128, True), (129, False), (130, False), (400, False)]
)
def test_depth_limit_with_wide_company(depth: int, ok: bool) -> None:
    wide = b"[" + b",".join([b'{"b":[1]}'] * 200) + b"," + nested(depth - 1) + b"]"
    assert check_depth(nested(depth)) is ok
    assert check_depth(wide) is ok


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500,
        "]" * 500,
        '"' * 300 + "[{" * 200,
        "\\" * 7 + "[" * 300,
        '\\"' + "[" * 300,
        "\\\\" + '"[' * 300,
        '\n"][',
    ],
)
def test_brackets_inside_strings_never_count(text: str) -> None:
    def document(depth: int) -> bytes:
        inner: object = text
        for _ in range(depth - 1):
            inner = {text: inner, "b": [text] * 2}
        return json.dumps([inner]).encode()

    assert check_depth(document(127))
    assert not check_depth(document(129))


def depth_of(value: object) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


texts = st.text(alphabet='[]{}"\\,:n é', max_size=8)
documents = st.recursive(
    texts | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=40,
)


@given(documents, st.integers(1, 6), st.sampled_from([None, 1]), st.booleans())
def test_depth_is_exact_for_valid_json(value: object, limit: int, indent: int | None, ascii_only: bool) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert check_depth(data, limit) is (depth_of(value) <= limit)


@pytest.mark.parametrize(
    ("data", "ok"),
    [
        (b"[" * 10**6, False),
        (b'{"a":' * 10**6, False),
        (b"[" * 500_000 + b"]" * 500_000, False),
        ((b"[" * 128 + b"]" * 127) * 400, False),
        (b"[[]," * 10**5, False),
        (b'["' + b'\\"[' * 10**5 + b'"]', True),
        (b"[" + b"[]," * 10**5 + b"[]]", True),
    ],
    ids=["openers", "objects", "balanced", "creeping", "staircase", "escaped", "flat"],
)
def test_hostile_shapes_are_judged_fast(data: bytes, ok: bool) -> None:
    assert check_depth(data) is ok
    assert best(lambda: check_depth(data)) < 0.05


# ------------------------------------------------------------------------------------------------ noise


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nreview the plan",
        "\n<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>",
        "[Mon 2026-11-23 06:43 UTC] <<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>",
        "<system-reminder>review</system-reminder>",
        " <system-reminder>\nreview\n</system-reminder>\n",
        "<system-reminder>a</system-reminder>\n<system-reminder>b</system-reminder>",
        "x-anthropic-billing-header: cc_version=2.1.330",
        "[Mon 2026-11-23 06:43 UTC] ",
    ],
)
def test_harness_noise(text: str) -> None:
    assert own_text(text) == ""


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("fix it", "fix it"),
        ("[Mon 2026-11-23 06:43 UTC] fix it", "fix it"),
        ("[Thu 2026-11-26 06:43 GMT+2] fix it", "fix it"),
        ("[Retry after the previous model attempt failed or timed out]\n\nfix it", "fix it"),
        ("[Retry after the previous model attempt failed or timed out]\n\n[Mon 2026-11-23 06:43 UTC] fix", "fix"),
        ("[Monday] fix it", "[Monday] fix it"),
        ("[review] fix it", "[review] fix it"),
        ("<system-reminder>a</system-reminder> fix it", "<system-reminder>a</system-reminder> fix it"),
        ("<system-reminder>never closed", "<system-reminder>never closed"),
        ("say <<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "say <<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"),
    ],
)
def test_human_words_survive_their_prefixes(text: str, own: str) -> None:
    assert own_text(text) == own


def test_a_text_of_prefixes_is_read_in_linear_time() -> None:
    started = time.process_time()
    assert own_text("[Mon 2026-11-23 06:43 UTC] " * 40_000 + "fix it") == "fix it"
    assert time.process_time() - started < 0.5


def test_billing_block() -> None:
    assert is_billing("x-anthropic-billing-header: cc_version=1")
    assert not is_billing("see x-anthropic-billing-header: in the docs")
