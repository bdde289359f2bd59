"""How much a pull still needs: the script that asks the hub, and the judgement over its answer."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anvil.hosts.weights import SIZE, HubSize, SizeAnswer, no_room

HUB = """
from types import SimpleNamespace as N
FILES = [("model.safetensors", 100, "aa", True), ("config.json", 7, "bb", False), ("metal/model.bin", 900, "cc", True),
         ("original/x", 50, "dd", True)]
class HfApi:
    def model_info(self, repo, revision, files_metadata, timeout):
        assert (repo, revision, files_metadata) == ("org/name", "main", True)
        rows = [N(rfilename=f, size=s, blob_id=b, lfs=N(sha256=b) if l else None) for f, s, b, l in FILES]
        return N(siblings=rows)
"""


def asked(folder: Path, include: list[str], exclude: list[str]) -> str:
    (folder / "huggingface_hub.py").write_text(HUB)
    words = ["org/name", "main", str(folder), json.dumps(include), json.dumps(exclude)]
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", SIZE, *words], env=environ, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("include", "exclude", "missing"),
    [([], [], 1057), ([], ["metal/*", "original/"], 107), (["*.json"], [], 7), (["*.json"], ["config*"], 0)],
)
def test_the_wanted_files_are_counted(tmp_path: Path, include: list[str], exclude: list[str], missing: int) -> None:
    assert asked(tmp_path, include, exclude) == f"missing {missing}\n"


def test_what_the_volume_holds_already_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "cc").write_bytes(b"")
    (tmp_path / "blobs" / "aa.incomplete").write_bytes(b"x" * 40)
    assert asked(tmp_path, [], []) == "missing 117\n"


def told(text: str, code: int) -> SizeAnswer:
    return HubSize().process(base64.encodebytes(f"{text}\n{code}".encode()).decode().splitlines())


def test_an_answer_that_is_none() -> None:
    assert told("warning: x\nmissing 12", 0) == SizeAnswer(status="ok", missing_bytes=12)
    assert told("Traceback\nOSError: no route", 1).error == "OSError: no route"
    assert told("", 127).status == "error"


def test_five_percent_stay_free() -> None:
    needed = SizeAnswer(status="ok", missing_bytes=100)
    assert no_room(needed, 104)
    assert not no_room(needed, 105)
    assert not no_room(needed, 0)  # docker did not tell
    assert not no_room(SizeAnswer(status="error"), 1)
