"""docs/grafana.json against the router's own metrics: every name and label it asks for exists, and little is left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from prometheus_client.process_collector import ProcessCollector

from anvil.router.decisions.record import UNCALLED_OUTCOMES, Decision
from anvil.router.metrics import Metrics
from tests.unit.router.routing import config

BOARD: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs" / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]
# what Prometheus itself puts on every series
SCRAPED = {"job", "instance"}
_METRIC = re.compile(r"\b((?:anvil|gen_ai|process)_\w+)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_GROUPED = re.compile(r"by \(([^)]*)\)")
_SHOWN = re.compile(r"\{\{(\w+)\}\}")


def known() -> dict[str, set[str]]:
    """Every sample's name and its labels."""
    made = Metrics(config(), release=None, config_hash=None)
    found = {series.name: set(series.labels) for series in made.counters}
    found |= {series.name: set(series.labels) for series in made.gauges}
    for histogram in made.histograms:
        found |= {f"{histogram.name}_{end}": set(histogram.labels) for end in ("count", "sum")}
        found[f"{histogram.name}_bucket"] = {*histogram.labels, "le"}
    found |= {f"{name}_info": set(labels) for name, _, labels in made.infos}
    for family in ProcessCollector(registry=None).collect():
        found |= {sample.name: set(sample.labels) for sample in family.samples}
    return found


def asked(expression: str) -> list[tuple[str, set[str]]]:
    """(sample name, labels it is selected by) of every series an expression reads."""
    return [(name, set(_LABEL.findall(labels))) for name, labels in _METRIC.findall(expression)]


def test_every_series_the_dashboard_asks_for_is_the_routers() -> None:
    have = known()
    for expression in EXPRESSIONS:
        assert asked(expression), expression
        for name, labels in asked(expression):
            assert name in have, expression
            assert labels <= have[name] | SCRAPED, expression
            assert labels >= SCRAPED, f"{expression}: not limited to the chosen routers"


def test_what_it_groups_by_and_shows_are_labels_of_the_series() -> None:
    have = known()
    for panel in PANELS:
        for target in panel["targets"]:
            labels = SCRAPED.union(*(have[name] for name, _ in asked(target["expr"])))
            grouped = [label for group in _GROUPED.findall(target["expr"]) for label in group.split(", ")]
            assert set(grouped) <= labels, target["expr"]
            shown = set(_SHOWN.findall(target["legendFormat"]))
            assert shown <= (set(grouped) if "by (" in target["expr"] else labels), (panel["title"], target)


def test_every_series_of_the_router_is_on_the_dashboard() -> None:
    made = Metrics(config(), release=None, config_hash=None)
    read = {name for expression in EXPRESSIONS for name, _ in asked(expression)}
    have = {series.name for series in made.counters} | {series.name for series in made.gauges}
    have |= {f"{name}_info" for name, _, _ in made.infos}
    assert have <= read
    assert {f"{histogram.name}_bucket" for histogram in made.histograms} <= read


def test_the_outcomes_it_selects_are_words_of_the_record() -> None:
    words = set(get_args(get_type_hints(Decision)["outcome"]))
    for expression in EXPRESSIONS:
        for name, labels in _METRIC.findall(expression):
            if name == "anvil_requests_total":
                for given in re.findall(r'outcome(?:!?=~?)"([^"]*)"', labels):
                    assert set(given.split("|")) <= words
            elif name == "anvil_attempts_total" and "outcome!~" in labels:
                assert set(re.findall(r'outcome!~"([^"]*)"', labels)[0].split("|")) == set(UNCALLED_OUTCOMES)


def test_panels_have_places_of_their_own() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
