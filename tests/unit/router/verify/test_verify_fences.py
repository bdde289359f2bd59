"""Contract 12.6: which lines open and close a block."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.verify import fences


def _blocks(text: str) -> list[tuple[str, str]]:
    layout = fences.layout(text)
    tags = frozenset(mark.tag for mark in layout.lines.marks)
    return [(block.tag, block.body(text)) for block in layout.tagged(tags)]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("```python\nx\n```", [("python", "x")]),
        ("   ```py\n   x\n     y\n   ```", [("py", "x\n  y")]),
        ("```\nx\n```\n~~~sh\ny\n~~~~", [("", "x"), ("sh", "y")]),
        ("````\n```\nx\n```\n````", [("", "```\nx\n```")]),
        ("```\nx\n~~~\n```", [("", "x\n~~~")]),
        ("```\nx `y` ``` z\n```", [("", "x `y` ``` z")]),
        ("```a```\n", []),
        ("`` ``` ``\n", []),
        ("``\nx\n``", []),
        ("    ```\n    x\n    ```", []),
        ("```\n```", [("", "")]),
        ("```\n\n```", [("", "")]),
        ("```JSON\r\nx\r\n```\r\n", [("json", "x")]),
        ("- ```js\n  x\n  ```", [("js", "x")]),
        ("> ```\n> x\n> ```", []),
        ("```c++ main\nx\n```", [("c++", "x")]),
        ("```" + "a" * 40 + "\nx\n```", [("a" * 40, "x")]),
        ("```" + "a" * 41 + "\nx\n```", [("", "x")]),
        ("```markdown\n```sh\nx\n```\n```", [("markdown", "```sh\nx\n```")]),
    ],
)
def test_blocks(text: str, blocks: list[tuple[str, str]]) -> None:
    assert _blocks(text) == blocks
    assert not fences.layout(text).unterminated


@pytest.mark.parametrize(
    "text", ["```", "```py\nx", "~~~\n```", "````\n```", "```\nx\n``` y", "```\nx\n       ```", "```a\nx\n```\n```b"]
)
def test_unterminated(text: str) -> None:
    assert fences.layout(text).unterminated


def test_text_between_blocks() -> None:
    text = "a\n```\nx\n```\nb\n~~~\ny\n~~~"
    assert fences.layout(text).outside(text) == ["a\n", "\nb\n", ""]


def test_spanning_block() -> None:
    for text, body in (("\n```json\n1\n```  \n", "1"), ("x\n```\n1\n```", None), ("```\n1\n```\n```\n2\n```", None)):
        block = fences.layout(text).spanning(text)
        assert (block.body(text) if block else None) == body


@given(
    st.lists(
        st.sampled_from(["```", "````", "~~~", "```py", "x", "  ```", "     ```", "- ```a", "", "```md", "``` a b"])
    )
)
def test_blocks_are_in_order_and_within_the_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    layout = fences.layout(text)
    position = 0
    for opening, closing in zip(layout.pairs[::2], layout.pairs[1::2], strict=True):
        assert position <= layout.lines.begin(opening) < layout.lines.end(closing) <= len(text)
        position = layout.lines.end(closing)


@given(st.lists(st.text(st.characters(exclude_characters="`~\n"), max_size=9), max_size=5), st.integers(3, 6))
def test_a_written_block_is_found_whole(lines: list[str], ticks: int) -> None:
    body = "\n".join(lines).replace("\r\n", "\n").rstrip("\r")
    text = f"before\n{'`' * ticks}x\n{body}\n{'`' * ticks}\nafter"
    assert _blocks(text) == [("x", body)]
