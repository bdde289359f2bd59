"""What a candidate profile would change, told row by row."""

from __future__ import annotations

import json

import pytest
from pyinfra.api.exceptions import PyinfraError

from anvil.deploys import verdicts


def profile(*rows: tuple[str, str, str, float], schema: str = verdicts.SCHEMAS[1]) -> bytes:
    keys = ("tier_id", "work_class", "decision", "quality_score")
    return json.dumps({"schema": schema, "entries": [dict(zip(keys, row, strict=True)) for row in rows]}).encode()


def test_added_removed_and_changed_rows_are_told() -> None:
    live = profile(("a", "chat", "allow", 0.5), ("a", "review", "deny", 0.1), ("b", "chat", "allow", 0.8))
    candidate = profile(("a", "chat", "deny", 0.5), ("b", "chat", "allow", 0.8), ("gone", "chat", "allow", 0.9))
    held, wanted = verdicts.rows(live, "live"), verdicts.rows(candidate, "new")
    told = verdicts.differences(held, wanted, {"a": 1, "B": 2}, ("b/chat",))
    assert list(told) == [
        "~ a/chat: allow 0.5 -> deny 0.5",
        "- a/review: deny 0.1",
        "+ gone/chat: allow 0.9",
        "WARN gone: no tier has this id; its rows have no effect",
        "WARN b/chat: measured on another serve than the inventory's; its allow counts as allow-with-verify",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "schema is None"),
        (profile(schema="other/v1"), "schema is 'other/v1', expected anvil-serving"),
        (json.dumps({"schema": verdicts.SCHEMAS[0], "entries": {}}).encode(), "expected a list of tables"),
    ],
)
def test_what_is_no_profile_is_refused(text: bytes, told: str) -> None:
    with pytest.raises(PyinfraError, match=f"candidate.json: .*{told}"):
        verdicts.rows(text, "candidate.json")
