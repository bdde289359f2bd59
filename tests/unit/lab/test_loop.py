"""``scripts/loop`` stops loudly: at a claim that does not hold, at another exit code, at a second run."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from rich.console import Console

from anvil.lab.demo_house import Failed, House
from anvil.lab.locking import alone
from tests.loop import judge
from tests.loop.__main__ import main
from tests.loop.house import Loop


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return Loop(House(tmp_path, 1, 2), "token-of-a-test", tmp_path, Console(quiet=True))


def test_a_claim_that_does_not_hold_ends_the_run(loop: Loop) -> None:
    loop.claim(True, "it holds")
    with pytest.raises(Failed, match="does not hold: it does not"):
        loop.claim(False, "it does not", {"found": 1})
    assert loop.claims == 1


def test_another_exit_code_ends_the_run(loop: Loop) -> None:
    assert "43 URL-safe" in loop.anvil("token", "--help").out + loop.anvil("token", "new", "--help").out
    with pytest.raises(Failed, match="anvil token exited 2, not 0"):
        loop.anvil("token", "show")
    with pytest.raises(Failed, match="no JSON document"):
        _ = loop.anvil("token", "--help").document


def test_the_judge_keeps_to_its_script() -> None:
    body = {"messages": [{"role": "user", "content": "grade this"}]}
    with judge.sitting([(5, 4, 3, 2, 1)]) as sitting:
        asked = [httpx.post(f"{sitting.url}/chat/completions", json=body, trust_env=False) for _ in range(2)]
    told = json.loads(asked[0].json()["choices"][0]["message"]["content"])
    assert (told["total"], list(told["scores"].values())) == (15, [5, 4, 3, 2, 1])
    assert ([each.status_code for each in asked], sitting.asked) == ([200, 500], ["grade this"] * 2)


def test_two_runs_do_not_share_their_reports(tmp_path: Path) -> None:
    with alone(tmp_path):
        result = CliRunner().invoke(main, ["--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "another run is at work on it" in result.stderr
