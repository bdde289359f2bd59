"""``anvil calibrate`` over scripted tiers and a scripted judge: rows, both halves, resume, failures (lab 6.3)."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anvil.lab.calibrate import grading, outputs
from anvil.lab.calibrate import run as calibrating
from anvil.lab.calibrate.plan import progress_of
from anvil.lab.evaluation import ask
from anvil.lab.locking import alone
from anvil.router import config as configuration
from anvil.router import profile
from anvil.router.fingerprint import fingerprint
from tests.router.tier import Received, Script, Tier, auto, chat, response
from tests.unit.lab.calibrate.house import CONFIRMED, prompts, router, run, tier
from tests.unit.lab.judge.scripted import Client, reply

THINKING = "extra_body = { chat_template_kwargs = { enable_thinking = false } }\nparams = { build = 1 }"


class House:
    """One local tier, one cloud tier, two classes of prompts, a scripted judge."""

    def __init__(self, folder: Path, small: Tier) -> None:
        self.folder, self.small = folder, small
        self.config = router(
            folder,
            tier("small", small.url, THINKING),
            tier("paid", "https://api.example.com", dialect="anthropic", privacy="cloud"),
        )
        self.prompts = prompts(folder / "prompts", chat="say hello", planning="plan it")
        self.judge = Client(folder / "judge", reply(5, 5, 5, 5, 5), reply(1, 1, 1, 1, 1))
        self.out = folder / "candidate.json"

    def run(self, *arguments: object, environ: dict[str, str] | None = None) -> Any:
        every = ("--config", self.config, "--out", self.out, *arguments)
        return run(*every, environ={"ANVIL_CLAUDE_BIN": str(self.judge.path), **(environ or {})})

    def calibrate(self, *arguments: object, environ: dict[str, str] | None = None) -> Any:
        asked = (CONFIRMED, "--eval-data", self.prompts, "--endpoint", f"small={self.small.url}")
        return self.run(*asked, *arguments, environ=environ)

    def rows(self) -> list[profile.Row]:
        return profile.read(self.out.read_bytes(), "candidate")[1]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    small = Tier(auto("an", " answer")).start()
    yield House(tmp_path, small)
    small.stop()


def test_a_candidate_has_one_row_a_class_with_verdict_and_fingerprint(house: House) -> None:
    result = house.calibrate(environ={"SMALL_KEY": "tier-key"})
    assert result.exit_code == 0, result.stderr
    mode, rows = profile.read(house.out.read_bytes(), "candidate")
    digest = fingerprint(configuration.load(house.config).tiers[0])
    assert mode == "live"
    assert [(r.tier_id, r.work_class, r.decision, r.quality_score, r.sample_n) for r in rows] == [
        ("small", "chat", "allow", 1.0, 1),
        ("small", "planning", "deny", 0.2, 1),
    ]
    assert all((r.fingerprint, r.source_evals, r.model_label) == (digest, ["live"], "small-model") for r in rows)
    assert rows[0].reasoning == {"chat_template_kwargs": {"enable_thinking": False}}
    assert not progress_of(house.out).exists()
    assert "small/chat: allow 1.00" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(
        "next: pyinfra inventory/hosts.py deploy/promote.py --data profile="
    )


def test_the_tier_gets_what_the_router_would_send(house: House) -> None:
    house.calibrate(environ={"SMALL_KEY": "tier-key"})
    first, _ = house.small.seen
    assert (first.path, first.headers["authorization"]) == ("/v1/chat/completions", "Bearer tier-key")
    body = first.json
    assert body["messages"] == [{"role": "user", "content": "say hello"}]
    assert (body["model"], body["max_tokens"], body["temperature"], body["stream"]) == ("small-model", 4096, 0, True)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "say hello" in str(house.judge.calls[0]["prompt"])
    assert "an answer" in str(house.judge.calls[0]["prompt"])


def test_json_is_one_document_and_no_secret_is_in_any_output(house: House) -> None:
    result = house.calibrate("--json", environ={"SMALL_KEY": "canary-of-a-key", "ANTHROPIC_API_KEY": "canary-of-a-key"})
    document = json.loads(result.stdout)
    assert document["schema"] == "anvil.calibrate/v1"
    assert [row["work_class"] for row in document["rows"]] == ["chat", "planning"]
    assert document["difference"]["unknown_tiers"] == []
    assert "canary" not in result.stdout + result.stderr + house.out.read_text() + str(house.judge.calls)


def test_two_halves_give_what_one_run_gives(house: House) -> None:
    house.calibrate()
    whole = house.out.read_bytes()
    made = house.folder / "answers"
    first = house.calibrate("--generate-only", made)
    assert first.exit_code == 0, first.stderr
    asked = len(house.small.seen)
    house.small.stop()
    house.judge = Client(house.folder / "second", reply(5, 5, 5, 5, 5), reply(1, 1, 1, 1, 1))
    second = house.run("--from-outputs", made, "--force")
    assert second.exit_code == 0, second.stderr
    assert house.out.read_bytes() == whole
    assert len(house.small.seen) == asked, "grading calls no tier"
    house.small.start()


def test_a_generated_folder_has_the_shape_of_an_evaluation_and_is_not_made_twice(house: House) -> None:
    made = house.folder / "answers"
    house.calibrate("--generate-only", made)
    (folder,) = made.glob("*-chat-eval")
    (row,) = outputs.manifest(folder)
    assert (row.prd, row.model, row.ok, row.tier_id, row.completion_tokens) == ("one", "small", True, "small", 3)
    assert (folder / "outputs" / row.file).read_text() == "an answer"
    assert (folder / "prompts" / "prompt_one.txt").read_text() == "say hello"
    again = house.calibrate("--generate-only", made, "--resume")
    assert (again.exit_code, len(house.small.seen), house.judge.calls) == (0, 2, [])
    assert "2 answers" in again.stdout
    assert house.calibrate("--generate-only", made).exit_code == 2


def test_a_folder_that_was_tampered_with_is_refused(house: House) -> None:
    made = house.folder / "answers"
    house.calibrate("--generate-only", made)
    (folder,) = made.glob("*-chat-eval")
    file = folder / "grading" / "gen_manifest.json"
    good = json.loads(file.read_text())
    for change, problem in [
        ({"file": "../../secret.md"}, "must lie in"),
        ({"fingerprint": ""}, "names no tier"),
        ({"prompt_sha256": "0"}, "not the one that was answered"),
        ({"chars": "many"}, "Expected `int`"),
        ({"file": "out_other.md"}, "No such file"),
    ]:
        file.write_text(json.dumps([good[0] | change]))
        result = house.run("--from-outputs", made)
        assert (result.exit_code, house.judge.calls) == (2, []), problem
        assert problem in result.stderr


def test_resume_asks_neither_tier_nor_judge_twice(house: House) -> None:
    house.judge.replies(reply(5, 5, 5, 5, 5), "no grade")
    first = house.calibrate()
    assert first.exit_code == 1
    assert "planning/one: not graded, skipped" in first.stderr
    assert [row.work_class for row in house.rows()] == ["chat"]
    with progress_of(house.out).open("a") as file:
        file.write('{"torn')
    house.judge.replies(reply(3, 4, 4, 4, 4))
    second = house.calibrate("--resume")
    assert second.exit_code == 0, second.stderr
    assert [(row.work_class, row.decision) for row in house.rows()] == [
        ("chat", "allow"),
        ("planning", "allow-with-verify"),
    ]
    assert (len(house.small.seen), len(house.judge.calls)) == (3, 3)


def test_resume_writes_over_no_finished_candidate(house: House) -> None:
    assert house.calibrate().exit_code == 0
    before = house.out.read_bytes()
    calls = len(house.judge.calls)
    again = house.calibrate("--resume")
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    assert (house.out.read_bytes(), len(house.judge.calls)) == (before, calls)


def test_resume_measures_again_what_is_not_the_same_any_more(house: House) -> None:
    house.judge.replies(reply(5, 5, 5, 5, 5), 9)
    assert house.calibrate().exit_code == 1
    house.config.write_text(house.config.read_text().replace("build = 1", "build = 2"))
    house.judge.replies(reply(4, 4, 4, 4, 4))
    assert house.calibrate("--resume").exit_code == 0
    digest = fingerprint(configuration.load(house.config).tiers[0])
    assert {(row.fingerprint, row.quality_score) for row in house.rows()} == {(digest, 0.8)}


def test_an_answerless_tier_is_named_and_skipped(house: House) -> None:
    def behave(request: Received) -> Script:
        planning = "plan it" in request.body.decode()
        return response(500, b'{"error":{"message":"out of memory"}}') if planning else chat("an answer")

    house.small.behaviour = behave
    result = house.calibrate()
    assert result.exit_code == 0, result.stderr
    assert [row.work_class for row in house.rows()] == ["chat"]
    assert "small planning/one: no answer, skipped: unavailable" in result.stderr
    house.small.behaviour = lambda request: chat(None, reasoning_content="hm")
    empty = house.calibrate("--force", "--resume", "--classes", "planning")
    assert (empty.exit_code, "empty content" in empty.stderr) == (1, True)


def test_an_answer_cut_by_a_small_window_is_not_graded(house: House) -> None:
    house.config.write_text(house.config.read_text().replace("32768", "4100"))
    assert house.calibrate("--classes", "chat").exit_code == 0, "what ends by itself is graded"
    assert house.small.seen[0].json["max_tokens"] < 4096
    house.small.behaviour = lambda request: chat("half an", finish="length")
    result = house.calibrate("--classes", "chat", "--force")
    assert (result.exit_code, "cut by its window of 4100" in result.stderr) == (1, True)
    house.config.write_text(house.config.read_text().replace("4100", "1000"))
    assert "do not fit its window of 1000" in house.calibrate("--classes", "chat", "--force", "--resume").stderr


def test_a_key_that_cannot_be_sent_is_named_and_not_shown(house: House) -> None:
    result = house.calibrate(environ={"SMALL_KEY": "canary\x01key"})
    assert (result.exit_code, house.small.seen) == (1, [])
    assert "SMALL_KEY: header authorization" in result.stderr
    assert "canary" not in result.stderr


def test_a_silent_house_is_exit_3_and_writes_nothing(house: House) -> None:
    house.small.stop()
    result = house.calibrate()
    assert (result.exit_code, house.out.exists(), house.judge.calls) == (3, False, [])
    assert "small: not reachable" in result.stderr
    assert result.stderr.count("skipped:") == 1, "one wait per tier, not per prompt"
    assert house.calibrate("--generate-only", house.folder / "answers").exit_code == 3
    house.small.start()


def test_a_tier_that_hangs_is_known_long_before_its_time_is_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "PROBE_S", 0.2)
    house.small.behaviour = lambda _: Script([30.0])  # /health is not answered either
    result = house.calibrate()
    assert (result.exit_code, house.out.exists(), house.judge.calls) == (3, False, [])
    assert "none from /health within 0.2 s" in result.stderr
    assert [request.path for request in house.small.seen] == ["/v1/chat/completions", "/health"]


def test_a_slow_tier_whose_health_answers_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "PROBE_S", 0.2)
    answer = auto("an", " answer")

    def slowly(request: Received) -> Script:
        if request.path == "/health":
            return response(404, b"")
        script = answer(request)
        assert isinstance(script, Script)
        return Script([0.5, *script.steps], close=script.close)

    house.small.behaviour = slowly
    assert house.calibrate().exit_code == 0
    assert len(house.rows()) == 2


def test_two_runs_at_once_do_not_mix(house: House) -> None:
    with grading.Progress.held(house.out, "claude"):
        second = house.calibrate("--resume")
    assert (second.exit_code, house.small.seen, house.judge.calls) == (2, [], [])
    assert "another run is at work on it" in second.stderr
    answers = house.folder / "answers"
    answers.mkdir()
    with alone(answers):
        assert house.calibrate("--generate-only", answers).exit_code == 2
    assert (list(answers.iterdir()), house.small.seen) == ([], [])
    assert sorted(path.name for path in house.folder.glob("candidate*")) == [], "nothing is left of a refused run"


def test_a_candidate_that_appears_meanwhile_is_not_replaced(house: House) -> None:
    answer = auto("an", " answer")

    def meanwhile(request: Received) -> Script:
        house.out.write_text("mine")
        script = answer(request)
        assert isinstance(script, Script)
        return script

    house.small.behaviour = meanwhile
    result = house.calibrate()
    assert (result.exit_code, house.out.read_text()) == (1, "mine")
    assert "--resume" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_is_an_operation_that_failed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(house.out))

    monkeypatch.setattr(calibrating, "write_whole", full)
    result = house.calibrate()
    assert (result.exit_code, "No space left on device" in result.stderr) == (1, True)
    assert house.out.with_name("candidate.json.progress.jsonl").is_file(), "grades are kept for --resume"


def test_a_judge_that_is_down_is_not_asked_for_ever(house: House) -> None:
    for name in ("two", "three", "four"):
        (house.prompts / "chat" / f"{name}.txt").write_text(name)
    house.judge.replies(7)
    result = house.calibrate()
    assert (result.exit_code, len(house.judge.calls), house.out.exists()) == (1, grading.GIVE_UP_AFTER, False)
    assert "claude ended with code 7" in result.stderr
    assert "go on later with --resume" in result.stderr


def test_a_tier_that_turns_out_to_be_of_the_judges_family_is_not_graded(house: House) -> None:
    models = json.dumps({"data": [{"id": "claude-twin"}]}).encode()
    house.small.behaviour = lambda r: response(200, models) if r.path.endswith("/models") else chat("mine")
    house.config.write_text(house.config.read_text().replace('model = "small-model"\n', ""))
    result = house.calibrate()
    assert (result.exit_code, house.judge.calls) == (1, [])
    assert "small: the judge claude is of the same family" in result.stderr
    assert sum(request.path.endswith("completions") for request in house.small.seen) == 1


def test_a_cloud_tier_is_dropped_with_a_warning(house: House) -> None:
    result = house.calibrate("--endpoint", "paid=https://api.example.com")
    assert result.exit_code == 0
    assert "paid: a cloud tier is not measured" in result.stderr


def test_rows_that_were_not_measured_keep_their_live_verdict(house: House) -> None:
    live = house.folder / "live.json"
    rows = [profile.Row(tier_id="paid", work_class="planning", decision="allow", quality_score=0.9),
            profile.Row(tier_id="small", work_class="review", decision="deny", quality_score=0.3),
            profile.Row(tier_id="small", work_class="chat", decision="deny", quality_score=0.3)]  # fmt: skip
    from anvil.lab.evaluation import profile_file

    live.write_bytes(profile_file.encode(rows, "replay"))
    house.config.write_text(house.config.read_text().replace("[router]\n", '[router]\nprofile_path = "live.json"\n'))
    result = house.calibrate("--classes", "chat")
    assert result.exit_code == 0, result.stderr
    decisions = {(row.tier_id, row.work_class): row.decision for row in house.rows()}
    assert decisions == {("paid", "planning"): "allow", ("small", "chat"): "allow", ("small", "review"): "deny"}
    assert "1 rows measured, 2 rows of the live profile kept" in result.stdout
    assert "~ small/chat: deny 0.30 -> allow 1.00  (the router: deny -> allow)" in result.stdout


def test_an_anthropic_tier_is_asked_in_its_dialect_and_needs_another_judge(tmp_path: Path) -> None:
    engine = Tier(auto("a", " plan")).start()
    judge = Tier(lambda request: chat(reply(4, 4, 4, 4, 4))).start()
    try:
        config = router(tmp_path, tier("bridge", engine.url, dialect="anthropic", model="house-model"))
        asked = ("--config", config, "--out", tmp_path / "c.json", CONFIRMED, "--endpoint", f"bridge={engine.url}",
                 "--eval-data", prompts(tmp_path / "p", planning="plan it"))  # fmt: skip
        assert run(*asked, environ={"ANVIL_CLAUDE_BIN": "/bin/true"}).exit_code == 2
        result = run(*asked, "--judge", judge.url, "--judge-model", "gpt-9")
        assert result.exit_code == 0, result.stderr
        (row,) = profile.read((tmp_path / "c.json").read_bytes(), "c")[1]
        assert (row.quality_score, row.decision) == (0.8, "allow-with-verify")
        assert engine.seen[0].path == "/v1/messages"
        assert engine.seen[0].json["messages"][0]["role"] == "user"
    finally:
        engine.stop()
        judge.stop()
