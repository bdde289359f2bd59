"""Our keys in somebody's TOML: set where they belong, every other line as it was."""

from __future__ import annotations

import difflib
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.harness import toml_text
from anvil.harness.refusal import Refusal, Unreadable
from anvil.harness.toml_edit import merged

OURS: dict[str, Any] = {
    "model": "planning",
    "model_providers": {"anvil": {"name": "anvil", "base_url": "http://127.0.0.1:8000/v1", "retries": 1}},
}
LINES = '[model_providers.anvil]\nname = "anvil"\nbase_url = "http://127.0.0.1:8000/v1"\nretries = 1\n'

FILES = {
    "nothing": ("", f'model = "planning"\n\n{LINES}'),
    "a comment alone": ("# mine\n", f'# mine\nmodel = "planning"\n\n{LINES}'),
    "a comment of the file, then a table": (
        "#:schema x.json\n\n[tui]\na = 1\n",
        f'#:schema x.json\nmodel = "planning"\n\n[tui]\na = 1\n\n{LINES}',
    ),
    "a comment of a table": ("# mine\n[tui]\na = 1\n", f'model = "planning"\n\n# mine\n[tui]\na = 1\n\n{LINES}'),
    "a comment beside our key": (
        'model  =  "gpt"   # my favourite\nother = 1\n',
        f'model  =  "planning"   # my favourite\nother = 1\n\n{LINES}',
    ),
    "an older table of ours": (
        'model = "planning"\n[model_providers.anvil]\n# keep me\nname = "old" # and me\nstream_idle_timeout_ms = 9\n'
        "\n# of the next table\n[tui]\na = 1\n",
        'model = "planning"\n[model_providers.anvil]\n# keep me\nname = "anvil" # and me\nstream_idle_timeout_ms = 9\n'
        'base_url = "http://127.0.0.1:8000/v1"\nretries = 1\n\n# of the next table\n[tui]\na = 1\n',
    ),
    "a table below ours": (
        'model = "planning"\n[model_providers.anvil.http_headers]\nx-site = "a"\n',
        f'model = "planning"\n[model_providers.anvil.http_headers]\nx-site = "a"\n\n{LINES}',
    ),
    "dotted keys": (
        'model_providers.anvil.name = "old"\nlast = 1\n[tui]\na = 1\n',
        'model_providers.anvil.name = "anvil"\nlast = 1\nmodel = "planning"\n'
        'model_providers.anvil.base_url = "http://127.0.0.1:8000/v1"\nmodel_providers.anvil.retries = 1\n[tui]\na = 1\n',
    ),
    "dotted keys in a table": (
        'model = "planning"\n[model_providers]\nanvil.name = "anvil"\n',
        'model = "planning"\n[model_providers]\nanvil.name = "anvil"\n'
        'anvil.base_url = "http://127.0.0.1:8000/v1"\nanvil.retries = 1\n',
    ),
    "an inline table of others": (
        'model = "planning"\nmodel_providers = { mine = { name = "m" } } # all\n',
        'model = "planning"\nmodel_providers = { mine = { name = "m" }, anvil.name = "anvil", '
        'anvil.base_url = "http://127.0.0.1:8000/v1", anvil.retries = 1 } # all\n',
    ),
    "an inline table of ours": (
        'model = "planning"\n[model_providers]\nanvil = {}\n',
        'model = "planning"\n[model_providers]\n'
        'anvil = { name = "anvil", base_url = "http://127.0.0.1:8000/v1", retries = 1 }\n',
    ),
    "quoted keys": (
        '"model" = \'x\'\n["model_providers" . \'anvil\']\n"name"="old"\n',
        '"model" = "planning"\n["model_providers" . \'anvil\']\n"name"="anvil"\n'
        'base_url = "http://127.0.0.1:8000/v1"\nretries = 1\n',
    ),
    "our words inside strings and arrays": (
        'note = """\nmodel = "no"\n[model_providers.anvil]\n"""\nlist = [\n  "model = 1", # [tui]\n  [1, 2],\n'
        "  { model = 3 },\n]\nmodel = 'x'\n",
        'note = """\nmodel = "no"\n[model_providers.anvil]\n"""\nlist = [\n  "model = 1", # [tui]\n  [1, 2],\n'
        f'  {{ model = 3 }},\n]\nmodel = "planning"\n\n{LINES}',
    ),
    "no line end": ('model = "x"\na = 1', f'model = "planning"\na = 1\n\n{LINES}'),
    "times and numbers": (
        f'at = 2026-11-24 10:00:00 # now\nx = 1_000\ny = -inf\nmodel = "planning"\n\n{LINES}[[rules]]\na = 1\n[[rules]]\n',
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), FILES.values(), ids=FILES)
def test_our_values_are_set_and_the_rest_stays(before: str, after: str | None) -> None:
    new = merged(before, OURS)
    assert new == (before if after is None else after)
    assert tomllib.loads(new)["model_providers"]["anvil"].items() >= OURS["model_providers"]["anvil"].items()
    assert merged(new, OURS) == new


