"""Thirteen checks: a good plan passes all, and each defect is seen by its own check and by no other (5.2)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.lab.grading.structure import CHECKS, features_of, grade, read
from tests.unit.lab.evaluation.folders import PLANNING

PROMPT = (PLANNING / "prompts" / "prompt_bookmarks.txt").read_text()
PLAN = (PLANNING / "outputs" / "out_bookmarks__frontier.md").read_text()
FEATURES = features_of(PROMPT)


def failed(plan: str, features: set[str] = FEATURES) -> set[str]:
    return {name for name, passed in grade(plan, features).checks.items() if not passed}


def test_a_good_plan_passes_all_thirteen() -> None:
    found = grade(PLAN, FEATURES)
    assert (len(CHECKS), FEATURES) == (13, {"F1", "F2", "F3", "F4"})
    assert (found.score, found.tasks, list(found.checks)) == (1.0, 5, list(CHECKS))


@pytest.mark.parametrize("fence", ["```\n", "```markdown\n", "~~~~\n"])
def test_an_enclosing_fence_is_taken_off(fence: str) -> None:
    mark = fence.rstrip("\n").removesuffix("markdown")
    assert failed(f"\n{fence}{PLAN}\n{mark}\n") == set()


@pytest.mark.parametrize(
    ("old", "new", "checks"),
    [
        ("### T002", "### T2", {"ids_zero_padded"}),
        ("### T005", "### T004", {"ids_unique", "ids_sequential"}),
        ("### T005", "### T007", {"ids_sequential"}),
        ("Feature: F2", "Feature: F9", {"feature_known", "features_covered"}),
        (
            "- Feature: F1\n- Priority: high\n- Likely files: `app/models",
            "- Priority: high\n- Likely files: `app/models",
            {"feature_known"},
        ),
        ("Feature: F4", "Feature: F1", {"features_covered"}),
        ("Priority: low", "Priority: soon", {"priority_valid"}),
        ("- Priority: low\n", "", {"priority_valid"}),
        ("- Likely files: `app/importing.py`\n", "", {"likely_files"}),
        ("- Acceptance criteria:\n  - After eight", "- Acceptance criteria: After eight", {"acceptance_bullets"}),
        ("`bash ops/test_backup.sh`", "run the backup test", {"verification_command"}),
        ("`bash ops/test_backup.sh`", "` `", {"verification_command"}),
        ("Dependencies: T001, T002", "Dependencies: T001, T042", {"dependencies_exist"}),
        ("Dependencies: T001, T002", "Dependencies: T004", {"dependencies_not_self"}),
        ("Dependencies: none", "Dependencies: T004", {"dependencies_acyclic"}),
    ],
)
def test_each_defect_is_seen_by_its_check(old: str, new: str, checks: set[str]) -> None:
    assert old in PLAN
    assert failed(PLAN.replace(old, new, 1)) == checks


@pytest.mark.parametrize("plan", ["", "I would start with the database.", "## T001 Wrong level", "#### T001"])
def test_a_text_without_tasks_fails_everything(plan: str) -> None:
    assert (grade(plan, FEATURES).score, failed(plan)) == (0.0, set(CHECKS))


def test_other_spellings_of_the_same_plan() -> None:
    bold = PLAN.replace("- Feature:", "**Feature:**").replace("- Priority: high", "* __Priority__: High")
    assert failed(bold) == set()
    assert failed(PLAN + "\n## Notes\n- Priority: whenever\n") == set()
    assert features_of("## F1: a\n* **F-2** - b\n1. no\nF3 is mentioned") == {"F1", "F-2"}
    assert failed(PLAN, set()) == set(), "a prompt without identifiers asks for some feature in each task"


@given(st.text(alphabet="#T0129 -*:`~\nFeatureDpnis", max_size=300))
def test_no_text_breaks_it(plan: str) -> None:
    found = grade(plan, FEATURES)
    assert 0 <= found.score <= 1
    assert found.tasks == len(read(plan))


@pytest.mark.parametrize(
    "plan",
    [
        "### T001\n- Verification:\n  - `" + "a" * 60_000 + "\n",
        "### T001\n- Verification:\n  - `" + " " * 60_000 + "\n",
        "`" * 30_000 + "\n" + "x\n" * 30_000,
    ],
)
def test_an_endless_line_is_graded_at_once(plan: str) -> None:
    started = time.process_time()
    assert not grade(plan, set()).checks["verification_command"]
    assert time.process_time() - started < 1
