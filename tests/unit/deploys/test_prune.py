"""A prune never proposes what anybody names, and never more than was asked for."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import OperationValueError, PyinfraError

from anvil.deploys import prune
from anvil.hosts.cache import CachedModel, NamedByContainers, VolumeModels, models_removed


def model(repo: str, size: int = 1, reason: str = "unreferenced", hazards: tuple[str, ...] = ()) -> CachedModel:
    path = f"/cache/hub/models--{repo.replace('/', '--')}"
    return CachedModel(repo=repo, path=path, size_bytes=size, reason=reason, hazards=hazards)


ALL = (model("a/small", 1), model("b/half", 5, "incomplete"), model("c/big", 9, hazards=("warn: slow",)))


def made(**given: Any) -> prune.Plan:
    return prune.plan(ALL, **{"texts": (), "running": (), "protect": (), "include_servable": False, **given})


def test_only_interrupted_downloads_unless_more_is_asked_for() -> None:
    assert [each.repo for each in made().doomed] == ["b/half"]
    assert [each.repo for each in made().spared] == ["c/big", "a/small"]
    assert [each.repo for each in made(include_servable=True).doomed] == ["c/big", "b/half", "a/small"]


@pytest.mark.parametrize(
    "named",
    [
        {"texts": ['repo = "C/Big"']},
        {"texts": ["--speculative /root/hub/models--c--big/snapshots/1"]},
        {"running": ["c/big"]},
        {"protect": ["C/big"]},
    ],
)
def test_what_anybody_names_stays(named: dict[str, Any]) -> None:
    plan = made(include_servable=True, **named)
    assert plan.kept == ("c/big",)
    assert [each.repo for each in plan.doomed] == ["b/half", "a/small"]


def test_a_name_that_only_begins_alike_keeps_nothing() -> None:
    assert made(texts=["c/big-2 xc/big c/big.v2"], include_servable=True).kept == ()


def test_a_misspelt_protection_stops_everything() -> None:
    prune.refuse_unknown(["A/small"], {"a/small"})
    with pytest.raises(PyinfraError, match="protect=a/smal: no volume of this machine holds it"):
        prune.refuse_unknown(["a/small", "a/smal"], {"a/small"})


def test_the_table_has_exact_bytes_hazards_and_the_sum() -> None:
    told = prune.lines("w", made(include_servable=True))
    assert told[0].split() == ["w:", "remove", "9", "c/big", "unreferenced;", "warn:", "slow"]
    assert "0 kept; 3 to remove, 15 bytes" in told[-1]


NAMES = st.from_regex(r"[a-z]{1,3}/[a-z0-9.-]{1,4}", fullmatch=True)


@given(st.lists(NAMES, unique=True), st.sets(NAMES), st.booleans())
def test_no_named_repository_is_ever_doomed(repos: list[str], named: set[str], everything: bool) -> None:
    rows = [model(repo, reason="incomplete") for repo in repos]
    plan = prune.plan(rows, [f'repo = "{repo}"' for repo in named], (), (), everything)
    assert not {each.repo for each in plan.doomed} & named
    assert len(plan.kept) + len(plan.doomed) + len(plan.spared) == len(repos)


def said(text: str, code: int = 0) -> list[str]:
    return base64.encodebytes(f"{text}\n{code}".encode()).decode().splitlines()


def test_a_scan_is_read_and_anything_else_is_an_error() -> None:
    row = {"repo": "a/b", "path": "/cache/models--a--b", "size_bytes": 3, "reason": "incomplete", "hazards": ["h"]}
    answer = VolumeModels().process(said("noise\n" + json.dumps({"schema": "anvil.prune/v1", "items": [row]})))
    assert [(each.repo, each.size_bytes, each.hazards) for each in answer.models] == [("a/b", 3, ("h",))]
    assert VolumeModels().process(said("", 0)).status == "error"
    assert VolumeModels().process(said("Error: No such volume", 1)).status == "absent"
    assert NamedByContainers().process(said("named a/b\nnamed c/d")).names == ("a/b", "c/d")
    assert not NamedByContainers().process(said("", 124)).ok


@pytest.mark.parametrize(
    "path", ["/cache", "/cache/hub", "/", "/cache/../etc/models--a--b", "/cache/hub/models--a--b/x"]
)
def test_a_path_that_is_no_model_folder_is_refused(path: str) -> None:
    with pytest.raises(OperationValueError):
        next(models_removed._inner(volume="w", image="i", root="/r", doomed={path: "a/b"}))