@pytest.mark.parametrize(("before", "after"), FILES.values(), ids=FILES)
def test_the_line_ends_of_windows_stay(before: str, after: str | None) -> None:
    new = merged(before.replace("\n", "\r\n"), OURS)
    if before:
        assert new.replace("\r\n", "") == (after or before).replace("\n", "")


@pytest.mark.parametrize(
    "text",
    ["model_providers = 3\n", "model_providers.anvil = 3\n", "[[model_providers]]\na = 1\n", "model_providers.anvil = []\n"],
)  # fmt: skip
def test_what_is_no_table_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(Refusal, match=r"^model_providers.* is not a table"):
        merged(text, OURS)


def test_a_file_in_step_is_left_as_it_is() -> None:
    text = '# mine\nmodel   =   "planning"\n'
    assert merged(text, {"model": "planning"}) == text


def test_what_is_no_toml_is_refused_with_its_place() -> None:
    with pytest.raises(Unreadable, match="line 1"):
        merged("a = \n", OURS)


KEYS = st.sampled_from(["model", "a", "b c", "model_providers", "anvil", "é"])
VALUES = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.sampled_from(['"', "'''", "# no", "[x]", "a\nb = 1", "\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A TOML text in one of the ways people write it, with a comment at every line."""
    lines: list[str] = []
    below: list[tuple[tuple[str, ...], Any]] = []

    def table(path: tuple[str, ...], content: dict[str, Any]) -> None:
        for key, value in content.items():
            kind = (
                draw(st.sampled_from(["inline", "table", "dotted"])) if isinstance(value, dict) and value else "inline"
            )
            if kind == "table":
                below.append(((*path, key), value))
            elif kind == "dotted":
                lines.extend(
                    f"{toml_text.key_text(key)} . {toml_text.key_text(name)}={toml_text.value_text(item)} # c{len(lines)}"
                    for name, item in value.items()
                )
            else:
                lines.append(f"{toml_text.key_text(key)} = {toml_text.value_text(value)}  # c{len(lines)}")

    table((), draw(st.dictionaries(KEYS, VALUES, max_size=4)))
    while below:
        path, content = below.pop()
        lines += [f"# c{len(lines)}", f" [ {'.'.join(map(toml_text.key_text, path))} ] # h{len(lines)}"]
        table(path, content)
    return draw(st.sampled_from(["\n", "\r\n"])).join([*lines, ""])


@settings(max_examples=200, deadline=None)
@given(texts())
def test_whatever_stands_there_stays(text: str) -> None:
    before = tomllib.loads(text)
    providers = before.get("model_providers", {})
    if (
        isinstance(before.get("model"), dict)
        or not isinstance(providers, dict)
        or not isinstance(providers.get("anvil", {}), dict)
    ):
        with pytest.raises(Refusal, match=r"is (not )?a table"):
            merged(text, OURS)
        return
    new = merged(text, OURS)
    found = tomllib.loads(new)
    assert found["model"] == "planning"
    assert found["model_providers"]["anvil"].items() >= OURS["model_providers"]["anvil"].items()
    assert merged(new, OURS) == new
    assert _without_ours(found) == _without_ours(before)
    comments = [line.rpartition("#")[2] for line in text.splitlines() if "# c" in line or "# h" in line]
    assert all(new.count(f"#{comment}") == text.count(f"#{comment}") for comment in comments)
    gone = [line[2:] for line in difflib.ndiff(text.splitlines(), new.splitlines()) if line.startswith("- ")]
    assert len(gone) <= 4  # our four values at most, never a line of others


def _without_ours(document: dict[str, Any]) -> dict[str, Any]:
    providers = document.get("model_providers", {})
    anvil = {
        key: value for key, value in providers.get("anvil", {}).items() if key not in OURS["model_providers"]["anvil"]
    }
    others = {key: value for key, value in providers.items() if key != "anvil"}
    rest = {key: value for key, value in document.items() if key not in OURS}
    return rest | {"others": others, "anvil": anvil}
