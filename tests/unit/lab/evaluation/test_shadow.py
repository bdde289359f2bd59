"""``anvil eval shadow``: recorded requests, the operator's own texts, other tiers' answers, graded (5.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from anvil.cli.evaluate import evaluate
from anvil.lab.evaluation import folder as evaluation
from anvil.router.decisions.record import encode
from tests.router.tier import Tier, auto
from tests.unit.lab.calibrate.house import CONFIRMED, router, tier
from tests.unit.lab.evaluation.folders import PLANNING
from tests.unit.lab.judge.scripted import Client, reply
from tests.unit.router.decision_samples import decision

PLAN = (PLANNING / "outputs" / "out_bookmarks__frontier.md").read_text()
PROMPT = (PLANNING / "prompts" / "prompt_bookmarks.txt").read_text()


class House:
    def __init__(self, folder: Path, small: Tier, big: Tier) -> None:
        self.small, self.big, self.out = small, big, folder / "shadow"
        self.judge = Client(folder / "judge", reply(5, 5, 5, 5, 5))
        self.texts, self.records = folder / "texts.jsonl", folder / "decisions.jsonl"
        config = router(folder, tier("small", small.url), tier("big", big.url))
        planned, chatted = decision(1, work_class="planning"), decision(2)
        self.records.write_bytes(b"\n".join(map(encode, (planned, chatted, decision(3), decision(4, work_class=None)))))
        chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}]
        rows = [{"id": planned.id, "prompt": PROMPT}, {"id": chatted.id, "messages": chat}]
        self.texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.asked: tuple[object, ...] = (
            "shadow", "--records", self.records, "--transcripts", self.texts, "--config", config, "--out", self.out,
            CONFIRMED, f"--endpoint=small={small.url}", f"--endpoint=big={big.url}",
        )  # fmt: skip

    def run(self, *arguments: object) -> Result:
        environ = {"ANVIL_CLAUDE_BIN": str(self.judge.path)}
        every = [str(argument) for argument in (*self.asked, *arguments)]
        return CliRunner().invoke(evaluate, every, env=environ, catch_exceptions=False)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    small, big = Tier(auto("no", " plan")).start(), Tier(auto(PLAN)).start()
    yield House(tmp_path, small, big)
    small.stop()
    big.stop()


def load(file: Path) -> Any:
    return json.loads(file.read_text())


def test_answers_are_graded_by_structure_and_nothing_is_asked_of_a_judge(house: House) -> None:
    result = house.run("--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {
        "schema": "anvil.eval-shadow/v1", "requests": 2, "answers": 4, "not_judged": 0, "out": str(house.out),
    }  # fmt: skip
    (graded,) = load(next(house.out.glob("results/*-planning-eval/grade_struct.json"))).values()
    assert {label: row["structural_score"] for label, row in graded.items()} == {"small": 0.0, "big": 1.0}
    assert [request.json["messages"] for request in house.small.seen] == [
        [{"role": "user", "content": PROMPT}], [{"role": "user", "content": "user: hi\n\nassistant: yes?"}],
    ]  # fmt: skip
    assert house.judge.calls == []


def test_texts_that_no_record_asks_for_are_told(house: House) -> None:
    assert "left out" not in house.run().stderr
    with house.texts.open("a") as file:
        file.write('{"id": "dec_of_another_router", "prompt": "x"}\n')
    again = house.run("--resume")
    assert again.exit_code == 0, again.stderr
    assert "1 of 3 texts are left out" in again.stderr


def test_judged_answers_have_the_shape_of_an_evaluation(house: House) -> None:
    assert house.run("--judge", "claude").exit_code == 0
    (folder,) = house.out.glob("*-planning-eval")
    assert {row.label: row.scores.total for row in evaluation.judge_rows(folder)} == {"small": 25, "big": 25}
    overall = load(next(house.out.glob("results/*-planning-eval/aggregate.json")))["per_model_overall"]
    assert overall["big"] == {"avg": 25.0, "n": 1, "quality_score": 1.0}
    assert len(house.judge.calls) == 4


def test_a_failing_judge_is_exit_1_and_names_the_child(house: House) -> None:
    house.judge.replies(9)
    result = house.run("--judge", "claude")
    assert (result.exit_code, "claude ended with code 9" in result.stderr) == (1, True)


def test_refusals_call_nobody(house: House) -> None:
    house.texts.write_text('{"id": "dec_0", "prompt": "x"}\n')
    assert "no record has a transcript" in house.run().stderr
    house.texts.write_text('{"prompt": "x"}\n')
    assert "line 1" in house.run().stderr
    house.records.write_text("{}\n")
    assert house.run().exit_code == 2
    assert house.run("--judge", "opus").exit_code == 2
    assert (house.small.seen, house.big.seen, house.out.exists()) == ([], [], False)


def test_a_silent_house_is_exit_3(house: House) -> None:
    house.small.stop()
    house.big.stop()
    assert house.run().exit_code == 3
    house.small.start()
    house.big.start()


# ------------------------------------------------------------------------------------------- eval planning


def planning(house: House, *arguments: object, out: str = "live") -> Result:
    asked = ("planning", "--live", "--dir", house.out.with_name(out), *house.asked[5:7], *house.asked[9:])
    environ = {"ANVIL_CLAUDE_BIN": str(house.judge.path)}
    every = [str(argument) for argument in (*asked, *arguments)]
    return CliRunner().invoke(evaluate, every, env=environ, catch_exceptions=False)


def test_tiers_plan_live_and_are_graded_blind(house: House, tmp_path: Path) -> None:
    result = planning(house, "--prompts", PLANNING, "--judge", "claude", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["answers"] == 4
    (folder,) = (tmp_path / "live").glob("*-planning-eval")
    letters = load(folder / "grading" / "anon_map.json")
    assert {tuple(sorted(labels.values())) for labels in letters.values()} == {("A", "B")}
    request = house.small.seen[0].json
    assert (request["max_tokens"], request["temperature"]) == (4096, 0)
    scores = load(next((tmp_path / "live" / "results").glob("*/grade_struct.json")))
    assert scores["bookmarks"]["big"]["structural_score"] == 1.0
    assert planning(house, "--prompts", PLANNING, out="again").exit_code == 0
    (again,) = (tmp_path / "again").glob("*-planning-eval")
    assert load(again / "grading" / "anon_map.json") == letters, "the draw is repeatable"


def test_a_live_run_without_serves_names_the_deploy(house: House) -> None:
    house.small.stop()
    house.big.stop()
    result = planning(house)
    assert (result.exit_code, "deploy/serves.py" in result.stderr) == (3, True)
    house.small.start()
    house.big.start()


def test_planning_of_a_folder_grades_it_and_without_one_helps(tmp_path: Path) -> None:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(evaluate, [str(argument) for argument in arguments], catch_exceptions=False)

    from tests.unit.lab.evaluation.folders import copy

    result = run("planning", "--dir", copy(tmp_path))
    assert (result.exit_code, "frontier: judges 24.75 of 25, n=4" in result.stdout) == (0, True)
    assert run("planning").stdout.startswith("Usage:")
    assert run("planning", "--live").exit_code == 2
