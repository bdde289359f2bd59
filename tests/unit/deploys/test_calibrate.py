"""What a calibration asks: the live release's configuration, the local tiers, the addresses the router uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from anvil.deploys import calibrate, options, secrets
from anvil.deploys.site import Built, Site
from anvil.render.artefacts import render
from anvil.render.env import Secrets
from anvil.topology import load
from anvil.topology.model import Topology

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The run's `--data`."""
    data: dict[str, str] = {}
    monkeypatch.setattr(options, "text", lambda key, default="": data.get(key, default))
    return data


def example() -> Topology:
    return load.load(REPO / "inventory" / "topology.toml", {}, "t.toml")


def site(topology: Topology, machine: str) -> Site:
    made = render(topology, Secrets.of({}))
    return Site(machine, topology.machines[machine], Built(topology, Path("t"), secrets.Held({}, {}), made, None))


def test_in_the_routers_image_with_the_live_release(said: dict[str, str]) -> None:
    said["classes"] = "chat"
    measured = calibrate.tiers(example(), ())
    assert measured == ("fast-local", "heavy-local")  # a cloud tier must not grade itself
    words = calibrate.command(site(example(), "forge"), "c0ffee", "/there", measured)
    assert "/srv/anvil/router/releases/c0ffee:/etc/anvil/current:ro" in words
    assert "/there:/out" in words
    assert "ANVIL_CONFIG_FLEXIBILITY=/etc/anvil/current/router.toml" in words
    asked = words[words.index("calibrate") :]
    assert asked[1:3] == ("--mode", "flexibility")
    assert "fast-local=http://fast:30003/v1" in asked
    assert asked[asked.index("--classes") + 1] == "chat"
    assert asked[asked.index("--max-tokens") + 1] == "4096"


def test_a_tier_that_is_no_local_one_is_refused() -> None:
    with pytest.raises(PyinfraError, match="tiers=cloud: is no local tier; there are: fast-local, heavy-local"):
        calibrate.tiers(example(), ("fast-local", "cloud"))


def test_a_class_that_is_none_is_refused() -> None:
    calibrate.refuse_unknown_classes(("chat", "bounded-edit"))
    with pytest.raises(PyinfraError, match="classes=quick-edit: is no work class; there are: chat, bounded-edit"):
        calibrate.refuse_unknown_classes(("chat", "quick-edit"))


def test_answers_of_two_calibrations_are_never_mixed(said: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PyinfraError, match="out=DIR"):
        calibrate.folder()
    said["out"] = str(tmp_path)
    assert calibrate.folder() == tmp_path
    (tmp_path / "old").touch()
    with pytest.raises(PyinfraError, match="not an empty folder"):
        calibrate.folder()
