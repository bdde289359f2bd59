"""The prune plan as a pure function (lab contract 10, B12)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.topology.retention import (
    REASONS,
    STALE_SECONDS,
    Candidate,
    UnknownProtection,
    check_protection,
    named_in,
    plan,
)  # fmt: skip

NOW = 10_000_000.0
OLD = NOW - STALE_SECONDS - 1
REPOS = st.sampled_from(["a/b", "A/B", "a/b-c", "x/y.z", "m/n"])
CANDIDATES = st.builds(
    Candidate, repo=REPOS, path=st.just("/c/x"), size_bytes=st.integers(0, 9), format=st.sampled_from(["?", "GGUF", "safetensors"]),
    whole=st.booleans(), real=st.booleans(), incomplete_since=st.sampled_from([None, OLD, NOW]),
)  # fmt: skip


def row(repo: str = "a/b", **more: object) -> Candidate:
    return Candidate(**{"repo": repo, "path": f"/c/{repo}", "size_bytes": 5, "format": "safetensors", **more})  # type: ignore[arg-type] # the test says which


@given(st.lists(CANDIDATES), st.sets(REPOS), st.booleans(), st.booleans())
def test_nothing_protected_is_listed_and_only_incomplete_goes_by_default(
    rows: list[Candidate], kept: set[str], gguf: bool, servable: bool
) -> None:
    made = plan(rows, kept, now=NOW, gguf_taken=gguf, include_servable=servable)
    assert not {item.repo.lower() for item in made.items} & {repo.lower() for repo in kept}
    assert all(servable or item.reason == "incomplete" for item in made.doomed())
    assert [(-item.size_bytes, item.repo) for item in made.items] == sorted(
        (-item.size_bytes, item.repo) for item in made.items
    )
    assert sum(total.size_bytes for total in made.totals.values()) == sum(item.size_bytes for item in made.items)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (row(whole=False, incomplete_since=OLD), "incomplete"),
        (row(whole=False, incomplete_since=OLD, format="GGUF"), "incomplete"),
        (row(whole=False, incomplete_since=NOW), None),
        (row(whole=True, incomplete_since=OLD), "unreferenced"),
        (row(format="GGUF"), "incompatible-format"),
        (row(), "unreferenced"),
        (row(real=False), None),
        (row(hazards=("error: broken",)), "unreferenced"),
    ],
)
def test_reasons_in_their_order(candidate: Candidate, reason: str | None) -> None:
    made = plan([candidate], [], now=NOW, gguf_taken=False)
    assert [item.reason for item in made.items] == ([reason] if reason else [])
    assert tuple(made.totals) == REASONS


def test_hazards_ride_along_and_decide_nothing() -> None:
    plainly, warned = row(), row(hazards=("warn: hangs",))
    (one,), (two,) = (plan([each], [], now=NOW).items for each in (plainly, warned))
    assert (one.reason, one.delete) == (two.reason, two.delete)
    assert two.hazards == ("warn: hangs",)


def test_gguf_fits_where_an_engine_takes_it() -> None:
    assert plan([row(format="GGUF")], [], now=NOW).items[0].reason == "unreferenced"


def test_an_unknown_protection_stops_everything() -> None:
    check_protection(["A/b"], [row()])
    with pytest.raises(UnknownProtection, match=r"not in the scan: x/y, z"):
        check_protection(["x/y", "a/b", "z"], [row()])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"repo":"A/B"}', True),
        ("--speculative-config {\"model\": \"a/b\"}", True),
        ("/root/.cache/huggingface/hub/models--a--b/blobs/1", True),
        ("models--a--b", True),
        ("serve a/b.", True),
        ("a/b-c", False),
        ("a/b.5", False),
        ("xa/b", False),
        ("models--a--b-c/blobs", False),
    ],
)  # fmt: skip
def test_a_repository_is_named_whole_or_not_at_all(text: str, named: bool) -> None:
    assert named_in([text], {"a/b"}) == ({"a/b"} if named else set())
