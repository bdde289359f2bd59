"""A mistyped inventory is an error before anything else; pyinfra alone would do nothing and exit 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from anvil.deploys.inventory import refuse_missing

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("typed", ["inventory/host.py", "inventory/hosts", "forge", ""])
def test_what_is_no_file_is_no_inventory_of_ours(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(PyinfraError, match="no such inventory file"):
        refuse_missing(typed, [typed, "deploy/full.py", "-y"])


def test_other_uses_of_pyinfra_are_its_own_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    refuse_missing("inventory/hosts.py", ["inventory/hosts.py", "deploy/full.py"])
    refuse_missing("@local", ["@local", "exec", "--", "true"])


def pyinfra(*words: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("pyinfra"))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ANVIL_")}
    return subprocess.run(
        (program, *words), cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_pyinfra_says_so_in_one_line_and_exits_1() -> None:
    ran = pyinfra("inventory/host.py", "deploy/status.py")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].endswith(
        "inventory/host.py: no such inventory file; did you mean inventory/hosts.py?"
    )


def test_data_without_a_value_is_one_line_not_a_traceback() -> None:
    ran = pyinfra("inventory/hosts.py", "deploy/full.py", "--dry", "--data", "only")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].endswith("--data only: write --data only=value")
    assert "Traceback" not in ran.stderr
