"""What is garbage and what is not: pure rules over what lies on a machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.deploys import gc
from anvil.deploys.gc import DAY
from anvil.hosts.garbage import Entry, inside


def entry(path: str, days: float) -> Entry:
    return Entry(path=path, age_s=int(days * DAY))


def test_the_newest_releases_and_the_linked_ones_stay() -> None:
    entries = [entry(f"router/releases/{name}", age) for name, age in zip("abcdefg", range(2, 9), strict=True)]
    assert list(gc.releases(entries, {"f", "g"}, 3)) == [f"router/releases/{name}" for name in "bcde"]


def test_a_release_that_was_never_finished_goes_unless_it_may_be_in_progress() -> None:
    entries = [entry("router/releases/.old", 2), entry("router/releases/.now", 0.1), entry("router/releases/a", 5)]
    assert gc.releases(entries, (), 5) == {"router/releases/.old": "never finished"}


def test_reports_of_wanted_definitions_stay_however_old() -> None:
    entries = [entry(f"evidence/preflight/{name}", age) for name, age in (("a-1.json", 90), ("a-2.json", 90), ("b", 9))]
    assert list(gc.reports(entries, {"a-2.json"})) == ["evidence/preflight/a-1.json"]


def test_a_trial_with_a_container_stays() -> None:
    entries = [entry("experiments/30005", 3), entry("experiments/30006", 3), entry("experiments/30007", 0)]
    assert list(gc.trials(entries, {"30005"})) == ["experiments/30006"]


ENTRIES = st.lists(
    st.builds(
        entry,
        st.builds(
            "/".join,
            st.tuples(st.sampled_from([gc.RELEASES, gc.REPORTS, gc.TRIALS, "router"]), st.text("ab.", min_size=1)),
        ),
        st.floats(0, 99),
    )
)


@given(ENTRIES, st.sets(st.text("ab", min_size=1)), st.integers(2, 5))
def test_nothing_linked_and_nothing_elsewhere_ever_goes(entries: list[Entry], linked: set[str], keep: int) -> None:
    for path in gc.releases(entries, linked, keep):
        folder, _, name = path.rpartition("/")
        assert folder == gc.RELEASES
        assert name not in linked


@pytest.mark.parametrize("path", ["", "/", "/etc/x", "..", "../x/y", "a/../../x", "router", "a//b", "a/./b", "a/b/"])
def test_a_path_with_a_way_out_is_refused(path: str) -> None:
    assert not inside(path)
