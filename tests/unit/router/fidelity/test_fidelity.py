"""Every cell of the published fidelity matrix (contract 8), request and answer, stream and whole."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from tests.unit.router.fidelity import answers, matrix, play, requests, strange
from tests.unit.router.fidelity.checks import MISSING, SAME, Check, Probe, at
from tests.unit.router.fidelity.places import place, shows

REQUESTS = [*requests.PROBES, *strange.PROBES]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def cases(probes: list[Probe]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("probe", probes, ids=[f"{p.way} {p.row}" for p in probes])


@pytest.mark.parametrize(
    ("promised", "probes"), [(matrix.REQUESTS, REQUESTS), (matrix.ANSWERS, answers.PROBES)], ids=["8.1", "8.2"]
)
def test_every_cell_has_a_case_for_each_of_its_letters(
    promised: dict[str, dict[str, str]], probes: list[Probe]
) -> None:
    shown: dict[tuple[str, str], set[str]] = defaultdict(set)
    for probe in probes:
        shown[probe.row, probe.way] |= {check.letter for check in probe.checks}
    cells = {(row, way): matrix.letters(cell) for row, ways in promised.items() for way, cell in ways.items()}
    assert shown == {cell: wanted for cell, wanted in cells.items() if wanted}


@BOTH
@cases(REQUESTS)
def test_request(probe: Probe, stream: bool) -> None:
    sent = play.ask(probe, stream=stream)
    for check in probe.checks:
        if check.tier is not None:
            _stays_away(probe, check.tier)
            continue
        _is_named(check, sent.lossy, sent.text)
        if check.path:
            wanted = at(sent.caller, check.path) if check.value is SAME else check.value
            assert wanted is not MISSING
            assert at(sent.tier, check.path) == wanted, sent.text


def _stays_away(probe: Probe, unable: dict[str, Any]) -> None:
    caller, target = probe.way.split("->")
    tier = play.tier(target, id="unable", **unable)
    assert play.candidates(caller, {}, tier) == ["t", "unable"]
    assert play.candidates(caller, probe.send, tier) == ["t"]


@BOTH
@cases(answers.PROBES)
def test_answer(probe: Probe, stream: bool) -> None:
    told = play.answer(probe, stream=stream)
    for check in probe.checks:
        _is_named(check, told.lossy, told.text)
        if check.path:
            wanted = at(told.tier, check.path) if check.value is SAME else check.value
            assert wanted is not MISSING
            path = place(check.path, probe.way[-1]) if stream else check.path
            assert shows(told.bodies, path, wanted), told.text


def _is_named(check: Check, lossy: set[str], text: str) -> None:
    if check.name:
        assert check.name in lossy, text
    if check.gone:
        assert check.gone not in text
