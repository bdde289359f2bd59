"""The deploy that prunes a volume plans by the same rules as `anvil prune` (tests/unit/topology/test_retention.py)."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from pyinfra.api.exceptions import OperationValueError, PyinfraError

from anvil.deploys import prune
from anvil.hosts.cache import NamedByContainers, VolumeModels, models_removed
from anvil.topology import retention
from anvil.topology.retention import Candidate


def model(repo: str, size: int = 1, **more: Any) -> Candidate:
    path = f"/cache/hub/models--{repo.replace('/', '--')}"
    return Candidate(repo=repo, path=path, size_bytes=size, **more)


HALF: dict[str, Any] = {"whole": False, "incomplete_since": 0.0}
ALL = (model("a/small", 1), model("b/half", 5, **HALF), model("c/big", 9, hazards=("warn: slow",)))


def test_a_misspelt_protection_stops_everything() -> None:
    prune.refuse_unknown(["A/small"], ALL)
    with pytest.raises(PyinfraError, match="no volume of this machine holds it: not in the scan: a/smal;"):
        prune.refuse_unknown(["a/small", "a/smal"], ALL)


def test_the_table_has_exact_bytes_hazards_and_the_sums() -> None:
    told = prune.lines("w", retention.plan(ALL, ["A/Small"], now=1e9))
    assert [line.split()[:5] for line in told[:-1]] == [
        ["w:", "unused", "9", "c/big", "unreferenced;"],
        ["w:", "remove", "5", "b/half", "incomplete"],
    ]
    assert told[0].endswith("; warn: slow")
    assert told[-1].startswith("w: 1 kept; 1 models, 5 bytes to remove (--data execute=true); 1 models, 9 bytes unused")


def said(text: str, code: int = 0) -> list[str]:
    return base64.encodebytes(f"{text}\n{code}".encode()).decode().splitlines()


def test_a_scan_is_read_and_anything_else_is_an_error() -> None:
    row = {**msgspec.to_builtins(ALL[1]), "hazards": ["h"]}
    plan = {"schema": "anvil.prune/v1", "items": [], "candidates": [row]}
    answer = VolumeModels().process(said("noise\n" + json.dumps(plan)))
    assert [msgspec.convert(msgspec.to_builtins(each), Candidate) for each in answer.models] == [
        model("b/half", 5, hazards=("h",), **HALF)
    ]
    assert "too old for this" in VolumeModels().process(said(json.dumps({**plan, "candidates": None}))).error
    assert VolumeModels().process(said("", 0)).status == "error"
    assert VolumeModels().process(said("Error: No such volume", 1)).status == "absent"
    assert NamedByContainers().process(said("named a/b\nnamed c/d")).names == ("a/b", "c/d")
    assert not NamedByContainers().process(said("", 124)).ok


@pytest.mark.parametrize(
    "path", ["/cache", "/cache/hub", "/", "/cache/../etc/models--a--b", "/cache/hub/models--a--b/x"]
)
def test_a_path_that_is_no_model_folder_is_refused(path: str) -> None:
    with pytest.raises(OperationValueError):
        next(models_removed._inner(volume="w", image="i", root="/r", doomed={path: ("a/b", "incomplete")}))
