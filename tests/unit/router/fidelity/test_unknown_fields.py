"""No field leaves a request without a word: it is in the tier's body or named in the record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.router.fidelity import matrix, play
from tests.unit.router.fidelity.checks import probe

# prefixed, so that no generated name is one a dialect knows; as long as one record names them all
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8).map("zz_".__add__)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
).filter(lambda value: value != [])
MOST_NAMES = 20


@pytest.mark.parametrize("way", matrix.REQUEST_WAYS)
@given(fields=st.dictionaries(NAMES, VALUES, max_size=30), stream=st.booleans())
def test_unknown_top_level_fields_arrive_or_are_named(way: str, fields: dict[str, Any], stream: bool) -> None:
    sent = play.ask(probe("unknown fields", way, fields), stream=stream)
    named = {name.removeprefix("unknown.") for name in sent.lossy if name.startswith("unknown.")}
    arrived = {name for name in fields if name in sent.tier}
    assert not named & arrived
    assert len(named) == min(MOST_NAMES, len(set(fields) - arrived))
    assert named <= set(fields)
    assert all(sent.tier[name] == fields[name] for name in arrived)
    if way in ("O->O", "A->A"):
        assert arrived == set(fields)
    else:
        assert not any(f'"{name}"' in json.dumps(sent.tier) for name in named)
